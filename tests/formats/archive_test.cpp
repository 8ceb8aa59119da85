#include "formats/archive.h"

#include <gtest/gtest.h>

#include <map>

#include "formats/pack.h"
#include "formats/support.h"

namespace resnet {
namespace {

ByteVector noise(std::size_t size) {
  ByteVector out(size);
  std::uint32_t state = 1;
  for (std::byte& b : out) {
    state = state * 1664525U + 1013904223U;
    b = static_cast<std::byte>(state >> 24);
  }
  return out;
}

using Contents = std::map<std::string, ByteVector>;

Contents unpack(const ByteVector& archive, const ArchiveLimits& limits = {}) {
  Contents out;
  read_archive(
      archive, "x.tar", [](const std::string&) { return ArchiveAction::kTake; },
      [&](const std::string& name, ByteVector bytes) { out[name] = std::move(bytes); }, limits);
  return out;
}

class Archives : public testing::TestWithParam<Packing> {};

TEST_P(Archives, GiveTheFilesAndOnlyFiles) {
  const ByteVector archive = pack(GetParam(), {{"folder/", {}, AE_IFDIR},
                                               {"folder/a.jpg", noise(100'000)},
                                               {"link", {}, AE_IFLNK},
                                               {"empty", {}},
                                               {"gr\xc3\xbc\xc3\x9f.txt", bytes_of("hello")}});
  const Contents files = unpack(archive);
  EXPECT_EQ(files, (Contents{{"folder/a.jpg", noise(100'000)},
                             {"empty", {}},
                             {"gr\xc3\xbc\xc3\x9f.txt", bytes_of("hello")}}));
  const TemporaryFolder folder;
  Contents from_disk;
  read_archive(
      folder.write("x", archive), [](const std::string&) { return ArchiveAction::kTake; },
      [&](const std::string& name, ByteVector bytes) { from_disk[name] = std::move(bytes); });
  EXPECT_EQ(from_disk, files);
}

TEST_P(Archives, SkipAndStop) {
  const ByteVector archive =
      pack(GetParam(), {{"1", noise(70'000)}, {"2", noise(10)}, {"3", noise(5)}, {"4", noise(6)}});
  std::string asked;
  std::string taken;
  read_archive(
      archive, "x",
      [&](const std::string& name) {
        asked += name;
        return name == "1"   ? ArchiveAction::kSkip
               : name == "3" ? ArchiveAction::kStop
                             : ArchiveAction::kTake;
      },
      [&](const std::string& name, const ByteVector&) { taken += name; });
  EXPECT_EQ(asked, "123");
  EXPECT_EQ(taken, "2");
}

TEST_P(Archives, LimitsHold) {
  const ByteVector archive =
      pack(GetParam(), {{"a", ByteVector(200'000)}, {"b", ByteVector(200'000)}});
  ArchiveLimits limits;
  limits.max_file_bytes = 200'000;
  limits.max_total_bytes = 400'000;
  limits.max_entries = 2;
  EXPECT_EQ(unpack(archive, limits).size(), 2U);
  ArchiveLimits file = limits;
  file.max_file_bytes = 199'999;
  expect_error(ErrorCode::kBadData, {"x.tar", "'a' in it unpacks to more"},
               [&] { unpack(archive, file); });
  ArchiveLimits total = limits;
  total.max_total_bytes = 399'999;
  expect_error(ErrorCode::kBadData, {"'b' in it unpacks to more"}, [&] { unpack(archive, total); });
  ArchiveLimits entries = limits;
  entries.max_entries = 1;
  expect_error(ErrorCode::kBadData, {"more than the limit of 1 entries"},
               [&] { unpack(archive, entries); });
}

TEST_P(Archives, ACutInsideAFileIsRefused) {
  const ByteVector archive = pack(GetParam(), {{"a", noise(50'000)}});
  const ByteVector cut(archive.begin(), archive.begin() + 30'000);
  expect_error(ErrorCode::kBadData, {"x.tar", "damaged or cut short"}, [&] { unpack(cut); });
}

TEST_P(Archives, ExceptionsOfTheCallbacksPass) {
  const ByteVector archive = pack(GetParam(), {{"a", noise(10)}});
  EXPECT_THROW(read_archive(
                   archive, "x", [](const std::string&) { return ArchiveAction::kTake; },
                   [](const std::string&, const ByteVector&) { throw std::range_error("mine"); }),
               std::range_error);
}

INSTANTIATE_TEST_SUITE_P(All, Archives,
                         testing::Values(Packing::kTar, Packing::kTarGz, Packing::kZip));

TEST(Archive, RefusesWhatIsNone) {
  expect_error(ErrorCode::kBadData, {"x.tar"}, [] { unpack({}); });
  expect_error(ErrorCode::kBadData, {"x.tar"}, [] { unpack(noise(4096)); });
  const TemporaryFolder folder;
  const auto read = [](const std::filesystem::path& path) {
    read_archive(
        path, [](const std::string&) { return ArchiveAction::kTake; },
        [](const std::string&, const ByteVector&) {});
  };
  expect_error(ErrorCode::kNotFound, {"none.zip"}, [&] { read(folder.path() / "none.zip"); });
  expect_error(ErrorCode::kBadData, {"resnet-test"}, [&] { read(folder.path()); });
}

TEST(Archive, PathsOfArchives) {
  for (const char* name : {"a.tar", "b/c.TAR.GZ", "d.tgz", "e.zip", "f.tar.xz"}) {
    EXPECT_TRUE(is_archive_path(name)) << name;
  }
  for (const char* name : {"a.gz", "tar", ".zip", "b.tar.gz.part", "c.jpg"}) {
    EXPECT_FALSE(is_archive_path(name)) << name;
  }
}

TEST(Gunzip, InflatesAllMembers) {
  const ByteVector a = noise(100'000);
  const ByteVector b(3'000'000);
  ByteVector file = gzip(a);
  EXPECT_EQ(gunzip(file, "x.gz"), a);
  const ByteVector second = gzip(b);
  file.insert(file.end(), second.begin(), second.end());
  ByteVector both = a;
  both.insert(both.end(), b.begin(), b.end());
  EXPECT_EQ(gunzip(file, "x.gz"), both);
  file.insert(file.end(), 100, std::byte{0});  // padding
  EXPECT_EQ(gunzip(file, "x.gz"), both);
  EXPECT_TRUE(gunzip(gzip({}), "x.gz").empty());
}

TEST(Gunzip, StopsAtTheLimit) {
  const ByteVector bomb = gzip(ByteVector(10'000'000));
  EXPECT_EQ(gunzip(bomb, "x.gz", 10'000'000).size(), 10'000'000U);
  expect_error(ErrorCode::kBadData, {"x.gz", "more than the limit of 9999999"},
               [&] { gunzip(bomb, "x.gz", 9'999'999); });
}

TEST(Gunzip, RefusesDamage) {
  const ByteVector file = gzip(noise(1000));
  for (std::size_t length = 0; length < file.size(); ++length) {
    expect_error(ErrorCode::kBadData, {"x.gz", "damaged or cut short"}, [&] {
      gunzip({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length)}, "x.gz");
    });
  }
  ByteVector flipped = file;
  flipped[file.size() / 2] ^= std::byte{1};  // the checksum tells
  expect_error(ErrorCode::kBadData, {"x.gz"}, [&] { gunzip(flipped, "x.gz"); });
}

TEST(Gunzip, ReadsFilesThatMayBeGzip) {
  const TemporaryFolder folder;
  const ByteVector data = noise(1000);
  EXPECT_EQ(read_maybe_gzip(folder.write("plain", data)), data);
  EXPECT_EQ(read_maybe_gzip(folder.write("packed", gzip(data))), data);
}

}  // namespace
}  // namespace resnet

#include "formats/tar.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/pack.h"
#include "formats/support.h"

namespace resnet {
namespace {

std::vector<TarFile> index_of(const ByteVector& bytes) {
  std::vector<TarFile> files;
  index_tar(ByteSource(bytes, "x.tar"), [&](const TarFile& file) { files.push_back(file); });
  return files;
}

std::string contents(const ByteVector& tar, const TarFile& file) {
  return {reinterpret_cast<const char*>(tar.data()) + file.offset, file.size};
}

const std::string kLong(180, 'l');

std::vector<PackedFile> files() {
  return {{"d/", {}, AE_IFDIR},
          {"d/1.jpg", bytes_of("image")},
          {"d/1.cls", bytes_of("7")},
          {"link", {}, AE_IFLNK},
          {"d/" + kLong + "/" + kLong + ".jpg", ByteVector(5000, std::byte{'x'})},
          {"empty", {}},
          {"last", ByteVector(512, std::byte{'y'})}};
}

/// A header as old tars have it, and its checksum.
ByteVector header(const std::string& name, const std::string& size, char type = '0') {
  std::string h(512, '\0');
  h.replace(0, name.size(), name);
  h.replace(124, size.size(), size);
  h[156] = type;
  h.replace(148, 8, 8, ' ');
  unsigned sum = 0;
  for (const char c : h) sum += static_cast<unsigned char>(c);
  char text[9];
  std::snprintf(text, sizeof text, "%06o", sum);
  h.replace(148, 7, std::string(text) + '\0');
  return bytes_of(h);
}

ByteVector operator+(ByteVector a, const ByteVector& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Tar, EveryKindOfTar) {
  for (const Packing packing : {Packing::kTar, Packing::kTarPax, Packing::kTarGnu}) {
    const ByteVector tar = pack(packing, files());
    const auto index = index_of(tar);
    ASSERT_EQ(index.size(), 5U);
    EXPECT_EQ(index[0].name, "d/1.jpg");
    EXPECT_EQ(contents(tar, index[0]), "image");
    EXPECT_EQ(contents(tar, index[1]), "7");
    EXPECT_EQ(index[2].name, "d/" + kLong + "/" + kLong + ".jpg");
    EXPECT_EQ(contents(tar, index[2]), std::string(5000, 'x'));
    EXPECT_EQ(index[3].size, 0U);
    EXPECT_EQ(contents(tar, index[4]), std::string(512, 'y'));
  }
  // ustar divides a long name between two fields.
  const std::string name = std::string(120, 'a') + "/" + std::string(80, 'b') + ".png";
  const ByteVector tar = pack(Packing::kTarUstar, {{name, bytes_of("z")}});
  ASSERT_EQ(index_of(tar).size(), 1U);
  EXPECT_EQ(index_of(tar)[0].name, name);
}

TEST(Tar, OldHeadersAndMissingEnds) {
  const ByteVector tar = header("a.cls", "00000000003") + bytes_of("123");
  ASSERT_EQ(index_of(tar).size(), 1U);  // no padding, no end
  EXPECT_EQ(contents(tar, index_of(tar)[0]), "123");
  std::string big(12, '\0');  // base 256
  big[0] = '\x80';
  big[11] = 2;
  EXPECT_EQ(index_of(header("a", big) + bytes_of("12"))[0].size, 2U);
  EXPECT_TRUE(index_of(header("folder/", "0", '\0')).empty());
  EXPECT_TRUE(index_of(ByteVector(1024)).empty());
}

TEST(Tar, EveryTruncationInsideAFileIsRefused) {
  const ByteVector tar = header("a", "00000001000") + ByteVector(512, std::byte{1}) +
                         header("b", "00000000001") + bytes_of("1");
  for (std::size_t length = 0; length < tar.size(); ++length) {
    if (length == 1024) continue;  // whole: it ends after a file
    const ByteVector part(tar.begin(), tar.begin() + static_cast<std::ptrdiff_t>(length));
    expect_error(ErrorCode::kBadData, {"x.tar: "}, [&] { index_of(part); });
  }
  EXPECT_EQ(index_of(tar).size(), 2U);
}

TEST(Tar, RefusesWhatItCannotIndex) {
  expect_error(ErrorCode::kUnsupported, {"x.tar", "gzip", "unpack it"},
               [] { index_of(pack(Packing::kTarGz, files())); });
  expect_error(ErrorCode::kBadData, {"expected a tar archive"},
               [] { index_of(ByteVector(2000, std::byte{'a'})); });
  expect_error(ErrorCode::kBadData, {"no file header at byte 512"},
               [] { index_of(header("a", "0") + ByteVector(512, std::byte{'a'})); });
  expect_error(ErrorCode::kUnsupported, {"sparse"}, [] { index_of(header("a", "0", 'S')); });
  std::string huge(12, '\xff');
  for (const std::string& size : {std::string("77777777777"), huge, std::string("12x"),
                                  std::string("-1"), std::string(12, '\0')}) {
    expect_error(ErrorCode::kBadData, {"x.tar: the tar is damaged"},
                 [&] { index_of(header("a", size) + ByteVector(512)); });
  }
  // Extended headers that lie.
  const auto pax = [](const std::string& records) {
    std::string padded = records;
    padded.resize(512, '\0');
    char size[12];
    std::snprintf(size, sizeof size, "%011o", static_cast<unsigned>(records.size()));
    return header("x", size, 'x') + bytes_of(padded) + header("a", "0") + ByteVector(1024);
  };
  EXPECT_EQ(index_of(pax("9 path=b\n"))[0].name, "b");
  for (const char* records : {"99 path=b\n", "x path=b\n", "3 =\n", "10 size=-1\n", "11 size=9x9\n",
                              "27 size=99999999999999999\n", "9 path=bc"}) {
    SCOPED_TRACE(records);
    expect_error(ErrorCode::kBadData, {"x.tar: the tar is damaged"},
                 [&] { index_of(pax(records)); });
  }
  expect_error(ErrorCode::kBadData, {"more than a megabyte"},
               [] { index_of(header("x", "10000000", 'L') + ByteVector(3 << 20)); });
}

}  // namespace
}  // namespace resnet

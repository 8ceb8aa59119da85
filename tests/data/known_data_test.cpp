#include "data/known_data.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "data/imagenet.h"
#include "data/support.h"
#include "data/unpack.h"
#include "formats/pack.h"
#include "http/http_server.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

std::string text_of(const ByteVector& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

ByteVector bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

TEST(KnownData, TheTableIsComplete) {
  std::set<std::string> names;
  for (const KnownData& data : known_data()) {
    EXPECT_TRUE(names.insert(data.name).second) << data.name;
    EXPECT_TRUE(data.folder.empty() || data.files.size() == 1) << data.name;
    EXPECT_FALSE(data.title.empty() || data.licence.empty() || data.citation.empty()) << data.name;
    for (const KnownData::File& file : data.files) {
      EXPECT_EQ(file.download.sha256.size(), 64U) << file.name;
      EXPECT_EQ(file.download.sha256.find_first_not_of("0123456789abcdef"), std::string::npos);
      EXPECT_TRUE(file.download.url.ends_with("/" + file.name)) << file.name;
    }
  }
  EXPECT_EQ(names.count("cifar10") + names.count("mnist") + names.count("galaxy10"), 3U);
}

TEST(KnownData, NamesThatAreNone) {
  expect_error(ErrorCode::kNotFound, {"did you mean cifar10?", "fashion-mnist"},
               [] { get_data("cifr10"); });
  expect_error(ErrorCode::kNotFound, {"cifar-10: no such file or folder", "did you mean cifar10?"},
               [] { open_data({.source = "cifar-10"}); });
}

TEST(KnownData, NotFetchedSaysHow) {
  const TemporaryFolder cache;
  expect_error(ErrorCode::kNotFound,
               {"--download", "resnet data get cifar10", (cache.path() / "data/cifar10").string(),
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"},
               [&] { open_data({.source = "cifar10", .cache = cache.path()}); });
  expect_error(ErrorCode::kNotFound, {"and 3 more"},
               [&] { open_data({.source = "mnist", .cache = cache.path()}); });
}

// A small data set of IDX files, in the place of Fashion-MNIST.
ByteVector idx(std::initializer_list<std::uint32_t> shape, std::size_t values) {
  ByteVector bytes = {std::byte{0}, std::byte{0}, std::byte{8},
                      static_cast<std::byte>(shape.size())};
  for (const std::uint32_t n : shape) {
    for (int shift = 24; shift >= 0; shift -= 8)
      bytes.push_back(static_cast<std::byte>(n >> shift));
  }
  for (std::size_t i = 0; i < values; ++i) bytes.push_back(static_cast<std::byte>(i % 3));
  return bytes;
}

TEST(KnownData, OpensWhatIsInTheCache) {
  const TemporaryFolder cache;
  for (const std::string part : {"train", "t10k"}) {
    cache.write("data/fashion-mnist/" + part + "-images-idx3-ubyte.gz",
                gzip(idx({6, 4, 4}, std::size_t{6} * 16)));
    cache.write("data/fashion-mnist/" + part + "-labels-idx1-ubyte.gz", gzip(idx({6}, 6)));
  }
  const DataSplits splits = open_data({.source = "fashion-mnist", .cache = cache.path()});
  EXPECT_EQ(splits.train->size(), 6);
  ASSERT_EQ(splits.train->class_names().size(), 10U);
  EXPECT_EQ(splits.train->class_names()[9], "ankle boot");
  EXPECT_EQ(open_test_data({.source = "fashion-mnist", .cache = cache.path()},
                           splits.train->class_names())
                ->size(),
            6);
}

class Archived : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY", "RESNET_MIRROR"}) {
      ::unsetenv(name);
    }
    const TemporaryFolder images;
    for (const std::string part : {"train", "val"}) {
      for (const std::string name : {"n02102040", "n03888257"}) {
        const std::string path = "set/" + part + "/" + name + "/1.png";
        write_png(images, path, 1);
        files_.push_back({path, read_file(images.path() / path)});
      }
    }
  }
  KnownData describe(const std::string& url, const ByteVector& archive) const {
    const fs::path file = cache_.write("original", archive);
    KnownData data;
    data.name = "small";
    data.folder = "set";
    data.files = {{"set.tgz", {.url = url, .sha256 = sha256_of(file), .size = archive.size()}}};
    return data;
  }

  TemporaryFolder cache_;
  std::vector<PackedFile> files_;
};

TEST_F(Archived, IsFetchedAndUnpackedOnce) {
  const ByteVector archive = pack(Packing::kTarGz, files_);
  test::HttpServer server([&](const auto&, auto& c) { c.respond("200 OK", text_of(archive)); });
  const KnownData data = describe(server.url("/set.tgz"), archive);
  const fs::path folder = get_data(data, {.cache = cache_.path()});
  EXPECT_EQ(folder, cache_.path() / "data/small/set");
  const DataSplits splits = open_data({.source = folder.string()});
  EXPECT_EQ(splits.train->size(), 2);
  // ImageNet's folders have readable names.
  EXPECT_EQ(splits.train->class_names(),
            (std::vector<std::string>{"English springer", "parachute"}));
  fs::remove(cache_.path() / "data/small/set.tgz");
  EXPECT_EQ(get_data(data, {.cache = cache_.path()}), folder);
  EXPECT_EQ(server.requests().size(), 1U);
  for (const auto& entry : fs::directory_iterator(folder.parent_path())) {
    EXPECT_EQ(entry.path().filename(), "set");  // nothing else is left
  }
}

TEST_F(Archived, NothingGetsOut) {
  for (const std::string name : {"../out", "set/../../out", "/tmp/resnet-out", "set\\..\\out"}) {
    for (const Packing packing : {Packing::kTarGz, Packing::kZip}) {
      std::vector<PackedFile> files = files_;
      files.push_back({name, bytes_of("out")});
      const fs::path archive = cache_.write("a/b/set.tgz", pack(packing, files));
      const fs::path folder = cache_.path() / "a/b/set";
      expect_error(ErrorCode::kBadData, {"leads out of its folder"},
                   [&] { unpack(archive, "set", folder, 1 << 20); });
      EXPECT_FALSE(fs::exists(folder));
      EXPECT_FALSE(fs::exists(cache_.path() / "a/out"));
      EXPECT_FALSE(fs::exists("/tmp/resnet-out"));
      EXPECT_EQ(std::distance(fs::directory_iterator(cache_.path() / "a/b"), {}), 1);
    }
  }
}

TEST_F(Archived, LinksAndOtherFoldersArePassedOver) {
  files_.push_back({"set/train/link", {}, AE_IFLNK});
  files_.push_back({"elsewhere/1.png", bytes_of("x")});
  const fs::path archive = cache_.write("set.tar", pack(Packing::kTar, files_));
  std::int64_t written = 0;
  unpack(archive, "set", cache_.path() / "set", 1 << 20, nullptr,
         [&](std::int64_t n) { written = n; });
  EXPECT_EQ(written, 4);
  EXPECT_FALSE(fs::is_symlink(cache_.path() / "set/train/link"));
  EXPECT_FALSE(fs::exists(cache_.path() / "elsewhere"));
}

TEST_F(Archived, Bounds) {
  files_.push_back({"set/zeros", ByteVector(2 << 20)});
  const fs::path archive = cache_.write("set.tgz", pack(Packing::kTarGz, files_));
  expect_error(ErrorCode::kBadData, {"more than the limit"},
               [&] { unpack(archive, "set", cache_.path() / "set", 1 << 20); });
  expect_error(ErrorCode::kBadData, {"no files below other/"},
               [&] { unpack(archive, "other", cache_.path() / "other", 8 << 20); });
  const std::atomic<bool> stop = true;
  expect_error(ErrorCode::kInterrupted, {"stopped while unpacking"},
               [&] { unpack(archive, "set", cache_.path() / "set", 8 << 20, &stop); });
  EXPECT_FALSE(fs::exists(cache_.path() / "set"));
}

TEST(Imagenet, NamesInTheOrderOfTheLogits) {
  const auto& names = imagenet_class_names();
  ASSERT_EQ(names.size(), 1000U);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 1000U);
  // As every list of ImageNet's classes has them.
  EXPECT_EQ(names[0], "tench");
  EXPECT_EQ(names[207], "golden retriever");
  EXPECT_EQ(names[281], "tabby");
  EXPECT_EQ(names[999], "toilet tissue");
  EXPECT_EQ(readable_class_names({"n01440764", "n02099601"}),
            (std::vector<std::string>{"tench", "golden retriever"}));
  EXPECT_EQ(readable_class_names({"n01440764", "cat"}),
            (std::vector<std::string>{"n01440764", "cat"}));
}

}  // namespace
}  // namespace resnet

#include "formats/shard_index.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/file.h"
#include "formats/safetensors.h"
#include "formats/support.h"
#include "formats/weights_file.h"

namespace resnet {
namespace {

class Shards : public ::testing::Test {
 protected:
  void SetUp() override {
    write_safetensors(at("model-00001-of-00002.safetensors"), {{"a", Tensor::full({2}, 1)}});
    write_safetensors(at("model-00002-of-00002.safetensors"), {{"b", Tensor::full({3}, 2)}});
    index(R"({"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})");
  }
  std::filesystem::path at(const std::string& name) const { return folder_.path() / name; }
  void index(const std::string& map) const {
    write_file_atomic(at("model.safetensors.index.json"),
                      R"({"metadata": {"total_size": 20}, "weight_map": )" + map + "}");
  }
  TemporaryFolder folder_;
};

TEST_F(Shards, AreReadByFolderIndexOrOneOfThem) {
  for (const auto& path : {folder_.path(), at("model.safetensors.index.json"),
                           at("model-00002-of-00002.safetensors")}) {
    const WeightsFile file = read_weights(find_weights(path));
    EXPECT_EQ(file.format, "safetensors, 2 shards");
    ASSERT_EQ(file.tensors.size(), 2U) << path;
    EXPECT_EQ(file.tensors.at("b").as<float>()[2], 2);
    EXPECT_EQ(describe_weights(find_weights(path)).entries.size(), 2U);
  }
}

TEST_F(Shards, ThatDoNotFitTheirIndexAreRefused) {
  const auto refused = [&](const std::string& map, ErrorCode code, std::string_view why) {
    index(map);
    expect_error(code, {"index.json", why}, [&] { read_weights(find_weights(folder_.path())); });
  };
  const std::string one = "model-00001-of-00002.safetensors",
                    two = "model-00002-of-00002.safetensors";
  refused(R"({"a": ")" + one + R"(", "b": ")" + one + R"("})", ErrorCode::kBadData, "'b'");
  refused(R"({"a": ")" + two + R"("})", ErrorCode::kBadData, "'b'");
  refused(R"({"a": ")" + one + R"(", "b": "gone.safetensors"})", ErrorCode::kNotFound, "gone");
  for (const char* outside : {"../x", "/etc/passwd", "..", "a/b", "", "c\\\\d"}) {
    refused(R"({"a": ")" + std::string(outside) + R"("})", ErrorCode::kBadData, "beside it");
  }
  refused(R"({"a": 3})", ErrorCode::kBadData, "beside it");
  refused(R"({"a": ")" + one + R"(", "a": ")" + two + R"("})", ErrorCode::kBadData, "twice");
  refused("{}", ErrorCode::kBadData, "no tensor");
  refused("[]", ErrorCode::kBadData, "weight_map");
}

TEST_F(Shards, NamesSayTheirNumber) {
  const auto shard = shard_of("x/model-00002-of-00003.safetensors");
  ASSERT_TRUE(shard);
  EXPECT_EQ(shard->number, 2);
  EXPECT_EQ(shard->count, 3);
  EXPECT_EQ(shard->index, "model.safetensors.index.json");
  EXPECT_EQ(shard_of("pytorch_model-1-of-2.bin")->index, "pytorch_model.bin.index.json");
  for (const char* name : {"model.safetensors", "m-4-of-3.safetensors", "m-0-of-3.safetensors",
                           "m-1-of-x.bin", "best-of-3.safetensors", "m-1-of-2.pth"}) {
    EXPECT_FALSE(shard_of(name)) << name;
  }
}

TEST(ForeignTypes, AreListedAndNotRead) {
  const TemporaryFolder folder;
  std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                       R"("b":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[4,7]},)"
                       R"("c":{"dtype":"F9_NEW","shape":[2],"data_offsets":[7,10]},)"
                       R"("d":{"dtype":"F32","shape":[0],"data_offsets":[10,10]}})";
  const std::uint64_t length = header.size();
  ByteVector bytes(8 + header.size() + 10);
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  const auto path = folder.write("x.safetensors", bytes);
  const WeightsFile file = read_weights(path);
  ASSERT_EQ(file.entries.size(), 4U);
  EXPECT_EQ(type_name(file.entries[1]), "F8_E4M3");
  EXPECT_EQ(file.entries[2].foreign_bytes, 3U);
  EXPECT_EQ(file.tensors.size(), 2U);
  expect_error(ErrorCode::kUnsupported, {"'b'", "F8_E4M3"}, [&] { read_safetensors(path); });
}

}  // namespace
}  // namespace resnet

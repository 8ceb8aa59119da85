#include "formats/weights_file.h"

#include <gtest/gtest.h>

#include "formats/onnx_file.h"
#include "formats/safetensors.h"
#include "formats/support.h"

namespace resnet {
namespace {

TEST(WeightsFile, TellsSafetensorsByItsFirstBytes) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "weights.pth";  // the extension says nothing
  write_safetensors(path, {{"a", Tensor::full({2, 3}, 4)}, {"n", Tensor::zeros(DType::kI64, {})}},
                    {{"epoch", "90"}});
  for (const WeightsFile& file : {describe_weights(path), read_weights(path)}) {
    EXPECT_EQ(file.format, "safetensors");
    EXPECT_EQ(file.metadata.at("epoch"), "90");
    ASSERT_EQ(file.entries.size(), 2U);
    EXPECT_EQ(file.entries[0].name, "n");
    EXPECT_EQ(file.entries[0].dtype, DType::kI64);
    EXPECT_EQ(file.entries[1].name, "a");
    EXPECT_EQ(file.entries[1].shape, (Shape{2, 3}));
  }
  EXPECT_TRUE(describe_weights(path).tensors.empty());
  EXPECT_EQ(read_weights(path).tensors.at("a").as<float>()[5], 4);
}

TEST(WeightsFile, ReadsTheTensorsOfAnOnnxModel) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "model";
  write_onnx(path, {.producer_name = "pytorch",
                    .producer_version = "2",
                    .initializers = {{"b", Tensor::full({2, 3}, 4)},
                                     {"a", Tensor::zeros(DType::kI64, {})}},
                    .metadata = {{"classes", "[]"}}});
  for (const WeightsFile& file : {describe_weights(path), read_weights(path)}) {
    EXPECT_EQ(file.format, "ONNX");
    EXPECT_EQ(file.metadata.at("producer"), "pytorch 2");
    EXPECT_EQ(file.metadata.at("classes"), "[]");
    ASSERT_EQ(file.entries.size(), 2U);
    EXPECT_EQ(file.entries[0].name, "b");
    EXPECT_EQ(file.entries[0].shape, (Shape{2, 3}));
    EXPECT_EQ(file.entries[1].dtype, DType::kI64);
  }
  EXPECT_TRUE(describe_weights(path).tensors.empty());
  EXPECT_EQ(read_weights(path).tensors.at("b").as<float>()[5], 4);
}

TEST(WeightsFile, RefusesWhatIsNone) {
  const TemporaryFolder folder;
  const auto refuse = [&](const ByteVector& bytes, std::string_view why) {
    const auto path = folder.write("x", bytes);
    for (const auto read : {read_weights, describe_weights}) {
      expect_error(ErrorCode::kBadData, {path.string(), why}, [&] { read(path); });
    }
  };
  refuse({}, "not a file of weights");
  refuse(bytes_of("hello"), "not a file of weights");
  expect_error(ErrorCode::kNotFound, {"absent"}, [&] { read_weights(folder.path() / "absent"); });
  expect_error(ErrorCode::kBadData, {"not a regular file"}, [&] { read_weights(folder.path()); });
}

}  // namespace
}  // namespace resnet

#include "formats/torch_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/support.h"

namespace resnet {
namespace {

constexpr std::array kDTypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8,
                                DType::kU8,  DType::kI32, DType::kI64, DType::kBool};

void expect_same(const Tensor& a, const Tensor& b, const std::string& name) {
  EXPECT_EQ(a.dtype(), b.dtype()) << name;
  EXPECT_EQ(a.shape(), b.shape()) << name;
  ASSERT_EQ(a.bytes(), b.bytes()) << name;
  if (a.bytes() > 0) {
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
  }
}

TEST(TorchFile, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.pth";
  std::map<std::string, Tensor> tensors;
  for (const DType dtype : kDTypes) {
    Tensor t(dtype, {3, 5, 2});
    for (std::size_t k = 0; k < t.bytes(); ++k) t.raw()[k] = static_cast<std::byte>(k * 31 + 7);
    tensors["layer1.0." + std::string(name_of(dtype))] = t;
  }
  tensors["scalar"] = Tensor::full({}, 3);
  tensors["nothing"] = Tensor(DType::kF32, {0, 4});
  tensors["ünïcode \"quoted\"\n"] = Tensor::full({2}, 1.5F);
  write_torch_file(path, tensors);

  const WeightsFile file = read_weights(path);
  EXPECT_EQ(file.format, "PyTorch zip");
  EXPECT_TRUE(file.metadata.empty());
  ASSERT_EQ(file.entries.size(), tensors.size());
  ASSERT_EQ(file.tensors.size(), tensors.size());
  auto entry = file.entries.begin();
  for (const auto& [name, t] : tensors) {
    expect_same(file.tensors.at(name), t, name);
    EXPECT_EQ(entry->name, name);
    EXPECT_EQ(entry->dtype, t.dtype());
    EXPECT_EQ((entry++)->shape, t.shape());
  }
  const WeightsFile description = describe_weights(path);
  EXPECT_EQ(description.entries.size(), tensors.size());
  EXPECT_TRUE(description.tensors.empty());
}

TEST(TorchFile, RefusesToWriteANameThatIsNotUtf8) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.pth";
  expect_error(ErrorCode::kInvalidArgument, {"m.pth", "\\xff"}, [&] {
    write_torch_file(path, {{"a\xff", Tensor::full({}, 1)}});
  });
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace resnet

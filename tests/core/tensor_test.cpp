#include "resnet/tensor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/half.h"
#include "resnet/error.h"

namespace resnet {
namespace {

TEST(Tensor, SharesAndClones) {
  Tensor a = Tensor::zeros(DType::kF32, {2, 3});
  Tensor view = a;
  Tensor copy = a.clone();
  a.as<float>()[4] = 7;
  EXPECT_EQ(view.as<float>()[4], 7);
  EXPECT_EQ(copy.as<float>()[4], 0);
}

TEST(Tensor, RefusesImpossibleShapes) {
  EXPECT_THROW(Tensor(DType::kF32, {-1}), Error);
  EXPECT_THROW(Tensor(DType::kF32, {std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  EXPECT_THROW(Tensor(DType::kF64, {std::int64_t{1} << 62}), Error);
}

TEST(Tensor, ChecksTheTypeOnAccess) {
  EXPECT_THROW(Tensor::zeros(DType::kF32, {1}).as<double>(), Error);
}

TEST(Tensor, WantsAsManyValuesAsItsShapeHas) {
  const std::vector<float> three{1, 2, 3};
  EXPECT_EQ(Tensor::from<float>({3}, three).as<float>()[2], 3);
  EXPECT_THROW(Tensor::from<float>({4}, three), Error);
  EXPECT_THROW(Tensor::from<float>({2}, three), Error);
}

TEST(Half, RoundTripsEveryFinitePattern) {
  for (std::uint32_t h = 0; h < 0x10000; ++h) {
    const auto bits = static_cast<std::uint16_t>(h);
    if ((bits & 0x7c00U) == 0x7c00U && (bits & 0x3ffU) != 0) {
      EXPECT_TRUE(std::isnan(half_to_float(bits)));
      EXPECT_TRUE(std::isnan(half_to_float(float_to_half(half_to_float(bits)))));
    } else {
      EXPECT_EQ(float_to_half(half_to_float(bits)), bits);
    }
    if (!std::isnan(bfloat16_to_float(bits))) {
      EXPECT_EQ(float_to_bfloat16(bfloat16_to_float(bits)), bits);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  EXPECT_EQ(half_to_float(float_to_half(1.0F + 0x1p-11F)), 1.0F);
  EXPECT_EQ(half_to_float(float_to_half(1.0F + 3 * 0x1p-11F)), 1.0F + 0x1p-9F);
  EXPECT_EQ(half_to_float(float_to_half(65504.0F)), 65504.0F);
  EXPECT_TRUE(std::isinf(half_to_float(float_to_half(65520.0F))));
  EXPECT_EQ(half_to_float(float_to_half(0x1p-25F)), 0.0F);
  EXPECT_EQ(half_to_float(float_to_half(3 * 0x1p-26F)), 0x1p-24F);
}

}  // namespace
}  // namespace resnet

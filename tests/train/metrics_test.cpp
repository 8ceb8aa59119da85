#include "train/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "train/run_folder.h"

namespace resnet {
namespace {

TEST(Metrics, CountsByHand) {
  // [4, 7]: ranks of the labels are 1, 5, 6; the last row does not count.
  const std::vector<float> logits = {3, 0, 0, 0, 0, 0, 0,   //
                                     1, 2, 3, 4, 5, 0, -1,  //
                                     6, 5, 4, 3, 2, 1, 0,   //
                                     0, 0, 0, 0, 0, 0, 9};
  const std::vector<std::int32_t> labels = {0, 0, 5, -1};
  const Tensor t = Tensor::from<float>({4, 7}, std::span(logits));
  Metrics m(7);
  m.add(t, labels);
  EXPECT_EQ(m.images(), 3);
  EXPECT_EQ(m.right(), 1);
  EXPECT_DOUBLE_EQ(m.top1(), 1.0 / 3);
  EXPECT_DOUBLE_EQ(m.top5(), 2.0 / 3);
  double loss = std::log(std::exp(3.0) + 6) - 3;
  loss += std::log(std::exp(1) + std::exp(2) + std::exp(3) + std::exp(4) + std::exp(5) + 1 +
                   std::exp(-1)) -
          1;
  loss += std::log(std::exp(6) + std::exp(5) + std::exp(4) + std::exp(3) + std::exp(2) +
                   std::exp(1) + 1) -
          1;
  EXPECT_NEAR(m.loss(), loss / 3, 1e-14 * loss);
  EXPECT_EQ(m.confusion()[0 * 7 + 0], 1);
  EXPECT_EQ(m.confusion()[0 * 7 + 4], 1);
  EXPECT_EQ(m.confusion()[5 * 7 + 0], 1);
  EXPECT_EQ(count_right(t, labels), 1);
}

TEST(Metrics, LargeLogitsDoNotOverflow) {
  const std::vector<double> logits = {1e4, 0, -1e4, 1e4};
  Metrics m(2);
  m.add(Tensor::from<double>({2, 2}, std::span(logits)), std::vector<std::int32_t>{1, 1});
  EXPECT_DOUBLE_EQ(m.loss(), 1e4 / 2);
}

TEST(Metrics, EqualLogitsAreRankedByIndex) {
  const Tensor t = Tensor::zeros(DType::kF32, {1, 10});
  Metrics low(10), high(10);
  low.add(t, std::vector<std::int32_t>{4});
  high.add(t, std::vector<std::int32_t>{5});
  EXPECT_EQ(low.top5(), 1);
  EXPECT_EQ(low.top1(), 0);
  EXPECT_EQ(high.top5(), 0);
}

TEST(Metrics, FewerThanFiveClassesAreAlwaysInTheTopFive) {
  Metrics m(3);
  m.add(Tensor::zeros(DType::kF32, {1, 3}), std::vector<std::int32_t>{2});
  EXPECT_EQ(m.top5(), 1);
}

TEST(Metrics, NothingEvaluatedIsZero) {
  const Metrics m(3);
  EXPECT_EQ(m.top1(), 0);
  EXPECT_EQ(m.loss(), 0);
}

TEST(ConfusionImage, IsDarkWhereThePredictionsAre) {
  const Image image = draw_confusion({9, 0, 0, 4}, 2);
  const int cell = image.width / 2;
  const auto centre = [&](int row, int column) {
    return static_cast<int>(image.row(row * cell + cell / 2)[3 * (column * cell + cell / 2)]);
  };
  EXPECT_LT(centre(0, 0), 50);
  EXPECT_LT(centre(1, 1), 50);
  EXPECT_EQ(centre(0, 1), 255);
  EXPECT_EQ(centre(1, 0), 255);
}

}  // namespace
}  // namespace resnet

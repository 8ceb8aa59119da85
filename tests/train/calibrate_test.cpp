// Thresholds of known distributions.
#include "train/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "train/support.h"

namespace resnet {
namespace {

std::vector<float> ramp(int count, float step) {
  std::vector<float> values;
  for (int i = 1; i <= count; ++i) values.push_back(static_cast<float>(i) * step);
  return values;
}

TEST(Calibration, NamesComeBack) {
  for (const auto c : {Calibration::kMinMax, Calibration::kPercentile, Calibration::kKl}) {
    EXPECT_EQ(parse_calibration(name_of(c)), c);
  }
  EXPECT_NE(error_of([] { parse_calibration("max"); }).find("minmax, percentile or kl"),
            std::string::npos);
}

TEST(Calibration, MinMaxIsTheLargestMagnitude) {
  Histogram h;
  h.add(std::vector<float>{0.5F, -3, 2});
  h.add(std::vector<float>{100, 0});
  EXPECT_EQ(threshold(h, Calibration::kMinMax, 128, 99), 100);
}

TEST(Calibration, PercentileLeavesTheLargestOut) {
  Histogram h;
  h.add(ramp(10'000, 0.001F));
  const double bin = h.bin_width();
  EXPECT_NEAR(threshold(h, Calibration::kPercentile, 128, 99), 9.9, bin);
  EXPECT_NEAR(threshold(h, Calibration::kPercentile, 128, 100), 10, 1e-6);
  // Zeros are no reason to saturate more.
  h.add(std::vector<float>(1'000'000, 0.0F));
  EXPECT_NEAR(threshold(h, Calibration::kPercentile, 128, 99), 9.9, bin);
}

TEST(Calibration, HistogramsGrowWithTheirRange) {
  Histogram grown, whole;
  const std::vector<float> values = ramp(4096, 0.25F);
  for (std::size_t i = 0; i < values.size(); i += 64) {
    grown.add(std::span(values).subspan(i, 64));
  }
  whole.add(values);
  EXPECT_EQ(grown.largest(), whole.largest());
  double sum = 0;
  for (const double c : grown.counts()) sum += c;
  EXPECT_EQ(sum, 4096);
  EXPECT_NEAR(threshold(grown, Calibration::kPercentile, 128, 50), 512, 2 * grown.bin_width());
}

TEST(Calibration, KlKeepsWhatIsSpreadEvenlyAndCutsWhatIsLonely) {
  Histogram even;
  even.add(ramp(100'000, 0.0001F));
  EXPECT_GT(threshold(even, Calibration::kKl, 128, 99), 9.5);

  // A half-normal distribution and one value 50 deviations out: the steps go to the many.
  Histogram lonely;
  std::vector<float> values{50};
  Random random(3);
  for (int i = 0; i < 200'000; ++i) {
    values.push_back(static_cast<float>(std::abs(random.normal())));
  }
  lonely.add(values);
  const double t = threshold(lonely, Calibration::kKl, 128, 99);
  EXPECT_LT(t, 12);
  EXPECT_GT(t, 2.5);
}

TEST(Calibration, NothingButZerosHasNoThreshold) {
  Histogram h;
  h.add(std::vector<float>(10, 0.0F));
  for (const auto c : {Calibration::kMinMax, Calibration::kPercentile, Calibration::kKl}) {
    EXPECT_EQ(threshold(h, c, 128, 99), 0);
  }
}

TEST(Calibration, RefusesWhatIsNotFinite) {
  Histogram h;
  error_of(
      [&] {
        h.add(std::vector<float>{1, std::numeric_limits<float>::quiet_NaN()});
      },
      ErrorCode::kNumeric);
}

}  // namespace
}  // namespace resnet

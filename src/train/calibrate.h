// What calibration sees of activations, and the largest value it makes of it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "resnet/quantize.h"

namespace resnet {

/// Counts of magnitudes in equal bins over [0, range); the range doubles as need be. Exact zeros
/// are left out: every scale represents them.
class Histogram {
 public:
  static constexpr std::size_t kBins = 2048;
  /// Throws kNumeric on NaN and infinities.
  void add(std::span<const float> values);

  double largest() const { return largest_; }
  double bin_width() const { return range_ / kBins; }
  std::span<const double> counts() const { return counts_; }

 private:
  double range_ = 0, largest_ = 0;
  std::vector<double> counts_ = std::vector<double>(kBins, 0.0);
};

/// The value that the largest of `levels` integers is to stand for; 0 if all values were 0.
/// `percentile` is in per cent.
double threshold(const Histogram& histogram, Calibration calibration, int levels,
                 double percentile);

}  // namespace resnet

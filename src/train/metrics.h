// Counting correct predictions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

/// Sums over rows of logits [n, classes]; rows with a negative label do not count.
class Metrics {
 public:
  explicit Metrics(std::int64_t classes);

  /// f32 or f64 logits. Equal logits are ranked by index, so predictions do not depend on chance.
  void add(const Tensor& logits, std::span<const std::int32_t> labels);

  std::int64_t images() const { return images_; }
  std::int64_t right() const { return right_; }  ///< top-1
  double top1() const { return share(right_); }
  double top5() const { return share(right5_); }
  double loss() const { return images_ == 0 ? 0 : loss_ / static_cast<double>(images_); }
  const std::vector<std::int64_t>& confusion() const { return confusion_; }  ///< [true, predicted]

 private:
  double share(std::int64_t n) const {
    return images_ == 0 ? 0 : static_cast<double>(n) / static_cast<double>(images_);
  }

  std::int64_t classes_;
  std::int64_t images_ = 0, right_ = 0, right5_ = 0;
  double loss_ = 0;
  std::vector<std::int64_t> confusion_;
};

/// How many rows have their largest logit at the label; rows with a negative label count as wrong.
std::int64_t count_right(const Tensor& logits, std::span<const std::int32_t> labels);

}  // namespace resnet

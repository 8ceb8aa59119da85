#include "train/metrics.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace resnet {
namespace {

template <class F>
void for_each_row(const Tensor& logits, std::span<const std::int32_t> labels, const F& f) {
  RESNET_CHECK(logits.shape().size() == 2);
  RESNET_CHECK(static_cast<std::size_t>(logits.dim(0)) == labels.size());
  const auto rows = [&](auto values) {
    const auto classes = static_cast<std::size_t>(logits.dim(1));
    for (std::size_t i = 0; i < labels.size(); ++i) {
      RESNET_CHECK(labels[i] < logits.dim(1));
      if (labels[i] >= 0) {
        f(values.subspan(i * classes, classes), static_cast<std::size_t>(labels[i]));
      }
    }
  };
  if (logits.dtype() == DType::kF64) {
    rows(logits.as<double>());
  } else {
    rows(logits.as<float>());
  }
}

}  // namespace

Metrics::Metrics(std::int64_t classes)
    : classes_(classes), confusion_(static_cast<std::size_t>(classes * classes)) {}

void Metrics::add(const Tensor& logits, std::span<const std::int32_t> labels) {
  RESNET_CHECK(logits.dim(1) == classes_);
  for_each_row(logits, labels, [&](auto row, std::size_t label) {
    const auto best = static_cast<std::size_t>(std::ranges::max_element(row) - row.begin());
    std::int64_t above = 0;  // classes that rank before the label
    double sum = 0;
    const double top = row[best];
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (row[c] > row[label] || (row[c] == row[label] && c < label)) ++above;
      sum += std::exp(static_cast<double>(row[c]) - top);
    }
    loss_ += std::log(sum) + top - static_cast<double>(row[label]);
    ++images_;
    if (above == 0) ++right_;
    if (above < 5) ++right5_;
    ++confusion_[label * row.size() + best];
  });
}

std::int64_t count_right(const Tensor& logits, std::span<const std::int32_t> labels) {
  std::int64_t right = 0;
  for_each_row(logits, labels, [&](auto row, std::size_t label) {
    if (row.begin() + static_cast<std::ptrdiff_t>(label) == std::ranges::max_element(row)) ++right;
  });
  return right;
}

}  // namespace resnet

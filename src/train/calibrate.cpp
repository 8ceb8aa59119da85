#include "train/calibrate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"

namespace resnet {

void Histogram::add(std::span<const float> values) {
  double largest = 0;
  for (const float v : values) {
    if (!std::isfinite(v)) fail(ErrorCode::kNumeric, "an activation is not finite");
    largest = std::max(largest, std::abs(static_cast<double>(v)));
  }
  largest_ = std::max(largest_, largest);
  if (range_ == 0) range_ = largest * 1.0001;
  while (range_ > 0 && largest >= range_) {  // neighbours join
    for (std::size_t i = 0; i < kBins / 2; ++i) {
      counts_[i] = counts_[2 * i] + counts_[2 * i + 1];
    }
    std::fill(counts_.begin() + kBins / 2, counts_.end(), 0.0);
    range_ *= 2;
  }
  const double per_bin = range_ > 0 ? kBins / range_ : 0;
  for (const float v : values) {
    if (v == 0) continue;
    const auto bin = static_cast<std::size_t>(std::abs(static_cast<double>(v)) * per_bin);
    ++counts_[std::min(bin, kBins - 1)];
  }
}

namespace {

double percentile_of(const Histogram& h, double percentile) {
  const auto counts = h.counts();
  const double wanted = std::accumulate(counts.begin(), counts.end(), 0.0) * percentile / 100;
  double sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    sum += counts[i];
    if (sum >= wanted) return std::min(h.largest(), static_cast<double>(i + 1) * h.bin_width());
  }
  return h.largest();
}

/// KL(P | Q) of the first `bins`: P with everything beyond added to the last, Q the same without
/// that, spread evenly over the non-empty bins of each of `levels` steps.
double divergence(std::span<const double> counts, std::size_t bins, std::size_t levels) {
  std::vector<double> p(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(bins));
  p.back() +=
      std::accumulate(counts.begin() + static_cast<std::ptrdiff_t>(bins), counts.end(), 0.0);
  std::vector<double> q(bins, 0.0);
  for (std::size_t level = 0; level < levels; ++level) {
    const std::size_t first = level * bins / levels, last = (level + 1) * bins / levels;
    double sum = 0, filled = 0;
    for (std::size_t i = first; i < last; ++i) {
      sum += counts[i];
      filled += counts[i] > 0 ? 1 : 0;
    }
    for (std::size_t i = first; i < last; ++i) {
      if (counts[i] > 0) q[i] = sum / filled;
    }
  }
  const double p_sum = std::accumulate(p.begin(), p.end(), 0.0);
  const double q_sum = std::accumulate(q.begin(), q.end(), 0.0);
  if (q_sum == 0) return std::numeric_limits<double>::infinity();
  constexpr double kEmpty = 1e-9;  // a share, where Q is 0 and P is not
  double kl = 0;
  for (std::size_t i = 0; i < bins; ++i) {
    if (p[i] > 0) kl += p[i] / p_sum * std::log(p[i] / p_sum / std::max(q[i] / q_sum, kEmpty));
  }
  return kl;
}

double kl_of(const Histogram& h, std::size_t levels) {
  constexpr std::size_t kStep = 8;
  double best = std::numeric_limits<double>::infinity();
  std::size_t best_bins = Histogram::kBins;
  for (std::size_t bins = levels; bins <= Histogram::kBins; bins += kStep) {
    const double d = divergence(h.counts(), bins, levels);
    if (d < best) best = d, best_bins = bins;
  }
  return std::min(h.largest(), static_cast<double>(best_bins) * h.bin_width());
}

}  // namespace

double threshold(const Histogram& h, Calibration calibration, int levels, double percentile) {
  if (h.largest() == 0) return 0;
  switch (calibration) {
    case Calibration::kMinMax: return h.largest();
    case Calibration::kPercentile: return percentile_of(h, percentile);
    case Calibration::kKl: return kl_of(h, static_cast<std::size_t>(levels));
  }
  return h.largest();
}

}  // namespace resnet

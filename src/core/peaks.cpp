#include "resnet/peaks.h"

#include <algorithm>
#include <cmath>

namespace resnet {

double MachinePeaks::operations(DType dtype) const {
  switch (dtype) {
    case DType::kBF16: return bf16;
    case DType::kI8:
    case DType::kU8: return int8;
    default: return f32;
  }
}

double MachinePeaks::bytes_per_second(double working_set) const {
  if (bandwidth.empty()) return 0;
  const auto best = [](const Bandwidth& b) { return std::max(b.read, b.triad); };
  const auto above = std::ranges::find_if(
      bandwidth, [&](const Bandwidth& b) { return static_cast<double>(b.bytes) >= working_set; });
  if (above == bandwidth.begin()) return best(bandwidth.front());
  if (above == bandwidth.end()) return best(bandwidth.back());
  const Bandwidth& below = *(above - 1);
  const double share =
      std::log(working_set / static_cast<double>(below.bytes)) /
      std::log(static_cast<double>(above->bytes) / static_cast<double>(below.bytes));
  return best(below) + share * (best(*above) - best(below));
}

double MachinePeaks::floor_seconds(DType dtype, double flops, double bytes) const {
  const double peak = operations(dtype), rate = bytes_per_second(bytes);
  return std::max(peak > 0 ? flops / peak : 0, rate > 0 ? bytes / rate : 0);
}

}  // namespace resnet

#include "backends/cpu/pointwise_kernels.h"

#include <algorithm>

// As in simd.cpp: AVX2 and AVX-512 matter.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/pointwise_kernels.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "backends/cpu/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace resnet::pointwise {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using resnet::HWY_NAMESPACE::Ahead;
using resnet::HWY_NAMESPACE::D;
using resnet::HWY_NAMESPACE::kRows;
using resnet::HWY_NAMESPACE::load;
using resnet::HWY_NAMESPACE::store;
using resnet::HWY_NAMESPACE::V;

// Bias, residual and ReLU on the way to memory.
struct Finish {
  const float *bias, *residual;  // null where there is none
  float* y;
  std::int64_t stride;
  bool relu;

  HWY_INLINE void prefetch(int row, int block) const {
    const std::int64_t at = block * stride + row * static_cast<int>(hn::MaxLanes(D()));
    if (residual != nullptr) __builtin_prefetch(residual + at);
    __builtin_prefetch(y + at, 1);
  }
  HWY_INLINE void operator()(V v, int row, int block) const {
    constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
    const std::int64_t at = block * stride + row * kLanes;
    if (bias != nullptr) v = hn::Add(v, load(bias + block * kLanes));
    if (residual != nullptr) v = hn::Add(v, load(residual + at));
    if (relu) v = hn::Max(hn::Zero(D()), v);  // NaN stays NaN, as in simd.cpp
    store(v, y + at);
  }
};

void convolve(const Part& p, const float* x, const float* w, const Tail& tail, float* y) {
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  // Pixels whose inputs stay in a core's cache while all weights pass by.
  constexpr std::int64_t kBytes = 512 << 10;
  const std::int64_t channels = p.x_blocks * kLanes, weights = channels * 2 * kLanes;
  const std::int64_t fit = std::max<std::int64_t>(kBytes / 4 / channels / kRows, 1) * kRows;
  const std::int64_t chunks = (p.pixels + fit - 1) / fit;
  for (std::int64_t i = 0; i < chunks; ++i) {
    const std::int64_t begin = p.pixels * i / chunks, end = p.pixels * (i + 1) / chunks;
    const std::int64_t panels = (end - begin + kRows - 1) / kRows;
    for (std::int64_t k = p.y_pair; k < p.y_pair + p.y_pairs; ++k) {
      std::int64_t pixel = p.pixel + begin;
      for (std::int64_t j = 0; j < panels; ++j) {
        const std::int64_t rows = (end - begin) / panels + (j < (end - begin) % panels ? 1 : 0);
        const std::int64_t to = 2 * k * p.y_stride + pixel * kLanes;
        const Finish finish{tail.bias != nullptr ? tail.bias + 2 * k * kLanes : nullptr,
                            tail.residual != nullptr ? tail.residual + to : nullptr, y + to,
                            p.y_stride, tail.relu};
        const float* these = w + k * weights;
        const Ahead ahead(these + weights, weights, j, panels, channels);
        resnet::HWY_NAMESPACE::multiply_rows<kRows, 2>(rows, x + pixel * kLanes, p.x_stride, these,
                                                       p.x_blocks, ahead, finish);
        pixel += rows;
      }
    }
  }
}

std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

}  // namespace HWY_NAMESPACE
}  // namespace resnet::pointwise
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace resnet::pointwise {

HWY_EXPORT(convolve);
HWY_EXPORT(lanes);

void convolve(const Part& part, const float* x, const float* w, const Tail& tail, float* y) {
  HWY_DYNAMIC_DISPATCH(convolve)(part, x, w, tail, y);
}
std::int64_t lanes() { return HWY_DYNAMIC_DISPATCH(lanes)(); }

}  // namespace resnet::pointwise
#endif

// The product at the heart of our own convolutions, for files that Highway compiles once for each
// instruction set: a few rows of x by two blocks of output channels, with all sums in registers.
#if defined(RESNET_BACKENDS_CPU_PRODUCT_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RESNET_BACKENDS_CPU_PRODUCT_INL_H
#undef RESNET_BACKENDS_CPU_PRODUCT_INL_H
#else
#define RESNET_BACKENDS_CPU_PRODUCT_INL_H
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace resnet::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// Rows (tiles, pixels) that stay in registers beside 2 vectors of output channels.
#if HWY_TARGET <= HWY_AVX3
constexpr int kRows = 14;
#else
constexpr int kRows = 6;
#endif

HWY_INLINE V load(const float* p) { return hn::LoadU(D(), p); }
HWY_INLINE void store(V v, float* p) { hn::StoreU(v, D(), p); }

// What is fetched into the core's cache meanwhile, a bit with each channel: the weights that follow
// these, shared out among the tiles that use these.
struct Ahead {
  const float* at;
  std::int64_t step;

  // For tile `i` of `count` that use weights of `size` floats.
  Ahead(const float* next, std::int64_t size, std::int64_t i, std::int64_t count,
        std::int64_t channels)
      : at(next + size * i / count), step(size / (count * channels)) {}
};

// kR rows by kC blocks of output channels, over all input channels: x [block][row][lane], weights
// [channel][kC blocks of lanes], so that they are read in order. `finish(sum, row, block)` is
// called for each vector of sums, `finish.prefetch(row, block)` a while before.
template <int kR, int kC, class Finish>
void multiply_tile(const float* HWY_RESTRICT x, std::int64_t x_stride, const float* HWY_RESTRICT w,
                   std::int64_t blocks, Ahead ahead, const Finish& finish) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  const D d;
  V sum[kR][kC];
#pragma GCC unroll 16
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < kC; ++c) {
      sum[r][c] = hn::Zero(d);
      finish.prefetch(r, c);
    }
  }
  for (std::int64_t block = 0; block < blocks; ++block, x += x_stride) {
#pragma GCC unroll 2
    for (int lane = 0; lane < kLanes; ++lane, w += kC * kLanes) {
      // The first weights come from beyond the core's cache, 24 channels ahead of their use; inputs
      // may lie in another core's, and are far apart.
#pragma GCC unroll 2
      for (int c = 0; c < kC; ++c) __builtin_prefetch(w + (24 * kC + c) * kLanes);
      if (lane < kR) __builtin_prefetch(x + 2 * x_stride + lane * kLanes);
      __builtin_prefetch(ahead.at, 0, 2);
      ahead.at += ahead.step;
      V weights[kC];
#pragma GCC unroll 2
      for (int c = 0; c < kC; ++c) weights[c] = load(w + c * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kR; ++r) {
        const V value = hn::Set(d, x[r * kLanes + lane]);
#pragma GCC unroll 2
        for (int c = 0; c < kC; ++c) sum[r][c] = hn::MulAdd(value, weights[c], sum[r][c]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kR; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < kC; ++c) finish(sum[r][c], r, c);
  }
}

// The same for a number of rows that is known when it runs, at most kR.
template <int kR, int kC, class Finish>
HWY_INLINE void multiply_rows(std::int64_t rows, const float* x, std::int64_t x_stride,
                              const float* w, std::int64_t blocks, Ahead ahead,
                              const Finish& finish) {
  if constexpr (kR > 0) {
    if (rows == kR) return multiply_tile<kR, kC>(x, x_stride, w, blocks, ahead, finish);
    multiply_rows<kR - 1, kC>(rows, x, x_stride, w, blocks, ahead, finish);
  }
}

}  // namespace resnet::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

// 1x1 convolutions of blocked activations as matrix products, vectorised over output channels with
// the sums of 14 pixels x 2 channel blocks (AVX-512) in registers. They know nothing of graphs and
// threads. No result depends on how pixels are grouped.
#pragma once

#include <cstdint>

namespace resnet::pointwise {

/// A part of one image: `pixels` in a row by some pairs of channel blocks. Strides are floats
/// between channel blocks.
struct Part {
  std::int64_t x_blocks = 0, x_stride = 0, y_stride = 0;
  std::int64_t pixel = 0, pixels = 0;
  std::int64_t y_pair = 0, y_pairs = 0;
};

/// What follows the sum; null where there is nothing.
struct Tail {
  const float* bias = nullptr;      ///< [channels of y]
  const float* residual = nullptr;  ///< like y, which it may be
  bool relu = false;
};

/// The part of y = w x, of one image. Weights are [pair of y blocks][x channel][2 x lane].
void convolve(const Part& part, const float* x, const float* w, const Tail& tail, float* y);

/// Lanes of the vectors that these loops use: they need blocks of exactly that many channels.
std::int64_t lanes();

}  // namespace resnet::pointwise

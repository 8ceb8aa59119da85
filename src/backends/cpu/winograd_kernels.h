// Winograd's minimal filtering for 3x3 convolutions of stride 1 (Lavin & Gray, "Fast algorithms for
// convolutional neural networks", 2016), vectorised over channels. F(m x m, 3 x 3) makes m x m
// outputs from a tile of (m + 2) x (m + 2) inputs:
//     Y = A' [ sum over c of (G g G') * (B' d B) ] A
// so that the sum over input channels becomes (m + 2)^2 matrix products, one for each point of the
// transformed tile, with a quarter (m = 4) or 4/9 (m = 2) of the multiplications.
//
// These loops work depth-first: a few dozen tiles are transformed, multiplied and transformed back
// before the next, so that what lies between stays in a core's own cache. They know nothing of
// graphs and threads. No result depends on how tiles are grouped.
#pragma once

#include <cstdint>

namespace resnet::winograd {

/// One convolution, in whole channel blocks. `x` is what is read and `y` what is written, whichever
/// direction that is.
struct Geometry {
  int m = 4;  ///< outputs a tile and side: 2 or 4
  std::int64_t block = 16, n = 0;
  std::int64_t x_blocks = 0, x_height = 0, x_width = 0;
  std::int64_t y_blocks = 0, y_height = 0, y_width = 0;
  std::int64_t pad_top = 0, pad_left = 0;  ///< y(0, 0) reads x(-pad_top, -pad_left) first

  std::int64_t points() const { return (m + 2) * (m + 2); }
  std::int64_t tile_rows() const { return (y_height + m - 1) / m; }
  std::int64_t tile_columns() const { return (y_width + m - 1) / m; }
  std::int64_t tiles() const { return n * tile_rows() * tile_columns(); }
  /// Floats between the weights of two points: an odd number of cache lines, so that the points of
  /// one filter do not compete for the same cache sets.
  std::int64_t weight_stride() const { return (x_blocks * y_blocks * block + 1) * block; }
  std::int64_t weights() const { return points() * weight_stride(); }
};

/// A part of the work: some tiles, some channel blocks of the output (from an even one on).
struct Part {
  std::int64_t tile = 0, tiles = 0;
  std::int64_t y_block = 0, y_blocks = 0;
};

/// What follows the sum; null where there is nothing.
struct Tail {
  const float* bias = nullptr;      ///< [channels of y]
  const float* residual = nullptr;  ///< like y, which it may be
  bool relu = false;
};

/// Floats that `convolve` needs for a part: transformed inputs and products.
std::int64_t scratch_floats(const Geometry& g, std::int64_t tiles, std::int64_t y_blocks);

/// One part of y = conv(x, w) with w from `transform_weights`.
void convolve(const Geometry& g, const Part& part, const float* x, const float* w, const Tail& tail,
              float* y, float* scratch);

/// G g G' of filters [out][in][3][3] for output channel blocks `begin` to `end`. With `backward`
/// they are those of the backward pass: turned by 180 degrees, y being the input's channels.
void transform_weights(const Geometry& g, const float* w, bool backward, std::int64_t begin,
                       std::int64_t end, float* transformed);

/// Floats of the sums that `correlate` adds to; its scratch is that of `convolve`.
std::int64_t sums_floats(const Geometry& g, std::int64_t y_blocks);

/// The gradient of the weights, transformed: sums += (B' x B) * (A dy A') over the part's tiles.
void correlate(const Geometry& g, const Part& part, const float* x, const float* dy, float* sums,
               float* scratch);

/// dw = G' (sums) G for output channel block `part.y_block + k` of the part, all input channels,
/// adding up `copies` sums that lie `distance` floats apart.
void gradient_of_weights(const Geometry& g, const Part& part, std::int64_t k, const float* sums,
                         std::int64_t copies, std::int64_t distance, float* dw);

/// Lanes of the vectors that these loops use: they need blocks of exactly that many channels.
std::int64_t lanes();

}  // namespace resnet::winograd

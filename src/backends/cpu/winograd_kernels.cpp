#include "backends/cpu/winograd_kernels.h"

#include <algorithm>

// As in simd.cpp: AVX2 and AVX-512 matter.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/winograd_kernels.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
//
#include "backends/cpu/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace resnet::winograd {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using resnet::HWY_NAMESPACE::Ahead;
using resnet::HWY_NAMESPACE::D;
using resnet::HWY_NAMESPACE::kRows;
using resnet::HWY_NAMESPACE::load;
using resnet::HWY_NAMESPACE::multiply_rows;
using resnet::HWY_NAMESPACE::store;
using resnet::HWY_NAMESPACE::V;

HWY_INLINE V times(float k, V v) { return hn::Mul(hn::Set(D(), k), v); }
HWY_INLINE V times_add(float k, V v, V sum) { return hn::MulAdd(hn::Set(D(), k), v, sum); }

// The one-dimensional transforms. Points 0, a, -a, b, -b and infinity: rows of B' are the
// coefficients of the polynomials that vanish at the other points, A' holds powers of the points,
// G powers over the values of those polynomials. 5/8 and 3/2 are exact and lose the fewest digits
// (docs/NUMERICS.md).
template <int kM>
struct Transform;

template <>
struct Transform<4> {
  static constexpr float kA = 0.625F, kB = 1.5F, kA2 = kA * kA, kB2 = kB * kB;
  static constexpr float kF0 = kA2 * kB2, kFa = 2 * kA2 * (kA2 - kB2), kFb = 2 * kB2 * (kB2 - kA2);

  static HWY_INLINE void input(const V* d, V* t) {  // B' d
    t[0] = times_add(kF0, d[0], times_add(-(kA2 + kB2), d[2], d[4]));
    const V even_a = times_add(-kB2, d[2], d[4]), odd_a = times(kA, times_add(-kB2, d[1], d[3]));
    const V even_b = times_add(-kA2, d[2], d[4]), odd_b = times(kB, times_add(-kA2, d[1], d[3]));
    t[1] = hn::Add(even_a, odd_a);
    t[2] = hn::Sub(even_a, odd_a);
    t[3] = hn::Add(even_b, odd_b);
    t[4] = hn::Sub(even_b, odd_b);
    t[5] = times_add(kF0, d[1], times_add(-(kA2 + kB2), d[3], d[5]));
  }
  static HWY_INLINE void output(const V* t, V* y) {  // A' t
    const V sum_a = hn::Add(t[1], t[2]), difference_a = hn::Sub(t[1], t[2]);
    const V sum_b = hn::Add(t[3], t[4]), difference_b = hn::Sub(t[3], t[4]);
    y[0] = hn::Add(t[0], hn::Add(sum_a, sum_b));
    y[1] = times_add(kA, difference_a, times(kB, difference_b));
    y[2] = times_add(kA2, sum_a, times(kB2, sum_b));
    y[3] = times_add(kA * kA2, difference_a, times_add(kB * kB2, difference_b, t[5]));
  }
  static HWY_INLINE void gradient(const V* y, V* t) {  // A y
    const V even_a = times_add(kA2, y[2], y[0]), odd_a = times_add(kA * kA2, y[3], times(kA, y[1]));
    const V even_b = times_add(kB2, y[2], y[0]), odd_b = times_add(kB * kB2, y[3], times(kB, y[1]));
    t[0] = y[0];
    t[1] = hn::Add(even_a, odd_a);
    t[2] = hn::Sub(even_a, odd_a);
    t[3] = hn::Add(even_b, odd_b);
    t[4] = hn::Sub(even_b, odd_b);
    t[5] = y[3];
  }
  static HWY_INLINE void filter(const V* t, V* g) {  // G' t
    const V sum_a = times(1 / kFa, hn::Add(t[1], t[2])),
            sum_b = times(1 / kFb, hn::Add(t[3], t[4]));
    const V difference_a = times(kA / kFa, hn::Sub(t[1], t[2]));
    const V difference_b = times(kB / kFb, hn::Sub(t[3], t[4]));
    g[0] = times_add(1 / kF0, t[0], hn::Add(sum_a, sum_b));
    g[1] = hn::Add(difference_a, difference_b);
    g[2] = times_add(kA2, sum_a, times_add(kB2, sum_b, t[5]));
  }
  static HWY_INLINE void weights(const V* g, V* t) {  // G g
    t[0] = times(1 / kF0, g[0]);
    const V even_a = times_add(kA2, g[2], g[0]), odd_a = times(kA, g[1]);
    const V even_b = times_add(kB2, g[2], g[0]), odd_b = times(kB, g[1]);
    t[1] = times(1 / kFa, hn::Add(even_a, odd_a));
    t[2] = times(1 / kFa, hn::Sub(even_a, odd_a));
    t[3] = times(1 / kFb, hn::Add(even_b, odd_b));
    t[4] = times(1 / kFb, hn::Sub(even_b, odd_b));
    t[5] = g[2];
  }
};

// Points 0, 1, -1 and infinity.
template <>
struct Transform<2> {
  static HWY_INLINE void input(const V* d, V* t) {
    t[0] = hn::Sub(d[2], d[0]);
    t[1] = hn::Add(d[2], d[1]);
    t[2] = hn::Sub(d[2], d[1]);
    t[3] = hn::Sub(d[3], d[1]);
  }
  static HWY_INLINE void output(const V* t, V* y) {
    y[0] = hn::Add(t[0], hn::Add(t[1], t[2]));
    y[1] = hn::Add(t[3], hn::Sub(t[1], t[2]));
  }
  static HWY_INLINE void weights(const V* g, V* t) {
    const V even = times(0.5F, hn::Add(g[0], g[2])), odd = times(0.5F, g[1]);
    t[0] = hn::Neg(g[0]);
    t[1] = hn::Add(even, odd);
    t[2] = hn::Sub(even, odd);
    t[3] = g[2];
  }
};

struct Tile {
  std::int64_t n, row, column;  // image, first row and column of the output
};

Tile tile_at(const Geometry& g, std::int64_t index) {
  const std::int64_t columns = g.tile_columns(), each = g.tile_rows() * columns;
  const std::int64_t inside = index % each;
  return {index / each, inside / columns * g.m, inside % columns * g.m};
}

HWY_INLINE void next(const Geometry& g, Tile& tile) {
  tile.column += g.m;
  if (tile.column < g.y_width) return;
  tile.column = 0;
  tile.row += g.m;
  if (tile.row < g.y_height) return;
  tile.row = 0;
  ++tile.n;
}

// Distance of two points of transformed tiles. The odd number of lines keeps the points of one tile
// out of the same cache sets.
HWY_INLINE std::int64_t point_stride(std::int64_t blocks, std::int64_t tiles, std::int64_t block) {
  return (blocks * tiles | 1) * block;
}

// --- Input: [point][block][tile][lane].
template <int kM>
HWY_INLINE void transform_patch(const float* x, std::int64_t row_stride, float* to,
                                std::int64_t stride) {
  constexpr int kSide = kM + 2;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  V half[kSide][kSide];  // [column][point]
#pragma GCC unroll 8
  for (int j = 0; j < kSide; ++j) {
    V d[kSide];
#pragma GCC unroll 8
    for (int i = 0; i < kSide; ++i) d[i] = load(x + i * row_stride + j * kLanes);
    Transform<kM>::input(d, half[j]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kSide; ++i) {
    V d[kSide], t[kSide];
#pragma GCC unroll 8
    for (int j = 0; j < kSide; ++j) d[j] = half[j][i];
    Transform<kM>::input(d, t);
#pragma GCC unroll 8
    for (int j = 0; j < kSide; ++j) store(t[j], to + (i * kSide + j) * stride);
  }
}

template <int kM>
void transform_inputs(const Geometry& g, const Part& part, const float* x, float* to) {
  constexpr std::int64_t kSide = kM + 2;
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  const std::int64_t stride = point_stride(g.x_blocks, part.tiles, kLanes);
  const std::int64_t row_stride = g.x_width * kLanes, plane = g.x_height * row_stride;
  HWY_ALIGN float patch[kSide * kSide * kLanes];
  for (std::int64_t c = 0; c < g.x_blocks; ++c) {
    Tile tile = tile_at(g, part.tile);
    for (std::int64_t t = 0; t < part.tiles; ++t, to += kLanes, next(g, tile)) {
      const std::int64_t top = tile.row - g.pad_top, left = tile.column - g.pad_left;
      const float* from = x + (tile.n * g.x_blocks + c) * plane + top * row_stride + left * kLanes;
      if (top >= 0 && left >= 0 && top + kSide <= g.x_height && left + kSide <= g.x_width) {
        transform_patch<kM>(from, row_stride, to, stride);
        continue;
      }
      std::fill(std::begin(patch), std::end(patch), 0.0F);
      for (std::int64_t i = std::max<std::int64_t>(0, -top); i < std::min(kSide, g.x_height - top);
           ++i) {
        for (std::int64_t j = std::max<std::int64_t>(0, -left);
             j < std::min(kSide, g.x_width - left); ++j) {
          store(load(from + i * row_stride + j * kLanes), patch + (i * kSide + j) * kLanes);
        }
      }
      transform_patch<kM>(patch, kSide * kLanes, to, stride);
    }
  }
}

// --- Product of one point, over all input channels.
struct StoreProduct {
  float* y;
  std::int64_t stride;
  HWY_INLINE void prefetch(int, int) const {}
  HWY_INLINE void operator()(V sum, int row, int block) const {
    store(sum, y + block * stride + row * static_cast<int>(hn::MaxLanes(D())));
  }
};

// x [block][tile][lane], y [block][tile][lane].
void multiply(const float* x, const float* w, float* y, std::int64_t tiles, std::int64_t x_blocks,
              std::int64_t y_blocks) {
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  const std::int64_t panels = (tiles + kRows - 1) / kRows, stride = tiles * kLanes;
  for (std::int64_t k = 0; k < y_blocks; k += 2) {
    const bool pair = k + 1 < y_blocks;
    const std::int64_t size = x_blocks * kLanes * kLanes * (pair ? 2 : 1);
    std::int64_t tile = 0;
    for (std::int64_t p = 0; p < panels; ++p) {
      const std::int64_t rows = tiles / panels + (p < tiles % panels ? 1 : 0);
      const float* from = x + tile * kLanes;
      const StoreProduct to{y + k * stride + tile * kLanes, stride};
      const Ahead ahead(w + size, size, p, panels, x_blocks * kLanes);
      if (pair) {
        multiply_rows<kRows, 2>(rows, from, stride, w, x_blocks, ahead, to);
      } else {
        multiply_rows<kRows, 1>(rows, from, stride, w, x_blocks, ahead, to);
      }
      tile += rows;
    }
    w += size;
  }
}

// --- Output.
template <int kM>
void transform_outputs(const Geometry& g, const Part& part, const float* products,
                       std::int64_t stride, const Tail& tail, float* y) {
  constexpr int kSide = kM + 2;
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  const D d;
  const std::int64_t row_stride = g.y_width * kLanes, plane = g.y_height * row_stride;
  for (std::int64_t k = 0; k < part.y_blocks; ++k) {
    const std::int64_t block = part.y_block + k;
    const V bias = tail.bias != nullptr ? load(tail.bias + block * kLanes) : hn::Zero(d);
    Tile tile = tile_at(g, part.tile);
    for (std::int64_t t = 0; t < part.tiles; ++t, next(g, tile)) {
      const float* from = products + (k * part.tiles + t) * kLanes;
      V half[kSide][kM];  // [column][row]
#pragma GCC unroll 8
      for (int j = 0; j < kSide; ++j) {
        V p[kSide];
#pragma GCC unroll 8
        for (int i = 0; i < kSide; ++i) p[i] = load(from + (i * kSide + j) * stride);
        Transform<kM>::output(p, half[j]);
      }
      const std::int64_t at =
          (tile.n * g.y_blocks + block) * plane + tile.row * row_stride + tile.column * kLanes;
      const int rows = static_cast<int>(std::min<std::int64_t>(kM, g.y_height - tile.row));
      const int columns = static_cast<int>(std::min<std::int64_t>(kM, g.y_width - tile.column));
#pragma GCC unroll 4
      for (int i = 0; i < kM; ++i) {
        if (i >= rows) break;
        V p[kSide], out[kM];
#pragma GCC unroll 8
        for (int j = 0; j < kSide; ++j) p[j] = half[j][i];
        Transform<kM>::output(p, out);
#pragma GCC unroll 4
        for (int j = 0; j < kM; ++j) {
          if (j >= columns) break;
          const std::int64_t to = at + i * row_stride + j * kLanes;
          V v = hn::Add(out[j], bias);
          if (tail.residual != nullptr) v = hn::Add(v, load(tail.residual + to));
          if (tail.relu) v = hn::Max(hn::Zero(d), v);  // NaN stays NaN, as in simd.cpp
          store(v, y + to);
        }
      }
    }
  }
}

template <int kM>
void convolve_part(const Geometry& g, const Part& part, const float* x, const float* w,
                   const Tail& tail, float* y, float* scratch) {
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  const std::int64_t x_stride = point_stride(g.x_blocks, part.tiles, kLanes);
  const std::int64_t y_stride = point_stride(part.y_blocks, part.tiles, kLanes);
  float* products = scratch + g.points() * x_stride;
  transform_inputs<kM>(g, part, x, scratch);
  w += part.y_block * g.x_blocks * kLanes * kLanes;
  for (std::int64_t p = 0; p < g.points(); ++p) {
    multiply(scratch + p * x_stride, w, products + p * y_stride, part.tiles, g.x_blocks,
             part.y_blocks);
    w += g.weight_stride();
  }
  transform_outputs<kM>(g, part, products, y_stride, tail, y);
}

void convolve(const Geometry& g, const Part& part, const float* x, const float* w, const Tail& tail,
              float* y, float* scratch) {
  if (g.m == 4) {
    convolve_part<4>(g, part, x, w, tail, y, scratch);
  } else {
    convolve_part<2>(g, part, x, w, tail, y, scratch);
  }
}

// --- Weights: [point][pair of output blocks][input channel][2 x lane].
template <int kM>
void transform_filters(const Geometry& g, const float* w, bool backward, std::int64_t begin,
                       std::int64_t end, float* to) {
  constexpr int kSide = kM + 2;
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  const std::int64_t x_channels = g.x_blocks * kLanes, y_channels = g.y_blocks * kLanes;
  const std::int64_t stride = g.weight_stride();
  HWY_ALIGN float filters[kLanes][9][kLanes];  // [x lane][tap][y lane]
  for (std::int64_t k = begin; k < end; ++k) {
    const std::int64_t width = (k | 1) < g.y_blocks ? 2 : 1;  // blocks in this panel
    for (std::int64_t c = 0; c < g.x_blocks; ++c) {
      for (std::int64_t row = 0; row < kLanes; ++row) {
        // One row of the outer dimension in memory, all its inner channels of this block.
        const float* from = backward ? w + ((c * kLanes + row) * y_channels + k * kLanes) * 9
                                     : w + ((k * kLanes + row) * x_channels + c * kLanes) * 9;
        for (std::int64_t inner = 0; inner < kLanes; ++inner) {
          for (std::int64_t tap = 0; tap < 9; ++tap) {
            if (backward) {
              filters[row][8 - tap][inner] = from[inner * 9 + tap];
            } else {
              filters[inner][tap][row] = from[inner * 9 + tap];
            }
          }
        }
      }
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        V half[3][kSide];  // [column][point]
        for (int j = 0; j < 3; ++j) {
          V f[3];
          for (int i = 0; i < 3; ++i) f[i] = load(filters[lane][i * 3 + j]);
          Transform<kM>::weights(f, half[j]);
        }
        float* at = to + (k & ~std::int64_t{1}) * kLanes * x_channels +
                    ((c * kLanes + lane) * width + (k & 1)) * kLanes;
        for (int i = 0; i < kSide; ++i) {
          V f[3], t[kSide];
          for (int j = 0; j < 3; ++j) f[j] = half[j][i];
          Transform<kM>::weights(f, t);
          for (int j = 0; j < kSide; ++j) store(t[j], at + (i * kSide + j) * stride);
        }
      }
    }
  }
}

void transform_weights(const Geometry& g, const float* w, bool backward, std::int64_t begin,
                       std::int64_t end, float* to) {
  if (g.m == 4) {
    transform_filters<4>(g, w, backward, begin, end, to);
  } else {
    transform_filters<2>(g, w, backward, begin, end, to);
  }
}

// --- Gradient of the weights, F(4 x 4) only: the transpose of the algorithm with respect to g.
constexpr int kGradientM = 4, kGradientSide = 6;

// A dy A' of the part's tiles and output blocks: [point][block][tile][lane].
void transform_gradients(const Geometry& g, const Part& part, const float* dy, float* to) {
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  const std::int64_t stride = point_stride(part.y_blocks, part.tiles, kLanes);
  const std::int64_t row_stride = g.y_width * kLanes, plane = g.y_height * row_stride;
  for (std::int64_t k = 0; k < part.y_blocks; ++k) {
    Tile tile = tile_at(g, part.tile);
    for (std::int64_t t = 0; t < part.tiles; ++t, to += kLanes, next(g, tile)) {
      const float* from = dy + (tile.n * g.y_blocks + part.y_block + k) * plane +
                          tile.row * row_stride + tile.column * kLanes;
      const std::int64_t rows = g.y_height - tile.row, columns = g.y_width - tile.column;
      V half[kGradientM][kGradientSide];  // [column][point]
#pragma GCC unroll 4
      for (int j = 0; j < kGradientM; ++j) {
        V d[kGradientM];
#pragma GCC unroll 4
        for (int i = 0; i < kGradientM; ++i) {
          d[i] = i < rows && j < columns ? load(from + i * row_stride + j * kLanes) : hn::Zero(D());
        }
        Transform<kGradientM>::gradient(d, half[j]);
      }
#pragma GCC unroll 8
      for (int i = 0; i < kGradientSide; ++i) {
        V d[kGradientM], transformed[kGradientSide];
#pragma GCC unroll 4
        for (int j = 0; j < kGradientM; ++j) d[j] = half[j][i];
        Transform<kGradientM>::gradient(d, transformed);
#pragma GCC unroll 8
        for (int j = 0; j < kGradientSide; ++j) {
          store(transformed[j], to + (i * kGradientSide + j) * stride);
        }
      }
    }
  }
}

// sums [x lane][kC y blocks of lanes] += x[tile][x lane] * dy[tile][y lane], half the x lanes.
template <int kC>
void correlate_tiles(const float* HWY_RESTRICT x, const float* HWY_RESTRICT dy,
                     std::int64_t dy_stride, std::int64_t tiles, float* HWY_RESTRICT sums) {
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  constexpr int kHalf = kLanes > 1 ? kLanes / 2 : 1;
  const D d;
  V sum[kHalf][kC];
#pragma GCC unroll 8
  for (int r = 0; r < kHalf; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < kC; ++c) sum[r][c] = load(sums + (r * kC + c) * kLanes);
  }
  for (std::int64_t t = 0; t < tiles; ++t, x += kLanes, dy += kLanes) {
    V gradient[kC];
#pragma GCC unroll 2
    for (int c = 0; c < kC; ++c) gradient[c] = load(dy + c * dy_stride);
#pragma GCC unroll 8
    for (int r = 0; r < kHalf; ++r) {
      const V value = hn::Set(d, x[r]);
#pragma GCC unroll 2
      for (int c = 0; c < kC; ++c) sum[r][c] = hn::MulAdd(value, gradient[c], sum[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kHalf; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < kC; ++c) store(sum[r][c], sums + (r * kC + c) * kLanes);
  }
}

// Sums: [point][pair of y blocks][x channel][2 x lane].
HWY_INLINE std::int64_t sums_stride(const Geometry& g, std::int64_t y_blocks, std::int64_t block) {
  return (g.x_blocks * y_blocks * block + 1) * block;
}

void correlate(const Geometry& g, const Part& part, const float* x, const float* dy, float* sums,
               float* scratch) {
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  constexpr std::int64_t kHalf = kLanes > 1 ? kLanes / 2 : 1;
  const std::int64_t x_stride = point_stride(g.x_blocks, part.tiles, kLanes);
  const std::int64_t y_stride = point_stride(part.y_blocks, part.tiles, kLanes);
  const std::int64_t plane = part.tiles * kLanes;
  float* gradients = scratch + g.points() * x_stride;
  transform_inputs<kGradientM>(g, part, x, scratch);
  transform_gradients(g, part, dy, gradients);
  for (std::int64_t p = 0; p < g.points(); ++p) {
    float* to = sums + p * sums_stride(g, part.y_blocks, kLanes);
    for (std::int64_t k = 0; k < part.y_blocks; k += 2) {
      const std::int64_t width = std::min<std::int64_t>(2, part.y_blocks - k);
      const float* from_y = gradients + p * y_stride + k * plane;
      for (std::int64_t c = 0; c < g.x_blocks; ++c) {
        for (std::int64_t half = 0; half < kLanes; half += kHalf, to += kHalf * width * kLanes) {
          const float* from_x = scratch + p * x_stride + c * plane + half;
          if (width == 2) {
            correlate_tiles<2>(from_x, from_y, plane, part.tiles, to);
          } else {
            correlate_tiles<1>(from_x, from_y, plane, part.tiles, to);
          }
        }
      }
    }
  }
}

void gradient_of_weights(const Geometry& g, const Part& part, std::int64_t k, const float* sums,
                         std::int64_t copies, std::int64_t distance, float* dw) {
  constexpr std::int64_t kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));
  const std::int64_t x_channels = g.x_blocks * kLanes;
  const std::int64_t stride = sums_stride(g, part.y_blocks, kLanes);
  const std::int64_t width = (k | 1) < part.y_blocks ? 2 : 1;
  HWY_ALIGN float filter[9 * kLanes];
  for (std::int64_t c = 0; c < x_channels; ++c) {
    const float* at =
        sums + (k & ~std::int64_t{1}) * kLanes * x_channels + (c * width + (k & 1)) * kLanes;
    V half[kGradientSide][3];  // [column][tap]
    for (int j = 0; j < kGradientSide; ++j) {
      V t[kGradientSide];
      for (int i = 0; i < kGradientSide; ++i) {
        const float* from = at + (i * kGradientSide + j) * stride;
        t[i] = load(from);
        for (std::int64_t n = 1; n < copies; ++n) t[i] = hn::Add(t[i], load(from + n * distance));
      }
      Transform<kGradientM>::filter(t, half[j]);
    }
    for (int i = 0; i < 3; ++i) {
      V t[kGradientSide], out[3];
      for (int j = 0; j < kGradientSide; ++j) t[j] = half[j][i];
      Transform<kGradientM>::filter(t, out);
      for (int j = 0; j < 3; ++j) store(out[j], filter + (i * 3 + j) * kLanes);
    }
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      float* to = dw + (((part.y_block + k) * kLanes + lane) * x_channels + c) * 9;
      for (std::int64_t tap = 0; tap < 9; ++tap) to[tap] = filter[tap * kLanes + lane];
    }
  }
}

std::int64_t sums_floats(const Geometry& g, std::int64_t y_blocks) {
  return g.points() * sums_stride(g, y_blocks, g.block);
}

std::int64_t scratch_floats(const Geometry& g, std::int64_t tiles, std::int64_t y_blocks) {
  return g.points() *
         (point_stride(g.x_blocks, tiles, g.block) + point_stride(y_blocks, tiles, g.block));
}

std::int64_t lanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

}  // namespace HWY_NAMESPACE
}  // namespace resnet::winograd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace resnet::winograd {

HWY_EXPORT(convolve);
HWY_EXPORT(transform_weights);
HWY_EXPORT(scratch_floats);
HWY_EXPORT(lanes);
HWY_EXPORT(correlate);
HWY_EXPORT(gradient_of_weights);
HWY_EXPORT(sums_floats);

std::int64_t sums_floats(const Geometry& g, std::int64_t y_blocks) {
  return HWY_DYNAMIC_DISPATCH(sums_floats)(g, y_blocks);
}
void correlate(const Geometry& g, const Part& part, const float* x, const float* dy, float* sums,
               float* scratch) {
  HWY_DYNAMIC_DISPATCH(correlate)(g, part, x, dy, sums, scratch);
}
void gradient_of_weights(const Geometry& g, const Part& part, std::int64_t k, const float* sums,
                         std::int64_t copies, std::int64_t distance, float* dw) {
  HWY_DYNAMIC_DISPATCH(gradient_of_weights)(g, part, k, sums, copies, distance, dw);
}

std::int64_t scratch_floats(const Geometry& g, std::int64_t tiles, std::int64_t y_blocks) {
  return HWY_DYNAMIC_DISPATCH(scratch_floats)(g, tiles, y_blocks);
}
void convolve(const Geometry& g, const Part& part, const float* x, const float* w, const Tail& tail,
              float* y, float* scratch) {
  HWY_DYNAMIC_DISPATCH(convolve)(g, part, x, w, tail, y, scratch);
}
void transform_weights(const Geometry& g, const float* w, bool backward, std::int64_t begin,
                       std::int64_t end, float* transformed) {
  HWY_DYNAMIC_DISPATCH(transform_weights)(g, w, backward, begin, end, transformed);
}
std::int64_t lanes() { return HWY_DYNAMIC_DISPATCH(lanes)(); }

}  // namespace resnet::winograd
#endif

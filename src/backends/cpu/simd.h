// The loops of our own kernels, vectorised with Highway and dispatched at run time to the best
// instruction set of the machine. They know nothing of graphs: pointers, sizes, one tile or range a
// call; the callers split the work among threads.
//
// A tile is `pixels` x `block` elements, channels innermost: one channel block of one image in
// nChw16c, all channels of an image in nhwc. Per-channel arrays have `block` entries. Elements are
// f32, or bf16, which is read into f32, computed with as f32, and rounded to nearest even where it
// is written. Pointers to f32 tiles are 64-byte aligned, as is the arena.
#pragma once

#include <cstdint>

namespace resnet::simd {

/// Keeps vectors from being wider than a block, in the whole process: oneDNN chooses the block, and
/// it may be told to use older instructions than the machine has. False if that cannot be.
bool limit_vectors(std::int64_t block);

/// The bits of a bfloat16.
using Bf16 = std::uint16_t;

/// How a result is written. Past the caches, a store that does not first read what it overwrites
/// saves a third of the traffic of a copy; results that are read again soon should stay in cache.
enum class Store : std::uint8_t { kCached, kStream };

/// How the gradient that enters batch norm backward is masked by a fused ReLU.
enum class Mask : std::uint8_t {
  kNone,
  kFromX,  ///< by the sign of the forward value, computed again from x
  kFromY,  ///< by the sign of the stored output
};

template <class T>
struct NormGradientTile {
  const T* dy = nullptr;
  const T* dy2 = nullptr;  ///< added to dy; may be null
  const T* x = nullptr;
  const T* y = nullptr;  ///< with kFromY
  Mask mask = Mask::kNone;
  const float *mean = nullptr, *scale = nullptr, *beta = nullptr;  ///< of the forward pass
};

/// What there is for activations of either type.
template <class T>
struct Kernels {
  /// sum[c] = Σ (x - shift), square[c] = Σ (x - shift)² over the tile's pixels.
  void (*tile_moments)(const T* x, const float* shift, std::int64_t pixels, std::int64_t block,
                       float* sum, float* square);

  /// y = (x - mean) * scale + beta [+ residual], then ReLU if asked. `residual` may be null; y may
  /// be x or residual.
  void (*tile_normalize)(const T* x, const T* residual, T* y, const float* mean, const float* scale,
                         const float* beta, bool relu, Store store, std::int64_t pixels,
                         std::int64_t block);

  /// g = (dy [+ dy2]) masked; sum[c] = Σ g, product[c] = Σ g (x - mean). Writes g if it is not
  /// null.
  void (*tile_norm_gradient_sums)(const NormGradientTile<T>& t, T* g, Store store,
                                  std::int64_t pixels, std::int64_t block, float* sum,
                                  float* product);

  /// dx = g * scale + (x - mean) * slope + offset, with g as above. dx may be dy.
  void (*tile_norm_gradient)(const NormGradientTile<T>& t, T* dx, const float* slope,
                             const float* offset, Store store, std::int64_t pixels,
                             std::int64_t block);

  /// sum[c] = Σ x over the tile's pixels.
  void (*tile_sum)(const T* x, std::int64_t pixels, std::int64_t block, float* sum);
  /// Every pixel of the tile becomes value[c].
  void (*tile_fill)(T* y, const float* value, std::int64_t pixels, std::int64_t block);

  // Ranges of `n` elements; the output may be one of the inputs.
  void (*add)(const T* a, const T* b, T* y, std::int64_t n);
  void (*relu)(const T* x, T* y, std::int64_t n);
  void (*relu_backward)(const T* dy, const T* y, T* dx, std::int64_t n);
};
template <class T>
const Kernels<T>& kernels();
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<Bf16>& kernels<Bf16>();

/// Windows over images that lie channels last.
struct PoolWindows {
  std::int64_t channels, height, width;  ///< of x
  std::int64_t out_height, out_width;    ///< of y
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
};
/// One row of one image's y: the maximum of each window of x, and its place kh kernel_w + kw. Of
/// equal ones the first counts; padding never wins; a NaN does.
void max_pool_row(const PoolWindows& p, const Bf16* x, std::int64_t row, Bf16* y,
                  std::uint8_t* position);
/// The gradient of pooling, one row of one image's dx: every pixel sums over the windows that
/// cover it. With `position` (as dy) a window's gradient goes to that pixel of it, without each of
/// its pixels gets `share[window]` of it.
void pool_backward_row(const PoolWindows& p, const Bf16* dy, const std::uint8_t* position,
                       const float* share, std::int64_t row, Bf16* dx);

// --- Ranges of `n` elements; the output may be one of the inputs.
void mul(const float* a, const float* b, float* y, std::int64_t n);
void accumulate(float* variable, const float* value, float keep, float scale, std::int64_t n);

struct SgdStep {
  float lr, momentum, weight_decay, gradient_scale;
  bool nesterov;
};
void sgd(float* w, float* velocity, const float* gradient, const SgdStep& s, std::int64_t n);

struct LarsStep {
  float rate;  ///< learning rate times trust ratio
  float momentum, weight_decay, gradient_scale;
};
void lars(float* w, float* velocity, const float* gradient, const LarsStep& s, std::int64_t n);

struct AdamStep {
  float lr, beta1, beta2, eps, weight_decay, gradient_scale;
  float rest1, rest2;              ///< 1 - beta, which a float beta would have lost digits of
  float correction1, correction2;  ///< 1 - beta^t
};
void adamw(float* w, float* m, float* v, const float* gradient, const AdamStep& s, std::int64_t n);

/// Σ x², in double.
double square_sum(const float* x, std::int64_t n);

}  // namespace resnet::simd

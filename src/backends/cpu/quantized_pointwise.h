// 1x1 int8 convolutions with AMX. A few channels make many results there, so that the
// time is not in the products but in what follows: scale, skip addition, ReLU and rounding, which
// here takes place on the sums of 32 pixels by 64 filters while they are in the L1 cache.
#pragma once

#include <cstdint>
#include <span>

namespace resnet::pointwise {

struct Problem {
  std::int64_t images = 0, channels = 0, height = 0, width = 0;  ///< of x [n, h, w, c]
  std::int64_t filters = 0, out_height = 0, out_width = 0;       ///< of y [n, oh, ow, m]
  std::int64_t stride = 1;
  bool x_signed = false, y_signed = false;
  bool residual = false, residual_signed = false;
  float residual_scale = 1;  ///< in units of y
  std::int64_t pixels() const { return images * out_height * out_width; }
};

/// Whether the machine and oneDNN's settings allow for it, and the kernel takes the problem.
bool usable(const Problem& p);

/// For each thread, and once for the biases in units of y.
std::int64_t scratch_bytes(const Problem& p, int threads);

/// y = round(multipliers[m] (sum + bias[m]) + residual_scale residual), saturated. Weights are
/// tiles of 64 channels by 16 filters: oneDNN's OIhw16i16o4i. `y` may be `residual`.
void run(const Problem& p, const std::uint8_t* x, const std::int8_t* weights, const float* bias,
         std::span<const float> multipliers, const std::uint8_t* residual, std::uint8_t* y,
         void* scratch, int threads);

}  // namespace resnet::pointwise

// The first convolution of most networks (7x7, stride 2, on images) in int8 with AMX,
// from the f32 image to u8: an image has too few channels for oneDNN's kernels to be fast.
//
// 2x2 pixels of up to 4 channels become one pixel of 16 bytes ("space to depth"), which makes the
// convolution a 4x4 one of stride 1; four neighbours are then the 64 bytes of a row of an AMX tile.
// Images are quantised and rearranged a strip at a time, so that what is rearranged stays in
// cache.
#pragma once

#include <cstdint>
#include <span>

namespace resnet::stem {

struct Problem {
  std::int64_t images = 0, channels = 0, height = 0, width = 0;  ///< of x, f32 [n, c, h, w]
  std::int64_t filters = 0;  ///< weights i8 [m, c, 7, 7]; y u8 [n, oh, ow, m]
  std::int64_t out_height = 0, out_width = 0;
  float x_inverse = 1;  ///< 1 / scale of x
  bool x_signed = true;
};

/// Whether the machine and oneDNN's settings allow for it, and the kernel takes the problem.
bool usable(const Problem& p);

/// For each thread, and once for weights.
std::int64_t scratch_bytes(const Problem& p, int threads);

/// y = round(multipliers[m] (sum + bias[m])), saturated to u8, which is a ReLU, too.
void run(const Problem& p, const float* x, const std::int8_t* weights, const float* bias,
         const float* multipliers, std::uint8_t* y, void* scratch, int threads);

}  // namespace resnet::stem

// The matrix units of a processor (AMX), and our own kernel on them for the gradient of a
// convolution's weights in bf16, which oneDNN 2.6 computes at a tenth of the speed of the forward
// pass.
#pragma once

#include <cstdint>

#include "compile/target.h"

namespace resnet {

struct NodeView;

/// Eight tiles of 16 rows of 64 bytes, for `_tile_loadconfig`. A constant, in memory as a whole:
/// GCC 12 believes that only the first eight bytes are read, and drops the rest of a local
/// variable.
struct alignas(64) AmxTiles {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};  ///< of a row
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr AmxTiles kAmxTiles;

/// Whether the processor has the units and the operating system lets this process use them.
bool has_amx();
/// For kConv2dBackwardWeights of bf16 activations without groups and dilation.
KernelChoice make_amx_backward_weights(const NodeView& v);

}  // namespace resnet

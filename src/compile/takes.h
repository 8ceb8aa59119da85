// Which types the inputs of a kernel may have, for the tables of devices.
#pragma once

#include <cstddef>

#include "resnet/graph.h"
#include "resnet/ir.h"

namespace resnet {

/// Whether input `i` of a kernel may be of a type.
using Takes = bool (*)(std::size_t i, const TensorType& type);

namespace takes {

constexpr bool is_integer(const TensorType& t) {
  return t.dtype == DType::kU8 || t.dtype == DType::kI8;
}

inline bool f32(std::size_t, const TensorType& t) { return t.dtype == DType::kF32; }
/// Data [n, c, h, w] of bf16, too; what belongs to channels is f32.
inline bool bf16(std::size_t i, const TensorType& t) {
  return f32(i, t) || (t.dtype == DType::kBF16 && t.shape.size() == 4);
}
/// The same but for the weights, input 1: they stay f32 variables, which a convolution of bf16
/// rounds as it reads them.
inline bool bf16_data(std::size_t i, const TensorType& t) {
  return i == 1 ? f32(i, t) : bf16(i, t);
}
/// Data of bf16 or 8-bit integers, too.
inline bool activations(std::size_t i, const TensorType& t) { return bf16(i, t) || is_integer(t); }
/// Of a gradient, and of the positions of maxima.
inline bool positions(std::size_t i, const TensorType& t) {
  return i == 1 ? t.dtype == DType::kU8 : bf16(i, t);
}
inline bool integers(std::size_t i, const TensorType& t) { return f32(i, t) || is_integer(t); }
inline bool floating(std::size_t i, const TensorType& t) {
  return f32(i, t) || t.dtype == DType::kBF16;
}

}  // namespace takes
}  // namespace resnet

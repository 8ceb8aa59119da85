// The inner loops of resampling, in the widest vectors that the machine has (Highway).
#pragma once

#include <cstdint>

namespace resnet {

inline constexpr int kFilterBits = 22;  // 32 − 8 − 2: a sign, and room for bicubic's overshoot

/// `pixels` output pixels of a row: out[i] = Σ_j source[first[i] + j] · weights[i · stride + j].
/// With `overread` one byte behind the last source pixel may be read.
void filter_row(const std::uint8_t* source, int channels, const int* first, const int* count,
                const std::int32_t* weights, int stride, int pixels, bool overread,
                std::uint8_t* out);

/// One output row of `bytes` bytes from `count` input rows that are `step` bytes apart.
void filter_column(const std::uint8_t* source, std::int64_t step, const std::int32_t* weights,
                   int count, int bytes, std::uint8_t* out);

}  // namespace resnet

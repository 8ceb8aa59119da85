// What the integer kernels of our own have in common: AMX tiles of 1024 bytes, and the way from
// sums to 8-bit integers. For files that use AMX; elsewhere there is nothing here.
#pragma once

#if defined(__x86_64__) && defined(__linux__)
// GCC 12's own headers start undefined vectors with themselves (GCC bug 105593).
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <cstdint>

#define RESNET_AMX_INT8 \
  __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512dq,sse4.1")))

namespace resnet::amx_int8 {

inline constexpr std::int64_t kTile = 1024;   // bytes of a tile
inline constexpr std::int64_t kFilters = 64;  // of a block of sums
inline constexpr std::int64_t kPixels = 32;   // at most

// GCC 12's intrinsics do not say what memory tile instructions read and write.
inline void memory_is_used(const void* p) { asm volatile("" : : "r"(p) : "memory"); }

struct Rounding {
  std::int64_t filters = 0;  ///< of y and the residual, [pixels][filters]
  bool y_signed = false, residual_signed = false;
  float residual_scale = 1;  ///< in units of y
};

/// Sums [pixels][64] -> y = round(multipliers sum + bias + residual_scale residual), saturated.
template <bool kResidual>
RESNET_AMX_INT8 inline void round_sums(const Rounding& r, const std::int32_t* sums,
                                       std::int64_t pixels, const float* multipliers,
                                       const float* bias, const std::uint8_t* residual,
                                       std::uint8_t* y) {
  const __m512i in_order =
      _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);  // after packing
  const __m512 largest = _mm512_set1_ps(r.y_signed ? 127 : 255);
  const __m512 scale = _mm512_set1_ps(r.residual_scale);
  __m512 m[4], b[4];
  for (int j = 0; j < 4; ++j) {
    m[j] = _mm512_loadu_ps(multipliers + 16 * j);
    b[j] = _mm512_loadu_ps(bias + 16 * j);
  }
  for (std::int64_t i = 0; i < pixels; ++i) {
    // What the next block of pixels adds to and writes: its lines lie too far apart for the
    // processor to foresee them.
    __builtin_prefetch(y + (i + kPixels) * r.filters, 1);
    if constexpr (kResidual) {
      if (residual != y) __builtin_prefetch(residual + (i + kPixels) * r.filters);
    }
    __m512i q[4];
    for (int j = 0; j < 4; ++j) {
      const __m512 sum = _mm512_cvtepi32_ps(_mm512_load_si512(sums + kFilters * i + 16 * j));
      __m512 v = _mm512_fmadd_ps(sum, m[j], b[j]);
      if constexpr (kResidual) {
        const __m128i bytes =
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(residual + i * r.filters + 16 * j));
        const __m512i integers =
            r.residual_signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
        v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), scale, v);
      }
      q[j] = _mm512_cvtps_epi32(_mm512_min_ps(v, largest));  // too small ones are the least integer
    }
    const __m512i lower = _mm512_packs_epi32(q[0], q[1]), upper = _mm512_packs_epi32(q[2], q[3]);
    const __m512i bytes =
        r.y_signed ? _mm512_packs_epi16(lower, upper) : _mm512_packus_epi16(lower, upper);
    _mm512_storeu_si512(y + i * r.filters, _mm512_permutexvar_epi32(in_order, bytes));
  }
}

}  // namespace resnet::amx_int8
#endif

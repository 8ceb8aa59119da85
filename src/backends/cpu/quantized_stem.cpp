#include "backends/cpu/quantized_stem.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "backends/cpu/amx.h"
#include "backends/cpu/amx_int8.h"

namespace resnet::stem {

#if defined(__x86_64__) && defined(__linux__)

namespace {

using amx_int8::kFilters;
using amx_int8::kTile;

constexpr std::int64_t kTaps = 4;        // of the rearranged convolution, in both directions
constexpr std::int64_t kBefore = 2;      // rearranged pixels in front of the first output's
constexpr std::int64_t kPixel = 16;      // bytes of a rearranged pixel
constexpr std::int64_t kStripRows = 28;  // output rows at a time: their data fits the L2 cache

// Rows of rearranged pixels are longer than the output's by the taps, and by what a last group of
// 16 outputs, which is moved left to end with the row, never needs.
std::int64_t row_bytes(const Problem& p) { return (p.out_width + kTaps) * kPixel; }
std::int64_t weight_bytes(const Problem& p) { return kTaps * p.filters / 16 * kTile; }
std::int64_t bias_bytes(const Problem& p) { return p.filters * 4; }
std::int64_t thread_bytes(const Problem& p) {
  const std::int64_t bytes = (kStripRows + kTaps) * row_bytes(p) + 4 * kTile;
  return (bytes + 63) / 64 * 64;
}

// Byte of a rearranged pixel at which pixel (dy, dx) of channel c lies.
constexpr std::int64_t place(std::int64_t c, std::int64_t dy, std::int64_t dx) {
  return (c * 2 + dy) * 2 + dx;
}

// Tiles [row of taps][16 filters]: 16 rows, each of 4 neighbouring bytes for each of 16 filters.
void pack_weights(const Problem& p, const std::int8_t* w, std::int8_t* packed) {
  std::memset(packed, 0, static_cast<std::size_t>(weight_bytes(p)));
  for (std::int64_t m = 0; m < p.filters; ++m) {
    for (std::int64_t c = 0; c < p.channels; ++c) {
      for (std::int64_t kh = 0; kh < 7; ++kh) {
        for (std::int64_t kw = 0; kw < 7; ++kw) {
          // The 7 taps are the last of 8.
          const std::int64_t h = kh + 1, v = kw + 1;
          const std::int64_t k = v / 2 * kPixel + place(c, h % 2, v % 2);
          packed[(h / 2 * (p.filters / 16) + m / 16) * kTile + k / 4 * 64 + m % 16 * 4 + k % 4] =
              w[((m * p.channels + c) * 7 + kh) * 7 + kw];
        }
      }
    }
  }
}

// 16 neighbouring pixels as integers; `count` of them exist.
RESNET_AMX_INT8 inline __m128i quantized(const float* x, std::int64_t count, __m512 inverse,
                                         bool is_signed) {
  const auto mask = static_cast<__mmask16>(count >= 16 ? 0xFFFF : (1 << count) - 1);
  const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x), inverse);
  if (is_signed) {  // in this order NaN passes, and becomes the lowest integer
    const __m512 bounded = _mm512_min_ps(_mm512_set1_ps(127), v);
    return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(bounded));
  }
  const __m512 bounded = _mm512_max_ps(_mm512_min_ps(_mm512_set1_ps(255), v), _mm512_setzero_ps());
  return _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(bounded));
}

// One row of rearranged pixels from two rows of an image (one, at an odd end).
RESNET_AMX_INT8 void rearrange_row(const Problem& p, const float* image, std::int64_t block_row,
                                   std::int8_t* out) {
  const std::int64_t pixels = p.out_width + kTaps;
  if (block_row < 0 || 2 * block_row >= p.height) {
    std::memset(out, 0, static_cast<std::size_t>(pixels * kPixel));
    return;
  }
  const __m512 inverse = _mm512_set1_ps(p.x_inverse);
  std::memset(out, 0, kBefore * kPixel);
  out += kBefore * kPixel;
  const std::int64_t wanted = pixels - kBefore;
  for (std::int64_t b = 0; b < wanted; b += 8) {  // 8 rearranged pixels, 16 of the image's
    const std::int64_t left = std::min<std::int64_t>(16, p.width - 2 * b);
    __m128i rows[8];
    for (std::int64_t j = 0; j < 8; ++j) {
      const std::int64_t c = j / 2, h = 2 * block_row + j % 2;
      const bool there = c < p.channels && h < p.height && left > 0;
      rows[j] =
          there ? quantized(image + (c * p.height + h) * p.width + 2 * b, left, inverse, p.x_signed)
                : _mm_setzero_si128();
    }
    // An 8x8 transposition of pairs of bytes.
    __m128i t[8], u[8];
    for (int i = 0; i < 4; ++i) {
      t[2 * i] = _mm_unpacklo_epi16(rows[2 * i], rows[2 * i + 1]);
      t[2 * i + 1] = _mm_unpackhi_epi16(rows[2 * i], rows[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      u[4 * i] = _mm_unpacklo_epi32(t[4 * i], t[4 * i + 2]);
      u[4 * i + 1] = _mm_unpackhi_epi32(t[4 * i], t[4 * i + 2]);
      u[4 * i + 2] = _mm_unpacklo_epi32(t[4 * i + 1], t[4 * i + 3]);
      u[4 * i + 3] = _mm_unpackhi_epi32(t[4 * i + 1], t[4 * i + 3]);
    }
    const std::int64_t count = std::min<std::int64_t>(8, wanted - b);
    __m128i y[8];
    for (int i = 0; i < 4; ++i) {
      y[2 * i] = _mm_unpacklo_epi64(u[i], u[4 + i]);
      y[2 * i + 1] = _mm_unpackhi_epi64(u[i], u[4 + i]);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + (b + i) * kPixel), y[i]);
    }
  }
}

// 16 outputs by 64 filters; `x` is their first rearranged pixel.
template <bool kSigned>
RESNET_AMX_INT8 void multiply(const Problem& p, const std::int8_t* x, const std::int8_t* w,
                              std::int32_t* sums) {
  const std::int64_t stride = row_bytes(p), next = p.filters / 16 * kTile;
  amx_int8::memory_is_used(x);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t t = 0; t < kTaps; ++t) {
    _tile_loadd(4, x + t * stride, kPixel);
    _tile_loadd(5, w + t * next, 64);
    _tile_loadd(6, w + t * next + kTile, 64);
    if constexpr (kSigned) {
      _tile_dpbssd(0, 4, 5);
      _tile_dpbssd(1, 4, 6);
    } else {
      _tile_dpbusd(0, 4, 5);
      _tile_dpbusd(1, 4, 6);
    }
    _tile_loadd(5, w + t * next + 2 * kTile, 64);
    _tile_loadd(6, w + t * next + 3 * kTile, 64);
    if constexpr (kSigned) {
      _tile_dpbssd(2, 4, 5);
      _tile_dpbssd(3, 4, 6);
    } else {
      _tile_dpbusd(2, 4, 5);
      _tile_dpbusd(3, 4, 6);
    }
  }
  _tile_stored(0, sums, 4 * kFilters);
  _tile_stored(1, sums + 16, 4 * kFilters);
  _tile_stored(2, sums + 32, 4 * kFilters);
  _tile_stored(3, sums + 48, 4 * kFilters);
  amx_int8::memory_is_used(sums);
}

RESNET_AMX_INT8 void strip(const Problem& p, const float* image, const std::int8_t* w,
                           const float* bias, const float* multipliers, std::int64_t first,
                           std::int64_t rows, std::uint8_t* y, std::byte* scratch) {
  auto* sums = reinterpret_cast<std::int32_t*>(scratch);
  auto* x = reinterpret_cast<std::int8_t*>(scratch + 4 * kTile);
  const std::int64_t stride = row_bytes(p);
  for (std::int64_t i = 0; i < rows + kTaps - 1; ++i) {
    rearrange_row(p, image, first + i - kBefore, x + i * stride);
  }
  const amx_int8::Rounding rounding{.filters = p.filters};
  const auto product = p.x_signed ? multiply<true> : multiply<false>;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t group = 0; group < p.out_width; group += 16) {
      const std::int64_t at = std::min(group, p.out_width - 16);
      std::uint8_t* out = y + ((first + r) * p.out_width + at) * p.filters;
      for (std::int64_t m = 0; m < p.filters; m += kFilters) {
        product(p, x + r * stride + at * kPixel, w + m / 16 * kTile, sums);
        amx_int8::round_sums<false>(rounding, sums, 16, multipliers + m, bias + m, nullptr,
                                    out + m);
      }
    }
  }
}

RESNET_AMX_INT8 void configure() { _tile_loadconfig(&kAmxTiles); }

RESNET_AMX_INT8 void release() { _tile_release(); }

}  // namespace

bool usable(const Problem& p) {
  return has_amx() && p.channels <= 4 && p.filters % kFilters == 0 && p.out_width >= 16;
}

std::int64_t scratch_bytes(const Problem& p, int threads) {
  return weight_bytes(p) + bias_bytes(p) + threads * thread_bytes(p);
}

void run(const Problem& p, const float* x, const std::int8_t* weights, const float* bias,
         const float* multipliers, std::uint8_t* y, void* scratch, int threads) {
  auto* packed = static_cast<std::int8_t*>(scratch);
  pack_weights(p, weights, packed);
  auto* scaled = reinterpret_cast<float*>(static_cast<std::byte*>(scratch) + weight_bytes(p));
  for (std::int64_t m = 0; m < p.filters; ++m) scaled[m] = bias[m] * multipliers[m];
  std::byte* rest = static_cast<std::byte*>(scratch) + weight_bytes(p) + bias_bytes(p);
  const std::int64_t strips = (p.out_height + kStripRows - 1) / kStripRows;
#pragma omp parallel num_threads(threads)
  {
    configure();
    std::byte* own = rest + omp_get_thread_num() * thread_bytes(p);
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < p.images * strips; ++i) {
      const std::int64_t n = i / strips, first = i % strips * kStripRows;
      strip(p, x + n * p.channels * p.height * p.width, packed, scaled, multipliers, first,
            std::min(kStripRows, p.out_height - first),
            y + n * p.out_height * p.out_width * p.filters, own);
    }
    release();
  }
}

#else

bool usable(const Problem&) { return false; }
std::int64_t scratch_bytes(const Problem&, int) { return 0; }
void run(const Problem&, const float*, const std::int8_t*, const float*, const float*,
         std::uint8_t*, void*, int) {}

#endif

}  // namespace resnet::stem

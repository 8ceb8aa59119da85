#include "backends/cpu/weights.h"

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#define RESNET_AVX512 __attribute__((target("avx512f")))
#endif

namespace resnet {

#ifdef RESNET_AVX512
namespace {

constexpr std::int64_t kLanes = 16;

// What is below calls the dimensions of the format a, b, h, w. Elements lie in blocks of
// [16 pairs of b, or 1][a_block][2 of b].
struct Format {
  std::int64_t a, b, taps, width;       // h w taps
  std::int64_t padded_a, padded_b;      // to whole blocks, with zeros
  std::int64_t a_block, pairs;          // pairs of b in a block
  std::int64_t at_a, at_b, at_h, at_w;  // distances of blocks, and of rows and columns of filters

  std::int64_t place(std::int64_t a0, std::int64_t pair, std::int64_t tap) const {
    return a0 / a_block * at_a + a0 % a_block * 2 + pair / pairs * at_b +
           pair % pairs * a_block * 2 + tap / width * at_h + tap % width * at_w;
  }
};

bool read_format(const dnnl::memory::desc& desc, Format& f) {
  const dnnl_memory_desc_t& d = desc.data;
  if (d.ndims != 4 || d.data_type != dnnl_bf16 || d.format_kind != dnnl_blocked || d.offset0 != 0 ||
      d.extra.flags != 0) {
    return false;
  }
  const dnnl_blocking_desc_t& b = d.format_desc.blocking;
  const int n = b.inner_nblks;
  if ((n != 2 && n != 3) || b.inner_idxs[n - 1] != 1 || b.inner_blks[n - 1] != 2 ||
      b.inner_idxs[n - 2] != 0 || b.inner_blks[n - 2] % kLanes != 0 ||
      (n == 3 && b.inner_idxs[0] != 1)) {
    return false;
  }
  f = {d.dims[0],        d.dims[1],        d.dims[2] * d.dims[3], d.dims[3],
       d.padded_dims[0], d.padded_dims[1], b.inner_blks[n - 2],   n == 3 ? b.inner_blks[0] : 1,
       b.strides[0],     b.strides[1],     b.strides[2],          b.strides[3]};
  return true;
}

// The upper halves, rounded to nearest even; a NaN stays one.
RESNET_AVX512 inline __m512i rounded(__m512i bits) {
  const __m512i odd =
      _mm512_and_si512(_mm512_maskz_srli_epi32(0xffff, bits, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512 value = _mm512_castsi512_ps(bits);
  const __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(up, nan, bits, _mm512_set1_epi32(0x400000));
}

class PackWeights final : public Kernel {
 public:
  PackWeights(const Format& f, bool turned) : f_(f), turned_(turned) {}
  void run(const KernelArgs& args) const override {
    const auto* from = static_cast<const float*>(args.in[0]);
    auto* to = static_cast<std::uint16_t*>(args.out[0]);
#pragma omp parallel for schedule(static)
    for (std::int64_t a = 0; a < f_.padded_a; a += kLanes) pack(from, a, to);
  }

 private:
  RESNET_AVX512 void pack(const float* from, std::int64_t a, std::uint16_t* to) const {
    // Plain weights are [a][b][taps], or [b][a][taps] if they are to be turned.
    const std::int64_t by_a = turned_ ? f_.taps : f_.b * f_.taps;
    const std::int64_t by_b = turned_ ? f_.a * f_.taps : f_.taps;
    const auto real =
        static_cast<__mmask16>((1U << std::clamp<std::int64_t>(f_.a - a, 0, kLanes)) - 1);
    const __m512i lanes =
        _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                           _mm512_set1_epi32(static_cast<int>(by_a)));
    const auto values = [&](std::int64_t b, std::int64_t tap) RESNET_AVX512 {
      const __mmask16 mask = b < f_.b ? real : __mmask16{0};
      const float* first = from + a * by_a + b * by_b + tap;
      return by_a == 1 ? _mm512_maskz_loadu_epi32(mask, first)
                       : _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask, lanes, first, 4);
    };
    for (std::int64_t pair = 0; pair < f_.padded_b / 2; ++pair) {
      for (std::int64_t tap = 0; tap < f_.taps; ++tap) {
        const std::int64_t source = turned_ ? f_.taps - 1 - tap : tap;
        const __m512i first = rounded(values(2 * pair, source));
        const __m512i second = rounded(values(2 * pair + 1, source));
        const __m512i both = _mm512_or_si512(_mm512_maskz_srli_epi32(0xffff, first, 16),
                                             _mm512_and_si512(second, _mm512_set1_epi32(~0xffff)));
        _mm512_storeu_si512(to + f_.place(a, pair, tap), both);
      }
    }
  }

  Format f_;
  bool turned_;
};

}  // namespace

std::unique_ptr<Kernel> make_weight_packing(const dnnl::memory::desc& to, bool turned) {
  Format f{};
  if (!read_format(to, f)) return nullptr;
  return std::make_unique<PackWeights>(f, turned);
}

#else

std::unique_ptr<Kernel> make_weight_packing(const dnnl::memory::desc&, bool) { return nullptr; }

#endif

}  // namespace resnet

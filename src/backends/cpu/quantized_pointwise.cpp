#include "backends/cpu/quantized_pointwise.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "backends/cpu/amx.h"
#include "backends/cpu/amx_int8.h"

namespace resnet::pointwise {

#if defined(__x86_64__) && defined(__linux__)

namespace {

using amx_int8::kFilters;
using amx_int8::kPixels;

constexpr std::int64_t kChannels = 64;  // of a tile

std::int64_t bias_bytes(const Problem& p) { return p.filters * 4; }
std::int64_t thread_bytes(const Problem& p) {
  return kPixels * kFilters * 4 + kPixels * p.channels;  // sums, gathered pixels
}

// Sums of 32 pixels, `channels` bytes each, by 32 filters, to rows of 64.
template <bool kSigned>
RESNET_AMX_INT8 inline void multiply(const std::uint8_t* x, const std::int8_t* w,
                                     std::int64_t channels, std::int32_t* sums) {
  const std::uint8_t* below = x + 16 * channels;
  const std::int8_t* beside = w + 16 * channels;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t c = 0; c < channels; c += kChannels) {
    _tile_loadd(4, x + c, channels);
    _tile_loadd(6, w + c * 16, 64);
    _tile_loadd(5, below + c, channels);
    _tile_loadd(7, beside + c * 16, 64);
    if constexpr (kSigned) {
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 5, 6);
      _tile_dpbssd(2, 4, 7);
      _tile_dpbssd(3, 5, 7);
    } else {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 5, 6);
      _tile_dpbusd(2, 4, 7);
      _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, sums, 4 * kFilters);
  _tile_stored(1, sums + 16 * kFilters, 4 * kFilters);
  _tile_stored(2, sums + 16, 4 * kFilters);
  _tile_stored(3, sums + 16 * kFilters + 16, 4 * kFilters);
}

// A block's pixels, where they do not lie one behind the other or are too few.
void gather(const Problem& p, const std::uint8_t* x, std::int64_t first, std::int64_t count,
            std::uint8_t* to) {
  for (std::int64_t i = first; i < first + count; ++i, to += p.channels) {
    const std::int64_t column = i % p.out_width, row = i / p.out_width % p.out_height;
    const std::int64_t n = i / p.out_width / p.out_height;
    const std::int64_t at = (n * p.height + row * p.stride) * p.width + column * p.stride;
    std::memcpy(to, x + at * p.channels, static_cast<std::size_t>(p.channels));
  }
}

// A thread's part: pixels [first, last) by filters [from, to).
struct Part {
  std::int64_t first, last, from, to;
};

template <bool kSigned, bool kResidual>
RESNET_AMX_INT8 void run_part(const Problem& p, const Part& part, const std::uint8_t* x,
                              const std::int8_t* weights, const float* multipliers,
                              const float* bias, const std::uint8_t* residual, std::uint8_t* y,
                              std::byte* scratch) {
  auto* sums = reinterpret_cast<std::int32_t*>(scratch);
  auto* gathered = reinterpret_cast<std::uint8_t*>(scratch + kPixels * kFilters * 4);
  const amx_int8::Rounding rounding{.filters = p.filters,
                                    .y_signed = p.y_signed,
                                    .residual_signed = p.residual_signed,
                                    .residual_scale = p.residual_scale};
  _tile_loadconfig(&kAmxTiles);
  for (std::int64_t i = part.first; i < part.last; i += kPixels) {
    const std::int64_t count = std::min(kPixels, part.last - i);
    const std::uint8_t* pixels = x + i * p.channels;
    if (p.stride > 1 || count < kPixels) {
      gather(p, x, i, count, gathered);
      pixels = gathered;
    }
    for (std::int64_t m = part.from; m < part.to; m += kFilters) {
      amx_int8::memory_is_used(pixels);
      const std::int8_t* w = weights + m * p.channels;
      multiply<kSigned>(pixels, w, p.channels, sums);
      multiply<kSigned>(pixels, w + 32 * p.channels, p.channels, sums + 32);
      amx_int8::memory_is_used(sums);
      const std::int64_t at = i * p.filters + m;
      amx_int8::round_sums<kResidual>(rounding, sums, count, multipliers + m, bias + m,
                                      kResidual ? residual + at : nullptr, y + at);
    }
  }
  _tile_release();
}

// Threads share out the pixels if there are enough, else the filters, whose weights are then more.
Part part_of(const Problem& p, std::int64_t thread, std::int64_t threads) {
  const auto cut = [&](std::int64_t total, std::int64_t unit, std::int64_t i) {
    const std::int64_t units = (total + unit - 1) / unit;
    return std::min(total, units * i / threads * unit);
  };
  if (p.pixels() >= p.filters) {
    return {cut(p.pixels(), kPixels, thread), cut(p.pixels(), kPixels, thread + 1), 0, p.filters};
  }
  return {0, p.pixels(), cut(p.filters, kFilters, thread), cut(p.filters, kFilters, thread + 1)};
}

}  // namespace

bool usable(const Problem& p) {
  return has_amx() && p.channels % kChannels == 0 && p.filters % kFilters == 0 && p.pixels() > 0;
}

std::int64_t scratch_bytes(const Problem& p, int threads) {
  return bias_bytes(p) + threads * thread_bytes(p);
}

void run(const Problem& p, const std::uint8_t* x, const std::int8_t* weights, const float* bias,
         std::span<const float> multipliers, const std::uint8_t* residual, std::uint8_t* y,
         void* scratch, int threads) {
  auto* scaled = static_cast<float*>(scratch);
  for (std::size_t m = 0; m < multipliers.size(); ++m) scaled[m] = bias[m] * multipliers[m];
  std::byte* rest = static_cast<std::byte*>(scratch) + bias_bytes(p);
  const auto run_one = p.x_signed ? (p.residual ? run_part<true, true> : run_part<true, false>)
                                  : (p.residual ? run_part<false, true> : run_part<false, false>);
#pragma omp parallel num_threads(threads)
  {
    const int thread = omp_get_thread_num();
    run_one(p, part_of(p, thread, omp_get_num_threads()), x, weights, multipliers.data(), scaled,
            residual, y, rest + thread * thread_bytes(p));
  }
}

#else

bool usable(const Problem&) { return false; }
std::int64_t scratch_bytes(const Problem&, int) { return 0; }
void run(const Problem&, const std::uint8_t*, const std::int8_t*, const float*,
         std::span<const float>, const std::uint8_t*, std::uint8_t*, void*, int) {}

#endif

}  // namespace resnet::pointwise

#include "backends/cpu/peaks.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "backends/cpu/amx.h"

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/peaks.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace resnet::peaks {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Twelve chains of multiply-adds, more than latency times ports of any machine that there is. They
// start from different values, or a compiler would make one of them all. The result keeps it from
// leaving them out; the operations done are returned.
double multiply_add(std::int64_t rounds, float* result) {
  const D d;
  const V x = hn::Set(d, result[0]), y = hn::Set(d, result[1]);
  const auto start = [&](int n) HWY_ATTR { return hn::Set(d, result[n]); };
  V a = start(2), b = start(3), c = start(4), e = start(5), f = start(6), g = start(7);
  V h = start(8), i = start(9), j = start(10), k = start(11), l = start(12), m = start(13);
  for (std::int64_t r = 0; r < rounds; ++r) {
    a = hn::MulAdd(a, x, y), b = hn::MulAdd(b, x, y), c = hn::MulAdd(c, x, y);
    e = hn::MulAdd(e, x, y), f = hn::MulAdd(f, x, y), g = hn::MulAdd(g, x, y);
    h = hn::MulAdd(h, x, y), i = hn::MulAdd(i, x, y), j = hn::MulAdd(j, x, y);
    k = hn::MulAdd(k, x, y), l = hn::MulAdd(l, x, y), m = hn::MulAdd(m, x, y);
  }
  a = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)), hn::Add(hn::Add(f, g), hn::Add(h, i)));
  a = hn::Add(a, hn::Add(hn::Add(j, k), hn::Add(l, m)));
  result[15] = hn::GetLane(a);
  return 24.0 * static_cast<double>(rounds) * static_cast<double>(hn::Lanes(d));
}

// `n` is a multiple of 64.
void read(const float* x, std::size_t n, float* result) {
  const D d;
  V a = hn::Zero(d), b = a, c = a, e = a;
  const std::size_t step = hn::Lanes(d);
  for (std::size_t i = 0; i < n; i += 4 * step) {
    a = hn::Add(a, hn::Load(d, x + i));
    b = hn::Add(b, hn::Load(d, x + i + step));
    c = hn::Add(c, hn::Load(d, x + i + 2 * step));
    e = hn::Add(e, hn::Load(d, x + i + 3 * step));
  }
  result[2] = hn::GetLane(hn::Add(hn::Add(a, b), hn::Add(c, e)));
}

// a = b + s c. Past the caches, stores that do not first read what they overwrite are faster.
template <bool kStream>
void triad_with(float* a, const float* b, const float* c, std::size_t n) {
  const D d;
  const V s = hn::Set(d, 0.5F);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const V v = hn::MulAdd(s, hn::Load(d, c + i), hn::Load(d, b + i));
    if (kStream) {
      hn::Stream(v, d, a + i);
    } else {
      hn::Store(v, d, a + i);
    }
  }
}
void triad(float* a, const float* b, const float* c, std::size_t n) {
  triad_with<false>(a, b, c, n);
}
void stream_triad(float* a, const float* b, const float* c, std::size_t n) {
  triad_with<true>(a, b, c, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace resnet::peaks
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#if HWY_ARCH_X86
#include <immintrin.h>
#endif

namespace resnet {
namespace peaks {

HWY_EXPORT(multiply_add);
HWY_EXPORT(read);
HWY_EXPORT(triad);
HWY_EXPORT(stream_triad);

namespace {

// Runs `rounds` of multiply-adds and returns how many operations that was. `result` has 16 floats,
// all different: operands and what sums start from.
using Probe = double (*)(std::int64_t rounds, float* result);

double multiply_add(std::int64_t rounds, float* result) {
  return HWY_DYNAMIC_DISPATCH(multiply_add)(rounds, result);
}

#if HWY_ARCH_X86

#define RESNET_EIGHT(statement)                                                              \
  statement(0) statement(1) statement(2) statement(3) statement(4) statement(5) statement(6) \
      statement(7)

__attribute__((target("avx512f,avx512bw,avx512vnni"))) double vnni512(std::int64_t rounds,
                                                                      float* result) {
  const __m512i x = _mm512_set1_epi32(static_cast<int>(result[0]));
  __m512i sum[8];
  for (int i = 0; i < 8; ++i) sum[i] = _mm512_set1_epi32(static_cast<int>(1000 * result[i]));
  for (std::int64_t r = 0; r < rounds; ++r) {
#define RESNET_STEP(i) sum[i] = _mm512_dpbusd_epi32(sum[i], x, x);
    RESNET_EIGHT(RESNET_STEP)
#undef RESNET_STEP
  }
  for (const __m512i& s : sum) result[15] += static_cast<float>(_mm512_reduce_add_epi32(s));
  return 8.0 * 2 * 64 * static_cast<double>(rounds);
}

__attribute__((target("avx512f,avx512bf16"))) double bf16_512(std::int64_t rounds, float* result) {
  const __m512 x = _mm512_set1_ps(result[0]);
  const __m512bh y = _mm512_cvtne2ps_pbh(x, x);
  __m512 sum[8];
  for (int i = 0; i < 8; ++i) sum[i] = _mm512_set1_ps(result[i]);
  for (std::int64_t r = 0; r < rounds; ++r) {
#define RESNET_STEP(i) sum[i] = _mm512_dpbf16_ps(sum[i], y, y);
    RESNET_EIGHT(RESNET_STEP)
#undef RESNET_STEP
  }
  for (const __m512& s : sum) result[15] += _mm512_reduce_add_ps(s);
  return 8.0 * 2 * 32 * static_cast<double>(rounds);
}

__attribute__((target("avx2,avxvnni"))) double vnni256(std::int64_t rounds, float* result) {
  const __m256i x = _mm256_set1_epi32(static_cast<int>(result[0]));
  __m256i sum[8];
  for (int i = 0; i < 8; ++i) sum[i] = _mm256_set1_epi32(static_cast<int>(1000 * result[i]));
  for (std::int64_t r = 0; r < rounds; ++r) {
#define RESNET_STEP(i) sum[i] = _mm256_dpbusd_avx_epi32(sum[i], x, x);
    RESNET_EIGHT(RESNET_STEP)
#undef RESNET_STEP
  }
  for (const __m256i& s : sum) {
    result[15] += static_cast<float>(_mm_cvtsi128_si32(_mm256_castsi256_si128(s)));
  }
  return 8.0 * 2 * 32 * static_cast<double>(rounds);
}
#undef RESNET_EIGHT

// Four sums, two times two operands, all zero.
__attribute__((target("amx-tile"))) void load_tiles() {
  _tile_loadconfig(&kAmxTiles);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
}

__attribute__((target("amx-tile,amx-bf16"))) double amx_bf16(std::int64_t rounds, float*) {
  load_tiles();
  for (std::int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 4.0 * 2 * 16 * 16 * 32 * static_cast<double>(rounds);
}

__attribute__((target("amx-tile,amx-int8"))) double amx_int8(std::int64_t rounds, float*) {
  load_tiles();
  for (std::int64_t r = 0; r < rounds; ++r) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
  return 4.0 * 2 * 16 * 16 * 64 * static_cast<double>(rounds);
}

#endif  // HWY_ARCH_X86

struct Probes {
  Probe bf16 = multiply_add, int8 = multiply_add;
};

// By what oneDNN may use, so that ONEDNN_MAX_CPU_ISA limits both alike.
Probes probes() {
  Probes p;
#if HWY_ARCH_X86
  const auto isa = dnnl::get_effective_cpu_isa();
  const auto has = [&](dnnl::cpu_isa wanted) {  // newer ones contain the bits of older ones
    const auto bits = static_cast<unsigned>(wanted);
    return (static_cast<unsigned>(isa) & bits) == bits;
  };
  if (has(dnnl::cpu_isa::avx2_vnni)) p.int8 = vnni256;
  if (has(dnnl::cpu_isa::avx512_core_vnni)) p.int8 = vnni512;
  if (has(dnnl::cpu_isa::avx512_core_bf16)) p.bf16 = bf16_512;
  if (has_amx()) p.bf16 = amx_bf16, p.int8 = amx_int8;
#endif
  return p;
}

using Clock = std::chrono::steady_clock;

// Calls work(thread, rounds) on every thread at once; the best of several times, in seconds a
// round.
template <class Work>
double seconds_per_round(int threads, const Work& work) {
  const auto once = [&](std::int64_t rounds) {
    const auto start = Clock::now();
#pragma omp parallel num_threads(threads)
    work(omp_get_thread_num(), rounds);
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  constexpr double kEnough = 0.01;  // seconds, above what starting threads takes
  for (std::int64_t rounds = 1;; rounds *= 2) {
    double best = once(rounds);
    for (int i = 0; i < 5; ++i) best = std::min(best, once(rounds));
    if (best >= kEnough) return best / static_cast<double>(rounds);
  }
}

double operations(int threads, Probe probe) {
  double each = 0;
  const double seconds = seconds_per_round(threads, [&](int thread, std::int64_t rounds) {
    alignas(64) float result[16];
    for (int i = 0; i < 16; ++i) result[i] = 0.5F + 0.01F * static_cast<float>(i + thread);
    constexpr std::int64_t kUnit = 1000;
    const double done = probe(kUnit * rounds, result);
    if (thread == 0) each = done / static_cast<double>(rounds);
  });
  return each * threads / seconds;
}

// Each thread has a part of `bytes` to itself.
Bandwidth bandwidth(int threads, std::size_t bytes, float* memory) {
  const std::size_t part = bytes / sizeof(float) / static_cast<std::size_t>(threads);
  const std::size_t n = part / 192 * 64;  // floats of one of three arrays
  const auto moved = static_cast<double>(3 * n * sizeof(float)) * threads;
  const auto arrays = [&](int thread) { return memory + static_cast<std::size_t>(thread) * 3 * n; };
  const auto triad = [&](auto kernel) {
    return moved / seconds_per_round(threads, [&](int thread, std::int64_t rounds) {
             float* a = arrays(thread);
             for (std::int64_t r = 0; r < rounds; ++r) kernel(a, a + n, a + 2 * n, n);
           });
  };
  Bandwidth b{bytes, 0, 0};
  b.read = moved / seconds_per_round(threads, [&](int thread, std::int64_t rounds) {
             alignas(64) float result[16];
             for (std::int64_t r = 0; r < rounds; ++r) {
               HWY_DYNAMIC_DISPATCH(read)(arrays(thread), 3 * n, result);
             }
           });
  b.triad = std::max(triad(HWY_DYNAMIC_DISPATCH(triad)), triad(HWY_DYNAMIC_DISPATCH(stream_triad)));
  return b;
}

}  // namespace
}  // namespace peaks

MachinePeaks measure_cpu_peaks(int threads) {
  const peaks::Probes probes = peaks::probes();
  MachinePeaks result;
  result.threads = threads;
  result.f32 = peaks::operations(threads, peaks::multiply_add);
  result.bf16 = std::max(result.f32, peaks::operations(threads, probes.bf16));
  result.int8 = std::max(result.f32, peaks::operations(threads, probes.int8));
  constexpr std::size_t kSmallest = std::size_t{1} << 18, kLargest = std::size_t{1} << 28;
  const std::size_t floats = kLargest / sizeof(float);
  const std::unique_ptr<float[], void (*)(void*)> memory(
      static_cast<float*>(std::aligned_alloc(64, kLargest)), std::free);
  if (memory == nullptr) throw std::bad_alloc();
  std::fill_n(memory.get(), floats, 0.0F);
  for (std::size_t bytes = kSmallest; bytes <= kLargest; bytes *= 4) {
    result.bandwidth.push_back(peaks::bandwidth(threads, bytes, memory.get()));
  }
  return result;
}

}  // namespace resnet
#endif  // HWY_ONCE

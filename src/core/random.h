// Counter-based random numbers (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A stream is a pure function of (seed, stream, index): any thread may draw any
// number in any order, which is what makes batches and dropout masks independent of thread counts.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace resnet {

inline std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t high,
                                           std::uint64_t low) {
  std::array<std::uint32_t, 4> c = {
      static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(low >> 32),
      static_cast<std::uint32_t>(high), static_cast<std::uint32_t>(high >> 32)};
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ULL * c[0];
    const std::uint64_t p1 = 0xCD9E8D57ULL * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return c;
}

/// Dropout's random numbers: element i (row-major, logical) of a value is zeroed in step `step` iff
/// dropout_bits(seed, step, stream, i / 4)[i % 4] < dropout_threshold(p). 24 bits each.
inline std::array<std::uint32_t, 4> dropout_bits(std::uint64_t seed, std::uint64_t step,
                                                 std::uint64_t stream, std::uint64_t block) {
  // An odd factor other than Random's below, so that masks and augmentation share no stream.
  auto bits = philox(seed ^ ((stream + 1) * 0xD1342543DE82EF95ULL), step, block);
  for (auto& b : bits) b >>= 8;
  return bits;
}

/// The smallest 24-bit number that is kept when a share p in [0, 1) is to be dropped.
inline std::uint32_t dropout_threshold(double p) {
  return static_cast<std::uint32_t>(std::ceil(p * 0x1p24));
}

inline bool dropout_keeps(std::uint64_t seed, std::uint64_t step, std::uint64_t stream,
                          std::uint64_t element, double p) {
  return dropout_bits(seed, step, stream, element / 4)[element % 4] >= dropout_threshold(p);
}

/// A cheap sequential view of one stream: `Random rng(seed, epoch, index)`.
class Random {
 public:
  explicit Random(std::uint64_t seed, std::uint64_t a = 0, std::uint64_t b = 0)
      : key_(seed ^ (b * 0x9E3779B97F4A7C15ULL)), high_((a << 32) ^ b) {}

  std::uint32_t next() {
    if (used_ == 4) {
      block_ = philox(key_, high_, counter_++);
      used_ = 0;
    }
    return block_[used_++];
  }
  /// [0, 1), 24 bits: exact in float.
  float uniform() { return static_cast<float>(next() >> 8) * 0x1p-24F; }
  double uniform(double low, double high) {
    const std::uint64_t first = next();  // in a statement of its own: the order must not vary
    const std::uint64_t bits = (first << 21) ^ (next() >> 11);
    return low + (high - low) * (static_cast<double>(bits) * 0x1p-53);
  }
  /// [0, n), without bias (Lemire's method); n > 0.
  std::uint32_t below(std::uint32_t n) {
    std::uint64_t m = static_cast<std::uint64_t>(next()) * n;
    if (static_cast<std::uint32_t>(m) < n) {
      const std::uint32_t threshold = (0U - n) % n;
      while (static_cast<std::uint32_t>(m) < threshold) m = static_cast<std::uint64_t>(next()) * n;
    }
    return static_cast<std::uint32_t>(m >> 32);
  }
  bool bernoulli(double p) { return uniform() < p; }
  /// Standard normal (Box–Muller).
  double normal() {
    const double u = 1.0 - uniform(0, 1);  // (0, 1]
    const double angle = 2 * std::numbers::pi * uniform(0, 1);
    return std::sqrt(-2 * std::log(u)) * std::cos(angle);
  }

 private:
  std::uint64_t key_;
  std::uint64_t high_;
  std::uint64_t counter_ = 0;
  std::array<std::uint32_t, 4> block_{};
  std::uint32_t used_ = 4;
};

}  // namespace resnet

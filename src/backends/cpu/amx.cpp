// dw[o, i, kh, kw] = Σ dy[n, o, oy, ox] x[n, i, s oy + kh − pad, s ox + kw − pad] as products of
// matrices, of which the sum over places (n, oy, ox) is the inner dimension.
//
// With kh = s t + a, the row is s (oy + t) + a − pad: row oy + t of the image's phase a, which is
// every s-th row from a − pad on (columns likewise). dy and each phase of x are laid on one grid of
// n x (oh + T) x (ow + T) places, T = (k − 1) / s, with zeros where there is nothing; on the
// flattened grid a filter's tap is then a phase and a distance: dw[tap] = Σ_p dy[p] x_phase[p +
// distance], and what is beyond the border of one image meets zeros of dy.
//
// The units multiply tiles: 16 filters x 32 places by 32 places x 16 channels, the latter with the
// two values of neighbouring places side by side. Places are therefore packed in pairs, from an
// even one on and, for odd distances, from an odd one on. A chunk of places whose packed operands
// fit the cache is packed by all threads, then multiplied by all threads, each for filters and taps
// of its own: the order of additions does not depend on the number of threads.
#include "backends/cpu/amx.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>

#include "backends/cpu/cpu_target.h"
#include "core/check.h"

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define RESNET_AMX __attribute__((target("avx512f,avx512bw,avx512vl,amx-tile,amx-bf16")))
#endif

namespace resnet {

#ifdef RESNET_AMX
namespace {

using Bf16 = std::uint16_t;

constexpr std::int64_t kSide = 16;               // filters, channels of a tile
constexpr std::int64_t kPlaces = 32;             // of a tile
constexpr std::int64_t kTile = 512;              // elements of a tile of bf16
constexpr std::int64_t kTileSums = 256;          // elements of a tile of sums
constexpr std::int64_t kCacheBytes = 512 << 10;  // for the packed operands of a chunk

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

// 0 to 3 are sums, 4 and 5 of dy, 6 and 7 of x.
RESNET_AMX void begin_tiles() { _tile_loadconfig(&kAmxTiles); }

RESNET_AMX void end_tiles() { _tile_release(); }

// sums[f][c] (+)= dy[f] x[c] over `steps` tiles of places, for one or two tiles of filters and of
// channels. With one, the second pointers are the first.
template <bool kTwoFilters, bool kTwoChannels>
RESNET_AMX void multiply(const Bf16* dy0, const Bf16* dy1, const Bf16* x0, const Bf16* x1,
                         float* sums[2][2], std::int64_t steps, bool first) {
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums[0][0], 64);
    if constexpr (kTwoChannels) _tile_loadd(1, sums[0][1], 64);
    if constexpr (kTwoFilters) _tile_loadd(2, sums[1][0], 64);
    if constexpr (kTwoFilters && kTwoChannels) _tile_loadd(3, sums[1][1], 64);
  }
  for (std::int64_t k = 0; k < steps; ++k) {
    _tile_loadd(4, dy0 + k * kTile, 64);
    _tile_loadd(6, x0 + k * kTile, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoChannels) {
      _tile_loadd(7, x1 + k * kTile, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoFilters) {
      _tile_loadd(5, dy1 + k * kTile, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoChannels) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, sums[0][0], 64);
  if constexpr (kTwoChannels) _tile_stored(1, sums[0][1], 64);
  if constexpr (kTwoFilters) _tile_stored(2, sums[1][0], 64);
  if constexpr (kTwoFilters && kTwoChannels) _tile_stored(3, sums[1][1], 64);
}

// Two places' values of 16 channels (those of `mask`), side by side.
RESNET_AMX inline __m512i pair(const Bf16* first, const Bf16* second, __mmask16 mask) {
  // Masks even where all is wanted: GCC 12 warns of the other forms' undefined values.
  const __m512i a = _mm512_maskz_cvtepu16_epi32(mask, _mm256_maskz_loadu_epi16(mask, first));
  const __m512i b = _mm512_maskz_cvtepu16_epi32(mask, _mm256_maskz_loadu_epi16(mask, second));
  return _mm512_or_si512(a, _mm512_maskz_slli_epi32(mask, b, 16));
}

// Of places[0 … 2 · pairs): to[pair][channel][2].
RESNET_AMX void pack_pairs(const Bf16* const* places, std::int64_t pairs, std::int64_t channel,
                           __mmask16 mask, Bf16* to) {
  for (std::int64_t i = 0; i < pairs; ++i) {
    const __m512i v = pair(places[2 * i] + channel, places[2 * i + 1] + channel, mask);
    _mm512_storeu_si512(to + i * kPlaces, v);
  }
}

using Row = std::int32_t __attribute__((vector_size(64)));  // of a 16 x 16 matrix of pairs

// The even and the odd quarters of two rows.
RESNET_AMX inline Row even(Row a, Row b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
}
RESNET_AMX inline Row odd(Row a, Row b) {
  return __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
}

// Transposes the matrix: within 128 bits, then 128 bits at a time.
RESNET_AMX inline void transpose(Row (&r)[16]) {
  Row t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28,
                                   13, 29);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27,
                                       14, 30, 15, 31);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int k = 0; k < 2; ++k) {
      const Row a = t[i + k], b = t[i + k + 2];
      r[i + 2 * k] =
          __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      r[i + 2 * k + 1] =
          __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
  }
  // r[4 g + k] has, of rows 4 g … 4 g + 3, the columns k, 4 + k, 8 + k, 12 + k.
  for (int k = 0; k < 4; ++k) {
    const Row e0 = even(r[k], r[4 + k]), e1 = even(r[8 + k], r[12 + k]);
    const Row o0 = odd(r[k], r[4 + k]), o1 = odd(r[8 + k], r[12 + k]);
    t[k] = even(e0, e1), t[4 + k] = even(o0, o1);
    t[8 + k] = odd(e0, e1), t[12 + k] = odd(o0, o1);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

// Of 32 places: to[channel][place].
RESNET_AMX void pack_transposed(const Bf16* const* places, std::int64_t channel, __mmask16 mask,
                                Bf16* to) {
  Row rows[kPlaces / 2];
  for (int i = 0; i < kPlaces / 2; ++i) {
    rows[i] =
        reinterpret_cast<Row>(pair(places[2 * i] + channel, places[2 * i + 1] + channel, mask));
  }
  transpose(rows);
  for (int c = 0; c < kSide; ++c) {
    _mm512_storeu_si512(to + c * kPlaces, reinterpret_cast<__m512i>(rows[c]));
  }
}

// What lies on the grid.
struct Grid {
  std::int64_t n, rows, columns;
  std::int64_t places() const { return n * rows * columns; }
};

class AmxBackwardWeights final : public Kernel {
 public:
  AmxBackwardWeights(const Shape& x, const Shape& y, const Shape& w, const ConvAttributes& a);
  void run(const KernelArgs& args) const override;
  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(places_at() + threads_ * places_bytes());
  }

 private:
  // A phase of x, packed from its even or odd places on.
  struct Packing {
    std::int64_t row, column;  // of x at the grid's origin, without padding
    bool odd;
    bool operator==(const Packing&) const = default;
  };
  struct Tap {
    std::size_t packing;
    std::int64_t pairs;  // the distance
  };

  std::int64_t sums_bytes() const {
    return std::ssize(taps_) * filter_tiles_ * channel_tiles_ * kTileSums * 4;
  }
  std::int64_t places_at() const { return round_up(sums_at_ + sums_bytes(), 64); }
  std::int64_t places_bytes() const {  // of a thread
    return round_up((chunk_ + margin_) * std::int64_t{sizeof(const Bf16*)}, 64);
  }
  std::int64_t packed_x() const { return (chunk_ + margin_) * kSide; }  // elements of a tile column
  void find_places(const Bf16* data, const Shape& shape, std::int64_t stride, std::int64_t row,
                   std::int64_t column, std::int64_t first, std::int64_t count,
                   const Bf16** places) const;
  void pack(const KernelArgs& args, std::int64_t first, std::int64_t part,
            std::int64_t parts) const;
  void multiply_chunk(const KernelArgs& args, std::int64_t first, std::int64_t part,
                      std::int64_t parts) const;
  void write(const KernelArgs& args, std::int64_t part, std::int64_t parts) const;

  const Bf16** places(void* scratch, std::int64_t part) const {
    return reinterpret_cast<const Bf16**>(static_cast<std::byte*>(scratch) + places_at() +
                                          part * places_bytes());
  }
  Bf16* packed_dy(void* scratch) const { return static_cast<Bf16*>(scratch); }
  Bf16* packed_x(void* scratch, std::size_t packing, std::int64_t tile) const {
    return static_cast<Bf16*>(scratch) + chunk_ * filter_tiles_ * kSide +
           (static_cast<std::int64_t>(packing) * channel_tiles_ + tile) * packed_x();
  }
  float* sums(void* scratch, std::size_t tap, std::int64_t filter, std::int64_t channel) const {
    return reinterpret_cast<float*>(static_cast<std::byte*>(scratch) + sums_at_) +
           ((static_cast<std::int64_t>(tap) * filter_tiles_ + filter) * channel_tiles_ + channel) *
               kTileSums;
  }

  Shape x_, y_, w_;
  std::int64_t stride_;
  Grid grid_;
  std::vector<Packing> packings_;
  std::vector<Tap> taps_;
  std::int64_t filter_tiles_, channel_tiles_;
  std::int64_t margin_;  // places of x beyond a chunk
  std::int64_t chunk_;   // places
  std::int64_t sums_at_;
  std::int64_t threads_;
  std::vector<Bf16> zeros_;  // the channels of a place with nothing
};

AmxBackwardWeights::AmxBackwardWeights(const Shape& x, const Shape& y, const Shape& w,
                                       const ConvAttributes& a)
    : x_(x),
      y_(y),
      w_(w),
      stride_(a.stride_h),
      grid_{y[0], y[2] + (w[2] - 1) / stride_, y[3] + (w[3] - 1) / stride_},
      filter_tiles_((y[1] + kSide - 1) / kSide),
      channel_tiles_((x[1] + kSide - 1) / kSide),
      threads_(omp_get_max_threads()),
      zeros_(static_cast<std::size_t>(round_up(std::max(x[1], y[1]), kSide))) {
  for (std::int64_t kh = 0; kh < w[2]; ++kh) {
    for (std::int64_t kw = 0; kw < w[3]; ++kw) {
      const std::int64_t distance = kh / stride_ * grid_.columns + kw / stride_;
      const Packing p{kh % stride_ - a.pad_top, kw % stride_ - a.pad_left, distance % 2 == 1};
      const auto found = std::ranges::find(packings_, p);
      taps_.push_back({static_cast<std::size_t>(found - packings_.begin()), distance / 2});
      if (found == packings_.end()) packings_.push_back(p);
    }
  }
  margin_ = round_up((w[2] - 1) / stride_ * grid_.columns + (w[3] - 1) / stride_, 2);
  const std::int64_t bytes =
      2 * kSide * (filter_tiles_ + std::ssize(packings_) * channel_tiles_);  // of a place
  chunk_ = std::clamp(kCacheBytes / bytes / kPlaces * kPlaces, 8 * kPlaces, 512 * kPlaces);
  chunk_ = std::min(chunk_, round_up(grid_.places(), kPlaces));
  sums_at_ = round_up(
      2 * (chunk_ * filter_tiles_ * kSide + std::ssize(packings_) * channel_tiles_ * packed_x()),
      64);
}

// Where the values of `count` places from `first` on are, in data [n, h, w, c].
void AmxBackwardWeights::find_places(const Bf16* data, const Shape& shape, std::int64_t stride,
                                     std::int64_t row, std::int64_t column, std::int64_t first,
                                     std::int64_t count, const Bf16** places) const {
  const std::int64_t c = shape[1], h = shape[2], w = shape[3];
  std::int64_t q = first % grid_.columns, r = first / grid_.columns % grid_.rows;
  std::int64_t n = first / grid_.columns / grid_.rows;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at_row = stride * r + row, at_column = stride * q + column;
    const bool inside = n < grid_.n && at_row >= 0 && at_row < h && at_column >= 0 && at_column < w;
    places[i] = inside ? data + ((n * h + at_row) * w + at_column) * c : zeros_.data();
    if (++q < grid_.columns) continue;
    q = 0;
    if (++r < grid_.rows) continue;
    r = 0, ++n;
  }
}

__mmask16 channels_of(std::int64_t tile, std::int64_t channels) {
  const std::int64_t left = std::min(kSide, channels - tile * kSide);
  return static_cast<__mmask16>((1U << left) - 1);
}

// A thread's part of packing a chunk: some of its places, for all channels.
void AmxBackwardWeights::pack(const KernelArgs& args, std::int64_t first, std::int64_t part,
                              std::int64_t parts) const {
  const Bf16** const places = this->places(args.scratch, part);
  const auto* x = static_cast<const Bf16*>(args.in[0]);
  const auto* dy = static_cast<const Bf16*>(args.in[1]);
  const std::int64_t tiles = chunk_ / kPlaces;
  const std::int64_t from = tiles * part / parts, to = tiles * (part + 1) / parts;
  find_places(dy, y_, 1, 0, 0, first + from * kPlaces, (to - from) * kPlaces, places);
  for (std::int64_t f = 0; f < filter_tiles_; ++f) {
    for (std::int64_t t = from; t < to; ++t) {
      pack_transposed(places + (t - from) * kPlaces, f * kSide, channels_of(f, y_[1]),
                      packed_dy(args.scratch) + (f * tiles + t) * kTile);
    }
  }
  const std::int64_t pairs = (chunk_ + margin_) / 2;
  const std::int64_t begin = pairs * part / parts, end = pairs * (part + 1) / parts;
  for (std::size_t p = 0; p < packings_.size(); ++p) {
    const Packing& k = packings_[p];
    find_places(x, x_, stride_, k.row, k.column, first + 2 * begin + (k.odd ? 1 : 0),
                2 * (end - begin), places);
    for (std::int64_t c = 0; c < channel_tiles_; ++c) {
      pack_pairs(places, end - begin, c * kSide, channels_of(c, x_[1]),
                 packed_x(args.scratch, p, c) + begin * kPlaces);
    }
  }
}

// A thread's part of a chunk's products: tiles of filters and channels in twos, all taps.
void AmxBackwardWeights::multiply_chunk(const KernelArgs& args, std::int64_t first,
                                        std::int64_t part, std::int64_t parts) const {
  const std::int64_t f_twos = (filter_tiles_ + 1) / 2, c_twos = (channel_tiles_ + 1) / 2;
  const std::int64_t taps = std::ssize(taps_), jobs = f_twos * c_twos * taps;
  const std::int64_t steps = std::min(chunk_, round_up(grid_.places() - first, kPlaces)) / kPlaces;
  begin_tiles();
  for (std::int64_t job = jobs * part / parts; job < jobs * (part + 1) / parts; ++job) {
    const auto tap = static_cast<std::size_t>(job % taps);
    const std::int64_t c0 = job / taps % c_twos * 2, f0 = job / taps / c_twos * 2;
    const std::int64_t c1 = std::min(c0 + 1, channel_tiles_ - 1);
    const std::int64_t f1 = std::min(f0 + 1, filter_tiles_ - 1);
    const Bf16* dy = packed_dy(args.scratch);
    const Bf16* dy0 = dy + f0 * chunk_ / kPlaces * kTile;
    const Bf16* dy1 = dy + f1 * chunk_ / kPlaces * kTile;
    const std::int64_t offset = taps_[tap].pairs * kPlaces;
    const Bf16* x0 = packed_x(args.scratch, taps_[tap].packing, c0) + offset;
    const Bf16* x1 = packed_x(args.scratch, taps_[tap].packing, c1) + offset;
    float* out[2][2] = {{sums(args.scratch, tap, f0, c0), sums(args.scratch, tap, f0, c1)},
                        {sums(args.scratch, tap, f1, c0), sums(args.scratch, tap, f1, c1)}};
    const bool two_f = f1 > f0, two_c = c1 > c0;
    const auto product = two_f ? (two_c ? multiply<true, true> : multiply<true, false>)
                               : (two_c ? multiply<false, true> : multiply<false, false>);
    product(dy0, dy1, x0, x1, out, steps, first == 0);
  }
  end_tiles();
}

// Sums to [o, i, kh, kw].
void AmxBackwardWeights::write(const KernelArgs& args, std::int64_t part,
                               std::int64_t parts) const {
  auto* dw = static_cast<float*>(args.out[0]);
  const std::int64_t channels = x_[1], taps = std::ssize(taps_);
  for (std::int64_t o = y_[1] * part / parts; o < y_[1] * (part + 1) / parts; ++o) {
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      for (std::int64_t c = 0; c < channels; ++c) {
        dw[(o * channels + c) * taps + tap] =
            sums(args.scratch, static_cast<std::size_t>(tap), o / kSide,
                 c / kSide)[o % kSide * kSide + c % kSide];
      }
    }
  }
}

void AmxBackwardWeights::run(const KernelArgs& args) const {
#pragma omp parallel num_threads(static_cast <int>(threads_))
  {
    const int part = omp_get_thread_num(), parts = omp_get_num_threads();
    for (std::int64_t first = 0; first < grid_.places(); first += chunk_) {
      pack(args, first, part, parts);
#pragma omp barrier
      multiply_chunk(args, first, part, parts);
#pragma omp barrier
    }
    write(args, part, parts);
  }
}

bool ask_for_amx() {
  constexpr long kRequestPermission = 0x1023;      // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;                   // XFEATURE_XTILEDATA
  const auto isa = dnnl::get_effective_cpu_isa();  // what ONEDNN_MAX_CPU_ISA allows
  constexpr auto kAmx = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
  // Newer instruction sets contain the bits of older ones.
  return (static_cast<unsigned>(isa) & kAmx) == kAmx &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool has_amx() {
  static const bool has = ask_for_amx();
  return has;
}

KernelChoice make_amx_backward_weights(const NodeView& v) {
  const auto& a = v.attributes<ConvAttributes>();
  RESNET_CHECK(has_amx() && a.groups == 1 && a.stride_h == a.stride_w && a.dilation_h == 1 &&
               a.dilation_w == 1);
  auto kernel =
      std::make_unique<AmxBackwardWeights>(v.in_shape(0), v.in_shape(1), a.weight_shape, a);
  KernelChoice choice;
  choice.scratch_bytes = kernel->scratch_bytes();
  choice.kernel = std::move(kernel);
  choice.name = "own:amx_bf16";
  choice.inputs = {kChannelsLast, kChannelsLast};
  choice.outputs = {kPlainLayout};
  return choice;
}

#else

bool has_amx() { return false; }

KernelChoice make_amx_backward_weights(const NodeView& v) {
  fail(ErrorCode::kUnsupported, "layer {}: the processor has no AMX", v.node.name);
}

#endif

}  // namespace resnet

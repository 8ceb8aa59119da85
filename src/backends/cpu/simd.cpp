#include "backends/cpu/simd.h"

#include <cmath>
#include <cstring>
#include <type_traits>

// AVX2 and AVX-512 matter; anything older runs Highway's baseline.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/simd.cpp"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace resnet::simd {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// For lambdas in inner loops: a call for each pixel would keep every sum in memory. With sanitizers
// speed does not matter, and inlining everything takes the compiler minutes.
#ifdef __SANITIZE_ADDRESS__
#define RESNET_INLINED HWY_ATTR
#else
#define RESNET_INLINED HWY_ATTR __attribute__((always_inline))
#endif

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// --- Elements in memory: f32, or bf16, which every kernel computes with as f32.

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* p) {
  return hn::LoadU(d, p);
}

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const Bf16* p) {
  const hn::Rebind<std::uint16_t, D> half;
  const hn::RebindToUnsigned<D> bits;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(half, p))));
}

// Streaming wants whole cache lines in order; Bf16 vectors are half of one.
template <Store kStore = Store::kCached, class D>
HWY_INLINE void put(hn::Vec<D> v, D d, float* to) {
  if (kStore == Store::kStream) {
    hn::Stream(v, d, to);
  } else {
    hn::StoreU(v, d, to);
  }
}

// To nearest even by integers; a NaN stays one.
template <Store kStore = Store::kCached, class D>
HWY_INLINE void put(hn::Vec<D> v, D /*d*/, Bf16* to) {
  const hn::Rebind<std::uint16_t, D> half;
  const hn::RebindToUnsigned<D> bits;
  const auto u = hn::BitCast(bits, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(bits, 1));
  const auto rounded = hn::Add(u, hn::Add(odd, hn::Set(bits, 0x7fff)));
  const auto quiet = hn::Or(u, hn::Set(bits, 0x400000));
  const auto kept = hn::IfThenElse(hn::RebindMask(bits, hn::IsNaN(v)), quiet, rounded);
  hn::StoreU(hn::TruncateTo(half, hn::ShiftRight<16>(kept)), half, to);
}

// Calls body(tag, lane, vectors) for the channels of a block, a cache line at a time: one vector of
// f32, `vectors` = 2 of bf16. In nChw16c a block is one such vector with AVX-512, two with AVX2;
// channels last it is all channels, and smaller vectors follow the last whole line.
template <class T, class Body>
HWY_INLINE void for_lanes(std::int64_t block, const Body& body) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t lane = 0;
  if constexpr (sizeof(T) == 2) {
    for (; lane + 2 * lanes <= block; lane += 2 * lanes) {
      body(d, lane, std::integral_constant<int, 2>());
    }
  }
  const std::integral_constant<int, 1> single;
  for (; lane + lanes <= block; lane += lanes) body(d, lane, single);
  const hn::CappedTag<float, 8> eight;
  for (; lane + 8 <= block; lane += 8) body(eight, lane, single);
  const hn::CappedTag<float, 1> one;
  for (; lane < block; ++lane) body(one, lane, single);
}

// Neighbouring vectors of channels.
template <int kVectors, class D1>
struct Columns {
  hn::Vec<D1> v[kVectors];
  HWY_INLINE Columns(D1 d, const float* p) {
    for (int j = 0; j < kVectors; ++j) v[j] = hn::LoadU(d, p + j * hn::Lanes(d));
  }
};

// Calls body(first pixel, pixels) for pieces of a tile: while one line of channels after the other
// goes over a piece, memory is still read in order, by and large.
template <class T, class Body>
HWY_INLINE void for_pieces(std::int64_t pixels, std::int64_t block, const Body& body) {
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  constexpr std::int64_t kElements = 4096 / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t piece =
      block <= kLine ? pixels : (kElements / block > 8 ? kElements / block : 8);
  for (std::int64_t p = 0; p < pixels; p += piece) {
    body(p, pixels - p < piece ? pixels - p : piece);
  }
}

// Adds the sums of two series over pixels to `first` and `second`, with four accumulators each, so
// that additions overlap and errors grow a quarter as fast. `term(p, j, a, b)` adds pixel p of
// vector j to a and b.
template <int kVectors, class D1, class Term>
HWY_INLINE void sum_pairs(D1 d, std::int64_t begin, std::int64_t pixels, float* first,
                          float* second, const Term& term) {
  hn::Vec<D1> a[kVectors][4], b[kVectors][4];
  for (int j = 0; j < kVectors; ++j) {
    for (int i = 0; i < 4; ++i) a[j][i] = b[j][i] = hn::Zero(d);
  }
  std::int64_t p = begin;
  const std::int64_t end = begin + pixels;
  for (; p + 4 <= end; p += 4) {
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < kVectors; ++j) term(p + i, j, a[j][i], b[j][i]);
    }
  }
  for (; p < end; ++p) {
    for (int j = 0; j < kVectors; ++j) term(p, j, a[j][0], b[j][0]);
  }
  for (int j = 0; j < kVectors; ++j) {
    const auto total = [&](const hn::Vec<D1>* v) RESNET_INLINED {
      return hn::Add(hn::Add(v[0], v[1]), hn::Add(v[2], v[3]));
    };
    float* f = first + j * hn::Lanes(d);
    float* s = second + j * hn::Lanes(d);
    hn::StoreU(hn::Add(hn::LoadU(d, f), total(a[j])), d, f);
    hn::StoreU(hn::Add(hn::LoadU(d, s), total(b[j])), d, s);
  }
}

HWY_INLINE void clear(float* first, float* second, std::int64_t block) {
  for (std::int64_t i = 0; i < block; ++i) first[i] = second[i] = 0;
}

template <class T>
void tile_moments(const T* x, const float* shift, std::int64_t pixels, std::int64_t block,
                  float* sum, float* square) {
  clear(sum, square, block);
  for_pieces<T>(pixels, block, [&](std::int64_t begin, std::int64_t count) RESNET_INLINED {
    for_lanes<T>(block, [&](auto d, std::int64_t lane, auto vectors) RESNET_INLINED {
      const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
      const Columns<vectors, decltype(d)> k(d, shift + lane);
      sum_pairs<vectors>(d, begin, count, sum + lane, square + lane,
                         [&](std::int64_t p, int j, auto& a, auto& b) RESNET_INLINED {
                           const auto v =
                               hn::Sub(load(d, x + p * block + lane + j * lanes), k.v[j]);
                           a = hn::Add(a, v);
                           b = hn::MulAdd(v, v, b);
                         });
    });
  });
}

// max(v, 0), and NaN for NaN: x86's maximum returns its second operand then, as Relu() below also
// relies on. A ReLU that turned NaN into 0 would hide a broken layer from everyone behind it.
template <class D1>
HWY_INLINE hn::Vec<D1> rectified(D1 d, hn::Vec<D1> v) {
  return hn::Max(hn::Zero(d), v);
}

template <Store kStore, bool kResidual, bool kRelu, class T>
void normalize_with(const T* x, const T* residual, T* y, const float* mean, const float* scale,
                    const float* beta, std::int64_t pixels, std::int64_t block) {
  for_pieces<T>(pixels, block, [&](std::int64_t first, std::int64_t count) RESNET_INLINED {
    for_lanes<T>(block, [&](auto d, std::int64_t lane, auto vectors) RESNET_INLINED {
      const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
      using C = Columns<vectors, decltype(d)>;
      const C m(d, mean + lane), s(d, scale + lane), b(d, beta + lane);
      const std::int64_t end = (first + count) * block;
      for (std::int64_t i = first * block + lane; i < end; i += block) {
        for (int j = 0; j < vectors; ++j) {
          const std::int64_t at = i + j * lanes;
          auto v = hn::MulAdd(hn::Sub(load(d, x + at), m.v[j]), s.v[j], b.v[j]);
          if constexpr (kResidual) v = hn::Add(v, load(d, residual + at));
          if constexpr (kRelu) v = rectified(d, v);
          put<kStore>(v, d, y + at);
        }
      }
    });
  });
  if (kStore == Store::kStream) hwy::FlushStream();
}

// Calls f with `value` as a compile-time constant.
template <class F>
HWY_INLINE void with_bool(bool value, const F& f) {
  if (value) {
    f(std::true_type());
  } else {
    f(std::false_type());
  }
}
template <class F>
HWY_INLINE void with_store(Store store, const F& f) {
  if (store == Store::kStream) {
    f(std::integral_constant<Store, Store::kStream>());
  } else {
    f(std::integral_constant<Store, Store::kCached>());
  }
}

template <class T>
void tile_normalize(const T* x, const T* residual, T* y, const float* mean, const float* scale,
                    const float* beta, bool relu, Store store, std::int64_t pixels,
                    std::int64_t block) {
  with_store(store, [&](auto kept) HWY_ATTR {
    with_bool(residual != nullptr, [&](auto added) HWY_ATTR {
      with_bool(relu, [&](auto rectifies) HWY_ATTR {
        normalize_with<kept(), added(), rectifies()>(x, residual, y, mean, scale, beta, pixels,
                                                     block);
      });
    });
  });
}

// The masked gradient at element i. The mask repeats the forward pass's arithmetic to the bit.
template <Mask kMask, bool kSecond, class T, class D1, class V1 = hn::Vec<D1>>
HWY_INLINE V1 masked_gradient(D1 d, const NormGradientTile<T>& t, std::int64_t i, V1 centred,
                              V1 scale, V1 beta) {
  V1 g = load(d, t.dy + i);
  if (kSecond) g = hn::Add(g, load(d, t.dy2 + i));
  if (kMask == Mask::kFromX) {
    return hn::IfThenElseZero(hn::Gt(hn::MulAdd(centred, scale, beta), hn::Zero(d)), g);
  }
  if (kMask == Mask::kFromY) {
    return hn::IfThenElseZero(hn::Gt(load(d, t.y + i), hn::Zero(d)), g);
  }
  return g;
}

template <Mask kMask, bool kSecond, Store kStore, class T>
void gradient_sums(const NormGradientTile<T>& t, T* out, std::int64_t pixels, std::int64_t block,
                   float* sum, float* product) {
  clear(sum, product, block);
  for_pieces<T>(pixels, block, [&](std::int64_t first, std::int64_t count) RESNET_INLINED {
    for_lanes<T>(block, [&](auto d, std::int64_t lane, auto vectors) RESNET_INLINED {
      const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
      using C = Columns<vectors, decltype(d)>;
      const C mean(d, t.mean + lane), scale(d, t.scale + lane), beta(d, t.beta + lane);
      sum_pairs<vectors>(d, first, count, sum + lane, product + lane,
                         [&](std::int64_t p, int j, auto& a, auto& b) RESNET_INLINED {
                           const std::int64_t i = p * block + lane + j * lanes;
                           const auto centred = hn::Sub(load(d, t.x + i), mean.v[j]);
                           const auto g = masked_gradient<kMask, kSecond>(d, t, i, centred,
                                                                          scale.v[j], beta.v[j]);
                           if (out != nullptr) put<kStore>(g, d, out + i);
                           a = hn::Add(a, g);
                           b = hn::MulAdd(g, centred, b);
                         });
    });
  });
  if (kStore == Store::kStream) hwy::FlushStream();
}

template <Mask kMask, bool kSecond, Store kStore, class T>
void gradient_to_data(const NormGradientTile<T>& t, T* dx, const float* slope, const float* offset,
                      std::int64_t pixels, std::int64_t block) {
  for_pieces<T>(pixels, block, [&](std::int64_t first, std::int64_t count) RESNET_INLINED {
    for_lanes<T>(block, [&](auto d, std::int64_t lane, auto vectors) RESNET_INLINED {
      const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
      using C = Columns<vectors, decltype(d)>;
      const C mean(d, t.mean + lane), scale(d, t.scale + lane), beta(d, t.beta + lane),
          k(d, slope + lane), o(d, offset + lane);
      const std::int64_t end = (first + count) * block;
      for (std::int64_t p = first * block + lane; p < end; p += block) {
        for (int j = 0; j < vectors; ++j) {
          const std::int64_t i = p + j * lanes;
          const auto centred = hn::Sub(load(d, t.x + i), mean.v[j]);
          const auto g = masked_gradient<kMask, kSecond>(d, t, i, centred, scale.v[j], beta.v[j]);
          put<kStore>(hn::MulAdd(g, scale.v[j], hn::MulAdd(centred, k.v[j], o.v[j])), d, dx + i);
        }
      }
    });
  });
  if (kStore == Store::kStream) hwy::FlushStream();
}

// Calls f with mask, second gradient and store as compile-time constants.
template <class T, class F>
HWY_INLINE void specialise(const NormGradientTile<T>& t, Store store, const F& f) {
  const auto with_mask = [&](auto mask) HWY_ATTR {
    with_bool(t.dy2 != nullptr, [&](auto second) HWY_ATTR {
      with_store(store, [&](auto kept) HWY_ATTR { f(mask, second, kept); });
    });
  };
  switch (t.mask) {
    case Mask::kNone: return with_mask(std::integral_constant<Mask, Mask::kNone>());
    case Mask::kFromX: return with_mask(std::integral_constant<Mask, Mask::kFromX>());
    case Mask::kFromY: return with_mask(std::integral_constant<Mask, Mask::kFromY>());
  }
}

template <class T>
void tile_gradient_sums(const NormGradientTile<T>& t, T* g, Store store, std::int64_t pixels,
                        std::int64_t block, float* sum, float* product) {
  specialise(t, store, [&](auto mask, auto second, auto kept) HWY_ATTR {
    gradient_sums<mask(), second(), kept()>(t, g, pixels, block, sum, product);
  });
}

template <class T>
void tile_gradient(const NormGradientTile<T>& t, T* dx, const float* slope, const float* offset,
                   Store store, std::int64_t pixels, std::int64_t block) {
  specialise(t, store, [&](auto mask, auto second, auto kept) HWY_ATTR {
    gradient_to_data<mask(), second(), kept()>(t, dx, slope, offset, pixels, block);
  });
}

template <class T>
void tile_sum(const T* x, std::int64_t pixels, std::int64_t block, float* sum) {
  for_lanes<float>(block, [&](auto d, std::int64_t lane, auto) HWY_ATTR {
    auto a = hn::Zero(d), b = a;
    std::int64_t p = 0;
    for (; p + 2 <= pixels; p += 2) {
      a = hn::Add(a, load(d, x + p * block + lane));
      b = hn::Add(b, load(d, x + (p + 1) * block + lane));
    }
    if (p < pixels) a = hn::Add(a, load(d, x + p * block + lane));
    hn::StoreU(hn::Add(a, b), d, sum + lane);
  });
}

template <class T>
void tile_fill(T* y, const float* value, std::int64_t pixels, std::int64_t block) {
  for_lanes<float>(block, [&](auto d, std::int64_t lane, auto) HWY_ATTR {
    const auto v = hn::LoadU(d, value + lane);
    for (std::int64_t p = 0; p < pixels; ++p) put(v, d, y + p * block + lane);
  });
}

// y[i] = f(vector at i); the tail runs the same arithmetic on a partial vector.
template <class F>
HWY_INLINE void for_range(std::int64_t n, const F& f) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(d, i);
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) f(one, i);
}

template <class T>
void add_of(const T* a, const T* b, T* y, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i)
                   HWY_ATTR { put(hn::Add(load(d, a + i), load(d, b + i)), d, y + i); });
}

template <class T>
void relu_of(const T* x, T* y, std::int64_t n) {
  for_range(n,
            [&](auto d, std::int64_t i) HWY_ATTR { put(rectified(d, load(d, x + i)), d, y + i); });
}

template <class T>
void relu_backward_of(const T* dy, const T* y, T* dx, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto positive = hn::Gt(load(d, y + i), hn::Zero(d));
    put(hn::IfThenElseZero(positive, load(d, dy + i)), d, dx + i);
  });
}

void mul(const float* a, const float* b, float* y, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  });
}

void accumulate(float* variable, const float* value, float keep, float scale, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto v = hn::Mul(hn::Set(d, keep), hn::LoadU(d, variable + i));
    hn::StoreU(hn::MulAdd(hn::Set(d, scale), hn::LoadU(d, value + i), v), d, variable + i);
  });
}

void sgd(float* w, float* velocity, const float* gradient, const SgdStep& s, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto momentum = hn::Set(d, s.momentum), lr = hn::Set(d, s.lr);
    const auto weight = hn::LoadU(d, w + i);
    const auto g = hn::MulAdd(hn::Set(d, s.weight_decay), weight,
                              hn::Mul(hn::Set(d, s.gradient_scale), hn::LoadU(d, gradient + i)));
    const auto v = hn::MulAdd(momentum, hn::LoadU(d, velocity + i), g);
    hn::StoreU(v, d, velocity + i);
    const auto step = s.nesterov ? hn::MulAdd(momentum, v, g) : v;
    hn::StoreU(hn::NegMulAdd(lr, step, weight), d, w + i);
  });
}

void lars(float* w, float* velocity, const float* gradient, const LarsStep& s, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto weight = hn::LoadU(d, w + i);
    const auto g = hn::MulAdd(hn::Set(d, s.weight_decay), weight,
                              hn::Mul(hn::Set(d, s.gradient_scale), hn::LoadU(d, gradient + i)));
    const auto v = hn::MulAdd(hn::Set(d, s.momentum), hn::LoadU(d, velocity + i),
                              hn::Mul(hn::Set(d, s.rate), g));
    hn::StoreU(v, d, velocity + i);
    hn::StoreU(hn::Sub(weight, v), d, w + i);
  });
}

void adamw(float* w, float* m, float* v, const float* gradient, const AdamStep& s, std::int64_t n) {
  const float step = s.lr / s.correction1, root = 1.0F / std::sqrt(s.correction2);
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto g = hn::Mul(hn::Set(d, s.gradient_scale), hn::LoadU(d, gradient + i));
    const auto m1 =
        hn::MulAdd(hn::Set(d, s.beta1), hn::LoadU(d, m + i), hn::Mul(hn::Set(d, s.rest1), g));
    const auto v1 = hn::MulAdd(hn::Set(d, s.beta2), hn::LoadU(d, v + i),
                               hn::Mul(hn::Set(d, s.rest2), hn::Mul(g, g)));
    hn::StoreU(m1, d, m + i);
    hn::StoreU(v1, d, v + i);
    const auto decayed = hn::Mul(hn::Set(d, 1 - s.lr * s.weight_decay), hn::LoadU(d, w + i));
    const auto denominator = hn::MulAdd(hn::Sqrt(v1), hn::Set(d, root), hn::Set(d, s.eps));
    hn::StoreU(hn::NegMulAdd(hn::Set(d, step), hn::Div(m1, denominator), decayed), d, w + i);
  });
}

// The k in [0, kernel) whose places first + k are in [0, size).
struct Span {
  std::int64_t begin, end;
};
HWY_INLINE Span inside(std::int64_t first, std::int64_t kernel, std::int64_t size) {
  return {first < 0 ? -first : 0, size - first < kernel ? size - first : kernel};
}

// The maximum of one vector of channels over the part of a window that is in the image; its pixel
// (0, 0) is or would be at x[corner].
template <class D1>
HWY_INLINE void max_of_window(D1 d, const PoolWindows& p, const Bf16* x, std::int64_t corner,
                              Span rows, Span columns, Bf16* y, std::uint8_t* position) {
  const hn::Rebind<std::uint16_t, D1> half;
  const hn::Rebind<std::uint8_t, D1> bytes;
  const hn::RebindToUnsigned<D1> bits;
  const auto at = [&](std::int64_t kh, std::int64_t kw)
                      HWY_ATTR { return load(d, x + corner + (kh * p.width + kw) * p.channels); };
  const auto place = [&](std::int64_t kh, std::int64_t kw) HWY_ATTR {
    return hn::Set(bits, static_cast<std::uint32_t>(kh * p.kernel_w + kw));
  };
  auto best = at(rows.begin, columns.begin);
  auto where = place(rows.begin, columns.begin);
  for (std::int64_t kh = rows.begin; kh < rows.end; ++kh) {
    for (std::int64_t kw = columns.begin; kw < columns.end; ++kw) {
      if (kh == rows.begin && kw == columns.begin) continue;
      const auto v = at(kh, kw);
      // Greater, or the first NaN.
      const auto better = hn::And(hn::Not(hn::Le(v, best)), hn::Eq(best, best));
      best = hn::IfThenElse(better, v, best);
      where = hn::IfThenElse(hn::RebindMask(bits, better), place(kh, kw), where);
    }
  }
  hn::StoreU(hn::TruncateTo(half, hn::ShiftRight<16>(hn::BitCast(bits, best))), half, y);
  hn::StoreU(hn::TruncateTo(bytes, where), bytes, position);
}

void max_pool_row(const PoolWindows& p, const Bf16* x, std::int64_t row, Bf16* y,
                  std::uint8_t* position) {
  const std::int64_t top = row * p.stride_h - p.pad_top;
  const Span rows = inside(top, p.kernel_h, p.height);
  for (std::int64_t column = 0; column < p.out_width; ++column) {
    const std::int64_t left = column * p.stride_w - p.pad_left;
    const Span columns = inside(left, p.kernel_w, p.width);
    const std::int64_t from = (top * p.width + left) * p.channels, to = column * p.channels;
    const auto square = [&](std::int64_t side) {
      return rows.begin == 0 && columns.begin == 0 && rows.end == side && columns.end == side;
    };
    const auto windows = [&](Span r, Span c) HWY_ATTR {
      for_lanes<float>(p.channels, [&](auto d, std::int64_t lane, auto) HWY_ATTR {
        max_of_window(d, p, x, from + lane, r, c, y + to + lane, position + to + lane);
      });
    };
    if (square(2)) {  // constants unroll the loops
      windows({0, 2}, {0, 2});
    } else if (square(3)) {
      windows({0, 3}, {0, 3});
    } else {
      windows(rows, columns);
    }
  }
}

// y = x where position is `place`, else 0: no arithmetic, so the elements stay as they are.
HWY_INLINE void select_place(const Bf16* x, const std::uint8_t* position, std::int64_t place,
                             Bf16* y, std::int64_t n) {
  const hn::CappedTag<std::uint16_t, 32> d;
  const hn::Rebind<std::uint8_t, decltype(d)> bytes;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  const auto wanted = hn::Set(d, static_cast<std::uint16_t>(place));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto here = hn::Eq(hn::PromoteTo(d, hn::LoadU(bytes, position + i)), wanted);
    hn::StoreU(hn::IfThenElseZero(here, hn::LoadU(d, x + i)), d, y + i);
  }
  for (; i < n; ++i) y[i] = position[i] == place ? x[i] : Bf16{0};
}

void pool_backward_row(const PoolWindows& p, const Bf16* dy, const std::uint8_t* position,
                       const float* share, std::int64_t row, Bf16* dx) {
  // The windows that cover a pixel.
  const auto covering = [](std::int64_t at, std::int64_t kernel, std::int64_t stride,
                           std::int64_t windows) -> Span {
    const std::int64_t end = at / stride + 1;
    return {at < kernel ? 0 : (at - kernel) / stride + 1, end < windows ? end : windows};
  };
  const std::int64_t h = row + p.pad_top;
  const Span rows = covering(h, p.kernel_h, p.stride_h, p.out_height);
  const bool apart = p.stride_h >= p.kernel_h && p.stride_w >= p.kernel_w;
  for (std::int64_t column = 0; column < p.width; ++column) {
    const std::int64_t w = column + p.pad_left;
    const Span columns = covering(w, p.kernel_w, p.stride_w, p.out_width);
    Bf16* to = dx + column * p.channels;
    if (rows.begin >= rows.end || columns.begin >= columns.end) {
      std::memset(to, 0, static_cast<std::size_t>(p.channels) * sizeof(Bf16));
      continue;
    }
    if (apart && position != nullptr) {
      const std::int64_t at = (rows.begin * p.out_width + columns.begin) * p.channels;
      const std::int64_t place =
          (h - rows.begin * p.stride_h) * p.kernel_w + w - columns.begin * p.stride_w;
      select_place(dy + at, position + at, place, to, p.channels);
      continue;
    }
    for_lanes<float>(p.channels, [&](auto d, std::int64_t lane, auto) HWY_ATTR {
      const hn::Rebind<std::uint8_t, decltype(d)> bytes;
      const hn::RebindToUnsigned<decltype(d)> bits;
      auto sum = hn::Zero(d);
      for (std::int64_t oh = rows.begin; oh < rows.end; ++oh) {
        for (std::int64_t ow = columns.begin; ow < columns.end; ++ow) {
          const std::int64_t window = oh * p.out_width + ow, at = window * p.channels + lane;
          const auto g = load(d, dy + at);
          if (position == nullptr) {
            sum = hn::MulAdd(g, hn::Set(d, share[window]), sum);
            continue;
          }
          const std::int64_t here = (h - oh * p.stride_h) * p.kernel_w + w - ow * p.stride_w;
          const auto where = hn::PromoteTo(bits, hn::LoadU(bytes, position + at));
          const auto is_here = hn::Eq(where, hn::Set(bits, static_cast<std::uint32_t>(here)));
          sum = hn::Add(sum, hn::IfThenElseZero(hn::RebindMask(d, is_here), g));
        }
      }
      put(sum, d, to + lane);
    });
  }
}

template <class T>
constexpr Kernels<T> kKernels{tile_moments<T>,  tile_normalize<T>, tile_gradient_sums<T>,
                              tile_gradient<T>, tile_sum<T>,       tile_fill<T>,
                              add_of<T>,        relu_of<T>,        relu_backward_of<T>};
const Kernels<float>* kernels_f32() { return &kKernels<float>; }
const Kernels<Bf16>* kernels_bf16() { return &kKernels<Bf16>; }

std::int64_t vector_lanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

double square_sum(const float* x, std::int64_t n) {
  const D d;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  constexpr std::int64_t kRun = 4096;  // floats summed in float before the sum moves to double
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += kRun) {
    const std::int64_t end = begin + kRun < n ? begin + kRun : n;
    V a = hn::Zero(d);
    std::int64_t i = begin;
    for (; i + lanes <= end; i += lanes) {
      const V v = hn::LoadU(d, x + i);
      a = hn::MulAdd(v, v, a);
    }
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, a)));
    for (; i < end; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace resnet::simd
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace resnet::simd {

HWY_EXPORT(kernels_f32);
HWY_EXPORT(kernels_bf16);
HWY_EXPORT(mul);
HWY_EXPORT(max_pool_row);
HWY_EXPORT(pool_backward_row);
HWY_EXPORT(accumulate);
HWY_EXPORT(sgd);
HWY_EXPORT(lars);
HWY_EXPORT(adamw);
HWY_EXPORT(square_sum);
HWY_EXPORT(vector_lanes);

bool limit_vectors(std::int64_t block) {
  if (HWY_DYNAMIC_DISPATCH(vector_lanes)() <= block) return true;
  hwy::DisableTargets(HWY_AVX3 | HWY_AVX3_DL);
  return HWY_DYNAMIC_DISPATCH(vector_lanes)() <= block;
}

template <>
const Kernels<float>& kernels<float>() {
  return *HWY_DYNAMIC_DISPATCH(kernels_f32)();
}
template <>
const Kernels<Bf16>& kernels<Bf16>() {
  return *HWY_DYNAMIC_DISPATCH(kernels_bf16)();
}
void max_pool_row(const PoolWindows& p, const Bf16* x, std::int64_t row, Bf16* y,
                  std::uint8_t* position) {
  HWY_DYNAMIC_DISPATCH(max_pool_row)(p, x, row, y, position);
}
void pool_backward_row(const PoolWindows& p, const Bf16* dy, const std::uint8_t* position,
                       const float* share, std::int64_t row, Bf16* dx) {
  HWY_DYNAMIC_DISPATCH(pool_backward_row)(p, dy, position, share, row, dx);
}
void mul(const float* a, const float* b, float* y, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(mul)(a, b, y, n);
}
void accumulate(float* variable, const float* value, float keep, float scale, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(accumulate)(variable, value, keep, scale, n);
}
void sgd(float* w, float* velocity, const float* gradient, const SgdStep& s, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(sgd)(w, velocity, gradient, s, n);
}
void lars(float* w, float* velocity, const float* gradient, const LarsStep& s, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(lars)(w, velocity, gradient, s, n);
}
void adamw(float* w, float* m, float* v, const float* gradient, const AdamStep& s, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(adamw)(w, m, v, gradient, s, n);
}
double square_sum(const float* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(square_sum)(x, n); }

}  // namespace resnet::simd
#endif

#include "backends/cpu/simd.h"

#include <cmath>
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
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// Calls body(lane offset) for each vector of a block. With AVX-512 that is one call.
template <class Body>
HWY_INLINE void for_lanes(std::int64_t block, const Body& body) {
  const D d;
  for (std::int64_t lane = 0; lane < block; lane += static_cast<std::int64_t>(hn::Lanes(d))) {
    body(lane);
  }
}

// Sums of two series over pixels, four accumulators each so that additions overlap and errors grow
// a quarter as fast. `term(p, a, b)` adds pixel p to a and b.
template <class Term>
HWY_INLINE void sum_pairs(std::int64_t pixels, float* first, float* second, const Term& term) {
  const D d;
  V a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  std::int64_t p = 0;
  for (; p + 4 <= pixels; p += 4) {
    term(p, a0, b0);
    term(p + 1, a1, b1);
    term(p + 2, a2, b2);
    term(p + 3, a3, b3);
  }
  for (; p < pixels; ++p) term(p, a0, b0);
  hn::StoreU(hn::Add(hn::Add(a0, a1), hn::Add(a2, a3)), d, first);
  hn::StoreU(hn::Add(hn::Add(b0, b1), hn::Add(b2, b3)), d, second);
}

void TileMoments(const float* x, const float* shift, std::int64_t pixels, std::int64_t block,
                 float* sum, float* square) {
  const D d;
  for_lanes(block, [&](std::int64_t lane) HWY_ATTR {
    const V k = hn::LoadU(d, shift + lane);
    sum_pairs(pixels, sum + lane, square + lane, [&](std::int64_t p, V& a, V& b) HWY_ATTR {
      const V v = hn::Sub(hn::LoadU(d, x + p * block + lane), k);
      a = hn::Add(a, v);
      b = hn::MulAdd(v, v, b);
    });
  });
}

// max(v, 0), and NaN for NaN: x86's maximum returns its second operand then, as Relu() below also
// relies on. A ReLU that turned NaN into 0 would hide a broken layer from everyone behind it.
HWY_INLINE V rectified(V v) { return hn::Max(hn::Zero(D()), v); }

// Streaming wants vectors as wide as the alignment of tiles allows; every target has that.
template <Store kStore>
HWY_INLINE void put(V v, float* to) {
  const D d;
  if (kStore == Store::kStream) {
    hn::Stream(v, d, to);
  } else {
    hn::StoreU(v, d, to);
  }
}

template <Store kStore>
void NormalizeWith(const float* x, const float* residual, float* y, const float* mean,
                   const float* scale, const float* beta, bool relu, std::int64_t pixels,
                   std::int64_t block) {
  const D d;
  for_lanes(block, [&](std::int64_t lane) HWY_ATTR {
    const V m = hn::LoadU(d, mean + lane), s = hn::LoadU(d, scale + lane),
            b = hn::LoadU(d, beta + lane);
    const auto value = [&](std::int64_t i)
                           HWY_ATTR { return hn::MulAdd(hn::Sub(hn::LoadU(d, x + i), m), s, b); };
    const std::int64_t end = pixels * block;
    if (residual != nullptr && relu) {
      for (std::int64_t i = lane; i < end; i += block) {
        put<kStore>(rectified(hn::Add(value(i), hn::LoadU(d, residual + i))), y + i);
      }
    } else if (residual != nullptr) {
      for (std::int64_t i = lane; i < end; i += block) {
        put<kStore>(hn::Add(value(i), hn::LoadU(d, residual + i)), y + i);
      }
    } else if (relu) {
      for (std::int64_t i = lane; i < end; i += block) {
        put<kStore>(rectified(value(i)), y + i);
      }
    } else {
      for (std::int64_t i = lane; i < end; i += block) put<kStore>(value(i), y + i);
    }
  });
  if (kStore == Store::kStream) hwy::FlushStream();
}

void TileNormalize(const float* x, const float* residual, float* y, const float* mean,
                   const float* scale, const float* beta, bool relu, Store store,
                   std::int64_t pixels, std::int64_t block) {
  const auto run =
      store == Store::kStream ? NormalizeWith<Store::kStream> : NormalizeWith<Store::kCached>;
  run(x, residual, y, mean, scale, beta, relu, pixels, block);
}

// The masked gradient at element i. The mask repeats the forward pass's arithmetic to the bit.
template <Mask kMask, bool kSecond>
HWY_INLINE V masked_gradient(const NormGradientTile& t, std::int64_t i, V centred, V scale,
                             V beta) {
  const D d;
  V g = hn::LoadU(d, t.dy + i);
  if (kSecond) g = hn::Add(g, hn::LoadU(d, t.dy2 + i));
  if (kMask == Mask::kFromX) {
    return hn::IfThenElseZero(hn::Gt(hn::MulAdd(centred, scale, beta), hn::Zero(d)), g);
  }
  if (kMask == Mask::kFromY) {
    return hn::IfThenElseZero(hn::Gt(hn::LoadU(d, t.y + i), hn::Zero(d)), g);
  }
  return g;
}

template <Mask kMask, bool kSecond, Store kStore>
void GradientSums(const NormGradientTile& t, float* out, std::int64_t pixels, std::int64_t block,
                  float* sum, float* product) {
  const D d;
  for_lanes(block, [&](std::int64_t lane) HWY_ATTR {
    const V mean = hn::LoadU(d, t.mean + lane), scale = hn::LoadU(d, t.scale + lane),
            beta = hn::LoadU(d, t.beta + lane);
    sum_pairs(pixels, sum + lane, product + lane, [&](std::int64_t p, V& a, V& b) HWY_ATTR {
      const std::int64_t i = p * block + lane;
      const V centred = hn::Sub(hn::LoadU(d, t.x + i), mean);
      const V g = masked_gradient<kMask, kSecond>(t, i, centred, scale, beta);
      if (out != nullptr) put<kStore>(g, out + i);
      a = hn::Add(a, g);
      b = hn::MulAdd(g, centred, b);
    });
  });
  if (kStore == Store::kStream) hwy::FlushStream();
}

template <Mask kMask, bool kSecond, Store kStore>
void Gradient(const NormGradientTile& t, float* dx, const float* slope, const float* offset,
              std::int64_t pixels, std::int64_t block) {
  const D d;
  for_lanes(block, [&](std::int64_t lane) HWY_ATTR {
    const V mean = hn::LoadU(d, t.mean + lane), scale = hn::LoadU(d, t.scale + lane),
            beta = hn::LoadU(d, t.beta + lane), k = hn::LoadU(d, slope + lane),
            o = hn::LoadU(d, offset + lane);
    const std::int64_t end = pixels * block;
    for (std::int64_t i = lane; i < end; i += block) {
      const V centred = hn::Sub(hn::LoadU(d, t.x + i), mean);
      const V g = masked_gradient<kMask, kSecond>(t, i, centred, scale, beta);
      put<kStore>(hn::MulAdd(g, scale, hn::MulAdd(centred, k, o)), dx + i);
    }
  });
  if (kStore == Store::kStream) hwy::FlushStream();
}

// Calls f with mask, second gradient and store as compile-time constants.
template <class F>
HWY_INLINE void specialise(const NormGradientTile& t, Store store, const F& f) {
  const auto with_store = [&](auto mask, auto second) HWY_ATTR {
    if (store == Store::kStream) {
      f(mask, second, std::integral_constant<Store, Store::kStream>());
    } else {
      f(mask, second, std::integral_constant<Store, Store::kCached>());
    }
  };
  const auto with_second = [&](auto mask) HWY_ATTR {
    if (t.dy2 != nullptr) {
      with_store(mask, std::true_type());
    } else {
      with_store(mask, std::false_type());
    }
  };
  switch (t.mask) {
    case Mask::kNone: return with_second(std::integral_constant<Mask, Mask::kNone>());
    case Mask::kFromX: return with_second(std::integral_constant<Mask, Mask::kFromX>());
    case Mask::kFromY: return with_second(std::integral_constant<Mask, Mask::kFromY>());
  }
}

void TileNormGradientSums(const NormGradientTile& t, float* g, Store store, std::int64_t pixels,
                          std::int64_t block, float* sum, float* product) {
  specialise(t, store, [&](auto mask, auto second, auto kept) HWY_ATTR {
    GradientSums<mask(), second(), kept()>(t, g, pixels, block, sum, product);
  });
}

void TileNormGradient(const NormGradientTile& t, float* dx, const float* slope, const float* offset,
                      Store store, std::int64_t pixels, std::int64_t block) {
  specialise(t, store, [&](auto mask, auto second, auto kept) HWY_ATTR {
    Gradient<mask(), second(), kept()>(t, dx, slope, offset, pixels, block);
  });
}

void TileSum(const float* x, std::int64_t pixels, std::int64_t block, float* sum) {
  const D d;
  for_lanes(block, [&](std::int64_t lane) HWY_ATTR {
    V a = hn::Zero(d), b = a;
    std::int64_t p = 0;
    for (; p + 2 <= pixels; p += 2) {
      a = hn::Add(a, hn::LoadU(d, x + p * block + lane));
      b = hn::Add(b, hn::LoadU(d, x + (p + 1) * block + lane));
    }
    if (p < pixels) a = hn::Add(a, hn::LoadU(d, x + p * block + lane));
    hn::StoreU(hn::Add(a, b), d, sum + lane);
  });
}

void TileFill(float* y, const float* value, std::int64_t pixels, std::int64_t block) {
  const D d;
  for_lanes(block, [&](std::int64_t lane) HWY_ATTR {
    const V v = hn::LoadU(d, value + lane);
    for (std::int64_t p = 0; p < pixels; ++p) hn::StoreU(v, d, y + p * block + lane);
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

void Add(const float* a, const float* b, float* y, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  });
}

void Mul(const float* a, const float* b, float* y, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  });
}

void Relu(const float* x, float* y, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i)
                   HWY_ATTR { hn::StoreU(hn::Max(hn::Zero(d), hn::LoadU(d, x + i)), d, y + i); });
}

void ReluBackward(const float* dy, const float* y, float* dx, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto positive = hn::Gt(hn::LoadU(d, y + i), hn::Zero(d));
    hn::StoreU(hn::IfThenElseZero(positive, hn::LoadU(d, dy + i)), d, dx + i);
  });
}

void Accumulate(float* variable, const float* value, float keep, float scale, std::int64_t n) {
  for_range(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto v = hn::Mul(hn::Set(d, keep), hn::LoadU(d, variable + i));
    hn::StoreU(hn::MulAdd(hn::Set(d, scale), hn::LoadU(d, value + i), v), d, variable + i);
  });
}

void Sgd(float* w, float* velocity, const float* gradient, const SgdStep& s, std::int64_t n) {
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

void Lars(float* w, float* velocity, const float* gradient, const LarsStep& s, std::int64_t n) {
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

void AdamW(float* w, float* m, float* v, const float* gradient, const AdamStep& s, std::int64_t n) {
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

std::int64_t VectorLanes() { return static_cast<std::int64_t>(hn::Lanes(D())); }

double SquareSum(const float* x, std::int64_t n) {
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

HWY_EXPORT(TileMoments);
HWY_EXPORT(TileNormalize);
HWY_EXPORT(TileNormGradientSums);
HWY_EXPORT(TileNormGradient);
HWY_EXPORT(TileSum);
HWY_EXPORT(TileFill);
HWY_EXPORT(Add);
HWY_EXPORT(Mul);
HWY_EXPORT(Relu);
HWY_EXPORT(ReluBackward);
HWY_EXPORT(Accumulate);
HWY_EXPORT(Sgd);
HWY_EXPORT(Lars);
HWY_EXPORT(AdamW);
HWY_EXPORT(SquareSum);
HWY_EXPORT(VectorLanes);

bool limit_vectors(std::int64_t block) {
  if (HWY_DYNAMIC_DISPATCH(VectorLanes)() <= block) return true;
  hwy::DisableTargets(HWY_AVX3 | HWY_AVX3_DL);
  return HWY_DYNAMIC_DISPATCH(VectorLanes)() <= block;
}

void tile_moments(const float* x, const float* shift, std::int64_t pixels, std::int64_t block,
                  float* sum, float* square) {
  HWY_DYNAMIC_DISPATCH(TileMoments)(x, shift, pixels, block, sum, square);
}
void tile_normalize(const float* x, const float* residual, float* y, const float* mean,
                    const float* scale, const float* beta, bool relu, Store store,
                    std::int64_t pixels, std::int64_t block) {
  HWY_DYNAMIC_DISPATCH(TileNormalize)
  (x, residual, y, mean, scale, beta, relu, store, pixels, block);
}
void tile_norm_gradient_sums(const NormGradientTile& t, float* g, Store store, std::int64_t pixels,
                             std::int64_t block, float* sum, float* product) {
  HWY_DYNAMIC_DISPATCH(TileNormGradientSums)(t, g, store, pixels, block, sum, product);
}
void tile_norm_gradient(const NormGradientTile& t, float* dx, const float* slope,
                        const float* offset, Store store, std::int64_t pixels, std::int64_t block) {
  HWY_DYNAMIC_DISPATCH(TileNormGradient)(t, dx, slope, offset, store, pixels, block);
}
void tile_sum(const float* x, std::int64_t pixels, std::int64_t block, float* sum) {
  HWY_DYNAMIC_DISPATCH(TileSum)(x, pixels, block, sum);
}
void tile_fill(float* y, const float* value, std::int64_t pixels, std::int64_t block) {
  HWY_DYNAMIC_DISPATCH(TileFill)(y, value, pixels, block);
}
void add(const float* a, const float* b, float* y, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(Add)(a, b, y, n);
}
void mul(const float* a, const float* b, float* y, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(Mul)(a, b, y, n);
}
void relu(const float* x, float* y, std::int64_t n) { HWY_DYNAMIC_DISPATCH(Relu)(x, y, n); }
void relu_backward(const float* dy, const float* y, float* dx, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(ReluBackward)(dy, y, dx, n);
}
void accumulate(float* variable, const float* value, float keep, float scale, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(Accumulate)(variable, value, keep, scale, n);
}
void sgd(float* w, float* velocity, const float* gradient, const SgdStep& s, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(Sgd)(w, velocity, gradient, s, n);
}
void lars(float* w, float* velocity, const float* gradient, const LarsStep& s, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(Lars)(w, velocity, gradient, s, n);
}
void adamw(float* w, float* m, float* v, const float* gradient, const AdamStep& s, std::int64_t n) {
  HWY_DYNAMIC_DISPATCH(AdamW)(w, m, v, gradient, s, n);
}
double square_sum(const float* x, std::int64_t n) { return HWY_DYNAMIC_DISPATCH(SquareSum)(x, n); }

}  // namespace resnet::simd
#endif

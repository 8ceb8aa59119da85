// Ops that treat every element alike. On blocked data they run over the padding too, which stays
// zero for all of them but the sigmoid.
#include <omp.h>

#include <cmath>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/simd.h"
#include "core/check.h"
#include "core/half.h"
#include "core/random.h"

namespace resnet {
namespace {

using simd::Bf16;

template <class T = float>
const T* in(const KernelArgs& args, std::size_t i) {
  return static_cast<const T*>(args.in[i]);
}
template <class T = float>
T* out(const KernelArgs& args) {
  return static_cast<T*>(args.out[0]);
}

// f(begin, end) over [0, n) in one piece a thread, on cache line borders.
template <class F>
void parallel_ranges(std::int64_t n, const F& f) {
#pragma omp parallel
  {
    const std::int64_t threads = omp_get_num_threads(), id = omp_get_thread_num();
    const std::int64_t piece = (n / threads + 16) / 16 * 16;
    const std::int64_t begin = std::min(n, id * piece), end = std::min(n, begin + piece);
    if (begin < end) f(begin, end);
  }
}

// A function (a, y, n) or (a, b, y, n) of elements of type T.
template <class T>
class Unary final : public Kernel {
 public:
  using Function = void (*)(const T*, T*, std::int64_t);
  Unary(std::int64_t n, Function f) : n_(n), f_(f) {}
  void run(const KernelArgs& args) const override {
    parallel_ranges(n_, [&](std::int64_t b, std::int64_t e) {
      f_(in<T>(args, 0) + b, out<T>(args) + b, e - b);
    });
  }

 private:
  std::int64_t n_;
  Function f_;
};

template <class T>
class Binary final : public Kernel {
 public:
  using Function = void (*)(const T*, const T*, T*, std::int64_t);
  Binary(std::int64_t n, Function f) : n_(n), f_(f) {}
  void run(const KernelArgs& args) const override {
    parallel_ranges(n_, [&](std::int64_t b, std::int64_t e) {
      f_(in<T>(args, 0) + b, in<T>(args, 1) + b, out<T>(args) + b, e - b);
    });
  }

 private:
  std::int64_t n_;
  Function f_;
};

void sigmoid(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = 1 / (1 + std::exp(-x[i]));
}

// The padding of blocked channels must stay zero, and sigmoid(0) is not.
class BlockedSigmoid final : public Kernel {
 public:
  explicit BlockedSigmoid(BlockedShape s) : s_(s) {}
  void run(const KernelArgs& args) const override {
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      float* y = out(args) + t * s_.tile();
      sigmoid(in(args, 0) + t * s_.tile(), y, s_.tile());
      const std::int64_t real = s_.channels - t % s_.blocks * s_.block;
      for (std::int64_t p = 0; p < s_.pixels() && real < s_.block; ++p) {
        std::fill(y + p * s_.block + real, y + (p + 1) * s_.block, 0.0F);
      }
    }
  }

 private:
  BlockedShape s_;
};

void sigmoid_backward(const float* dy, const float* y, float* dx, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) dx[i] = dy[i] * y[i] * (1 - y[i]);
}

float scaled(float x, float scale) { return x * scale; }
Bf16 scaled(Bf16 x, float scale) { return float_to_bfloat16(bfloat16_to_float(x) * scale); }

// The mask is a function of the logical (row-major) element, so every layout drops the same ones.
template <class T>
class Dropout final : public Kernel {
 public:
  Dropout(const NodeView& v)
      : shape_(v.out_shape()),
        blocked_(shape_.size() == 4 ? v.target.blocked(v.out()) : BlockedShape()),
        a_(v.attributes<DropoutAttributes>()),
        scale_(static_cast<float>(1 / (1 - a_.p))) {}
  void run(const KernelArgs& args) const override {
    const T* x = in<T>(args, 0);
    T* y = out<T>(args);
    if (shape_.size() != 4) {
      const std::int64_t n = element_count(shape_);
      parallel_ranges(n, [&](std::int64_t b, std::int64_t e) {
        for (std::int64_t i = b; i < e; ++i) y[i] = keeps(args, i) ? scaled(x[i], scale_) : T{0};
      });
      return;
    }
    const BlockedShape& s = blocked_;
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s.tiles(); ++t) {
      const std::int64_t n = t / s.blocks, c0 = t % s.blocks * s.block;
      for (std::int64_t lane = 0; lane < s.block; ++lane) {
        for (std::int64_t p = 0; p < s.pixels(); ++p) {
          const std::int64_t at = t * s.tile() + p * s.block + lane;
          const std::int64_t element = (n * s.channels + c0 + lane) * s.pixels() + p;
          const bool real = c0 + lane < s.channels;
          y[at] = real && keeps(args, element) ? scaled(x[at], scale_) : T{0};
        }
      }
    }
  }

 private:
  bool keeps(const KernelArgs& args, std::int64_t i) const {
    return dropout_keeps(args.context.seed, args.context.step, a_.stream,
                         static_cast<std::uint64_t>(i), a_.p);
  }
  Shape shape_;
  BlockedShape blocked_;
  DropoutAttributes a_;
  float scale_;
};

// On blocked data over the padding, too: 0 * factor stays 0.
class Scale final : public Kernel {
 public:
  Scale(std::int64_t n, double factor) : n_(n), factor_(static_cast<float>(factor)) {}
  void run(const KernelArgs& args) const override {
    parallel_ranges(n_, [&](std::int64_t b, std::int64_t e) {
      for (std::int64_t i = b; i < e; ++i) out(args)[i] = in(args, 0)[i] * factor_;
    });
  }

 private:
  std::int64_t n_;
  float factor_;
};

class Fill final : public Kernel {
 public:
  Fill(std::int64_t n, double value) : n_(n), value_(static_cast<float>(value)) {}
  void run(const KernelArgs& args) const override { std::fill_n(out(args), n_, value_); }

 private:
  std::int64_t n_;
  float value_;
};

// What there is in every type of activations; no kernel in other cases.
template <class T>
std::unique_ptr<Kernel> make_activation_kernel(const NodeView& v, std::int64_t n) {
  const simd::Kernels<T>& k = simd::kernels<T>();
  switch (v.node.op) {
    case Op::kRelu: return std::make_unique<Unary<T>>(n, k.relu);
    case Op::kAdd: return std::make_unique<Binary<T>>(n, k.add);
    case Op::kReluBackward: return std::make_unique<Binary<T>>(n, k.relu_backward);
    case Op::kDropout: return std::make_unique<Dropout<T>>(v);
    default: return nullptr;
  }
}

KernelChoice make_elementwise(const NodeView& v) {
  const Shape& s = v.out_shape();
  const bool blocked = s.size() == 4;
  const std::int64_t n = blocked ? v.target.blocked(v.out()).size() : element_count(s);
  const auto own = [&](std::unique_ptr<Kernel> kernel) {
    return own_kernel(v, std::move(kernel), 0, {0});
  };
  if (v.out().dtype == DType::kBF16 && blocked) {
    return own(make_activation_kernel<Bf16>(v, n));
  }
  if (auto kernel = make_activation_kernel<float>(v, n)) return own(std::move(kernel));
  switch (v.node.op) {
    case Op::kMul: return own(std::make_unique<Binary<float>>(n, simd::mul));
    case Op::kScale: return own(std::make_unique<Scale>(n, v.attributes<ScaleAttributes>().factor));
    case Op::kSigmoidBackward: return own(std::make_unique<Binary<float>>(n, sigmoid_backward));
    case Op::kSigmoid:
      if (blocked) return own(std::make_unique<BlockedSigmoid>(v.target.blocked(v.out())));
      return own(std::make_unique<Unary<float>>(n, sigmoid));
    case Op::kFill:  // plain, because padding must be zero
      return plain_kernel(
          v, std::make_unique<Fill>(element_count(s), v.attributes<FillAttributes>().value));
    default: break;
  }
  fail(ErrorCode::kInternal, "{} is not elementwise", name_of(v.node.op));
}

}  // namespace

std::span<const CpuKernelRow> elementwise_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kRelu, make_elementwise, takes::bf16},
      {Op::kReluBackward, make_elementwise, takes::bf16},
      {Op::kSigmoid, make_elementwise, takes::f32},
      {Op::kSigmoidBackward, make_elementwise, takes::f32},
      {Op::kAdd, make_elementwise, takes::bf16},
      {Op::kMul, make_elementwise, takes::f32},
      {Op::kScale, make_elementwise, takes::f32},
      {Op::kDropout, make_elementwise, takes::bf16},
      {Op::kFill, make_elementwise, takes::f32},
  };
  return kRows;
}

}  // namespace resnet

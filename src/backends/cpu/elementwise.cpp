// Ops that treat every element alike. On blocked data they run over the padding too, which stays
// zero for all of them but the sigmoid.
#include <omp.h>

#include <cmath>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/simd.h"
#include "core/check.h"
#include "core/random.h"

namespace resnet {
namespace {

const float* in(const KernelArgs& args, std::size_t i) {
  return static_cast<const float*>(args.in[i]);
}
float* out(const KernelArgs& args) { return static_cast<float*>(args.out[0]); }

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

// One of simd.h's functions (a, y, n) or (a, b, y, n).
template <auto kFunction>
class Unary final : public Kernel {
 public:
  explicit Unary(std::int64_t n) : n_(n) {}
  void run(const KernelArgs& args) override {
    parallel_ranges(n_, [&](std::int64_t b, std::int64_t e) {
      kFunction(in(args, 0) + b, out(args) + b, e - b);
    });
  }

 private:
  std::int64_t n_;
};

template <auto kFunction>
class Binary final : public Kernel {
 public:
  explicit Binary(std::int64_t n) : n_(n) {}
  void run(const KernelArgs& args) override {
    parallel_ranges(n_, [&](std::int64_t b, std::int64_t e) {
      kFunction(in(args, 0) + b, in(args, 1) + b, out(args) + b, e - b);
    });
  }

 private:
  std::int64_t n_;
};

void sigmoid(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = 1 / (1 + std::exp(-x[i]));
}

// The padding of blocked channels must stay zero, and sigmoid(0) is not.
class BlockedSigmoid final : public Kernel {
 public:
  explicit BlockedSigmoid(BlockedShape s) : s_(s) {}
  void run(const KernelArgs& args) override {
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

// The mask is a function of the logical (row-major) element, so every layout drops the same ones.
class Dropout final : public Kernel {
 public:
  Dropout(const Shape& shape, const DropoutAttributes& a, std::int64_t block)
      : shape_(shape), a_(a), block_(block), scale_(static_cast<float>(1 / (1 - a.p))) {}
  void run(const KernelArgs& args) override {
    const float* x = in(args, 0);
    float* y = out(args);
    if (shape_.size() != 4) {
      const std::int64_t n = element_count(shape_);
      parallel_ranges(n, [&](std::int64_t b, std::int64_t e) {
        for (std::int64_t i = b; i < e; ++i) y[i] = keeps(args, i) ? x[i] * scale_ : 0;
      });
      return;
    }
    const BlockedShape s(shape_, block_);
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s.tiles(); ++t) {
      const std::int64_t n = t / s.blocks, c0 = t % s.blocks * s.block;
      for (std::int64_t lane = 0; lane < s.block; ++lane) {
        for (std::int64_t p = 0; p < s.pixels(); ++p) {
          const std::int64_t at = t * s.tile() + p * s.block + lane;
          const std::int64_t element = (n * s.channels + c0 + lane) * s.pixels() + p;
          const bool real = c0 + lane < s.channels;
          y[at] = real && keeps(args, element) ? x[at] * scale_ : 0;
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
  DropoutAttributes a_;
  std::int64_t block_;
  float scale_;
};

class Fill final : public Kernel {
 public:
  Fill(std::int64_t n, double value) : n_(n), value_(static_cast<float>(value)) {}
  void run(const KernelArgs& args) override { std::fill_n(out(args), n_, value_); }

 private:
  std::int64_t n_;
  float value_;
};

}  // namespace

KernelChoice make_elementwise(const NodeView& v) {
  const Shape& s = v.out_shape();
  const bool blocked = s.size() == 4;
  const std::int64_t n = blocked ? BlockedShape(s, v.target.block()).size() : element_count(s);
  const auto own = [&](std::unique_ptr<Kernel> kernel) {
    return own_kernel(v, std::move(kernel), 0, {0});
  };
  switch (v.node.op) {
    case Op::kRelu: return own(std::make_unique<Unary<simd::relu>>(n));
    case Op::kAdd: return own(std::make_unique<Binary<simd::add>>(n));
    case Op::kMul: return own(std::make_unique<Binary<simd::mul>>(n));
    case Op::kReluBackward: return own(std::make_unique<Binary<simd::relu_backward>>(n));
    case Op::kSigmoidBackward: return own(std::make_unique<Binary<sigmoid_backward>>(n));
    case Op::kSigmoid:
      if (blocked) {
        return own(std::make_unique<BlockedSigmoid>(BlockedShape(s, v.target.block())));
      }
      return own(std::make_unique<Unary<sigmoid>>(n));
    case Op::kDropout:
      return own(std::make_unique<Dropout>(s, v.attributes<DropoutAttributes>(), v.target.block()));
    case Op::kFill:  // plain, because padding must be zero
      return plain_kernel(
          v, std::make_unique<Fill>(element_count(s), v.attributes<FillAttributes>().value));
    default: break;
  }
  fail(ErrorCode::kInternal, "{} is not elementwise", name_of(v.node.op));
}

}  // namespace resnet

// Optimizer steps, running averages and gradient clipping: one pass over each parameter. The
// formulas stand in docs/NUMERICS.md and, as loops, in backends/reference/update.cpp.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/simd.h"

namespace resnet {
namespace {

float* variable(const KernelArgs& args, std::size_t i) { return static_cast<float*>(args.in[i]); }
float scalar(const KernelArgs& args, std::size_t i) {
  return *static_cast<const float*>(args.in[i]);
}
// The optional last input; a scale of 0 means that the gradients are not finite: skip the update.
float gradient_scale(const KernelArgs& args, std::size_t i) {
  return args.in.size() > i ? scalar(args, i) : 1.0F;
}

// f(begin, end) over [0, n): small parameters stay on one thread.
template <class F>
void ranges(std::int64_t n, const F& f) {
  constexpr std::int64_t kPiece = 16384;
  const std::int64_t pieces = (n + kPiece - 1) / kPiece;
#pragma omp parallel for schedule(static) if (pieces > 1)
  for (std::int64_t i = 0; i < pieces; ++i) f(i * kPiece, std::min(n, (i + 1) * kPiece));
}

// Sum of squares in fixed pieces, so that the result does not depend on the number of threads.
double square_sum(const float* x, std::int64_t n) {
  constexpr std::int64_t kPiece = 65536;
  double sum = 0;
  for (std::int64_t i = 0; i < n; i += kPiece) {
    sum += simd::square_sum(x + i, std::min(kPiece, n - i));
  }
  return sum;
}

class Update : public Kernel {
 public:
  Update(std::int64_t n, const UpdateAttributes& a) : n_(n), a_(a) {}

 protected:
  std::int64_t n_;
  UpdateAttributes a_;
};

class Sgd final : public Update {
 public:
  using Update::Update;
  void run(const KernelArgs& args) const override {
    const float scale = gradient_scale(args, 4);
    if (scale == 0) return;
    const simd::SgdStep s{scalar(args, 3), static_cast<float>(a_.momentum),
                          static_cast<float>(a_.weight_decay), scale, a_.nesterov};
    ranges(n_, [&](std::int64_t b, std::int64_t e) {
      simd::sgd(variable(args, 0) + b, variable(args, 1) + b, variable(args, 2) + b, s, e - b);
    });
  }
};

class Lars final : public Update {
 public:
  using Update::Update;
  void run(const KernelArgs& args) const override {
    const float scale = gradient_scale(args, 4);
    if (scale == 0) return;
    double local = 1;
    if (a_.trust > 0) {
      const double w = std::sqrt(square_sum(variable(args, 0), n_));
      const double g = static_cast<double>(scale) * std::sqrt(square_sum(variable(args, 2), n_));
      if (w > 0 && g > 0) local = a_.trust * w / (g + a_.weight_decay * w + a_.eps);
    }
    const simd::LarsStep s{static_cast<float>(local * static_cast<double>(scalar(args, 3))),
                           static_cast<float>(a_.momentum), static_cast<float>(a_.weight_decay),
                           scale};
    ranges(n_, [&](std::int64_t b, std::int64_t e) {
      simd::lars(variable(args, 0) + b, variable(args, 1) + b, variable(args, 2) + b, s, e - b);
    });
  }
};

class AdamW final : public Update {
 public:
  using Update::Update;
  void run(const KernelArgs& args) const override {
    const float scale = gradient_scale(args, 6);
    if (scale == 0) return;
    const auto step = static_cast<double>(scalar(args, 5));
    const simd::AdamStep s{scalar(args, 4),
                           static_cast<float>(a_.beta1),
                           static_cast<float>(a_.beta2),
                           static_cast<float>(a_.eps),
                           static_cast<float>(a_.weight_decay),
                           scale,
                           static_cast<float>(1 - a_.beta1),
                           static_cast<float>(1 - a_.beta2),
                           static_cast<float>(1 - std::pow(a_.beta1, step)),
                           static_cast<float>(1 - std::pow(a_.beta2, step))};
    ranges(n_, [&](std::int64_t b, std::int64_t e) {
      simd::adamw(variable(args, 0) + b, variable(args, 1) + b, variable(args, 2) + b,
                  variable(args, 3) + b, s, e - b);
    });
  }
};

// variable = keep * variable + scale * value
class Blend final : public Kernel {
 public:
  Blend(std::int64_t n, double keep, double scale)
      : n_(n), keep_(static_cast<float>(keep)), scale_(static_cast<float>(scale)) {}
  void run(const KernelArgs& args) const override {
    ranges(n_, [&](std::int64_t b, std::int64_t e) {
      simd::accumulate(variable(args, 0) + b, variable(args, 1) + b, keep_, scale_, e - b);
    });
  }

 private:
  std::int64_t n_;
  float keep_, scale_;
};

class Clear final : public Kernel {
 public:
  explicit Clear(std::int64_t n) : n_(n) {}
  void run(const KernelArgs& args) const override {
    std::memset(args.in[0], 0, static_cast<std::size_t>(n_) * sizeof(float));
  }

 private:
  std::int64_t n_;
};

// gradients... -> min(1, max_norm / (global norm + 1e-6)); 0 when the norm is not finite
class ClipScale final : public Kernel {
 public:
  ClipScale(std::vector<std::int64_t> sizes, double max_norm)
      : sizes_(std::move(sizes)), max_norm_(max_norm) {}
  void run(const KernelArgs& args) const override {
    double sum = 0;
    for (std::size_t i = 0; i < sizes_.size(); ++i) {
      sum += square_sum(static_cast<const float*>(args.in[i]), sizes_[i]);
    }
    const double norm = std::sqrt(sum);
    const double scale = std::isfinite(norm) ? std::min(1.0, max_norm_ / (norm + 1e-6)) : 0.0;
    *static_cast<float*>(args.out[0]) = static_cast<float>(scale);
  }

 private:
  std::vector<std::int64_t> sizes_;
  double max_norm_;
};

KernelChoice make_update(const NodeView& v) {
  if (v.node.op == Op::kClipScale) {
    std::vector<std::int64_t> sizes;
    for (const Value g : v.node.inputs) sizes.push_back(element_count(v.graph.shape(g)));
    return plain_kernel(
        v, std::make_unique<ClipScale>(std::move(sizes), v.attributes<ClipAttributes>().max_norm));
  }
  const std::int64_t n = element_count(v.in_shape(0));
  if (v.node.op == Op::kClear) return plain_kernel(v, std::make_unique<Clear>(n));
  const auto& a = v.attributes<UpdateAttributes>();
  switch (v.node.op) {
    case Op::kSgd: return plain_kernel(v, std::make_unique<Sgd>(n, a));
    case Op::kLars: return plain_kernel(v, std::make_unique<Lars>(n, a));
    case Op::kAdamW: return plain_kernel(v, std::make_unique<AdamW>(n, a));
    case Op::kAccumulate: return plain_kernel(v, std::make_unique<Blend>(n, 1, a.scale));
    default:
      return plain_kernel(v, std::make_unique<Blend>(n, 1 - a.momentum, a.momentum * a.scale));
  }
}

}  // namespace

std::span<const CpuKernelRow> update_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kAccumulate, make_update, takes::f32}, {Op::kRunningAverage, make_update, takes::f32},
      {Op::kSgd, make_update, takes::f32},        {Op::kAdamW, make_update, takes::f32},
      {Op::kLars, make_update, takes::f32},       {Op::kClear, make_update, takes::f32},
      {Op::kClipScale, make_update, takes::f32},
  };
  return kRows;
}

}  // namespace resnet

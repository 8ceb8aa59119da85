// Softmax and cross-entropy: a few thousand numbers, so clarity and double precision come first.
#include <algorithm>
#include <cmath>

#include "backends/cpu/cpu_target.h"

namespace resnet {
namespace {

// p = softmax(row); returns log Σ e^(x - max) + max.
double softmax_row(const float* x, float* p, std::int64_t c) {
  const double top = static_cast<double>(*std::max_element(x, x + c));
  double sum = 0;
  for (std::int64_t j = 0; j < c; ++j) sum += std::exp(static_cast<double>(x[j]) - top);
  for (std::int64_t j = 0; j < c; ++j) {
    p[j] = static_cast<float>(std::exp(static_cast<double>(x[j]) - top) / sum);
  }
  return top + std::log(sum);
}

class Softmax final : public Kernel {
 public:
  explicit Softmax(const Shape& s) : n_(s[0]), c_(s[1]) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.in[0]);
    auto* p = static_cast<float*>(args.out[0]);
    for (std::int64_t i = 0; i < n_; ++i) softmax_row(x + i * c_, p + i * c_, c_);
  }

 private:
  std::int64_t n_, c_;
};

// Shared by forward and backward: smoothed targets and the weights of their terms.
struct Targets {
  const float* t;
  const float* weights;  // may be null
  std::int64_t n, c;
  double smoothing;

  double smoothed(std::int64_t i, std::int64_t j) const {
    return (1 - smoothing) * static_cast<double>(t[i * c + j]) + smoothing / static_cast<double>(c);
  }
  double weight(std::int64_t j) const {
    return weights == nullptr ? 1 : static_cast<double>(weights[j]);
  }
  // What the sum of all terms is divided by: n, or with class weights Σ w t.
  double divisor() const {
    if (weights == nullptr) return static_cast<double>(n);
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < c; ++j) sum += weight(j) * static_cast<double>(t[i * c + j]);
    }
    return sum;
  }
};

// x / divisor, and 0 where no target has a weight, unless x is not finite.
double ratio(double x, double divisor) { return divisor == 0 ? 0 * x : x / divisor; }

class CrossEntropy final : public Kernel {
 public:
  CrossEntropy(const Shape& s, const LossAttributes& a) : n_(s[0]), c_(s[1]), a_(a) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.in[0]);
    const Targets t{static_cast<const float*>(args.in[1]),
                    args.in.size() == 3 ? static_cast<const float*>(args.in[2]) : nullptr, n_, c_,
                    a_.label_smoothing};
    auto* p = static_cast<float*>(args.out[1]);
    double loss = 0;
    for (std::int64_t i = 0; i < n_; ++i) {
      const double log_sum = softmax_row(x + i * c_, p + i * c_, c_);
      for (std::int64_t j = 0; j < c_; ++j) {
        const double target = t.smoothed(i, j);
        if (target == 0) continue;  // 0 log 0 is 0
        loss += t.weight(j) * target * (log_sum - static_cast<double>(x[i * c_ + j]));
      }
    }
    static_cast<float*>(args.out[0])[0] = static_cast<float>(ratio(loss, t.divisor()));
  }

 private:
  std::int64_t n_, c_;
  LossAttributes a_;
};

// dloss, p, targets [, weights] -> dlogits = dloss (p Σ_k w_k t'_k - w t') / divisor
class CrossEntropyBackward final : public Kernel {
 public:
  CrossEntropyBackward(const Shape& s, const LossAttributes& a) : n_(s[0]), c_(s[1]), a_(a) {}
  void run(const KernelArgs& args) const override {
    const auto* p = static_cast<const float*>(args.in[1]);
    const Targets t{static_cast<const float*>(args.in[2]),
                    args.in.size() == 4 ? static_cast<const float*>(args.in[3]) : nullptr, n_, c_,
                    a_.label_smoothing};
    auto* dx = static_cast<float*>(args.out[0]);
    const double scale =
        ratio(static_cast<double>(static_cast<const float*>(args.in[0])[0]), t.divisor());
    for (std::int64_t i = 0; i < n_; ++i) {
      double mass = 0;
      for (std::int64_t j = 0; j < c_; ++j) mass += t.weight(j) * t.smoothed(i, j);
      for (std::int64_t j = 0; j < c_; ++j) {
        dx[i * c_ + j] = static_cast<float>(
            scale * (static_cast<double>(p[i * c_ + j]) * mass - t.weight(j) * t.smoothed(i, j)));
      }
    }
  }

 private:
  std::int64_t n_, c_;
  LossAttributes a_;
};

KernelChoice make_loss(const NodeView& v) {
  switch (v.node.op) {
    case Op::kSoftmax: return plain_kernel(v, std::make_unique<Softmax>(v.out_shape()));
    case Op::kSoftmaxCrossEntropy:
      return plain_kernel(
          v, std::make_unique<CrossEntropy>(v.in_shape(0), v.attributes<LossAttributes>()));
    default:
      return plain_kernel(
          v, std::make_unique<CrossEntropyBackward>(v.in_shape(1), v.attributes<LossAttributes>()));
  }
}

}  // namespace

std::span<const CpuKernelRow> loss_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kSoftmax, make_loss, takes::f32},
      {Op::kSoftmaxCrossEntropy, make_loss, takes::f32},
      {Op::kSoftmaxCrossEntropyBackward, make_loss, takes::f32},
  };
  return kRows;
}

}  // namespace resnet

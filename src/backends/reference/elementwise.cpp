// Ops that see one element at a time.
#include <cmath>

#include "backends/reference/kernels.h"
#include "core/random.h"

namespace resnet::reference {
namespace {

template <class F>
Compute unary(const Site& site, F f) {
  const std::int64_t size = element_count(site.outputs[0]);
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) output(args, 0)[i] = f(input(args, 0)[i]);
  };
}

template <class F>
Compute binary(const Site& site, F f) {
  const std::int64_t size = element_count(site.outputs[0]);
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) {
      output(args, 0)[i] = f(input(args, 0)[i], input(args, 1)[i]);
    }
  };
}

}  // namespace

/// () -> y = value
Compute fill(const Site& site) {
  const double value = site.attributes<FillAttributes>().value;
  const std::int64_t size = element_count(site.outputs[0]);
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) output(args, 0)[i] = value;
  };
}

/// y = max(x, 0); NaN stays NaN (Nair & Hinton 2010)
Compute relu(const Site& site) {
  return unary(site, [](double x) { return x < 0 ? 0 : x; });
}

/// dy, y -> dx = dy where y > 0; the derivative at 0 is taken as 0
Compute relu_backward(const Site& site) {
  return binary(site, [](double dy, double y) { return y > 0 ? dy : 0; });
}

/// y = 1 / (1 + e^-x)
Compute sigmoid(const Site& site) {
  return unary(site, [](double x) { return 1 / (1 + std::exp(-x)); });
}

/// dy, y -> dx = dy y (1 - y)
Compute sigmoid_backward(const Site& site) {
  return binary(site, [](double dy, double y) { return dy * y * (1 - y); });
}

Compute add(const Site& site) {
  return binary(site, [](double a, double b) { return a + b; });
}

Compute mul(const Site& site) {
  return binary(site, [](double a, double b) { return a * b; });
}

/// y = x * factor
Compute scale(const Site& site) {
  const double factor = site.attributes<ScaleAttributes>().factor;
  return unary(site, [factor](double x) { return x * factor; });
}

/// x -> y = x / (1 - p) where the element is kept, 0 elsewhere (Srivastava et al. 2014, inverted).
/// Which are kept is a function of (seed, step, stream, element): core/random.h.
Compute dropout(const Site& site) {
  const auto a = site.attributes<DropoutAttributes>();
  const std::int64_t size = element_count(site.outputs[0]);
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) {
      const bool kept = dropout_keeps(args.context.seed, args.context.step, a.stream,
                                      static_cast<std::uint64_t>(i), a.p);
      output(args, 0)[i] = kept ? input(args, 0)[i] / (1 - a.p) : 0;
    }
  };
}

std::span<const KernelRow> elementwise_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kFill, fill, takes::f32},
      {Op::kRelu, relu, takes::bf16},
      {Op::kSigmoid, sigmoid, takes::f32},
      {Op::kAdd, add, takes::bf16},
      {Op::kMul, mul, takes::f32},
      {Op::kScale, scale, takes::f32},
      {Op::kDropout, dropout, takes::bf16},
      {Op::kReluBackward, relu_backward, takes::bf16},
      {Op::kSigmoidBackward, sigmoid_backward, takes::f32},
  };
  return kRows;
}

}  // namespace resnet::reference

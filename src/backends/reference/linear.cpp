// Fully connected layers: y = x w^T + bias, as torch.nn.Linear.
#include "backends/reference/kernels.h"

namespace resnet::reference {

/// x [n, k], w [m, k] [, bias [m]] -> y [n, m]
Compute linear(const Site& site) {
  const std::int64_t n = site.outputs[0][0], m = site.outputs[0][1], k = site.inputs[0][1];
  const bool has_bias = site.inputs.size() == 3;
  return [=](const KernelArgs& args) {
    const double* x = input(args, 0);
    const double* w = input(args, 1);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < m; ++j) {
        double sum = has_bias ? input(args, 2)[j] : 0.0;
        for (std::int64_t l = 0; l < k; ++l) sum += x[i * k + l] * w[j * k + l];
        output(args, 0)[i * m + j] = sum;
      }
    }
  };
}

/// dy [n, m], w [m, k] -> dx [n, k] = dy w
Compute linear_backward_data(const Site& site) {
  const std::int64_t n = site.inputs[0][0], m = site.inputs[0][1], k = site.inputs[1][1];
  return [=](const KernelArgs& args) {
    const double* dy = input(args, 0);
    const double* w = input(args, 1);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t l = 0; l < k; ++l) {
        double sum = 0;
        for (std::int64_t j = 0; j < m; ++j) sum += dy[i * m + j] * w[j * k + l];
        output(args, 0)[i * k + l] = sum;
      }
    }
  };
}

/// x [n, k], dy [n, m] -> dw [m, k] = dy^T x
Compute linear_backward_weights(const Site& site) {
  const std::int64_t n = site.inputs[0][0], k = site.inputs[0][1], m = site.inputs[1][1];
  return [=](const KernelArgs& args) {
    const double* x = input(args, 0);
    const double* dy = input(args, 1);
    for (std::int64_t j = 0; j < m; ++j) {
      for (std::int64_t l = 0; l < k; ++l) {
        double sum = 0;
        for (std::int64_t i = 0; i < n; ++i) sum += dy[i * m + j] * x[i * k + l];
        output(args, 0)[j * k + l] = sum;
      }
    }
  };
}

std::span<const KernelRow> linear_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kLinear, linear, takes::f32},
      {Op::kLinearBackwardData, linear_backward_data, takes::f32},
      {Op::kLinearBackwardWeights, linear_backward_weights, takes::f32},
  };
  return kRows;
}

}  // namespace resnet::reference

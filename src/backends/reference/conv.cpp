// Convolution and what belongs to it. Dumoulin & Visin, "A guide to convolution arithmetic for deep
// learning", arXiv:1603.07285; groups as in Krizhevsky et al. 2012.
#include <algorithm>
#include <cmath>

#include "backends/reference/kernels.h"

namespace resnet::reference {
/// x [n, c, h, w], w [m, c/groups, kh, kw] [, bias [m]] [, residual as y] -> y [n, m, oh, ow]
///   y = relu?(x * w [+ bias] [+ residual])
Compute conv2d(const Site& site) {
  const auto a = site.attributes<ConvAttributes>();
  const Dims xd(site.inputs[0]), wd(site.inputs[1]), yd(site.outputs[0]);
  const std::size_t residual_input = site.inputs.size() - 1;
  return [=](const KernelArgs& args) {
    const double* x = input(args, 0);
    const double* w = input(args, 1);
    double* y = output(args, 0);
    std::fill_n(y, yd.size(), 0.0);
    each_product(a, xd, wd, yd, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
      y[iy] += x[ix] * w[iw];
    });
    yd.each([&](std::int64_t n, std::int64_t m, std::int64_t oh, std::int64_t ow) {
      const std::int64_t i = yd.at(n, m, oh, ow);
      if (a.bias) y[i] += input(args, 2)[m];
      if (a.residual) y[i] += input(args, residual_input)[i];
      if (a.relu && y[i] < 0) y[i] = 0;
    });
  };
}

/// dy, w -> dx: dx[i] = sum over the products x[i] w[j] in y[k] of dy[k] w[j]
Compute conv2d_backward_data(const Site& site) {
  const auto a = site.attributes<ConvAttributes>();
  const Dims xd(site.outputs[0]), wd(site.inputs[1]), yd(site.inputs[0]);
  return [=](const KernelArgs& args) {
    const double* dy = input(args, 0);
    const double* w = input(args, 1);
    double* dx = output(args, 0);
    std::fill_n(dx, xd.size(), 0.0);
    each_product(a, xd, wd, yd, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
      dx[ix] += dy[iy] * w[iw];
    });
  };
}

/// x, dy -> dw: dw[j] = sum over the products x[i] w[j] in y[k] of x[i] dy[k]
Compute conv2d_backward_weights(const Site& site) {
  const auto a = site.attributes<ConvAttributes>();
  const Dims xd(site.inputs[0]), wd(site.outputs[0]), yd(site.inputs[1]);
  return [=](const KernelArgs& args) {
    const double* x = input(args, 0);
    const double* dy = input(args, 1);
    double* dw = output(args, 0);
    std::fill_n(dw, wd.size(), 0.0);
    each_product(a, xd, wd, yd, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
      dw[iw] += x[ix] * dy[iy];
    });
  };
}

/// dy [n, c, ...] -> [c]: the gradient of a bias is the sum over everything it was added to.
Compute channel_sum(const Site& site) {
  const Dims yd(site.inputs[0]);
  return [=](const KernelArgs& args) {
    const double* dy = input(args, 0);
    double* sum = output(args, 0);
    for (std::int64_t c = 0; c < yd.c; ++c) {
      sum[c] = 0;
      yd.each_in_channel(c, [&](std::int64_t i) { sum[c] += dy[i]; });
    }
  };
}

/// w [m, c, kh, kw], gamma [m], var [m] -> w' = w gamma / sqrt(var + eps): with fold_bias, the
/// convolution that equals convolution and normalize (Jacob et al., CVPR 2018, section 3.2).
Compute fold_weights(const Site& site) {
  const double eps = site.attributes<NormAttributes>().eps;
  const Dims wd(site.inputs[0]);
  return [=](const KernelArgs& args) {
    const double* w = input(args, 0);
    const double* gamma = input(args, 1);
    const double* var = input(args, 2);
    wd.each([&](std::int64_t m, std::int64_t c, std::int64_t kh, std::int64_t kw) {
      const std::int64_t i = wd.at(m, c, kh, kw);
      output(args, 0)[i] = w[i] * gamma[m] / std::sqrt(var[m] + eps);
    });
  };
}

/// gamma, beta, mean, var [, bias], all [m] -> beta + (bias - mean) gamma / sqrt(var + eps)
Compute fold_bias(const Site& site) {
  const double eps = site.attributes<NormAttributes>().eps;
  const std::int64_t channels = site.inputs[0][0];
  const bool has_bias = site.inputs.size() == 5;
  return [=](const KernelArgs& args) {
    for (std::int64_t m = 0; m < channels; ++m) {
      const double gamma = input(args, 0)[m], beta = input(args, 1)[m];
      const double mean = input(args, 2)[m], var = input(args, 3)[m];
      const double bias = has_bias ? input(args, 4)[m] : 0.0;
      output(args, 0)[m] = beta + (bias - mean) * gamma / std::sqrt(var + eps);
    }
  };
}

std::span<const KernelRow> conv_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kConv2d, conv2d, takes::bf16_data},
      {Op::kConv2dBackwardData, conv2d_backward_data, takes::bf16_data},
      {Op::kConv2dBackwardWeights, conv2d_backward_weights, takes::bf16},
      {Op::kChannelSum, channel_sum, takes::bf16},
      {Op::kFoldWeights, fold_weights, takes::f32},
      {Op::kFoldBias, fold_bias, takes::f32},
  };
  return kRows;
}

}  // namespace resnet::reference

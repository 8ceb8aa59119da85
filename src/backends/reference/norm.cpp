// Batch normalization: Ioffe & Szegedy, "Batch normalization: accelerating deep network training by
// reducing internal covariate shift", ICML 2015. Statistics are over (n, h, w), per channel.
//
// ReLU and the addition of a skip are part of the op, so that devices can fuse them:
//   z = gamma (x - mean) / sqrt(var + eps) + beta [+ residual],   y = relu?(z)
#include <cmath>

#include "backends/reference/kernels.h"
#include "graph/norm_operands.h"

namespace resnet::reference {
namespace {

/// y of one channel with given statistics.
struct Channel {
  double gamma, beta, mean, scale;  // scale = 1 / sqrt(var + eps)

  double normalised(double x) const { return (x - mean) * scale; }
  double affine(double x) const { return gamma * normalised(x) + beta; }
};

Channel channel(const double* gamma, const double* beta, const double* mean, const double* var,
                double eps, std::int64_t c) {
  return {gamma[c], beta[c], mean[c], 1 / std::sqrt(var[c] + eps)};
}

void apply(const Dims& d, const Channel& p, std::int64_t c, bool relu, const double* x,
           const double* residual, double* y) {
  d.each_in_channel(c, [&](std::int64_t i) {
    const double z = p.affine(x[i]) + (residual != nullptr ? residual[i] : 0.0);
    y[i] = relu && z < 0 ? 0 : z;
  });
}

/// dy [, dy2], x, gamma, beta, mean, var [, y] -> dx, dgamma, dbeta [, dresidual].
///
/// With g = (dy + dy2) where z > 0 (everywhere without ReLU), xhat = (x - mean) / sqrt(var + eps),
/// and m = n h w values a channel:
///   dresidual = g,   dbeta = sum g,   dgamma = sum g xhat,
///   dx = gamma / sqrt(var + eps) (g - [dbeta / m + xhat dgamma / m])
/// where the bracket stands only if mean and var came from x itself (`batch`): section 3 of the
/// paper. z > 0 is read from y where a residual went into it, and recomputed from x otherwise.
Compute backward(const Site& site, bool batch) {
  const auto a = site.attributes<NormAttributes>();
  const Dims d(site.inputs[0]);
  const NormBackwardInputs in(a);
  return [=](const KernelArgs& args) {
    const double* x = input(args, in.x);
    const double* y = in.reads_y ? input(args, in.y) : nullptr;
    double* dx = output(args, 0);
    double* dgamma = output(args, 1);
    double* dbeta = output(args, 2);
    for (std::int64_t c = 0; c < d.c; ++c) {
      const Channel p = channel(input(args, in.gamma), input(args, in.beta), input(args, in.mean),
                                input(args, in.var), a.eps, c);
      const auto g = [&](std::int64_t i) {
        if (a.relu && !((y != nullptr ? y[i] : p.affine(x[i])) > 0)) return 0.0;
        return input(args, in.dy)[i] + (a.second_gradient ? input(args, in.dy2)[i] : 0.0);
      };
      dgamma[c] = dbeta[c] = 0;
      d.each_in_channel(c, [&](std::int64_t i) {
        dgamma[c] += g(i) * p.normalised(x[i]);
        dbeta[c] += g(i);
      });
      const auto m = static_cast<double>(d.n * d.h * d.w);
      d.each_in_channel(c, [&](std::int64_t i) {
        const double centred =
            batch ? g(i) - dbeta[c] / m - p.normalised(x[i]) * dgamma[c] / m : g(i);
        dx[i] = p.gamma * p.scale * centred;
        if (a.residual) output(args, 3)[i] = g(i);
      });
    }
  };
}

}  // namespace

/// x, gamma, beta [, residual] -> y, mean, var; var is the biased one (division by m).
Compute batch_norm(const Site& site) {
  const auto a = site.attributes<NormAttributes>();
  const Dims d(site.inputs[0]);
  const NormInputs in(site.node.op, a);
  return [=](const KernelArgs& args) {
    const double* x = input(args, in.x);
    const double* residual = a.residual ? input(args, in.residual) : nullptr;
    double* mean = output(args, 1);
    double* var = output(args, 2);
    const auto m = static_cast<double>(d.n * d.h * d.w);
    for (std::int64_t c = 0; c < d.c; ++c) {
      double sum = 0;
      d.each_in_channel(c, [&](std::int64_t i) { sum += x[i]; });
      mean[c] = sum / m;
      double squares = 0;
      d.each_in_channel(c, [&](std::int64_t i) { squares += (x[i] - mean[c]) * (x[i] - mean[c]); });
      var[c] = squares / m;
      const Channel p = channel(input(args, in.gamma), input(args, in.beta), mean, var, a.eps, c);
      apply(d, p, c, a.relu, x, residual, output(args, 0));
    }
  };
}

/// x, gamma, beta, mean, var [, residual] -> y
Compute normalize(const Site& site) {
  const auto a = site.attributes<NormAttributes>();
  const Dims d(site.inputs[0]);
  const NormInputs in(site.node.op, a);
  return [=](const KernelArgs& args) {
    const double* residual = a.residual ? input(args, in.residual) : nullptr;
    for (std::int64_t c = 0; c < d.c; ++c) {
      const Channel p = channel(input(args, in.gamma), input(args, in.beta), input(args, in.mean),
                                input(args, in.var), a.eps, c);
      apply(d, p, c, a.relu, input(args, in.x), residual, output(args, 0));
    }
  };
}

Compute batch_norm_backward(const Site& site) { return backward(site, true); }

Compute normalize_backward(const Site& site) { return backward(site, false); }

std::span<const KernelRow> norm_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kBatchNorm, batch_norm, takes::bf16},
      {Op::kNormalize, normalize, takes::bf16},
      {Op::kBatchNormBackward, batch_norm_backward, takes::bf16},
      {Op::kNormalizeBackward, normalize_backward, takes::bf16},
  };
  return kRows;
}

}  // namespace resnet::reference

// Updates of variables: optimizer steps, running averages, gradient accumulation and clipping.
//
// An optimizer multiplies the gradient by the optional gradient scale (clipping, loss scaling).
// A scale of exactly 0 means that the gradient is unusable: the step leaves every variable as it
// is.
#include <algorithm>
#include <cmath>

#include "backends/reference/kernels.h"

namespace resnet::reference {
namespace {

/// The optional last input.
double gradient_scale(const KernelArgs& args, std::size_t index) {
  return args.in.size() > index ? input(args, index)[0] : 1.0;
}

double l2_norm(const double* x, std::int64_t size, double scale = 1) {
  double sum = 0;
  for (std::int64_t i = 0; i < size; ++i) sum += (scale * x[i]) * (scale * x[i]);
  return std::sqrt(sum);
}

}  // namespace

/// variable += scale * value
Compute accumulate(const Site& site) {
  const double scale = site.attributes<UpdateAttributes>().scale;
  const std::int64_t size = element_count(site.inputs[0]);
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) variable(args, 0)[i] += scale * input(args, 1)[i];
  };
}

/// variable = (1 - momentum) variable + momentum scale value
Compute running_average(const Site& site) {
  const auto a = site.attributes<UpdateAttributes>();
  const std::int64_t size = element_count(site.inputs[0]);
  return [=](const KernelArgs& args) {
    double* v = variable(args, 0);
    for (std::int64_t i = 0; i < size; ++i) {
      v[i] = (1 - a.momentum) * v[i] + a.momentum * a.scale * input(args, 1)[i];
    }
  };
}

/// w, velocity, gradient, lr [, gradient scale]. torch.optim.SGD with weight decay inside the
/// gradient; momentum after Sutskever et al. 2013:
///   g = scale gradient + decay w,   v = momentum v + g,   w -= lr (nesterov ? g + momentum v : v)
/// Velocities start at 0, which makes the first one g; without momentum this is w -= lr g.
Compute sgd(const Site& site) {
  const auto a = site.attributes<UpdateAttributes>();
  const std::int64_t size = element_count(site.inputs[0]);
  return [=](const KernelArgs& args) {
    double* w = variable(args, 0);
    double* v = variable(args, 1);
    const double lr = input(args, 3)[0], scale = gradient_scale(args, 4);
    if (scale == 0) return;
    for (std::int64_t i = 0; i < size; ++i) {
      const double g = scale * input(args, 2)[i] + a.weight_decay * w[i];
      v[i] = a.momentum * v[i] + g;
      w[i] -= lr * (a.nesterov ? g + a.momentum * v[i] : v[i]);
    }
  };
}

/// w, m, v, gradient, lr, step (from 1) [, gradient scale]. Loshchilov & Hutter, "Decoupled weight
/// decay regularization", ICLR 2019, as torch.optim.AdamW:
///   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2,
///   w = (1 - lr decay) w - lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
Compute adamw(const Site& site) {
  const auto a = site.attributes<UpdateAttributes>();
  const std::int64_t size = element_count(site.inputs[0]);
  return [=](const KernelArgs& args) {
    double* w = variable(args, 0);
    double* m = variable(args, 1);
    double* v = variable(args, 2);
    const double lr = input(args, 4)[0], step = input(args, 5)[0];
    const double scale = gradient_scale(args, 6);
    if (scale == 0) return;
    const double correction1 = 1 - std::pow(a.beta1, step);
    const double correction2 = 1 - std::pow(a.beta2, step);
    for (std::int64_t i = 0; i < size; ++i) {
      const double g = scale * input(args, 3)[i];
      m[i] = a.beta1 * m[i] + (1 - a.beta1) * g;
      v[i] = a.beta2 * v[i] + (1 - a.beta2) * g * g;
      w[i] -= lr * a.weight_decay * w[i];
      w[i] -= lr * (m[i] / correction1) / (std::sqrt(v[i] / correction2) + a.eps);
    }
  };
}

/// w, velocity, gradient, lr [, gradient scale]. You, Gitman & Ginsburg, "Large batch training of
/// convolutional networks", arXiv:1708.03888, algorithm 1, with g = scale gradient:
///   local = trust |w| / (|g| + decay |w| + eps) if trust > 0 and neither norm is 0, otherwise 1,
///   v = momentum v + local lr (g + decay w),   w -= v
Compute lars(const Site& site) {
  const auto a = site.attributes<UpdateAttributes>();
  const std::int64_t size = element_count(site.inputs[0]);
  return [=](const KernelArgs& args) {
    double* w = variable(args, 0);
    double* v = variable(args, 1);
    const double* gradient = input(args, 2);
    const double lr = input(args, 3)[0], scale = gradient_scale(args, 4);
    if (scale == 0) return;
    const double w_norm = l2_norm(w, size);
    const double g_norm = l2_norm(gradient, size, scale);
    double local = 1;
    if (a.trust > 0 && w_norm > 0 && g_norm > 0) {
      local = a.trust * w_norm / (g_norm + a.weight_decay * w_norm + a.eps);
    }
    for (std::int64_t i = 0; i < size; ++i) {
      const double step = scale * gradient[i] + a.weight_decay * w[i];
      v[i] = a.momentum * v[i] + local * lr * step;
      w[i] -= v[i];
    }
  };
}

/// variable = 0
Compute clear(const Site& site) {
  const std::int64_t size = element_count(site.inputs[0]);
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) variable(args, 0)[i] = 0;
  };
}

/// gradients... -> [1]: min(1, max_norm / (norm + 1e-6)) with the L2 norm over all elements of all
/// gradients, as torch.nn.utils.clip_grad_norm_ (Pascanu et al. 2013). 0, which makes optimizers
/// skip the step, when the norm is not finite.
Compute clip_scale(const Site& site) {
  const double max_norm = site.attributes<ClipAttributes>().max_norm;
  const std::vector<Shape> shapes = site.inputs;
  return [=](const KernelArgs& args) {
    double norm = 0;
    for (std::size_t j = 0; j < shapes.size(); ++j) {
      norm = std::hypot(norm, l2_norm(input(args, j), element_count(shapes[j])));
    }
    output(args, 0)[0] = std::isfinite(norm) ? std::min(1.0, max_norm / (norm + 1e-6)) : 0;
  };
}

std::span<const KernelRow> update_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kAccumulate, accumulate, takes::f32},
      {Op::kRunningAverage, running_average, takes::f32},
      {Op::kSgd, sgd, takes::f32},
      {Op::kAdamW, adamw, takes::f32},
      {Op::kLars, lars, takes::f32},
      {Op::kClear, clear, takes::f32},
      {Op::kClipScale, clip_scale, takes::f32},
  };
  return kRows;
}

}  // namespace resnet::reference

// Pooling. Windows slide over the padded image as a convolution's do; the output's size is
// rounded down. Semantics are those of torch.nn.MaxPool2d and AvgPool2d.
#include <algorithm>
#include <cmath>

#include "backends/reference/kernels.h"

namespace resnet::reference {
namespace {

/// Calls f(place in x, kh kernel_w + kw) for the elements of output (n, c, oh, ow)'s window that
/// lie in the image, in row-major order. There is at least one: padding is smaller than the
/// kernel.
template <class F>
void each_in_window(const PoolAttributes& a, const Dims& x, std::int64_t n, std::int64_t c,
                    std::int64_t oh, std::int64_t ow, F&& f) {
  for (std::int64_t kh = 0; kh < a.kernel_h; ++kh) {
    const std::int64_t ih = oh * a.stride_h - a.pad_top + kh;
    if (ih < 0 || ih >= x.h) continue;
    for (std::int64_t kw = 0; kw < a.kernel_w; ++kw) {
      const std::int64_t iw = ow * a.stride_w - a.pad_left + kw;
      if (iw >= 0 && iw < x.w) f(x.at(n, c, ih, iw), kh * a.kernel_w + kw);
    }
  }
}

/// What the window's sum is divided by.
double divisor(const PoolAttributes& a, const Dims& x, std::int64_t oh, std::int64_t ow) {
  if (a.count_padding) return static_cast<double>(a.kernel_h * a.kernel_w);
  double count = 0;
  each_in_window(a, x, 0, 0, oh, ow, [&](std::int64_t, std::int64_t) { ++count; });
  return count;
}

}  // namespace

/// x -> y = the maximum of the window, and its position kh kernel_w + kw in it (u8). Of equal
/// maxima the first counts; padding never wins; a NaN wins, so that it is seen.
Compute max_pool(const Site& site) {
  const auto a = site.attributes<PoolAttributes>();
  const Dims xd(site.inputs[0]), yd(site.outputs[0]);
  return [=](const KernelArgs& args) {
    const double* x = input(args, 0);
    double* y = output(args, 0);
    auto* position = static_cast<std::uint8_t*>(args.out[1]);
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      double best = 0;
      std::int64_t where = -1;
      each_in_window(a, xd, n, c, oh, ow, [&](std::int64_t i, std::int64_t k) {
        if (where < 0 || x[i] > best || (std::isnan(x[i]) && !std::isnan(best))) {
          best = x[i];
          where = k;
        }
      });
      y[yd.at(n, c, oh, ow)] = best;
      position[yd.at(n, c, oh, ow)] = static_cast<std::uint8_t>(where);
    });
  };
}

/// dy, position -> dx: each gradient goes to where the maximum was; windows may overlap.
Compute max_pool_backward(const Site& site) {
  const auto a = site.attributes<PoolAttributes>();
  const Dims xd(site.outputs[0]), yd(site.inputs[0]);
  return [=](const KernelArgs& args) {
    const double* dy = input(args, 0);
    const auto* position = static_cast<const std::uint8_t*>(args.in[1]);
    double* dx = output(args, 0);
    std::fill_n(dx, xd.size(), 0.0);
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      const std::int64_t o = yd.at(n, c, oh, ow);
      each_in_window(a, xd, n, c, oh, ow, [&](std::int64_t i, std::int64_t k) {
        if (k == position[o]) dx[i] += dy[o];
      });
    });
  };
}

/// x -> y = the window's sum / its size; with count_padding padding counts as zeros, otherwise the
/// sum is divided by the number of elements inside the image.
Compute avg_pool(const Site& site) {
  const auto a = site.attributes<PoolAttributes>();
  const Dims xd(site.inputs[0]), yd(site.outputs[0]);
  return [=](const KernelArgs& args) {
    const double* x = input(args, 0);
    double* y = output(args, 0);
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      double sum = 0;
      each_in_window(a, xd, n, c, oh, ow, [&](std::int64_t i, std::int64_t) { sum += x[i]; });
      y[yd.at(n, c, oh, ow)] = sum / divisor(a, xd, oh, ow);
    });
  };
}

/// dy -> dx: each element of a window has an equal share of the window's gradient.
Compute avg_pool_backward(const Site& site) {
  const auto a = site.attributes<PoolAttributes>();
  const Dims xd(site.outputs[0]), yd(site.inputs[0]);
  return [=](const KernelArgs& args) {
    const double* dy = input(args, 0);
    double* dx = output(args, 0);
    std::fill_n(dx, xd.size(), 0.0);
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      const double share = dy[yd.at(n, c, oh, ow)] / divisor(a, xd, oh, ow);
      each_in_window(a, xd, n, c, oh, ow, [&](std::int64_t i, std::int64_t) { dx[i] += share; });
    });
  };
}

/// x [n, c, h, w] -> [n, c], the mean of each channel of each image (Lin et al. 2014).
Compute global_avg_pool(const Site& site) {
  const Dims d(site.inputs[0]);
  return [=](const KernelArgs& args) {
    const double* x = input(args, 0);
    std::fill_n(output(args, 0), d.n * d.c, 0.0);
    d.each([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      output(args, 0)[n * d.c + c] += x[d.at(n, c, h, w)];
    });
    for (std::int64_t i = 0; i < d.n * d.c; ++i) {
      output(args, 0)[i] /= static_cast<double>(d.h * d.w);
    }
  };
}

/// dy [n, c] -> dx [n, c, h, w] = dy / (h w)
Compute global_avg_pool_backward(const Site& site) {
  const Dims d(site.outputs[0]);
  return [=](const KernelArgs& args) {
    d.each([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      output(args, 0)[d.at(n, c, h, w)] =
          input(args, 0)[n * d.c + c] / static_cast<double>(d.h * d.w);
    });
  };
}

std::span<const KernelRow> pool_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kMaxPool, max_pool, takes::activations, integer_max_pool},
      {Op::kAvgPool, avg_pool, takes::bf16},
      {Op::kGlobalAvgPool, global_avg_pool, takes::activations, integer_global_avg_pool},
      {Op::kMaxPoolBackward, max_pool_backward, takes::positions},
      {Op::kAvgPoolBackward, avg_pool_backward, takes::bf16},
      {Op::kGlobalAvgPoolBackward, global_avg_pool_backward, takes::bf16},
  };
  return kRows;
}

}  // namespace resnet::reference

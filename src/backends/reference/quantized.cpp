// Int8 ops (Jacob et al., "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference", CVPR 2018). Sums are exact; what is rounded is rounded once,
// to the nearest, ties to even.
#include <algorithm>
#include <cmath>

#include "backends/reference/kernels.h"

namespace resnet::reference {
namespace {

/// Element i of an operand: 8-bit integers as such, everything else is f64 here.
double load(const void* p, DType dtype, std::int64_t i) {
  switch (dtype) {
    case DType::kU8: return static_cast<const std::uint8_t*>(p)[i];
    case DType::kI8: return static_cast<const std::int8_t*>(p)[i];
    default: return static_cast<const double*>(p)[i];
  }
}

double saturate(DType dtype, double rounded) {
  const double low = dtype == DType::kU8 ? 0 : -128, high = dtype == DType::kU8 ? 255 : 127;
  return rounded > low ? std::min(rounded, high) : low;  // NaN becomes `low`
}

void store(void* p, DType dtype, std::int64_t i, double real) {
  switch (dtype) {
    case DType::kU8:
      static_cast<std::uint8_t*>(p)[i] =
          static_cast<std::uint8_t>(saturate(dtype, std::nearbyint(real)));
      break;
    case DType::kI8:
      static_cast<std::int8_t*>(p)[i] =
          static_cast<std::int8_t>(saturate(dtype, std::nearbyint(real)));
      break;
    default: static_cast<double*>(p)[i] = real;
  }
}

/// Defined by a product in f32, so that every device makes the same integer.
double quantized(double x, float scale, DType dtype) {
  const float inverse = 1.0F / scale;
  return saturate(dtype, std::nearbyint(static_cast<float>(x) * inverse));
}

/// The data of a layer as integers, whatever it comes as.
std::vector<double> integers(const KernelArgs& args, DType dtype, std::int64_t size,
                             const QuantizedAttributes& a) {
  std::vector<double> x(static_cast<std::size_t>(size));
  for (std::int64_t i = 0; i < size; ++i) {
    const double v = load(args.in[0], dtype, i);
    x[static_cast<std::size_t>(i)] = dtype == DType::kF32 ? quantized(v, a.x_scale, a.x_dtype) : v;
  }
  return x;
}

/// A sum of products as what it stands for, in units of y.
double scaled(const QuantizedAttributes& a, std::int64_t filter, double sum) {
  const double unit = a.dtype == DType::kF32 ? 1 : static_cast<double>(a.y_scale);
  return sum * a.x_scale * a.w_scales[static_cast<std::size_t>(filter)] / unit;
}

}  // namespace

/// x -> round(x / scale)
Compute quantize(const Site& site) {
  const auto a = site.attributes<QuantizeAttributes>();
  const std::int64_t size = element_count(site.inputs[0]);
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) {
      store(args.out[0], a.dtype, i, quantized(input(args, 0)[i], a.scale, a.dtype));
    }
  };
}

/// x -> scale x
Compute dequantize(const Site& site) {
  const auto a = site.attributes<QuantizeAttributes>();
  const std::int64_t size = element_count(site.inputs[0]);
  const DType dtype = site.dtypes[0];
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < size; ++i) {
      output(args, 0)[i] = load(args.in[0], dtype, i) * a.scale;
    }
  };
}

/// x [n, c, h, w], w [m, c/groups, kh, kw], bias [m] [, residual as y] -> y [n, m, oh, ow]
Compute quantized_conv2d(const Site& site) {
  const auto a = site.attributes<QuantizedAttributes>();
  const Dims xd(site.inputs[0]), wd(site.inputs[1]), yd(site.outputs[0]);
  const std::vector<DType> dtypes = site.dtypes;
  return [=](const KernelArgs& args) {
    const std::vector<double> x = integers(args, dtypes[0], xd.size(), a);
    std::vector<double> sums(static_cast<std::size_t>(yd.size()), 0.0);
    each_product(a.conv, xd, wd, yd, [&](std::int64_t ix, std::int64_t iw, std::int64_t iy) {
      sums[static_cast<std::size_t>(iy)] +=
          x[static_cast<std::size_t>(ix)] * load(args.in[1], DType::kI8, iw);
    });
    const double residual_scale =
        a.dtype == DType::kF32 ? 1 : static_cast<double>(a.residual_scale) / a.y_scale;
    yd.each([&](std::int64_t n, std::int64_t m, std::int64_t oh, std::int64_t ow) {
      const std::int64_t i = yd.at(n, m, oh, ow);
      double y = scaled(a, m, sums[static_cast<std::size_t>(i)] + input(args, 2)[m]);
      if (a.conv.residual) y += residual_scale * load(args.in[3], dtypes[3], i);
      if (a.conv.relu && y < 0) y = 0;
      store(args.out[0], a.dtype, i, y);
    });
  };
}

/// x [n, k], w [m, k], bias [m] -> [n, m]
Compute quantized_linear(const Site& site) {
  const auto a = site.attributes<QuantizedAttributes>();
  const Dims xd(site.inputs[0]), wd(site.inputs[1]);
  const DType dtype = site.dtypes[0];
  return [=](const KernelArgs& args) {
    const std::vector<double> x = integers(args, dtype, xd.size(), a);
    for (std::int64_t n = 0; n < xd.n; ++n) {
      for (std::int64_t m = 0; m < wd.n; ++m) {
        double sum = input(args, 2)[m];
        for (std::int64_t k = 0; k < xd.c; ++k) {
          sum += x[static_cast<std::size_t>(n * xd.c + k)] *
                 load(args.in[1], DType::kI8, m * xd.c + k);
        }
        output(args, 0)[n * wd.n + m] = scaled(a, m, sum);
      }
    }
  };
}

/// The largest of each window; the padding is smaller than everything.
Compute integer_max_pool(const Site& site) {
  const auto a = site.attributes<PoolAttributes>();
  const Dims xd(site.inputs[0]), yd(site.outputs[0]);
  const DType dtype = site.dtypes[0];
  return [=](const KernelArgs& args) {
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      double largest = -128;
      for (std::int64_t kh = 0; kh < a.kernel_h; ++kh) {
        const std::int64_t ih = oh * a.stride_h - a.pad_top + kh;
        if (ih < 0 || ih >= xd.h) continue;
        for (std::int64_t kw = 0; kw < a.kernel_w; ++kw) {
          const std::int64_t iw = ow * a.stride_w - a.pad_left + kw;
          if (iw < 0 || iw >= xd.w) continue;
          largest = std::max(largest, load(args.in[0], dtype, xd.at(n, c, ih, iw)));
        }
      }
      store(args.out[0], dtype, yd.at(n, c, oh, ow), largest);
    });
  };
}

/// x [n, c, h, w] -> scale * mean over the image [n, c]
Compute integer_global_avg_pool(const Site& site) {
  const float scale = site.attributes<QuantizeAttributes>().scale;
  const Dims xd(site.inputs[0]);
  const DType dtype = site.dtypes[0];
  return [=](const KernelArgs& args) {
    const std::int64_t pixels = xd.h * xd.w;
    for (std::int64_t i = 0; i < xd.n * xd.c; ++i) {
      double sum = 0;
      for (std::int64_t p = 0; p < pixels; ++p) sum += load(args.in[0], dtype, i * pixels + p);
      output(args, 0)[i] = sum * scale / static_cast<double>(pixels);
    }
  };
}

/// x at stride s, zero channels around it.
Compute integer_pad_shortcut(const Site& site) {
  const auto a = site.attributes<PadShortcutAttributes>();
  const Dims xd(site.inputs[0]), yd(site.outputs[0]);
  const DType dtype = site.dtypes[0];
  return [=](const KernelArgs& args) {
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      const std::int64_t from = c - a.front;
      const bool copied = from >= 0 && from < xd.c;
      store(args.out[0], dtype, yd.at(n, c, oh, ow),
            copied ? load(args.in[0], dtype, xd.at(n, from, oh * a.stride, ow * a.stride)) : 0);
    });
  };
}

std::span<const KernelRow> quantized_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kQuantize, quantize, takes::f32},
      {Op::kDequantize, dequantize, takes::integers},
      {Op::kQuantizedConv2d, quantized_conv2d, takes::integers},
      {Op::kQuantizedLinear, quantized_linear, takes::integers},
  };
  return kRows;
}

}  // namespace resnet::reference

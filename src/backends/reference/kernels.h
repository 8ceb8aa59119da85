// What the kernels of this room share: how one is made from a node, and 4-D indexing.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "compile/takes.h"
#include "compile/target.h"
#include "core/check.h"
#include "resnet/graph.h"

namespace resnet {
struct OpDefinition;
}

namespace resnet::reference {

/// A node with the shapes around it.
struct Site {
  const Node& node;
  std::vector<Shape> inputs;
  std::vector<Shape> outputs;
  std::vector<DType> dtypes;  ///< of the inputs

  template <class T>
  const T& attributes() const {
    return std::get<T>(node.attributes);
  }
};

/// A kernel: reads `in`, writes `out`. It captures shapes and attributes by value.
using Compute = std::function<void(const KernelArgs&)>;
using MakeCompute = Compute (*)(const Site&);

inline const double* input(const KernelArgs& args, std::size_t i) {
  return static_cast<const double*>(args.in[i]);
}
inline double* output(const KernelArgs& args, std::size_t i) {
  return static_cast<double*>(args.out[i]);
}
/// An input that the op updates.
inline double* variable(const KernelArgs& args, std::size_t i) {
  return static_cast<double*>(args.in[i]);
}

/// The sizes of [n, c, h, w] data; of filters [m, c, kh, kw] likewise. Data of fewer dimensions has
/// ones at the end, data of more has them joined into w.
struct Dims {
  std::int64_t n = 1, c = 1, h = 1, w = 1;

  explicit Dims(const Shape& s) {
    if (!s.empty()) n = s[0];
    if (s.size() > 1) c = s[1];
    if (s.size() > 2) h = s[2];
    for (std::size_t i = 3; i < s.size(); ++i) w *= s[i];
  }
  std::int64_t size() const { return n * c * h * w; }
  /// Place of element (in, ic, ih, iw) in row-major order.
  std::int64_t at(std::int64_t in, std::int64_t ic, std::int64_t ih, std::int64_t iw) const {
    return ((in * c + ic) * h + ih) * w + iw;
  }
  /// Calls f(in, ic, ih, iw) for every element, in row-major order.
  template <class F>
  void each(F&& f) const {
    for (std::int64_t in = 0; in < n; ++in) {
      for (std::int64_t ic = 0; ic < c; ++ic) {
        for (std::int64_t ih = 0; ih < h; ++ih) {
          for (std::int64_t iw = 0; iw < w; ++iw) f(in, ic, ih, iw);
        }
      }
    }
  }
  /// Calls f(place) for every element of channel ic.
  template <class F>
  void each_in_channel(std::int64_t ic, F&& f) const {
    for (std::int64_t in = 0; in < n; ++in) {
      for (std::int64_t i = 0; i < h * w; ++i) f(at(in, ic, 0, 0) + i);
    }
  }
};

/// Calls f(place in x, place in w, place in y) for every product of the convolution
///   y[n, m, oh, ow] = sum over c, kh, kw of
///       x[n, g C/G + c, oh s_h - p_top + kh d_h, ow s_w - p_left + kw d_w] * w[m, c, kh, kw]
/// with g = the group of filter m. Products with the padding's zeros are left out. The convolution
/// is linear in x and in w: forward and both gradients are sums over the same triples.
template <class F>
void each_product(const ConvAttributes& a, const Dims& x, const Dims& w, const Dims& y, F&& f) {
  const std::int64_t filters_per_group = w.n / a.groups;
  y.each([&](std::int64_t n, std::int64_t m, std::int64_t oh, std::int64_t ow) {
    const std::int64_t first_channel = m / filters_per_group * w.c;
    for (std::int64_t c = 0; c < w.c; ++c) {
      for (std::int64_t kh = 0; kh < w.h; ++kh) {
        const std::int64_t ih = oh * a.stride_h - a.pad_top + kh * a.dilation_h;
        if (ih < 0 || ih >= x.h) continue;
        for (std::int64_t kw = 0; kw < w.w; ++kw) {
          const std::int64_t iw = ow * a.stride_w - a.pad_left + kw * a.dilation_w;
          if (iw < 0 || iw >= x.w) continue;
          f(x.at(n, first_channel + c, ih, iw), w.at(m, c, kh, kw), y.at(n, m, oh, ow));
        }
      }
    }
  });
}

/// What the device has for one op. A kernel captures shapes and attributes by value.
struct KernelRow {
  Op op;
  MakeCompute make;
  Takes takes;                     ///< the types of its inputs
  MakeCompute integers = nullptr;  ///< instead of `make` where input 0 is of integers
};

// The rows of the kernels in the file of each name.
std::span<const KernelRow> elementwise_kernels();
std::span<const KernelRow> conv_kernels();
std::span<const KernelRow> norm_kernels();
std::span<const KernelRow> pool_kernels();
std::span<const KernelRow> linear_kernels();
std::span<const KernelRow> shape_kernels();
std::span<const KernelRow> quantized_kernels();
std::span<const KernelRow> loss_kernels();
std::span<const KernelRow> update_kernels();

// quantized.cpp
Compute integer_max_pool(const Site&);
Compute integer_global_avg_pool(const Site&);
Compute integer_pad_shortcut(const Site&);

// custom.cpp
Compute custom(const Site&, const OpDefinition&);

}  // namespace resnet::reference

// What the kernels of this room share: how one is made from a node, and 4-D indexing.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "compile/target.h"
#include "core/check.h"
#include "resnet/graph.h"

namespace resnet::reference {

/// A node with the shapes around it.
struct Site {
  const Node& node;
  std::vector<Shape> inputs;
  std::vector<Shape> outputs;

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

// conv.cpp
Compute conv2d(const Site&);
Compute conv2d_backward_data(const Site&);
Compute conv2d_backward_weights(const Site&);
Compute channel_sum(const Site&);
Compute fold_weights(const Site&);
Compute fold_bias(const Site&);
// norm.cpp
Compute batch_norm(const Site&);
Compute normalize(const Site&);
Compute batch_norm_backward(const Site&);
Compute normalize_backward(const Site&);
// pool.cpp
Compute max_pool(const Site&);
Compute avg_pool(const Site&);
Compute global_avg_pool(const Site&);
Compute max_pool_backward(const Site&);
Compute avg_pool_backward(const Site&);
Compute global_avg_pool_backward(const Site&);
// elementwise.cpp
Compute fill(const Site&);
Compute relu(const Site&);
Compute sigmoid(const Site&);
Compute add(const Site&);
Compute mul(const Site&);
Compute dropout(const Site&);
Compute relu_backward(const Site&);
Compute sigmoid_backward(const Site&);
// linear.cpp
Compute linear(const Site&);
Compute linear_backward_data(const Site&);
Compute linear_backward_weights(const Site&);
// loss.cpp
Compute softmax(const Site&);
Compute softmax_cross_entropy(const Site&);
Compute softmax_cross_entropy_backward(const Site&);
// shape.cpp
Compute reshape(const Site&);
Compute concat(const Site&);
Compute slice_channels(const Site&);
Compute pad_shortcut(const Site&);
Compute pad_shortcut_backward(const Site&);
// update.cpp
Compute accumulate(const Site&);
Compute running_average(const Site&);
Compute sgd(const Site&);
Compute adamw(const Site&);
Compute lars(const Site&);
Compute clear(const Site&);
Compute clip_scale(const Site&);

}  // namespace resnet::reference

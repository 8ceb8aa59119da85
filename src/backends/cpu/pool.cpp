// Pooling: f32 windows by oneDNN; maxima and gradients in bf16, and the global average, by kernels
// of our own.
#include <algorithm>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/simd.h"
#include "core/check.h"

namespace resnet {
namespace {

using dnnl::memory;
using From = DnnlKernel::From;

dnnl::algorithm algorithm_of(Op op, const PoolAttributes& a) {
  if (op == Op::kMaxPool || op == Op::kMaxPoolBackward) return dnnl::algorithm::pooling_max;
  return a.count_padding ? dnnl::algorithm::pooling_avg_include_padding
                         : dnnl::algorithm::pooling_avg_exclude_padding;
}

simd::PoolWindows windows_of(const Shape& x, const Shape& y, const PoolAttributes& a) {
  return {x[1],       x[2],       x[3],       y[2],      y[3],      a.kernel_h,
          a.kernel_w, a.stride_h, a.stride_w, a.pad_top, a.pad_left};
}

// In bf16: oneDNN 2.6 takes several times as long as memory does.
class MaxPool final : public Kernel {
 public:
  MaxPool(const Shape& x, const Shape& y, const PoolAttributes& a)
      : images_(x[0]), p_(windows_of(x, y, a)) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const simd::Bf16*>(args.in[0]);
    auto* y = static_cast<simd::Bf16*>(args.out[0]);
    auto* position = static_cast<std::uint8_t*>(args.out[1]);
    const std::int64_t row_size = p_.out_width * p_.channels;
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < images_ * p_.out_height; ++row) {
      simd::max_pool_row(p_, x + row / p_.out_height * p_.height * p_.width * p_.channels,
                         row % p_.out_height, y + row * row_size, position + row * row_size);
    }
  }

 private:
  std::int64_t images_;
  simd::PoolWindows p_;
};

// In bf16: oneDNN 2.6 adds the gradients of overlapping windows in bf16, rounding each time.
class PoolBackward final : public Kernel {
 public:
  PoolBackward(const Shape& x, const Shape& y, const PoolAttributes& a, bool max)
      : images_(x[0]), p_(windows_of(x, y, a)) {
    if (max) return;
    const auto counted = [&](std::int64_t o, std::int64_t stride, std::int64_t kernel,
                             std::int64_t pad, std::int64_t size) {
      if (a.count_padding) return kernel;
      return std::min(o * stride - pad + kernel, size) -
             std::max<std::int64_t>(o * stride - pad, 0);
    };
    for (std::int64_t h = 0; h < y[2]; ++h) {
      for (std::int64_t w = 0; w < y[3]; ++w) {
        share_.push_back(1.0F /
                         static_cast<float>(counted(h, a.stride_h, a.kernel_h, a.pad_top, x[2]) *
                                            counted(w, a.stride_w, a.kernel_w, a.pad_left, x[3])));
      }
    }
  }
  void run(const KernelArgs& args) const override {
    const auto* dy = static_cast<const simd::Bf16*>(args.in[0]);
    const auto* position = share_.empty() ? static_cast<const std::uint8_t*>(args.in[1]) : nullptr;
    auto* dx = static_cast<simd::Bf16*>(args.out[0]);
    const std::int64_t image = p_.out_height * p_.out_width * p_.channels;
#pragma omp parallel for schedule(static)
    for (std::int64_t row = 0; row < images_ * p_.height; ++row) {
      const std::int64_t at = row / p_.height * image;
      simd::pool_backward_row(p_, dy + at, position != nullptr ? position + at : nullptr,
                              share_.data(), row % p_.height, dx + row * p_.width * p_.channels);
    }
  }

 private:
  std::int64_t images_;
  simd::PoolWindows p_;
  std::vector<float> share_;  // of a window's average that each of its pixels gets
};

KernelChoice make_window_pool(const NodeView& v) {
  const auto& a = v.attributes<PoolAttributes>();
  const bool backward = v.node.op == Op::kMaxPoolBackward || v.node.op == Op::kAvgPoolBackward;
  const bool max = v.node.op == Op::kMaxPool || v.node.op == Op::kMaxPoolBackward;
  const DType dtype = v.in(0).dtype;
  if (backward && dtype == DType::kBF16) {
    return own_kernel(v, std::make_unique<PoolBackward>(a.input_shape, v.in_shape(0), a, max));
  }
  if (v.node.op == Op::kMaxPool && dtype == DType::kBF16) {
    return own_kernel(v, std::make_unique<MaxPool>(v.in_shape(0), v.out_shape(), a));
  }
  const Layout layout = activation_layout(dtype);
  const TensorType x_type{dtype, backward ? a.input_shape : v.in_shape(0)};
  const TensorType y_type{dtype, backward ? v.in_shape(0) : v.out_shape()};
  const memory::desc x = v.target.describe_memory(x_type, layout);
  const memory::desc y = v.target.describe_memory(y_type, layout);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const memory::dims strides{a.stride_h, a.stride_w}, kernel{a.kernel_h, a.kernel_w},
      begin{a.pad_top, a.pad_left}, end{a.pad_bottom, a.pad_right};
  const dnnl::pooling_forward::primitive_desc forward(
      {dnnl::prop_kind::forward_training, algorithm_of(v.node.op, a), x, y, strides, kernel, begin,
       end},
      attr, v.target.engine());
  if (max) {  // our plan reserved one byte a window, lying like y
    RESNET_CHECK(forward.workspace_desc().get_size() <=
                 v.target.bytes({DType::kU8, y_type.shape}, layout));
  }
  if (!backward) {
    auto k = std::make_unique<DnnlKernel>(v.target, dnnl::pooling_forward(forward));
    k->bind(DNNL_ARG_SRC, x, From::kIn, 0);
    k->bind(DNNL_ARG_DST, y, From::kOut, 0);
    if (max) k->bind(DNNL_ARG_WORKSPACE, forward.workspace_desc(), From::kOut, 1);
    k->bind(DNNL_ARG_SCRATCHPAD, forward.scratchpad_desc(), From::kScratch);
    KernelChoice choice = own_kernel(v, std::move(k), forward.scratchpad_desc().get_size());
    choice.name = forward.impl_info_str();
    return choice;
  }
  const dnnl::pooling_backward::primitive_desc pd(
      {algorithm_of(v.node.op, a), x, y, strides, kernel, begin, end}, attr, v.target.engine(),
      forward);
  auto k = std::make_unique<DnnlKernel>(v.target, dnnl::pooling_backward(pd));
  k->bind(DNNL_ARG_DIFF_DST, y, From::kIn, 0);
  if (max) k->bind(DNNL_ARG_WORKSPACE, pd.workspace_desc(), From::kIn, 1);
  k->bind(DNNL_ARG_DIFF_SRC, x, From::kOut, 0);
  k->bind(DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc(), From::kScratch);
  KernelChoice choice = own_kernel(v, std::move(k), pd.scratchpad_desc().get_size());
  choice.name = pd.impl_info_str();
  return choice;
}

// [n, c, h, w] blocked -> [n, c]
template <class T>
class GlobalAvgPool final : public Kernel {
 public:
  explicit GlobalAvgPool(BlockedShape s) : s_(s) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const T*>(args.in[0]);
    auto* y = static_cast<float*>(args.out[0]);
    const float scale = 1.0F / static_cast<float>(s_.pixels());
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      float* sum = static_cast<float*>(args.scratch) + t * s_.block;
      simd::kernels<T>().tile_sum(x + t * s_.tile(), s_.pixels(), s_.block, sum);
      const std::int64_t n = t / s_.blocks, c0 = t % s_.blocks * s_.block;
      for (std::int64_t i = 0; i < s_.block && c0 + i < s_.channels; ++i) {
        y[n * s_.channels + c0 + i] = sum[i] * scale;
      }
    }
  }

 private:
  BlockedShape s_;
};

// dy [n, c] -> [n, c, h, w] blocked
template <class T>
class GlobalAvgPoolBackward final : public Kernel {
 public:
  explicit GlobalAvgPoolBackward(BlockedShape s) : s_(s) {}
  void run(const KernelArgs& args) const override {
    const auto* dy = static_cast<const float*>(args.in[0]);
    auto* dx = static_cast<T*>(args.out[0]);
    const float scale = 1.0F / static_cast<float>(s_.pixels());
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      const std::int64_t n = t / s_.blocks, c0 = t % s_.blocks * s_.block;
      float* value = static_cast<float*>(args.scratch) + t * s_.block;
      for (std::int64_t i = 0; i < s_.block; ++i) {
        value[i] = c0 + i < s_.channels ? dy[n * s_.channels + c0 + i] * scale : 0;
      }
      simd::kernels<T>().tile_fill(dx + t * s_.tile(), value, s_.pixels(), s_.block);
    }
  }

 private:
  BlockedShape s_;
};

template <class T>
KernelChoice make_global_pool(const NodeView& v) {
  const bool forward = v.node.op == Op::kGlobalAvgPool;
  const BlockedShape s = v.target.blocked(forward ? v.in(0) : v.out());
  const auto scratch = static_cast<std::size_t>(s.tiles() * s.block) * sizeof(float);
  if (forward) return own_kernel(v, std::make_unique<GlobalAvgPool<T>>(s), scratch);
  return own_kernel(v, std::make_unique<GlobalAvgPoolBackward<T>>(s), scratch);
}

KernelChoice make_pool(const NodeView& v) {
  if (v.node.op == Op::kGlobalAvgPool || v.node.op == Op::kGlobalAvgPoolBackward) {
    const DType dtype = v.node.op == Op::kGlobalAvgPool ? v.in(0).dtype : v.out().dtype;
    return dtype == DType::kBF16 ? make_global_pool<simd::Bf16>(v) : make_global_pool<float>(v);
  }
  return make_window_pool(v);
}

}  // namespace

std::span<const CpuKernelRow> pool_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kMaxPool, make_pool, takes::activations, make_quantized},
      {Op::kAvgPool, make_pool, takes::bf16},
      {Op::kGlobalAvgPool, make_pool, takes::activations, make_quantized},
      {Op::kMaxPoolBackward, make_pool, takes::positions},
      {Op::kAvgPoolBackward, make_pool, takes::bf16},
      {Op::kGlobalAvgPoolBackward, make_pool, takes::bf16},
  };
  return kRows;
}

}  // namespace resnet

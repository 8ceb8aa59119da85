// Pooling: windows by oneDNN, the global average by a kernel of our own.
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

KernelChoice make_window_pool(const NodeView& v) {
  const auto& a = v.attributes<PoolAttributes>();
  const bool backward = v.node.op == Op::kMaxPoolBackward || v.node.op == Op::kAvgPoolBackward;
  const bool max = v.node.op == Op::kMaxPool || v.node.op == Op::kMaxPoolBackward;
  const Shape x_shape = backward ? a.input_shape : v.in_shape(0);
  const Shape y_shape = backward ? v.in_shape(0) : v.out_shape();
  const memory::desc x = v.target.describe_memory({DType::kF32, x_shape}, kBlockedLayout);
  const memory::desc y = v.target.describe_memory({DType::kF32, y_shape}, kBlockedLayout);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const memory::dims strides{a.stride_h, a.stride_w}, kernel{a.kernel_h, a.kernel_w},
      begin{a.pad_top, a.pad_left}, end{a.pad_bottom, a.pad_right};
  const dnnl::pooling_forward::primitive_desc forward(
      {dnnl::prop_kind::forward_training, algorithm_of(v.node.op, a), x, y, strides, kernel, begin,
       end},
      attr, v.target.engine());
  if (max) {  // our plan reserved one byte a window, blocked like y
    RESNET_CHECK(forward.workspace_desc().get_size() <=
                 v.target.bytes({DType::kU8, y_shape}, kBlockedLayout));
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
class GlobalAvgPool final : public Kernel {
 public:
  explicit GlobalAvgPool(BlockedShape s) : s_(s) {}
  void run(const KernelArgs& args) override {
    const auto* x = static_cast<const float*>(args.in[0]);
    auto* y = static_cast<float*>(args.out[0]);
    const float scale = 1.0F / static_cast<float>(s_.pixels());
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      alignas(64) float sum[16];
      simd::tile_sum(x + t * s_.tile(), s_.pixels(), s_.block, sum);
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
class GlobalAvgPoolBackward final : public Kernel {
 public:
  explicit GlobalAvgPoolBackward(BlockedShape s) : s_(s) {}
  void run(const KernelArgs& args) override {
    const auto* dy = static_cast<const float*>(args.in[0]);
    auto* dx = static_cast<float*>(args.out[0]);
    const float scale = 1.0F / static_cast<float>(s_.pixels());
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      const std::int64_t n = t / s_.blocks, c0 = t % s_.blocks * s_.block;
      alignas(64) float value[16] = {};
      for (std::int64_t i = 0; i < s_.block && c0 + i < s_.channels; ++i) {
        value[i] = dy[n * s_.channels + c0 + i] * scale;
      }
      simd::tile_fill(dx + t * s_.tile(), value, s_.pixels(), s_.block);
    }
  }

 private:
  BlockedShape s_;
};

}  // namespace

KernelChoice make_pool(const NodeView& v) {
  if (v.node.op == Op::kGlobalAvgPool) {
    return own_kernel(
        v, std::make_unique<GlobalAvgPool>(BlockedShape(v.in_shape(0), v.target.block())));
  }
  if (v.node.op == Op::kGlobalAvgPoolBackward) {
    return own_kernel(
        v, std::make_unique<GlobalAvgPoolBackward>(BlockedShape(v.out_shape(), v.target.block())));
  }
  return make_window_pool(v);
}

}  // namespace resnet

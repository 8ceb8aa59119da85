// Ops that only move data: reshapes, and copies of channel ranges between blocked tensors whose
// ranges need not start at a block (option-A shortcuts, concatenation).
#include <algorithm>
#include <cstring>

#include "backends/cpu/cpu_target.h"

namespace resnet {
namespace {

class Reshape final : public Kernel {
 public:
  explicit Reshape(std::size_t bytes) : bytes_(bytes) {}
  void run(const KernelArgs& args) const override {
    if (args.in[0] != args.out[0]) std::memcpy(args.out[0], args.in[0], bytes_);
  }

 private:
  std::size_t bytes_;
};

// `count` channels from channel `from` of x to channel `to` of y, at one pixel in `stride`.
// With `scatter` the pixel grid of y, not of x, is the finer one.
struct ChannelCopy {
  BlockedShape x, y;
  std::int64_t from, to, count;
  std::int64_t stride = 1;
  bool scatter = false;

  // One image; runs that end at block borders of either side.
  template <class T>
  void run(const T* source, T* target, std::int64_t n) const {
    const BlockedShape& coarse = scatter ? x : y;
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t cx = from + done, cy = to + done;
      const std::int64_t length =
          std::min({count - done, x.block - cx % x.block, y.block - cy % y.block});
      const T* s = source + (n * x.blocks + cx / x.block) * x.tile() + cx % x.block;
      T* t = target + (n * y.blocks + cy / y.block) * y.tile() + cy % y.block;
      for (std::int64_t h = 0; h < coarse.height; ++h) {
        for (std::int64_t w = 0; w < coarse.width; ++w) {
          const std::int64_t fine_pixel = h * stride * (scatter ? y : x).width + w * stride;
          const std::int64_t coarse_pixel = h * coarse.width + w;
          std::copy_n(s + (scatter ? coarse_pixel : fine_pixel) * x.block, length,
                      t + (scatter ? fine_pixel : coarse_pixel) * y.block);
        }
      }
      done += length;
    }
  }
};

// y = the copies of all inputs over a background of zeros.
template <class T>
class CopyChannels final : public Kernel {
 public:
  CopyChannels(std::vector<ChannelCopy> copies, bool clear)
      : copies_(std::move(copies)), clear_(clear) {}
  void run(const KernelArgs& args) const override {
    auto* y = static_cast<T*>(args.out[0]);
    const BlockedShape& s = copies_[0].y;
    const std::int64_t image = s.blocks * s.tile();
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < s.n; ++n) {
      if (clear_) std::fill_n(y + n * image, image, T{0});
      for (std::size_t i = 0; i < copies_.size(); ++i) {
        copies_[i].run(static_cast<const T*>(args.in[i]), y, n);
      }
    }
  }

 private:
  std::vector<ChannelCopy> copies_;
  bool clear_;
};

// [n, c] tensors: as images of one pixel in blocks of one channel.
BlockedShape view(const NodeView& v, const TensorType& t) {
  const Shape& s = t.shape;
  return s.size() == 4 ? v.target.blocked(t) : BlockedShape({s[0], s[1], 1, 1}, 1);
}

// Another type, rounded to nearest: f32 as it lies, bf16 channels last.
KernelChoice make_cast(const NodeView& v) {
  const auto layout = [&](const TensorType& t) {
    return t.dtype == DType::kBF16 && t.shape.size() == 4 ? kChannelsLast : kPlainLayout;
  };
  Layout from = layout(v.in(0)), to = layout(v.out());
  if (v.have[0] == kBlockedLayout && v.in(0).dtype == DType::kF32) from = kBlockedLayout;
  const dnnl::memory::desc x = v.target.describe_memory(v.in(0), from);
  const dnnl::memory::desc y = v.target.describe_memory(v.out(), to);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc pd(v.target.engine(), x, v.target.engine(), y, attr);
  auto kernel = std::make_unique<DnnlKernel>(v.target, dnnl::reorder(pd));
  kernel->bind(DNNL_ARG_FROM, x, DnnlKernel::From::kIn);
  kernel->bind(DNNL_ARG_TO, y, DnnlKernel::From::kOut);
  kernel->bind(DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc(), DnnlKernel::From::kScratch);
  return {std::move(kernel), pd.impl_info_str(), {from}, {to}, pd.scratchpad_desc().get_size(), {}};
}

KernelChoice make_shape(const NodeView& v) {
  if (v.node.op == Op::kReshape) {
    return plain_kernel(v, std::make_unique<Reshape>(v.target.bytes(v.out(), kPlainLayout)), 0,
                        {0});
  }
  if (v.node.op == Op::kCast) return make_cast(v);
  const BlockedShape x = view(v, v.in(0)), y = view(v, v.out());
  std::vector<ChannelCopy> copies;
  bool clear = y.padded() != y.channels;
  if (v.node.op == Op::kPadShortcut) {
    const auto& a = v.attributes<PadShortcutAttributes>();
    copies.push_back({x, y, 0, a.front, x.channels, a.stride, false});
    clear = true;
  } else if (v.node.op == Op::kPadShortcutBackward) {
    const auto& a = v.attributes<PadShortcutAttributes>();
    copies.push_back({x, y, a.front, 0, y.channels, a.stride, true});
    clear = true;
  } else if (v.node.op == Op::kConcat) {
    std::int64_t at = 0;
    for (std::size_t i = 0; i < v.node.inputs.size(); ++i) {
      const BlockedShape part = view(v, v.in(i));
      copies.push_back({part, y, 0, at, part.channels});
      at += part.channels;
    }
  } else {
    const auto& a = v.attributes<SliceAttributes>();
    copies.push_back({x, y, a.begin, 0, a.end - a.begin});
  }
  if (v.out().dtype == DType::kBF16) {
    return own_kernel(v, std::make_unique<CopyChannels<std::uint16_t>>(std::move(copies), clear));
  }
  return own_kernel(v, std::make_unique<CopyChannels<float>>(std::move(copies), clear));
}

}  // namespace

std::span<const CpuKernelRow> shape_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kReshape, make_shape, takes::f32},
      {Op::kCast, make_shape, takes::floating},
      {Op::kPadShortcut, make_shape, takes::activations, make_quantized},
      {Op::kPadShortcutBackward, make_shape, takes::bf16},
      {Op::kConcat, make_shape, takes::bf16},
      {Op::kSliceChannels, make_shape, takes::bf16},
  };
  return kRows;
}

}  // namespace resnet

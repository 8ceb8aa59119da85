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
  void run(const KernelArgs& args) override {
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

  // One picture; runs that end at block borders of either side.
  void run(const float* source, float* target, std::int64_t n) const {
    const BlockedShape& coarse = scatter ? x : y;
    for (std::int64_t done = 0; done < count;) {
      const std::int64_t cx = from + done, cy = to + done;
      const std::int64_t length =
          std::min({count - done, x.block - cx % x.block, y.block - cy % y.block});
      const float* s = source + (n * x.blocks + cx / x.block) * x.tile() + cx % x.block;
      float* t = target + (n * y.blocks + cy / y.block) * y.tile() + cy % y.block;
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
class CopyChannels final : public Kernel {
 public:
  CopyChannels(std::vector<ChannelCopy> copies, bool clear)
      : copies_(std::move(copies)), clear_(clear) {}
  void run(const KernelArgs& args) override {
    auto* y = static_cast<float*>(args.out[0]);
    const BlockedShape& s = copies_[0].y;
    const std::int64_t picture = s.blocks * s.tile();
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < s.n; ++n) {
      if (clear_) std::fill_n(y + n * picture, picture, 0.0F);
      for (std::size_t i = 0; i < copies_.size(); ++i) {
        copies_[i].run(static_cast<const float*>(args.in[i]), y, n);
      }
    }
  }

 private:
  std::vector<ChannelCopy> copies_;
  bool clear_;
};

// [n, c] tensors: as pictures of one pixel in blocks of one channel.
BlockedShape view(const NodeView& v, const Shape& s) {
  return s.size() == 4 ? BlockedShape(s, v.target.block()) : BlockedShape({s[0], s[1], 1, 1}, 1);
}

}  // namespace

KernelChoice make_shape(const NodeView& v) {
  if (v.node.op == Op::kReshape) {
    return plain_kernel(v, std::make_unique<Reshape>(v.target.bytes(v.out(), kPlainLayout)), 0,
                        {0});
  }
  const BlockedShape x = view(v, v.in_shape(0)), y = view(v, v.out_shape());
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
      const BlockedShape part = view(v, v.in_shape(i));
      copies.push_back({part, y, 0, at, part.channels});
      at += part.channels;
    }
  } else {
    const auto& a = v.attributes<SliceAttributes>();
    copies.push_back({x, y, a.begin, 0, a.end - a.begin});
  }
  return own_kernel(v, std::make_unique<CopyChannels>(std::move(copies), clear));
}

}  // namespace resnet

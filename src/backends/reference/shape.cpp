// Ops that move elements and compute nothing.
#include <algorithm>
#include <cstring>

#include "backends/reference/kernels.h"

namespace resnet::reference {

/// The same elements in row-major order under another shape, of any dtype.
Compute reshape(const Site& site) {
  const DType dtype = site.node.outputs[0].dtype;
  const std::size_t bytes = static_cast<std::size_t>(element_count(site.outputs[0])) *
                            (is_floating(dtype) ? sizeof(double) : size_of(dtype));
  return [=](const KernelArgs& args) { std::memcpy(args.out[0], args.in[0], bytes); };
}

/// x0, x1, ... [n, c_i, ...] -> [n, sum of c_i, ...]
Compute concat(const Site& site) {
  const std::vector<Shape> inputs = site.inputs;
  const Dims yd(site.outputs[0]);
  return [=](const KernelArgs& args) {
    std::int64_t first = 0;
    for (std::size_t j = 0; j < inputs.size(); ++j) {
      const Dims xd(inputs[j]);
      xd.each([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
        output(args, 0)[yd.at(n, first + c, h, w)] = input(args, j)[xd.at(n, c, h, w)];
      });
      first += xd.c;
    }
  };
}

/// x -> its channels [begin, end)
Compute slice_channels(const Site& site) {
  const std::int64_t begin = site.attributes<SliceAttributes>().begin;
  const Dims xd(site.inputs[0]), yd(site.outputs[0]);
  return [=](const KernelArgs& args) {
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      output(args, 0)[yd.at(n, c, h, w)] = input(args, 0)[xd.at(n, begin + c, h, w)];
    });
  };
}

/// Shortcut option A (He et al., CVPR 2016, section 3.3): y[n, front + c, h, w] = x[n, c, s h, s
/// w], zero in the other channels.
Compute pad_shortcut(const Site& site) {
  const auto a = site.attributes<PadShortcutAttributes>();
  const Dims xd(site.inputs[0]), yd(site.outputs[0]);
  return [=](const KernelArgs& args) {
    yd.each([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      const std::int64_t from = c - a.front;
      output(args, 0)[yd.at(n, c, h, w)] =
          from >= 0 && from < xd.c ? input(args, 0)[xd.at(n, from, h * a.stride, w * a.stride)] : 0;
    });
  };
}

/// dy -> dx: the gradient of the copied elements, zero for those that the stride left out.
Compute pad_shortcut_backward(const Site& site) {
  const auto a = site.attributes<PadShortcutAttributes>();
  const Dims xd(site.outputs[0]), yd(site.inputs[0]);
  return [=](const KernelArgs& args) {
    xd.each([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      const bool copied = h % a.stride == 0 && w % a.stride == 0;
      output(args, 0)[xd.at(n, c, h, w)] =
          copied ? input(args, 0)[yd.at(n, a.front + c, h / a.stride, w / a.stride)] : 0;
    });
  };
}

std::span<const KernelRow> shape_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kCast, reshape, takes::floating},
      {Op::kReshape, reshape, takes::f32},
      {Op::kPadShortcut, pad_shortcut, takes::activations, integer_pad_shortcut},
      {Op::kConcat, concat, takes::bf16},
      {Op::kSliceChannels, slice_channels, takes::bf16},
      {Op::kPadShortcutBackward, pad_shortcut_backward, takes::bf16},
  };
  return kRows;
}

}  // namespace resnet::reference

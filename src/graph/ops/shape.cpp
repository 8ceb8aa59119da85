#include "graph/ops/rules.h"

namespace resnet {
namespace {

Types cast(const ShapeRule& r) {
  const DType to = r.as<CastAttributes>().dtype;
  expect(r, is_floating(r.inputs[0].dtype) && is_floating(to),
         fmt::format("cannot convert {} to {}", name_of(r.inputs[0].dtype), name_of(to)));
  return {{to, r.shape(0)}};
}

Types reshape(const ShapeRule& r) {
  const Shape& s = r.as<ShapeAttributes>().shape;
  expect(r, element_count(s) == element_count(r.shape(0)),
         fmt::format("cannot reshape {} to {}", to_string(r.shape(0)), to_string(s)));
  return {{r.inputs[0].dtype, s}};
}

Shape shortcut_output(const ShapeRule& r, const Shape& x, const PadShortcutAttributes& a) {
  expect(r, x.size() == 4, "needs 4-D data");
  expect(r, a.stride > 0 && a.front >= 0 && a.front + x[1] <= a.out_channels,
         fmt::format("cannot pad {} channels to {}", x[1], a.out_channels));
  return {x[0], a.out_channels, (x[2] + a.stride - 1) / a.stride, (x[3] + a.stride - 1) / a.stride};
}

Types pad_shortcut(const ShapeRule& r) {
  return like(r, shortcut_output(r, r.shape(0), r.as<PadShortcutAttributes>()));
}

Types pad_shortcut_backward(const ShapeRule& r) {
  const auto& a = r.as<PadShortcutAttributes>();
  expect_shape(r, 0, shortcut_output(r, a.input_shape, a));
  return like(r, a.input_shape);
}

Types concat(const ShapeRule& r) {
  Shape y = r.shape(0);
  expect_channels_of(r);
  for (std::size_t i = 1; i < r.inputs.size(); ++i) {
    Shape expected = r.shape(0);
    expected[1] = r.shape(i).size() >= 2 ? r.shape(i)[1] : 0;
    expect_type(r, i, expected);
    y[1] += expected[1];
  }
  return like(r, y);
}

Types slice_channels(const ShapeRule& r) {
  const auto& a = r.as<SliceAttributes>();
  Shape y = r.shape(0);
  expect_channels_of(r);
  expect(r, a.begin >= 0 && a.begin < a.end && a.end <= y[1], "bad channel range");
  y[1] = a.end - a.begin;
  return like(r, y);
}

void pad_shortcut_gradient(GradientRule& r) {
  auto a = r.attributes<PadShortcutAttributes>();
  a.input_shape = r.shape(0);
  r.dx[0] = r.emit(Op::kPadShortcutBackward, {r.dy}, a);
}

void concat_gradient(GradientRule& r) {
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < r.node.inputs.size(); ++i) {
    const std::int64_t end = begin + r.shape(i)[1];
    if (r.needs(i)) r.dx[i] = r.emit(Op::kSliceChannels, {r.dy}, SliceAttributes{begin, end});
    begin = end;
  }
}

void cast_gradient(GradientRule& r) {
  const CastAttributes back{r.graph.type(r.x(0)).dtype};
  r.dx[0] = r.emit(Op::kCast, {r.dy}, back);
}

void reshape_gradient(GradientRule& r) {
  r.dx[0] = r.emit(Op::kReshape, {r.dy}, ShapeAttributes{r.shape(0)});
}

}  // namespace

std::span<const OpInfo> shape_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kCast,
       .name = "cast",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = cast,
       .gradient = cast_gradient},
      {.op = Op::kReshape,
       .name = "reshape",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = reshape,
       .gradient = reshape_gradient},
      {.op = Op::kPadShortcut,
       .name = "pad_shortcut",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = pad_shortcut,
       .gradient = pad_shortcut_gradient},
      {.op = Op::kPadShortcutBackward,
       .name = "pad_shortcut_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = pad_shortcut_backward},
      {.op = Op::kConcat,
       .name = "concat",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = -1,
       .infer = concat,
       .gradient = concat_gradient},
      {.op = Op::kSliceChannels,
       .name = "slice_channels",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = slice_channels},
  };
  return kRows;
}

}  // namespace resnet

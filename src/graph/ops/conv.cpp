#include "graph/ops/rules.h"

namespace resnet {
namespace {

Types conv2d(const ShapeRule& r) {
  const auto& a = r.as<ConvAttributes>();
  const Shape y = conv_output(r, r.shape(0), r.shape(1), a);
  const std::size_t expected = 2U + (a.bias ? 1 : 0) + (a.residual ? 1 : 0);
  expect(r, r.inputs.size() == expected, fmt::format("expected {} inputs", expected));
  if (a.bias) expect_shape(r, 2, {y[1]});
  if (a.residual) expect_type(r, r.inputs.size() - 1, y);
  return like(r, y);
}

Types conv2d_backward_data(const ShapeRule& r) {
  const auto& a = r.as<ConvAttributes>();
  expect_shape(r, 0, conv_output(r, a.input_shape, r.shape(1), a));
  return like(r, a.input_shape);
}

Types conv2d_backward_weights(const ShapeRule& r) {
  const auto& a = r.as<ConvAttributes>();
  expect_type(r, 1, conv_output(r, r.shape(0), a.weight_shape, a));
  return f32(a.weight_shape);
}

Types channel_sum(const ShapeRule& r) {
  expect_channels_of(r);
  return f32({r.shape(0)[1]});
}

void conv2d_gradient(GradientRule& r) {
  auto a = r.attributes<ConvAttributes>();
  RESNET_CHECK(!a.relu && !a.residual);  // fused for inference only
  if (a.bias && r.needs(2)) r.dx[2] = r.emit(Op::kChannelSum, {r.dy});
  a.bias = false;
  a.input_shape = r.shape(0);
  a.weight_shape = r.shape(1);
  // Weights first: x is dead before the memory for dx is taken.
  if (r.needs(1)) r.dx[1] = r.emit(Op::kConv2dBackwardWeights, {r.x(0), r.dy}, a);
  if (r.needs(0)) r.dx[0] = r.emit(Op::kConv2dBackwardData, {r.dy, r.x(1)}, a);
}

}  // namespace

std::span<const OpInfo> conv_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kConv2d,
       .name = "conv2d",
       .kind = OpKind::kForward,
       .min_inputs = 2,
       .max_inputs = 4,
       .infer = conv2d,
       .gradient = conv2d_gradient,
       .multiply_adds = [](const CostRule& c) { return convolution_cost(c.y(), c.x(1)); }},
      {.op = Op::kConv2dBackwardData,
       .name = "conv2d_backward_data",
       .kind = OpKind::kBackward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = conv2d_backward_data,
       .multiply_adds = [](const CostRule& c) { return convolution_cost(c.x(0), c.x(1)); }},
      {.op = Op::kConv2dBackwardWeights,
       .name = "conv2d_backward_weights",
       .kind = OpKind::kBackward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = conv2d_backward_weights,
       .multiply_adds = [](const CostRule& c) { return convolution_cost(c.x(1), c.y()); }},
      {.op = Op::kChannelSum,
       .name = "channel_sum",
       .kind = OpKind::kBackward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = channel_sum},
  };
  return kRows;
}

}  // namespace resnet

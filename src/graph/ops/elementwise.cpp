#include <cmath>

#include "graph/ops/rules.h"

namespace resnet {
namespace {

Types dropout(const ShapeRule& r) {
  const double p = r.as<DropoutAttributes>().p;
  expect(r, p >= 0 && p < 1, fmt::format("the probability must be in [0, 1), it is {}", p));
  return same(r);
}

void mul_gradient(GradientRule& r) {
  if (r.needs(0)) r.dx[0] = r.emit(Op::kMul, {r.dy, r.x(1)});
  if (r.needs(1)) r.dx[1] = r.emit(Op::kMul, {r.dy, r.x(0)});
}

Types scale(const ShapeRule& r) {
  const double factor = r.as<ScaleAttributes>().factor;
  expect(r, std::isfinite(factor), fmt::format("the factor must be finite, it is {}", factor));
  return same(r);
}

void scale_gradient(GradientRule& r) { r.dx[0] = r.emit(Op::kScale, {r.dy}, r.node.attributes); }

// Linear in x with the same mask.
void dropout_gradient(GradientRule& r) {
  r.dx[0] = r.emit(Op::kDropout, {r.dy}, r.node.attributes);
}

}  // namespace

std::span<const OpInfo> elementwise_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kRelu,
       .name = "relu",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = same,
       .gradient =
           [](GradientRule& r) {
             r.dx[0] = r.emit(Op::kReluBackward, {r.dy, r.y()});
           }},
      {.op = Op::kSigmoid,
       .name = "sigmoid",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = same,
       .gradient =
           [](GradientRule& r) {
             r.dx[0] = r.emit(Op::kSigmoidBackward, {r.dy, r.y()});
           }},
      {.op = Op::kAdd,
       .name = "add",
       .kind = OpKind::kForward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = elementwise,
       .gradient = [](GradientRule& r) { r.dx[0] = r.dx[1] = r.dy; }},
      {.op = Op::kMul,
       .name = "mul",
       .kind = OpKind::kForward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = elementwise,
       .gradient = mul_gradient},
      {.op = Op::kScale,
       .name = "scale",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = scale,
       .gradient = scale_gradient},
      {.op = Op::kDropout,
       .name = "dropout",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = dropout,
       .gradient = dropout_gradient},
      {.op = Op::kReluBackward,
       .name = "relu_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = elementwise},
      {.op = Op::kSigmoidBackward,
       .name = "sigmoid_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = elementwise},
  };
  return kRows;
}

}  // namespace resnet

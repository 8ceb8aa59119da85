#include "graph/ops/rules.h"

namespace resnet {
namespace {

Types linear(const ShapeRule& r) {
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  const Shape &x = r.shape(0), &w = r.shape(1);
  expect(r, x[1] == w[1], fmt::format("data has {} features, weights want {}", x[1], w[1]));
  if (r.inputs.size() == 3) expect_shape(r, 2, {w[0]});
  return f32({x[0], w[0]});
}

Types linear_backward_data(const ShapeRule& r) {  // dy [n, m], w [m, k] -> dx [n, k]
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  expect(r, r.shape(0)[1] == r.shape(1)[0], "gradient and weights disagree");
  return f32({r.shape(0)[0], r.shape(1)[1]});
}

Types linear_backward_weights(const ShapeRule& r) {  // x [n, k], dy [n, m] -> dw [m, k]
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  expect(r, r.shape(0)[0] == r.shape(1)[0], "data and gradient disagree");
  return f32({r.shape(1)[1], r.shape(0)[1]});
}

void linear_gradient(GradientRule& r) {
  if (r.needs(0)) r.dx[0] = r.emit(Op::kLinearBackwardData, {r.dy, r.x(1)});
  if (r.needs(1)) r.dx[1] = r.emit(Op::kLinearBackwardWeights, {r.x(0), r.dy});
  if (r.needs(2)) r.dx[2] = r.emit(Op::kChannelSum, {r.dy});
}

// Of y [n, m] = x [n, k] times a matrix.
std::int64_t products_of_rows(const CostRule& c) {
  return bounded_product(element_count(c.y()), c.x(0)[1]);
}

}  // namespace

std::span<const OpInfo> linear_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kLinear,
       .name = "linear",
       .kind = OpKind::kForward,
       .min_inputs = 2,
       .max_inputs = 3,
       .infer = linear,
       .gradient = linear_gradient,
       .multiply_adds = products_of_rows},
      {.op = Op::kLinearBackwardData,
       .name = "linear_backward_data",
       .kind = OpKind::kBackward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = linear_backward_data,
       .multiply_adds = products_of_rows},
      {.op = Op::kLinearBackwardWeights,
       .name = "linear_backward_weights",
       .kind = OpKind::kBackward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = linear_backward_weights,
       .multiply_adds =
           [](const CostRule& c) { return bounded_product(element_count(c.y()), c.x(0)[0]); }},
  };
  return kRows;
}

}  // namespace resnet

#include "graph/ops/rules.h"

namespace resnet {
namespace {

Types softmax(const ShapeRule& r) {
  expect_rank(r, 0, 2);
  return same(r);
}

Types softmax_cross_entropy(const ShapeRule& r) {
  expect_rank(r, 0, 2);
  expect_shape(r, 1, r.shape(0));
  if (r.inputs.size() == 3) expect_shape(r, 2, {r.shape(0)[1]});
  const double e = r.as<LossAttributes>().label_smoothing;
  expect(r, e >= 0 && e < 1, fmt::format("label smoothing must be in [0, 1), it is {}", e));
  return {{DType::kF32, {1}}, r.inputs[0]};
}

Types softmax_cross_entropy_backward(const ShapeRule& r) {
  expect_shape(r, 0, {1});
  expect_rank(r, 1, 2);
  expect_shape(r, 2, r.shape(1));
  if (r.inputs.size() == 4) expect_shape(r, 3, {r.shape(1)[1]});
  return {r.inputs[1]};
}

void softmax_cross_entropy_gradient(GradientRule& r) {
  if (r.needs(1) || r.needs(2)) r.unsupported("has no gradient by its targets and class weights");
  std::vector<Value> in{r.dy, r.y(1), r.x(1)};
  if (r.node.inputs.size() == 3) in.push_back(r.x(2));
  r.dx[0] = r.emit(Op::kSoftmaxCrossEntropyBackward, in, r.node.attributes);
}

}  // namespace

std::span<const OpInfo> loss_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kSoftmax,
       .name = "softmax",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = softmax},
      {.op = Op::kSoftmaxCrossEntropy,
       .name = "softmax_cross_entropy",
       .kind = OpKind::kForward,
       .min_inputs = 2,
       .max_inputs = 3,
       .infer = softmax_cross_entropy,
       .gradient = softmax_cross_entropy_gradient},
      {.op = Op::kSoftmaxCrossEntropyBackward,
       .name = "softmax_cross_entropy_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 3,
       .max_inputs = 4,
       .infer = softmax_cross_entropy_backward},
  };
  return kRows;
}

}  // namespace resnet

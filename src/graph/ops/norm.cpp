#include "graph/norm_operands.h"
#include "graph/ops/rules.h"

namespace resnet {
namespace {

Types batch_norm(const ShapeRule& r) {
  const auto& a = r.as<NormAttributes>();
  expect_rank(r, 0, 4);
  const NormInputs in(r.op, a);
  expect(r, r.inputs.size() == in.count, "wrong number of inputs");
  const std::int64_t c = r.shape(in.x)[1];
  for (const std::size_t i : {in.gamma, in.beta}) expect_shape(r, i, {c});
  if (a.residual) expect_type(r, in.residual, r.shape(in.x));
  expect(r, r.shape(0)[0] * r.shape(0)[2] * r.shape(0)[3] > 1,
         "batch statistics need more than one value per channel; use a larger batch or image");
  return {r.inputs[0], {DType::kF32, {c}}, {DType::kF32, {c}}};
}

Types normalize(const ShapeRule& r) {
  const auto& a = r.as<NormAttributes>();
  expect_rank(r, 0, 4);
  const NormInputs in(r.op, a);
  expect(r, r.inputs.size() == in.count, "wrong number of inputs");
  for (const std::size_t i : {in.gamma, in.beta, in.mean, in.var}) {
    expect_shape(r, i, {r.shape(in.x)[1]});
  }
  if (a.residual) expect_type(r, in.residual, r.shape(in.x));
  return same(r);
}

// dy [, dy2], x, gamma, beta, mean, var [, y] -> dx, dgamma, dbeta [, dresidual]
Types norm_backward(const ShapeRule& r) {
  const auto& a = r.as<NormAttributes>();
  const NormBackwardInputs in(a);
  expect(r, r.inputs.size() == in.count, "wrong number of inputs");
  expect_rank(r, in.dy, 4);
  if (a.second_gradient) expect_type(r, in.dy2, r.shape(in.dy));
  expect_type(r, in.x, r.shape(in.dy));
  const std::int64_t c = r.shape(in.dy)[1];
  for (const std::size_t i : {in.gamma, in.beta, in.mean, in.var}) expect_shape(r, i, {c});
  if (in.reads_y) expect_type(r, in.y, r.shape(in.dy));
  Types out{r.inputs[0], {DType::kF32, {c}}, {DType::kF32, {c}}};
  if (a.residual) out.push_back(r.inputs[0]);
  return out;
}

Types fold_weights(const ShapeRule& r) {
  expect_rank(r, 0, 4);
  for (const std::size_t i : {1U, 2U}) expect_shape(r, i, {r.shape(0)[0]});
  return same(r);
}

Types fold_bias(const ShapeRule& r) {
  for (std::size_t i = 1; i < r.inputs.size(); ++i) expect_shape(r, i, r.shape(0));
  return same(r);
}

// What the mean and the biased variance of m values give to x: dmean / m + dvar 2 (x - mean) / m,
// which is a normalisation with these as shift and scale and a deviation of 1.
void batch_statistics(GradientRule& r) {
  if (!r.needs(0) || (!r.dys[1] && !r.dys[2])) return;
  const Shape channels = r.graph.shape(r.y(1));
  const double m =
      static_cast<double>(element_count(r.shape(0))) / static_cast<double>(element_count(channels));
  const auto fill = [&](double value) {
    return r.emit(Op::kFill, {}, FillAttributes{.value = value, .shape = channels});
  };
  const auto times = [&](Value d, double factor) {
    return d ? r.emit(Op::kMul, {d, fill(factor)}) : fill(0);
  };
  constexpr double kHalf = 0.5;
  const Value d =
      r.emit(Op::kNormalize,
             {r.x(0), times(r.dys[2], 2 / m), times(r.dys[1], 1 / m), r.y(1), fill(1 - kHalf)},
             NormAttributes{.eps = kHalf});
  r.dx[0] = r.dx[0] ? r.emit(Op::kAdd, {r.dx[0], d}) : d;
}

// Batch norm (batch statistics) and normalize (given statistics) differ in where mean and var are.
void norm_gradient(GradientRule& r) {
  const auto a = r.attributes<NormAttributes>();
  const bool batch = r.node.op == Op::kBatchNorm;
  const NormInputs in(r.node.op, a);
  if (!batch && (r.needs(in.mean) || r.needs(in.var))) {
    r.unsupported("has no gradient by its mean and var");
  }
  if (!r.dy) return batch_statistics(r);
  const NormOutputs out;
  const NormBackwardInputs to(a);
  std::vector<Value> inputs(to.count);
  inputs[to.dy] = r.dy;
  inputs[to.x] = r.x(in.x);
  inputs[to.gamma] = r.x(in.gamma);
  inputs[to.beta] = r.x(in.beta);
  inputs[to.mean] = batch ? r.y(out.mean) : r.x(in.mean);
  inputs[to.var] = batch ? r.y(out.var) : r.x(in.var);
  if (to.reads_y) inputs[to.y] = r.y(out.y);
  const Op op = batch ? Op::kBatchNormBackward : Op::kNormalizeBackward;
  const Value d = r.emit(op, std::move(inputs), a);
  const NormBackwardOutputs from;
  r.dx[in.x] = {d.node, from.dx};
  r.dx[in.gamma] = {d.node, from.dgamma};
  r.dx[in.beta] = {d.node, from.dbeta};
  if (a.residual) r.dx[in.residual] = {d.node, from.dresidual};
  if (batch) batch_statistics(r);
}

}  // namespace

std::span<const OpInfo> norm_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kBatchNorm,
       .name = "batch_norm",
       .kind = OpKind::kForward,
       .min_inputs = 3,
       .max_inputs = 4,
       .infer = batch_norm,
       .gradient = norm_gradient,
       .differentiable_outputs = 3},
      {.op = Op::kNormalize,
       .name = "normalize",
       .kind = OpKind::kForward,
       .min_inputs = 5,
       .max_inputs = 6,
       .infer = normalize,
       .gradient = norm_gradient},
      {.op = Op::kBatchNormBackward,
       .name = "batch_norm_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 6,
       .max_inputs = 8,
       .infer = norm_backward},
      {.op = Op::kNormalizeBackward,
       .name = "normalize_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 6,
       .max_inputs = 8,
       .infer = norm_backward},
      {.op = Op::kFoldWeights,
       .name = "fold_weights",
       .kind = OpKind::kHelper,
       .min_inputs = 3,
       .max_inputs = 3,
       .infer = fold_weights},
      {.op = Op::kFoldBias,
       .name = "fold_bias",
       .kind = OpKind::kHelper,
       .min_inputs = 4,
       .max_inputs = 5,
       .infer = fold_bias},
  };
  return kRows;
}

}  // namespace resnet

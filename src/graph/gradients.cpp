// Reverse-mode differentiation as a graph-to-graph transformation. Every op's gradient stands once,
// in `gradient_rule`; what is not differentiable has no rule.
#include <algorithm>
#include <map>
#include <optional>

#include "core/check.h"
#include "graph/ops.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

// What a gradient rule sees: the node, the gradients of its outputs, and which inputs need one.
struct Rule {
  Graph& graph;
  const std::int32_t id;
  const Node node;               // a copy: appending to the graph moves its nodes
  const std::vector<Value> dys;  // of each output; invalid where the loss does not depend on it
  const Value dy;                // of output 0
  const std::vector<bool>& needed;
  std::vector<Value> dx;  // the answer: gradient of each input; invalid where there is none

  bool needs(std::size_t i) const {
    return i < node.inputs.size() && needed[static_cast<std::size_t>(node.inputs[i].node)];
  }
  Value x(std::size_t i) const { return node.inputs[i]; }
  Value y(std::int32_t i = 0) const { return {id, i}; }
  const Shape& shape(std::size_t i) const { return graph.shape(node.inputs[i]); }
  template <class T>
  T attributes() const {
    return std::get<T>(node.attributes);
  }
  Value emit(Op op, std::vector<Value> inputs, Attributes a = {}) {
    return graph.append(op, node.name + ".grad", std::move(inputs), std::move(a));
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    fail(ErrorCode::kUnsupported, "layer {}: {} {}", node.name, name_of(node.op), what);
  }
};

void conv2d(Rule& r) {
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

// What the mean and the biased variance of m values give to x: dmean / m + dvar 2 (x - mean) / m,
// which is a normalisation with these as shift and scale and a deviation of 1.
void batch_statistics(Rule& r) {
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
void norm(Rule& r) {
  const auto a = r.attributes<NormAttributes>();
  const bool batch = r.node.op == Op::kBatchNorm;
  if (!batch && (r.needs(3) || r.needs(4))) r.unsupported("has no gradient by its mean and var");
  if (!r.dy) return batch_statistics(r);
  std::vector<Value> in{
      r.dy, r.x(0), r.x(1), r.x(2), batch ? r.y(1) : r.x(3), batch ? r.y(2) : r.x(4)};
  if (a.relu && a.residual) in.push_back(r.y());
  const Value d = r.emit(batch ? Op::kBatchNormBackward : Op::kNormalizeBackward, in, a);
  r.dx[0] = d;
  r.dx[1] = {d.node, 1};
  r.dx[2] = {d.node, 2};
  if (a.residual) r.dx[batch ? 3 : 5] = {d.node, 3};
  if (batch) batch_statistics(r);
}

void max_pool(Rule& r) {
  auto a = r.attributes<PoolAttributes>();
  a.input_shape = r.shape(0);
  r.dx[0] = r.emit(Op::kMaxPoolBackward, {r.dy, r.y(1)}, a);
}

void avg_pool(Rule& r) {
  auto a = r.attributes<PoolAttributes>();
  a.input_shape = r.shape(0);
  r.dx[0] = r.emit(Op::kAvgPoolBackward, {r.dy}, a);
}

void linear(Rule& r) {
  if (r.needs(0)) r.dx[0] = r.emit(Op::kLinearBackwardData, {r.dy, r.x(1)});
  if (r.needs(1)) r.dx[1] = r.emit(Op::kLinearBackwardWeights, {r.x(0), r.dy});
  if (r.needs(2)) r.dx[2] = r.emit(Op::kChannelSum, {r.dy});
}

void pad_shortcut(Rule& r) {
  auto a = r.attributes<PadShortcutAttributes>();
  a.input_shape = r.shape(0);
  r.dx[0] = r.emit(Op::kPadShortcutBackward, {r.dy}, a);
}

void concat(Rule& r) {
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < r.node.inputs.size(); ++i) {
    const std::int64_t end = begin + r.shape(i)[1];
    if (r.needs(i)) r.dx[i] = r.emit(Op::kSliceChannels, {r.dy}, SliceAttributes{begin, end});
    begin = end;
  }
}

void softmax_cross_entropy(Rule& r) {
  if (r.needs(1) || r.needs(2)) r.unsupported("has no gradient by its targets and class weights");
  std::vector<Value> in{r.dy, r.y(1), r.x(1)};
  if (r.node.inputs.size() == 3) in.push_back(r.x(2));
  r.dx[0] = r.emit(Op::kSoftmaxCrossEntropyBackward, in, r.node.attributes);
}

using GradientRule = void (*)(Rule&);

GradientRule gradient_rule(Op op) {
  switch (op) {
    case Op::kConv2d: return conv2d;
    case Op::kBatchNorm:
    case Op::kNormalize: return norm;
    case Op::kRelu: return [](Rule& r) { r.dx[0] = r.emit(Op::kReluBackward, {r.dy, r.y()}); };
    case Op::kSigmoid:
      return [](Rule& r) { r.dx[0] = r.emit(Op::kSigmoidBackward, {r.dy, r.y()}); };
    case Op::kAdd: return [](Rule& r) { r.dx[0] = r.dx[1] = r.dy; };
    case Op::kMul:
      return [](Rule& r) {
        if (r.needs(0)) r.dx[0] = r.emit(Op::kMul, {r.dy, r.x(1)});
        if (r.needs(1)) r.dx[1] = r.emit(Op::kMul, {r.dy, r.x(0)});
      };
    case Op::kMaxPool: return max_pool;
    case Op::kAvgPool: return avg_pool;
    case Op::kGlobalAvgPool:
      return [](Rule& r) {
        r.dx[0] = r.emit(Op::kGlobalAvgPoolBackward, {r.dy},
                         ShapeAttributes{r.shape(0), r.graph.type(r.x(0)).dtype});
      };
    case Op::kLinear: return linear;
    case Op::kCast:
      return [](Rule& r) {
        const CastAttributes back{r.graph.type(r.x(0)).dtype};
        r.dx[0] = r.emit(Op::kCast, {r.dy}, back);
      };
    case Op::kReshape:
      return [](Rule& r) { r.dx[0] = r.emit(Op::kReshape, {r.dy}, ShapeAttributes{r.shape(0)}); };
    case Op::kDropout:  // linear in x with the same mask
      return [](Rule& r) { r.dx[0] = r.emit(Op::kDropout, {r.dy}, r.node.attributes); };
    case Op::kPadShortcut: return pad_shortcut;
    case Op::kConcat: return concat;
    case Op::kSoftmaxCrossEntropy: return softmax_cross_entropy;
    default: return nullptr;
  }
}

}  // namespace

std::vector<Value> gradients(Graph& graph, Value loss, std::span<const Value> wrt) {
  if (element_count(graph.shape(loss)) != 1) {
    fail(ErrorCode::kInvalidArgument, "gradients need a scalar loss, {} has shape {}",
         graph.node(loss).name, to_string(graph.shape(loss)));
  }
  // A node needs a gradient when it is one of `wrt` or depends on one.
  const auto count = static_cast<std::size_t>(loss.node) + 1;
  std::vector<bool> needed(count, false);
  for (const Value v : wrt) {
    if (static_cast<std::size_t>(v.node) < count) needed[static_cast<std::size_t>(v.node)] = true;
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (const Value v : graph.nodes()[i].inputs) {
      if (needed[static_cast<std::size_t>(v.node)]) needed[i] = true;
    }
  }

  std::map<Value, Value> total;  // gradient of each output of each node, summed so far
  total[loss] = graph.append(Op::kFill, "loss.grad", {},
                             FillAttributes{.value = 1, .shape = graph.shape(loss)});
  const auto total_of = [&](Value v) {
    const auto found = total.find(v);
    return found == total.end() ? Value{} : found->second;
  };
  for (std::int32_t id = loss.node; id >= 0; --id) {
    if (!needed[static_cast<std::size_t>(id)]) continue;
    const Node& node = graph.nodes()[static_cast<std::size_t>(id)];
    std::vector<Value> dys;
    for (std::int32_t k = 0; k < std::ssize(node.outputs); ++k) dys.push_back(total_of({id, k}));
    if (std::ranges::none_of(dys, [](Value d) { return static_cast<bool>(d); })) continue;
    // An input, a parameter, or one of `wrt` that depends on no other: its sum is the answer.
    if (std::none_of(node.inputs.begin(), node.inputs.end(),
                     [&](Value v) { return needed[static_cast<std::size_t>(v.node)]; })) {
      continue;
    }
    const GradientRule rule = gradient_rule(node.op);
    if (rule == nullptr) {
      fail(ErrorCode::kUnsupported, "layer {}: {} has no gradient", node.name, name_of(node.op));
    }
    const Value dy = dys[0];
    Rule r{graph, id, node, std::move(dys), dy, needed, std::vector<Value>(node.inputs.size())};
    // Positions of maxima and probabilities are not differentiated.
    for (std::size_t k = 1; k < r.dys.size() && node.op != Op::kBatchNorm; ++k) {
      if (r.dys[k]) r.unsupported(fmt::format("has no gradient of its output {}", k));
    }
    rule(r);
    for (std::size_t i = 0; i < r.dx.size(); ++i) {
      if (!r.dx[i] || !r.needs(i)) continue;
      auto [slot, first] = total.try_emplace(r.x(i), r.dx[i]);
      if (!first) slot->second = r.emit(Op::kAdd, {slot->second, r.dx[i]});
    }
  }

  std::vector<Value> result;
  for (const Value v : wrt) result.push_back(total_of(v));
  return result;
}

}  // namespace resnet

#include "compile/passes.h"

#include <algorithm>
#include <map>
#include <set>

#include "compile/rewrite.h"
#include "graph/norm_operands.h"

namespace resnet {
namespace {

bool is_norm(Op op) { return op == Op::kBatchNorm || op == Op::kNormalize; }
bool is_norm_backward(Op op) {
  return op == Op::kBatchNormBackward || op == Op::kNormalizeBackward;
}

// A norm node whose only reader is `reader` and which has nothing fused yet.
bool is_fusable_norm(const Rewrite& g, Value v, std::int32_t reader) {
  if (v.output != 0 || !is_norm(g.node(v).op) || !g.used_only_by(v, reader)) return false;
  const auto& a = std::get<NormAttributes>(g.node(v).attributes);
  return !a.relu && !a.residual;
}

// The backward node of a relu, if it is the one that the graph can have: -1 none, -2 several.
std::int32_t relu_backward_of(const Rewrite& g, Value y) {
  std::int32_t found = -1;
  for (const std::int32_t id : g.users(y)) {
    if (g.node(id).op != Op::kReluBackward || g.node(id).inputs[1] != y) continue;
    found = found == -1 ? id : -2;
  }
  return found;
}

// The backward node of `norm` that reads `dy`, or -1.
std::int32_t norm_backward_of(const Rewrite& g, std::int32_t norm, Value dy) {
  const auto& forward = g.node(norm).inputs;
  const NormInputs of(g.node(norm).op, std::get<NormAttributes>(g.node(norm).attributes));
  for (const std::int32_t id : g.users(dy)) {
    const Node& n = g.node(id);
    if (!is_norm_backward(n.op)) continue;
    const NormBackwardInputs in(std::get<NormAttributes>(n.attributes));
    if (n.inputs[in.dy] == dy && n.inputs[in.x] == forward[of.x] &&
        n.inputs[in.gamma] == forward[of.gamma] && n.inputs[in.beta] == forward[of.beta]) {
      return id;
    }
  }
  return -1;
}

// relu(norm [+ residual]): `sum` is the addition's id or -1.
void fuse_norm(Rewrite& g, std::int32_t relu, std::int32_t sum, std::int32_t norm, Value residual) {
  const Value y{relu, 0};
  const std::int32_t relu_backward = relu_backward_of(g, y);
  std::int32_t norm_backward = -1;
  if (relu_backward == -2) return;
  if (relu_backward >= 0) {
    const Value t{relu_backward, 0};
    norm_backward = norm_backward_of(g, norm, t);
    if (norm_backward < 0) return;
    if (sum < 0 && !g.used_only_by(t, norm_backward)) return;
    if (g.is_output(t)) return;
  }
  // Both directions will read the parameters at other times, and derive the mask from them.
  const double last = g.position(std::max(relu, norm_backward));
  for (const Value v : g.node(norm).inputs) {
    if (g.updated_between(v, g.position(norm), last)) return;
  }

  auto a = std::get<NormAttributes>(g.node(norm).attributes);
  a.relu = true;
  a.residual = sum >= 0;
  if (norm_backward >= 0) {
    const Value t{relu_backward, 0};
    std::vector<Value> inputs = g.node(norm_backward).inputs;
    const NormBackwardInputs in(a);
    inputs.resize(in.count);
    inputs[in.dy] = g.node(relu_backward).inputs[0];
    if (a.residual) {
      inputs[in.y] = y;
      g.add_output(norm_backward, g.node(norm_backward).outputs[0]);
      g.set_position(norm_backward, g.position(relu_backward));
    }
    g.set_inputs(norm_backward, std::move(inputs));
    g.set_attributes(norm_backward, a);
    if (a.residual) g.replace(t, {norm_backward, NormBackwardOutputs().dresidual});
    g.remove(relu_backward);
  }
  std::vector<Value> inputs = g.node(norm).inputs;
  const NormInputs in(g.node(norm).op, a);
  inputs.resize(in.count);
  if (a.residual) inputs[in.residual] = residual;
  g.set_inputs(norm, std::move(inputs));
  g.set_attributes(norm, a);
  g.set_position(norm, g.position(relu));
  g.replace(y, {norm, 0});
  g.remove(relu);
  if (a.residual) g.remove(sum);
}

void fuse_relu(Rewrite& g, std::int32_t relu) {
  const Value x = g.node(relu).inputs[0];
  const Node& producer = g.node(x);
  if (is_fusable_norm(g, x, relu)) {
    fuse_norm(g, relu, -1, x.node, {});
  } else if (producer.op == Op::kAdd && g.used_only_by(x, relu)) {
    const Value a = producer.inputs[0], b = producer.inputs[1];
    if (a == b) return;
    if (is_fusable_norm(g, a, x.node)) {
      fuse_norm(g, relu, x.node, a.node, b);
    } else if (is_fusable_norm(g, b, x.node)) {
      fuse_norm(g, relu, x.node, b.node, a);
    }
  } else if (producer.op == Op::kConv2d && g.used_only_by(x, relu)) {
    auto a = std::get<ConvAttributes>(producer.attributes);
    if (a.relu) return;
    a.relu = true;
    g.set_attributes(x.node, a);
    g.replace({relu, 0}, x);
    g.remove(relu);
  }
}

void fuse_gradient_sum(Rewrite& g, std::int32_t id) {
  auto a = std::get<NormAttributes>(g.node(id).attributes);
  const NormBackwardInputs before(a);
  const Value dy = g.node(id).inputs[before.dy];
  if (a.second_gradient || g.node(dy).op != Op::kAdd || !g.used_only_by(dy, id)) return;
  const std::vector<Value> terms = g.node(dy).inputs;
  a.second_gradient = true;
  const NormBackwardInputs in(a);
  std::vector<Value> inputs = g.node(id).inputs;
  inputs[in.dy] = terms[0];
  inputs.insert(inputs.begin() + static_cast<std::ptrdiff_t>(in.dy2), terms[1]);
  g.set_inputs(id, std::move(inputs));
  g.set_attributes(id, a);
  g.remove(dy.node);
}

// Some node writes this variable.
bool is_updated(const Rewrite& g, Value v) {
  return std::ranges::any_of(g.users(v), [&](std::int32_t id) {
    const auto& inputs = g.node(id).inputs;
    const auto end = inputs.begin() +
                     std::min<std::ptrdiff_t>(updated_inputs(g.node(id).op), std::ssize(inputs));
    return std::find(inputs.begin(), end, v) != end;
  });
}

}  // namespace

Graph fuse(const Graph& graph) {
  Rewrite g(graph);
  for (std::int32_t id = 0; id < g.size(); ++id) {
    if (g.node(id).op == Op::kRelu) fuse_relu(g, id);
  }
  for (std::int32_t id = 0; id < g.size(); ++id) {
    if (is_norm_backward(g.node(id).op)) fuse_gradient_sum(g, id);
  }
  return g.finish();
}

Graph fold_batch_norm(const Graph& graph) {
  Rewrite g(graph);
  const std::int32_t count = g.size();
  for (std::int32_t id = 0; id < count; ++id) {
    if (g.node(id).op != Op::kNormalize) continue;
    const auto norm = std::get<NormAttributes>(g.node(id).attributes);
    const NormInputs of(Op::kNormalize, norm);
    const std::vector<Value> in = g.node(id).inputs;
    const Value x = in[of.x];
    const Value gamma = in[of.gamma], beta = in[of.beta], mean = in[of.mean], var = in[of.var];
    if (g.node(x).op != Op::kConv2d || !g.used_only_by(x, id)) continue;
    auto conv = std::get<ConvAttributes>(g.node(x).attributes);
    if (conv.relu || conv.residual) continue;
    // In training, only what is frozen: that gradients do not read `x` follows from the above.
    const auto is_constant = [&](Value v) {
      return g.node(v).op == Op::kParameter && !is_updated(g, v);
    };
    const bool constant =
        is_constant(gamma) && is_constant(beta) && is_constant(mean) && is_constant(var);
    if (!constant || is_updated(g, g.node(x).inputs[1])) continue;
    const std::vector<Value> conv_in = g.node(x).inputs;
    const std::string name = g.node(x).name;
    std::vector<Value> bias_in{gamma, beta, mean, var};
    if (conv.bias) bias_in.push_back(conv_in[2]);
    const double at = g.position(id);
    const Value weights = g.insert(at, Op::kFoldWeights, name, {conv_in[1], gamma, var}, norm);
    const Value bias = g.insert(at, Op::kFoldBias, name, std::move(bias_in), norm);
    std::vector<Value> folded{conv_in[0], weights, bias};
    conv.bias = true;
    conv.relu = norm.relu;
    conv.residual = norm.residual;
    if (norm.residual) folded.push_back(in[of.residual]);
    g.replace({id, 0}, g.insert(at, Op::kConv2d, name, std::move(folded), conv));
  }
  return g.finish();
}

namespace {

// The readers of an activation in the backward pass.
std::vector<std::int32_t> backward_readers(const Rewrite& g, Value y) {
  std::vector<std::int32_t> late;
  for (const std::int32_t u : g.users(y)) {
    const Op op = g.node(u).op;
    if (op == Op::kConv2dBackwardWeights || op == Op::kBatchNormBackward) late.push_back(u);
  }
  return late;
}

}  // namespace

Graph recompute_activations(const Graph& graph) {
  Rewrite g(graph);
  const std::int32_t count = g.size();
  std::set<Value> recomputed;
  for (std::int32_t id = 0; id < count; ++id) {
    const Node& n = g.node(id);
    if (n.op != Op::kBatchNorm) continue;
    const Value y{id, 0};
    if (g.is_output(y)) continue;
    const std::vector<std::int32_t> late = backward_readers(g, y);
    if (late.empty()) continue;
    const auto a = std::get<NormAttributes>(n.attributes);
    // With a residual: only if that one is kept until then anyway.
    const NormInputs in(n.op, a);
    const auto is_lost = [&](Value v) {
      return recomputed.contains(v) || backward_readers(g, v).empty();
    };
    if (a.residual && is_lost(n.inputs[in.residual])) continue;
    const auto first = *std::min_element(
        late.begin(), late.end(), [&](auto l, auto r) { return g.position(l) < g.position(r); });
    if (g.updated_between(n.inputs[in.gamma], g.position(id), g.position(first)) ||
        g.updated_between(n.inputs[in.beta], g.position(id), g.position(first))) {
      continue;
    }
    const NormInputs to(Op::kNormalize, a);
    const NormOutputs out;
    std::vector<Value> inputs(to.count);
    inputs[to.x] = n.inputs[in.x];
    inputs[to.gamma] = n.inputs[in.gamma];
    inputs[to.beta] = n.inputs[in.beta];
    inputs[to.mean] = {id, out.mean};
    inputs[to.var] = {id, out.var};
    if (a.residual) inputs[to.residual] = n.inputs[in.residual];
    const Value again =
        g.insert(g.position(first) - 0.5, Op::kNormalize, n.name + ".again", std::move(inputs), a);
    for (const std::int32_t u : late) {
      std::vector<Value> read = g.node(u).inputs;
      std::replace(read.begin(), read.end(), y, again);
      g.set_inputs(u, std::move(read));
    }
    recomputed.insert(y);
  }
  return g.finish();
}

Graph schedule_updates(const Graph& graph) {
  Rewrite g(graph);
  // Readers and writers of each parameter, in the original order.
  std::map<Value, std::vector<std::int32_t>> touched;
  for (std::int32_t id = 0; id < g.size(); ++id) {
    for (const Value v : g.node(id).inputs) {
      if (g.node(v).op == Op::kParameter) touched[v].push_back(id);
    }
  }
  for (std::int32_t id = 0; id < g.size(); ++id) {
    const int updated = updated_inputs(g.node(id).op);
    if (updated == 0) continue;
    double after = 0;
    const auto& inputs = g.node(id).inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      // Inputs and parameters are there from the start, wherever they were declared.
      if (!g.node(inputs[i]).inputs.empty()) after = std::max(after, g.position(inputs[i].node));
      for (const std::int32_t other : touched[inputs[i]]) {
        const int writes = updated_inputs(g.node(other).op);
        const auto& theirs = g.node(other).inputs;
        const bool writes_it = std::find(theirs.begin(), theirs.begin() + writes, inputs[i]) !=
                               theirs.begin() + writes;
        const bool hazard = static_cast<int>(i) < updated || writes_it;
        if (other < id && hazard) after = std::max(after, g.position(other));
      }
    }
    g.set_position(id, after);  // ties keep the original order
  }
  return g.finish();
}

}  // namespace resnet

// Reverse-mode differentiation as a graph-to-graph transformation. Every op's gradient stands in
// its row of the op table; what is not differentiable has none.
#include <algorithm>
#include <map>
#include <optional>

#include "graph/ops/rules.h"
#include "resnet/graph.h"

namespace resnet {

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
  total[loss] = graph.append({.op = Op::kFill,
                              .name = "loss.grad",
                              .attributes = FillAttributes{.value = 1, .shape = graph.shape(loss)},
                              .derivative = true});
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
    const OpInfo& info = op_info(node.op);
    if (info.gradient == nullptr) {
      fail(ErrorCode::kUnsupported, "layer {}: {} has no gradient", node.name, name_of(node.op));
    }
    const Value dy = dys[0];
    GradientRule r{
        graph, id, node, std::move(dys), dy, needed, std::vector<Value>(node.inputs.size())};
    for (auto k = static_cast<std::size_t>(info.differentiable_outputs); k < r.dys.size(); ++k) {
      if (r.dys[k]) r.unsupported(fmt::format("has no gradient of its output {}", k));
    }
    info.gradient(r);
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

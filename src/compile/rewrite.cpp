#include "compile/rewrite.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "graph/ops.h"

namespace resnet {

Rewrite::Rewrite(const Graph& graph)
    : mode_(graph.mode()),
      nodes_(graph.nodes()),
      positions_(nodes_.size()),
      outputs_(graph.outputs()) {
  std::iota(positions_.begin(), positions_.end(), 0.0);
  for (std::int32_t id = 0; id < size(); ++id) {
    const std::vector<Value> inputs = node(id).inputs;
    nodes_[static_cast<std::size_t>(id)].inputs.clear();
    set_inputs(id, inputs);
  }
}

const std::vector<std::int32_t>& Rewrite::users(Value v) const {
  static const std::vector<std::int32_t> kNone;
  const auto found = users_.find(v);
  return found == users_.end() ? kNone : found->second;
}

bool Rewrite::is_output(Value v) const {
  return std::any_of(outputs_.begin(), outputs_.end(),
                     [&](const auto& o) { return o.second == v; });
}

bool Rewrite::used_only_by(Value v, std::int32_t reader) const {
  const auto& u = users(v);
  return u.size() == 1 && u[0] == reader && !is_output(v);
}

bool Rewrite::updated_between(Value v, double from, double to) const {
  const auto& readers = users(v);
  return std::any_of(readers.begin(), readers.end(), [&](std::int32_t id) {
    const auto& inputs = node(id).inputs;
    const auto end =
        inputs.begin() + std::min<std::ptrdiff_t>(updated_inputs(node(id).op), std::ssize(inputs));
    return from < position(id) && position(id) < to && std::find(inputs.begin(), end, v) != end;
  });
}

void Rewrite::set_inputs(std::int32_t id, std::vector<Value> inputs) {
  Node& n = nodes_[static_cast<std::size_t>(id)];
  for (const Value v : n.inputs) std::erase(users_[v], id);
  n.inputs = std::move(inputs);
  for (const Value v : n.inputs) {
    auto& u = users_[v];
    if (std::find(u.begin(), u.end(), id) == u.end()) u.push_back(id);
  }
}

void Rewrite::set_attributes(std::int32_t id, Attributes attributes) {
  nodes_[static_cast<std::size_t>(id)].attributes = std::move(attributes);
}

void Rewrite::add_output(std::int32_t id, TensorType type) {
  nodes_[static_cast<std::size_t>(id)].outputs.push_back(std::move(type));
}

void Rewrite::replace(Value from, Value to) {
  const std::vector<std::int32_t> readers = users(from);
  for (const std::int32_t id : readers) {
    std::vector<Value> inputs = node(id).inputs;
    std::replace(inputs.begin(), inputs.end(), from, to);
    set_inputs(id, std::move(inputs));
  }
  for (auto& [name, value] : outputs_) {
    if (value == from) value = to;
  }
}

Value Rewrite::insert(double position, Op op, std::string name, std::vector<Value> inputs,
                      Attributes attributes) {
  std::vector<TensorType> types;
  for (const Value v : inputs) types.push_back(node(v).outputs[static_cast<std::size_t>(v.output)]);
  Node n{op, std::move(name), {}, std::move(attributes), {}};
  n.outputs = infer({n.name, op, types, n.attributes});
  nodes_.push_back(std::move(n));
  positions_.push_back(position);
  const std::int32_t id = size() - 1;
  set_inputs(id, std::move(inputs));
  return {id, 0};
}

Graph Rewrite::finish() const {
  std::vector<std::int32_t> order(nodes_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return position(a) < position(b); });

  // Reachable from what has an effect: outputs and updates. Inputs and parameters stay declared.
  std::vector<bool> live(nodes_.size(), false);
  std::vector<std::int32_t> pending;
  for (const auto& [name, value] : outputs_) pending.push_back(value.node);
  for (std::int32_t id = 0; id < size(); ++id) {
    const Op op = node(id).op;
    if (updated_inputs(op) > 0 || op == Op::kInput || op == Op::kParameter) pending.push_back(id);
  }
  while (!pending.empty()) {
    const std::int32_t id = pending.back();
    pending.pop_back();
    if (live[static_cast<std::size_t>(id)]) continue;
    live[static_cast<std::size_t>(id)] = true;
    for (const Value v : node(id).inputs) pending.push_back(v.node);
  }

  Graph graph(mode_);
  std::vector<std::int32_t> emitted(nodes_.size(), -1);
  std::vector<std::int32_t> stack;
  for (const std::int32_t root : order) {
    if (!live[static_cast<std::size_t>(root)]) continue;
    stack.push_back(root);
    while (!stack.empty()) {
      const std::int32_t id = stack.back();
      if (emitted[static_cast<std::size_t>(id)] >= 0) {
        stack.pop_back();
        continue;
      }
      const Node& n = node(id);
      bool ready = true;
      for (const Value v : n.inputs) {
        if (emitted[static_cast<std::size_t>(v.node)] < 0) {
          stack.push_back(v.node);
          ready = false;
        }
      }
      RESNET_CHECK(stack.size() <= 4 * nodes_.size());  // a cycle would grow without end
      if (!ready) continue;
      stack.pop_back();
      Value v;
      if (n.op == Op::kInput) {
        v = graph.input(n.name, n.outputs[0].shape, n.outputs[0].dtype);
      } else if (n.op == Op::kParameter) {
        v = graph.parameter(n.name, n.outputs[0].shape, std::get<ParameterAttributes>(n.attributes),
                            n.outputs[0].dtype);
      } else {
        Node moved = n;
        for (Value& input : moved.inputs)
          input.node = emitted[static_cast<std::size_t>(input.node)];
        v = graph.append(std::move(moved));
      }
      emitted[static_cast<std::size_t>(id)] = v.node;
    }
  }
  for (const auto& [name, value] : outputs_) {
    graph.mark_output(name, {emitted[static_cast<std::size_t>(value.node)], value.output});
  }
  return graph;
}

}  // namespace resnet

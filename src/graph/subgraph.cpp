// Parts of graphs: finding a layer by its name, and copying what a value depends on, with or
// without freezing it.
#include "graph/subgraph.h"

#include <algorithm>
#include <set>

#include "core/check.h"
#include "core/nearest.h"
#include "graph/ops.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

// The nodes that the values depend on, their own included, without looking behind those in `known`.
std::vector<bool> ancestors(const Graph& graph, const std::vector<Value>& values,
                            const std::map<Value, Value>& known) {
  std::vector<bool> found(graph.nodes().size(), false);
  std::vector<Value> pending = values;
  std::erase(pending, Value{});
  while (!pending.empty()) {
    const Value next = pending.back();
    pending.pop_back();
    if (known.contains(next) || found[static_cast<std::size_t>(next.node)]) continue;
    found[static_cast<std::size_t>(next.node)] = true;
    for (const Value input : graph.node(next).inputs) pending.push_back(input);
  }
  return found;
}

// The running statistics of each batch norm: the variables into which its mean and variance go.
std::map<Value, Value> running_statistics(const Graph& graph) {
  std::map<Value, Value> result;
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::kRunningAverage && graph.node(n.inputs[1]).op == Op::kBatchNorm) {
      result[n.inputs[1]] = n.inputs[0];
    }
  }
  return result;
}

class Copy {
 public:
  Copy(Graph& to, const Graph& from, std::map<Value, Value> known)
      : to_(to), from_(from), values_(std::move(known)) {}

  std::map<Value, Value> run(const std::vector<Value>& vs, Value frozen) {
    const std::vector<bool> fixed = ancestors(from_, {frozen}, values_);
    std::vector<bool> wanted = ancestors(from_, vs, values_);
    const std::map<Value, Value> running = running_statistics(from_);
    const auto& nodes = from_.nodes();
    const auto is = [](const std::vector<bool>& set, std::int32_t id) {
      return set[static_cast<std::size_t>(id)];
    };
    // Running statistics come along: as variables that are read, or with what updates them.
    for (std::int32_t id = 0; id < std::ssize(nodes); ++id) {
      const Node& n = nodes[static_cast<std::size_t>(id)];
      if (n.op != Op::kRunningAverage || !is(wanted, n.inputs[1].node)) continue;
      wanted[static_cast<std::size_t>(n.inputs[0].node)] = true;
      if (!is(fixed, n.inputs[1].node)) wanted[static_cast<std::size_t>(id)] = true;
    }
    for (std::int32_t id = 0; id < std::ssize(nodes); ++id) {
      if (!is(wanted, id)) continue;
      const Node& n = nodes[static_cast<std::size_t>(id)];
      if (is(fixed, id) && n.op == Op::kDropout) {
        values_[{id, 0}] = at(n.inputs[0]);
      } else if (is(fixed, id) && n.op == Op::kBatchNorm) {
        const auto mean = running.find({id, 1}), var = running.find({id, 2});
        if (mean == running.end() || var == running.end()) {
          fail(ErrorCode::kInvalidArgument,
               "layer {}: has no running statistics, so it cannot be frozen", n.name);
        }
        std::vector<Value> inputs = all(n.inputs);
        inputs.push_back(at(mean->second));
        inputs.push_back(at(var->second));
        values_.try_emplace({id, 1}, at(mean->second));  // whoever reads these
        values_.try_emplace({id, 2}, at(var->second));
        values_.try_emplace({id, 0},
                            to_.append(Op::kNormalize, n.name, std::move(inputs), n.attributes));
      } else {
        copy(id, is(fixed, id) || is_fixed_statistic(running, fixed, {id, 0}));
      }
    }
    return std::move(values_);
  }

 private:
  static bool is_fixed_statistic(const std::map<Value, Value>& running,
                                 const std::vector<bool>& fixed, Value v) {
    return std::ranges::any_of(running, [&](const auto& r) {
      return r.second == v && fixed[static_cast<std::size_t>(r.first.node)];
    });
  }

  void copy(std::int32_t id, bool fixed) {
    const Node& n = from_.nodes()[static_cast<std::size_t>(id)];
    Value v;
    if (n.op == Op::kInput) {
      v = to_.input(n.name, n.outputs[0].shape, n.outputs[0].dtype);
    } else if (n.op == Op::kParameter) {
      auto a = std::get<ParameterAttributes>(n.attributes);
      if (fixed) a.role = Role::kBuffer;
      v = to_.parameter(n.name, n.outputs[0].shape, a, n.outputs[0].dtype);
    } else {
      Node node = n;
      node.inputs = all(n.inputs);
      v = to_.append(std::move(node));
    }
    // What is known already stays, also when the node is copied for another of its outputs.
    for (std::int32_t i = 0; i < std::ssize(n.outputs); ++i) {
      values_.try_emplace({id, i}, Value{v.node, i});
    }
  }

  Value at(Value v) const {
    const auto found = values_.find(v);
    RESNET_CHECK(found != values_.end());
    return found->second;
  }
  std::vector<Value> all(const std::vector<Value>& inputs) const {
    std::vector<Value> result;
    for (const Value v : inputs) result.push_back(at(v));
    return result;
  }

  Graph& to_;
  const Graph& from_;
  std::map<Value, Value> values_;  // from -> to
};

}  // namespace

Value find_layer(const Graph& graph, std::string_view name) {
  Value exact, below;
  const std::string prefix = std::string(name) + ".";
  for (std::size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& n = graph.nodes()[i];
    if (!is_layer(n)) continue;
    const Value v{static_cast<std::int32_t>(i), 0};
    if (n.name == name) exact = v;
    if (n.name.starts_with(prefix)) below = v;
  }
  if (exact) return exact;
  if (below) return below;
  std::set<std::string> known;
  for (const Node& n : graph.nodes()) {
    if (!is_layer(n)) continue;
    for (std::size_t dot = n.name.find('.'); dot != std::string::npos;
         dot = n.name.find('.', dot + 1)) {
      known.insert(n.name.substr(0, dot));
    }
    known.insert(n.name);
  }
  constexpr std::size_t kLongest = 64;  // names come from files, too
  const std::string_view shown = name.substr(0, kLongest);
  fail(ErrorCode::kInvalidArgument,
       "no layer is called '{}'; did you mean '{}'? `resnet summary ARCH` lists the layers; "
       "blocks and stages have names, too: what stands before a dot",
       shown, nearest_name(shown, known));
}

Value copy_subgraph(Graph& to, const Graph& from, Value v, std::map<Value, Value> known,
                    Value frozen) {
  const std::map<Value, Value> copied = copy_values(to, from, {v}, std::move(known), frozen);
  const auto found = copied.find(v);
  RESNET_CHECK(found != copied.end());
  return found->second;
}

std::map<Value, Value> copy_values(Graph& to, const Graph& from, const std::vector<Value>& values,
                                   std::map<Value, Value> known, Value frozen) {
  return Copy(to, from, std::move(known)).run(values, frozen);
}

}  // namespace resnet

// A graph under change. Passes edit nodes here; `finish` emits a valid graph again, without what
// has become unreachable, in an order as close to the nodes' positions as dependencies allow.
#pragma once

#include <map>
#include <vector>

#include "resnet/graph.h"

namespace resnet {

class Rewrite {
 public:
  explicit Rewrite(const Graph& graph);

  std::int32_t size() const { return static_cast<std::int32_t>(nodes_.size()); }
  const Node& node(std::int32_t id) const { return nodes_[static_cast<std::size_t>(id)]; }
  const Node& node(Value v) const { return node(v.node); }
  double position(std::int32_t id) const { return positions_[static_cast<std::size_t>(id)]; }
  void set_position(std::int32_t id, double position) {
    positions_[static_cast<std::size_t>(id)] = position;
  }

  /// The nodes that read a value, once each.
  const std::vector<std::int32_t>& users(Value v) const;
  bool is_output(Value v) const;
  /// `reader` alone uses v, and the host does not ask for it.
  bool used_only_by(Value v, std::int32_t reader) const;
  /// An update of v stands between two positions: a read must not move across it.
  bool updated_between(Value v, double from, double to) const;

  void set_inputs(std::int32_t id, std::vector<Value> inputs);
  void set_attributes(std::int32_t id, Attributes attributes);
  /// A change that adds outputs, e.g. a residual gradient.
  void add_output(std::int32_t id, TensorType type);
  /// Drops a node that nobody reads any more: it no longer counts as a reader itself.
  void remove(std::int32_t id) { set_inputs(id, {}); }
  /// Every reader of `from`, and the host, reads `to` instead.
  void replace(Value from, Value to);
  /// A new node at a position, with output types taken from the op's shape rule.
  Value insert(double position, Op op, std::string name, std::vector<Value> inputs,
               Attributes attributes);

  Graph finish() const;

 private:
  Mode mode_;
  std::vector<Node> nodes_;
  std::vector<double> positions_;
  std::vector<std::pair<std::string, Value>> outputs_;
  std::map<Value, std::vector<std::int32_t>> users_;
};

}  // namespace resnet

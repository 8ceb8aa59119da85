#include <set>

#include "core/check.h"
#include "graph/ops.h"
#include "graph/print.h"
#include "resnet/graph.h"

namespace resnet {

void verify(const Graph& graph) {
  std::set<std::string_view> sources;
  const auto& nodes = graph.nodes();
  for (std::size_t id = 0; id < nodes.size(); ++id) {
    const Node& node = nodes[id];
    const OpInfo& info = op_info(node.op);
    const auto broken = [&](std::string_view rule) {
      fail(ErrorCode::kInternal, "the graph is broken: {} in {}", rule,
           print_node(graph, static_cast<std::int32_t>(id)));
    };
    const auto arity = static_cast<int>(node.inputs.size());
    if (arity < info.min_inputs || (info.max_inputs >= 0 && arity > info.max_inputs)) {
      broken("wrong number of inputs");
    }
    std::vector<TensorType> types;
    for (const Value v : node.inputs) {
      if (v.node < 0 || static_cast<std::size_t>(v.node) >= id) broken("an input that follows it");
      const auto& outputs = graph.node(v).outputs;
      if (v.output < 0 || static_cast<std::size_t>(v.output) >= outputs.size()) {
        broken("an input that does not exist");
      }
      types.push_back(graph.type(v));
    }
    for (int i = 0; i < info.updated_inputs; ++i) {
      if (graph.node(node.inputs[static_cast<std::size_t>(i)]).op != Op::kParameter) {
        broken("an update of something that is not a parameter");
      }
    }
    if (node.op == Op::kInput || node.op == Op::kParameter) {
      if (node.outputs.size() != 1) broken("a source with other than one output");
      if (!sources.insert(node.name).second) broken("a name that is taken");
      if (node.op == Op::kParameter &&
          !std::holds_alternative<ParameterAttributes>(node.attributes)) {
        broken("a parameter without attributes");
      }
    } else if (infer({node.name, node.op, types, node.attributes}) != node.outputs) {
      broken("output types that do not follow from the inputs");
    }
  }
}

}  // namespace resnet

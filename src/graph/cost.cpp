#include "graph/cost.h"

#include "graph/ops.h"

namespace resnet {

std::int64_t multiply_adds(const Graph& graph, const Node& node) {
  const auto cost = op_info(node.op).multiply_adds;
  if (cost == nullptr) return 0;
  std::vector<TensorType> inputs;
  for (const Value v : node.inputs) inputs.push_back(graph.type(v));
  return cost({node.op, inputs, node.outputs});
}

}  // namespace resnet

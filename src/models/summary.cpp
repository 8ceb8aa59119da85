#include <set>

#include "core/check.h"
#include "graph/ops.h"
#include "resnet/models.h"

namespace resnet {
namespace {

// For the whole batch, by the textbook: padding counts, additions of a bias do not.
std::int64_t multiply_adds(const Graph& graph, const Node& node) {
  if (node.op != Op::kConv2d && node.op != Op::kLinear) return 0;
  const Shape& w = graph.shape(node.inputs[1]);  // [m, c, kh, kw] or [m, k]
  return element_count(node.outputs[0].shape) * (element_count(w) / w[0]);
}

}  // namespace

std::vector<LayerSummary> summarise(const Graph& graph) {
  std::vector<LayerSummary> layers;
  std::set<Value> counted;
  for (const Node& node : graph.nodes()) {
    if (!is_layer(node)) continue;
    LayerSummary layer{
        .name = node.name, .op = std::string(name_of(node.op)), .output = node.outputs[0].shape};
    if (layer.output.empty() || layer.output[0] == 0) {
      fail(ErrorCode::kInvalidArgument, "cannot summarise layer {}: it has no batch to divide by",
           node.name);
    }
    layer.multiply_adds = multiply_adds(graph, node) / layer.output[0];
    layer.output[0] = 1;
    for (const Value v : node.inputs) {
      const auto* p = std::get_if<ParameterAttributes>(&graph.node(v).attributes);
      const bool trained = p != nullptr && p->role != Role::kBuffer && p->role != Role::kOptimizer;
      if (trained && counted.insert(v).second) layer.parameters += element_count(graph.shape(v));
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace resnet

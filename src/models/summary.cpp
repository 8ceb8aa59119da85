#include <set>

#include "core/check.h"
#include "graph/cost.h"
#include "graph/ops.h"
#include "resnet/models.h"

namespace resnet {
namespace {

bool multiplies(Op op) {
  return op == Op::kConv2d || op == Op::kLinear || op == Op::kQuantizedConv2d ||
         op == Op::kQuantizedLinear;
}

// The nodes of the network itself, by index: without loss, gradients and optimizer.
std::vector<bool> network_of(const Graph& graph) {
  std::vector<bool> needed(graph.nodes().size(), false);
  bool named = false;
  for (const auto& [name, v] : graph.outputs()) {
    if (name != "logits" && name != "probabilities") continue;
    needed[static_cast<std::size_t>(v.node)] = named = true;
  }
  if (!named) return std::vector<bool>(needed.size(), true);
  for (std::size_t i = needed.size(); i-- > 0;) {  // nodes stand behind what they read
    if (!needed[i]) continue;
    for (const Value v : graph.nodes()[i].inputs) needed[static_cast<std::size_t>(v.node)] = true;
  }
  return needed;
}

// Running statistics are not parameters: neither those of a batch norm nor the optimizer's.
bool is_parameter(const Graph& graph, const Node& node, std::size_t input) {
  const Node& source = graph.node(node.inputs[input]);
  const auto* p = std::get_if<ParameterAttributes>(&source.attributes);
  if (source.op != Op::kParameter || p == nullptr || p->role == Role::kOptimizer) return false;
  // Integers and folded weights are buffers, too.
  return multiplies(node.op) || p->role != Role::kBuffer;
}

}  // namespace

std::vector<LayerSummary> summarise(const Graph& graph) {
  std::vector<LayerSummary> layers;
  std::set<Value> counted;
  const std::vector<bool> network = network_of(graph);
  for (std::size_t n = 0; n < network.size(); ++n) {
    const Node& node = graph.nodes()[n];
    if (!network[n] || !is_layer(node)) continue;
    LayerSummary layer{.name = node.name,
                       .op = std::string(name_of(node.op)),
                       .output = node.outputs[0].shape,
                       .dtype = node.outputs[0].dtype};
    if (layer.output.empty() || layer.output[0] == 0) {
      fail(ErrorCode::kInvalidArgument, "cannot summarise layer {}: it has no batch to divide by",
           node.name);
    }
    layer.multiply_adds = multiply_adds(graph, node) / layer.output[0];
    layer.output[0] = 1;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const Value v = node.inputs[i];
      if (!is_parameter(graph, node, i) || !counted.insert(v).second) continue;
      const std::int64_t elements = element_count(graph.shape(v));
      layer.parameters += elements;
      layer.bytes += elements * static_cast<std::int64_t>(size_of(graph.type(v).dtype));
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace resnet

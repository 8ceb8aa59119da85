// Mixed precision: Micikevicius et al. 2018, "Mixed precision training"; bfloat16 as in Kalamkar et
// al. 2019, "A study of BFLOAT16 for deep learning training", which needs no loss scaling.
#include <map>

#include "compile/passes.h"
#include "graph/ops.h"

namespace resnet {
namespace {

bool is_float(const TensorType& t) { return t.dtype == DType::kF32 || t.dtype == DType::kBF16; }

}  // namespace

Graph lower_precision(const Graph& graph, DType dtype, const Target& target) {
  Graph result(graph.mode());
  std::vector<std::int32_t> moved;                  // node -> node of the result
  std::map<std::pair<Value, DType>, Value> casted;  // so that each value is converted once
  const auto as = [&](Value v, DType wanted) {
    const Value there{moved[static_cast<std::size_t>(v.node)], v.output};
    const TensorType& type = result.type(there);
    if (!is_float(type) || type.dtype == wanted) return there;
    auto [slot, is_new] = casted.try_emplace({there, wanted});
    if (is_new) {
      const Node& producer = graph.node(v);
      slot->second = result.append({.op = Op::kCast,
                                    .name = producer.name,
                                    .inputs = {there},
                                    .attributes = CastAttributes{wanted},
                                    .derivative = producer.derivative});
    }
    return slot->second;
  };
  for (const Node& node : graph.nodes()) {
    Value v;
    if (node.op == Op::kInput) {
      v = result.input(node.name, node.outputs[0].shape, node.outputs[0].dtype);
    } else if (node.op == Op::kParameter) {
      v = result.parameter(node.name, node.outputs[0].shape,
                           std::get<ParameterAttributes>(node.attributes), node.outputs[0].dtype);
    } else {
      Node lowered = node;
      for (std::size_t i = 0; i < node.inputs.size(); ++i) {
        const Value x = node.inputs[i];
        // A cast says itself what it makes.
        const bool low =
            node.op != Op::kCast && target.supports(node.op, i, {dtype, graph.shape(x)});
        lowered.inputs[i] = as(x, low ? dtype : DType::kF32);
      }
      if (node.op == Op::kGlobalAvgPoolBackward) {
        std::get<ShapeAttributes>(lowered.attributes).dtype = dtype;
      }
      result.append(std::move(lowered));
      v = {static_cast<std::int32_t>(result.nodes().size()) - 1, 0};
    }
    moved.push_back(v.node);
  }
  for (const auto& [name, v] : graph.outputs()) result.mark_output(name, as(v, DType::kF32));
  return result;
}

}  // namespace resnet

#include "graph/cost.h"

namespace resnet {

namespace {

// Bounded, so that sums over thousands of layers from a hostile file do not overflow either.
std::int64_t product(std::int64_t a, std::int64_t b) {
  constexpr std::int64_t kBound = std::int64_t{1} << 48;
  std::int64_t p = 0;
  return __builtin_mul_overflow(a, b, &p) || p > kBound ? kBound : p;
}

}  // namespace

std::int64_t multiply_adds(const Graph& graph, const Node& node) {
  const auto in = [&](std::size_t i) -> const Shape& { return graph.shape(node.inputs[i]); };
  // Every output element of a convolution is a dot product over one filter.
  const auto convolution = [](const Shape& y, const Shape& w) {
    return product(element_count(y), element_count({w[1], w[2], w[3]}));
  };
  switch (node.op) {
    case Op::kConv2d:
    case Op::kQuantizedConv2d: return convolution(node.outputs[0].shape, in(1));
    case Op::kConv2dBackwardData: return convolution(in(0), in(1));
    case Op::kConv2dBackwardWeights: return convolution(in(1), node.outputs[0].shape);
    case Op::kLinear:
    case Op::kQuantizedLinear: return product(element_count(node.outputs[0].shape), in(0)[1]);
    case Op::kLinearBackwardData: return product(element_count(node.outputs[0].shape), in(0)[1]);
    case Op::kLinearBackwardWeights: return product(element_count(node.outputs[0].shape), in(0)[0]);
    default: return 0;
  }
}

}  // namespace resnet

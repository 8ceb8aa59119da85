// What a node costs by the textbook definition, whatever kernel runs it.
#pragma once

#include <cstdint>

#include "resnet/graph.h"

namespace resnet {

/// Multiply-adds of convolutions and linear layers, forward and backward; 0 for all other ops.
std::int64_t multiply_adds(const Graph& graph, const Node& node);

}  // namespace resnet

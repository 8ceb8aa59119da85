// What a node costs by the textbook definition, whatever kernel runs it.
#pragma once

#include <cstdint>

#include "resnet/graph.h"

namespace resnet {

/// Multiply-adds as the op table has them; 0 for ops without a cost.
std::int64_t multiply_adds(const Graph& graph, const Node& node);

}  // namespace resnet

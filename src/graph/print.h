// Graphs as text.
#pragma once

#include <string>

#include "resnet/graph.h"

namespace resnet {

std::string print_node(const Graph& graph, std::int32_t id);

}  // namespace resnet

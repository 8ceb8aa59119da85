// Copies of several values at once.
#pragma once

#include <map>
#include <vector>

#include "resnet/graph.h"

namespace resnet {

/// As `copy_subgraph` for one value. Returns what each value that was copied, or was known, is in
/// `to`.
std::map<Value, Value> copy_values(Graph& to, const Graph& from, const std::vector<Value>& values,
                                   std::map<Value, Value> known = {}, Value frozen = {});

}  // namespace resnet

// Networks that nobody thought of, to meet the combinations that hand-made cases leave out.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "resnet/graph.h"

namespace resnet::test {

/// Random layers with random skips between them, a function of the seed alone. In training mode a
/// head, a loss, all gradients as outputs and momentum SGD follow; some value in the middle is an
/// output, too.
Graph random_graph(std::uint64_t seed, Mode mode);

/// f64 numbers that f32 holds, for all inputs and parameters: nothing starts as the identity.
std::map<std::string, Tensor> random_sources(const Graph& graph, std::uint64_t seed);

}  // namespace resnet::test

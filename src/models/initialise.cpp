#include <algorithm>
#include <cmath>

#include "core/random.h"
#include "resnet/models.h"

namespace resnet {
namespace {

// FNV-1a: names seed their tensors, so that adding a layer leaves the others as they were.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return h;
}

}  // namespace

void initialise(const Graph& graph, Variables& variables, std::uint64_t seed) {
  for (const Value v : graph.parameters()) {
    const Node& node = graph.node(v);
    if (variables.contains(node.name)) continue;
    const auto& a = std::get<ParameterAttributes>(node.attributes);
    Tensor t = Tensor::zeros(DType::kF32, node.outputs[0].shape);
    Random random(seed, hash_of(node.name));
    const auto fan = static_cast<double>(std::max<std::int64_t>(a.fan, 1));
    for (float& x : t.as<float>()) {
      switch (a.init) {
        case Init::kZeros: x = 0; break;
        case Init::kOnes: x = 1; break;
        case Init::kConstant: x = static_cast<float>(a.value); break;
        case Init::kHeNormal: x = static_cast<float>(random.normal() * std::sqrt(2 / fan)); break;
        case Init::kLinearUniform: {
          const double bound = 1 / std::sqrt(fan);
          x = static_cast<float>(random.uniform(-bound, bound));
          break;
        }
      }
    }
    variables.set(node.name, std::move(t));
  }
}

}  // namespace resnet

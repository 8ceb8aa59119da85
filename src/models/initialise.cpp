#include <algorithm>
#include <cmath>

#include "core/guard.h"
#include "core/random.h"
#include "core/stream.h"
#include "resnet/models.h"

namespace resnet {
namespace {

// [o, i, h, w] with the identity in the middle of its first filters.
void set_dirac(Tensor& t) {
  const std::int64_t taps = t.dim(2) * t.dim(3), middle = taps / 2;
  const std::int64_t channels = std::min(t.dim(0), t.dim(1));
  const auto w = t.as<float>();
  std::fill_n(w.begin(), channels * t.dim(1) * taps, 0.0F);
  for (std::int64_t c = 0; c < channels; ++c) {
    w[static_cast<std::size_t>((c * t.dim(1) + c) * taps + middle)] = 1;
  }
}

}  // namespace

void initialise(const Graph& graph, Variables& variables, std::uint64_t seed) try {
  for (const Value v : graph.parameters()) {
    const Node& node = graph.node(v);
    if (variables.contains(node.name)) continue;
    const auto& a = std::get<ParameterAttributes>(node.attributes);
    Tensor t = Tensor::zeros(DType::kF32, node.outputs[0].shape);
    Random random(seed, stream_of(node.name));
    const auto fan = static_cast<double>(std::max<std::int64_t>(a.fan, 1));
    for (float& x : t.as<float>()) {
      switch (a.init) {
        case Init::kZeros: x = 0; break;
        case Init::kOnes: x = 1; break;
        case Init::kConstant: x = static_cast<float>(a.value); break;
        case Init::kWhitening:
        case Init::kHeNormal: x = static_cast<float>(random.normal() * std::sqrt(2 / fan)); break;
        case Init::kDirac:
        case Init::kLinearUniform: {
          const double bound = 1 / std::sqrt(fan);
          x = static_cast<float>(random.uniform(-bound, bound));
          break;
        }
      }
    }
    if (a.init == Init::kDirac) set_dirac(t);
    variables.set(node.name, std::move(t));
  }
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

// A network none of whose layers is called as in torchvision's networks, with a second loss.
#pragma once

#include "resnet/network.h"

namespace resnet {

inline constexpr std::string_view kOddlyNamed = "oddly-named-7";
inline constexpr double kSideWeight = 0.25;

inline Value oddly_named_block(Graph& g, const std::string& name, Value x, std::int64_t filters) {
  g.set_scope(name);
  x = g.batch_norm(name + "2", g.conv2d(name + "1", x, {.filters = filters, .stride = 2}));
  x = g.relu(g.add(x, g.conv2d(name + "3", x, {.filters = filters})));
  g.set_scope("");
  return x;
}

inline Network build_oddly_named(Graph& g, const ModelConfig& config, Value image) {
  NetworkParts parts(g);
  Value x = image;
  {
    const auto start = parts.stage("start");
    x = g.relu(g.conv2d("a", x, {.filters = 4, .bias = true}));
  }
  {
    const auto middle = parts.stage("middle");
    x = oddly_named_block(g, "b", x, 6);
  }
  if (g.mode() == Mode::kTraining) {
    const auto side = parts.auxiliary();
    parts.add_loss(g.linear("side", g.global_avg_pool(x), config.classes), kSideWeight);
  }
  {
    const auto end = parts.stage("end");
    x = oddly_named_block(g, "c", x, 8);
  }
  const Value features = g.global_avg_pool(x);
  const auto head = parts.head("z");
  return parts.finish(features, g.linear("z", features, config.classes));
}

inline Family oddly_named_family() {
  return {.names = {std::string(kOddlyNamed)},
          .image_size = [](std::string_view name) { return name == kOddlyNamed ? 16 : 0; },
          .build = build_oddly_named};
}

/// Once a process.
inline void register_oddly_named() {
  if (!is_architecture(kOddlyNamed)) register_family(oddly_named_family());
}

}  // namespace resnet

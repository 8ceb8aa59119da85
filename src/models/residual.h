// What residual networks share: names, blocks and stages.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "resnet/network.h"

namespace resnet {

/// "resnet164v2-bottleneck" is {164, true, "-bottleneck"}.
struct ResidualName {
  int layers = 0;
  bool v2 = false;
  std::string_view suffix;
};
/// Nothing when `name` does not begin with "resnet" and a number of at most four digits.
std::optional<ResidualName> parse_residual_name(std::string_view name);

/// Blocks that share a resolution. The first one changes it by its stride.
struct ResidualStage {
  std::int64_t filters = 0;  ///< of the 3x3 convolutions; a bottleneck's output has four times more
  std::int64_t blocks = 0;
  std::int64_t stride = 1;
};

/// The middle of a residual network, between stem and classifier.
struct ResidualBody {
  bool preactivation = false;        ///< v2: batch norm → ReLU → convolution
  bool bottleneck = false;           ///< 1x1, 3x3, 1x1 instead of 3x3, 3x3
  Shortcut shortcut = Shortcut::kB;  ///< what Shortcut::kDefault stands for
  bool pooled_shortcut = false;  ///< ResNet-D: an average pool in place of a projection's stride
  std::vector<ResidualStage> stages;
};

/// The body of the ImageNet networks with that many layers (He et al. 2016a, table 1; 200: 2016b).
std::optional<ResidualBody> imagenet_body(int layers);

/// Of every window that `config.same_padding` speaks of.
inline Padding padding_of(const ModelConfig& config) {
  return config.same_padding ? Padding::kSame : Padding::kFixed;
}

/// Adds the stages layer1, layer2, … with the skips that `config` asks for. `x` is the stem's
/// output. Throws kInvalidArgument on settings that do not fit the body.
Value add_residual_body(Graph& graph, NetworkParts& parts, const ModelConfig& config,
                        const ResidualBody& body, Value x);

}  // namespace resnet

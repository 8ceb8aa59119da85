// The config.json that timm keeps beside its weights, and what Hugging Face's transformers keep
// there of a ResNet.
#pragma once

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/data.h"

namespace resnet {

struct TimmConfig {
  std::string architecture;
  std::optional<std::int64_t> classes;
  std::optional<int> image_size, test_image_size;
  std::optional<double> crop_pct;  ///< crop / shorter side after the resize
  std::string interpolation;       ///< "" when it does not say
  std::string crop_mode;
  std::optional<std::array<float, 3>> mean, std;
  std::vector<std::string> class_names;
  /// What it says of the network that none here has: "act_layer is silu". "": nothing.
  std::string change;
  bool stride_on_first_1x1 = false;
};

/// The architecture of ours that it names, also under timm's older names ("gluon_resnet50_v1d");
/// "" when it leaves that to the shapes. Throws kUnsupported for a network that is none of ours,
/// which must not be taken for one that happens to have the same shapes. `path` is for messages.
std::string known_architecture(const TimmConfig& config, const std::filesystem::path& path);

/// Reads the file; nothing when there is none, or when it is another program's. Throws kBadData
/// when it is timm's and a value makes no sense.
std::optional<TimmConfig> read_timm_config(const std::filesystem::path& path);

/// The same of a text; `path` is only for messages.
std::optional<TimmConfig> parse_timm_config(std::string_view text,
                                            const std::filesystem::path& path);

}  // namespace resnet

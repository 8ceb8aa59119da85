// The config.json that timm keeps beside its weights.
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
};

/// Reads the file; nothing when there is none, or when it is another program's. Throws kBadData
/// when it is timm's and a value makes no sense.
std::optional<TimmConfig> read_timm_config(const std::filesystem::path& path);

/// The same of a text; `path` is only for messages.
std::optional<TimmConfig> parse_timm_config(std::string_view text,
                                            const std::filesystem::path& path);

}  // namespace resnet

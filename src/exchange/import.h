// What the importers share.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "exchange/timm_config.h"
#include "resnet/weights.h"

namespace resnet {

/// Completes a model from its configuration and weights: preprocessing and class names by what the
/// options say, `timm` says, or is usual, with notes of what was assumed.
ModelFile finish_import(ModelConfig config, std::map<std::string, Tensor> weights,
                        const std::filesystem::path& path, const ImportOptions& options,
                        const std::optional<TimmConfig>& timm, MatchReport& report);

/// What options may change of a model that describes itself: how images are prepared, and the
/// names of classes. Throws when they name another architecture.
void change_by_options(ImportedModel& imported, const std::filesystem::path& path,
                       const ImportOptions& options);

}  // namespace resnet

// Which network a file's tensors are those of, and which tensor is which parameter: by names and
// shapes alone, with errors that say what is missing, in excess or of another shape.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "exchange/match.h"
#include "exchange/timm_config.h"
#include "resnet/weights.h"

namespace resnet {

/// What a file tells of its network, whichever it is.
struct Clues {
  std::vector<Shape> shapes;
  bool has_head = true;
  // Taken from the layers with the names for it; 0: there is none.
  std::int64_t classes = 0, channels = 0, head_hidden = 0;
  std::string splice = {};  ///< As the options say.

  /// The configuration of this architecture that fits them best.
  ModelConfig implies(std::string architecture) const;
};

struct FileClues {
  const std::filesystem::path& path;
  std::vector<Candidate> candidates;
  Clues clues;
  /// "'fc.weight' of type F8_E4M3", which may be what is missing.
  std::vector<std::string> unreadable;
};

/// "resnet20 --shortcut a"
std::string describe(const ModelConfig& config);

FileClues clues_of(const std::filesystem::path& path, const WeightsFile& content,
                   const ImportOptions& options, MatchReport& report);

/// The configuration that the options, config.json or the shapes name, with the shortcut that fits.
/// Throws kBadData when none does, or several do.
ModelConfig choose_network(const FileClues& file, const ImportOptions& options,
                           const std::optional<TimmConfig>& timm, MatchReport& report);

/// Fills `report.matched` by name or, when no name means anything, by order and shape. Throws
/// kBadData when the tensors are not those of `config`.
void match_parameters(const FileClues& file, const ModelConfig& config,
                      const ImportOptions& options, MatchReport& report);

}  // namespace resnet

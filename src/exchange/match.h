// Which tensor of a file is which parameter of a network. Pure functions of names and shapes; no
// element is looked at.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/weights_file.h"
#include "resnet/weights.h"

namespace resnet {

/// The name in our terms: without wrappers ("state_dict.", "module.", …), with torchvision's words
/// for shortcuts, heads and statistics. Names of unknown make stay as they are.
std::string canonical_name(std::string_view name);

/// A tensor of the file that may be a parameter.
struct Candidate {
  std::string file;  ///< its name there
  std::string name;  ///< canonical, after the caller's renames
  Shape shape;       ///< a head written as a 1x1 convolution counts as [classes, features]
};

/// The tensors that the options leave, in file order; what is left out lands in `report.ignored`, a
/// choice between weights and their average in `report.notes`. Throws kBadData when two tensors
/// claim one name, kInvalidArgument for a prefix that fits nothing.
std::vector<Candidate> select_candidates(const std::vector<WeightsEntry>& entries,
                                         const ImportOptions& options, MatchReport& report);

/// Parameters of a network by name, in the order of execution.
using Parameters = std::vector<std::pair<std::string, Shape>>;
Parameters parameters_of(const ModelConfig& config);

/// Fills matched, missing, unexpected and wrong_shape by equal names.
void match_by_name(const Parameters& parameters, const std::vector<Candidate>& candidates,
                   MatchReport& report);

/// Fills `report.matched` by order and shape. Layers are the tensors below one name; what a tensor
/// is in its layer is told by its last word (weight, bias, running_mean, running_var).
/// Convolutions, batch norms and linear layers must come in the order of the network, each with its
/// shape; the projection of a shortcut comes before or behind its block. In a file sorted by name
/// the numbers in the names are the order. Returns "" or why it is not certain, leaving the report
/// as it was.
std::string match_by_structure(const Parameters& parameters,
                               const std::vector<Candidate>& candidates, MatchReport& report);

}  // namespace resnet

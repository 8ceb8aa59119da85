// Starting from trained weights: what they decide, where they go, and what is trained when.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "resnet/model_file.h"
#include "resnet/train.h"

namespace resnet {

/// The weights that `options.transfer.weights` names. Throws what `import_model` throws.
ModelFile load_starting_point(const TrainOptions& options);

/// `options` with what the weights decide: the network, and, unless given, size and interpolation
/// of the images. Throws kInvalidArgument where a given network is another one.
TrainOptions adopt(TrainOptions options, const ModelFile& weights);

/// The same for mean and std, once it is known whether images are grey.
void adopt_statistics(TrainOptions& options, const ModelFile& weights, const Dataset& train);

/// Where the weights went.
struct Loaded {
  std::map<std::string, Tensor> tensors;  ///< of the new network
  std::vector<std::string> fresh;         ///< parameters of the new head, which start anew
  bool by_index = false;                  ///< the head is kept for classes without names
};
/// The tensors for a network of `config` whose classes have these names. The head is kept where the
/// weights have the same classes, in whatever order, or as many without names; these are taken by
/// index, or by the number that the names are where they are `numbered`. Throws kInvalidArgument
/// naming a tensor that the weights lack or have in another shape.
Loaded fit_weights(const ModelFile& weights, const ModelConfig& config,
                   const std::vector<std::string>& class_names, bool numbered = false);

/// A part of the run in which the same is frozen.
struct Phase {
  int first_epoch = 1;  ///< From 1.
  std::string freeze_until;
  bool operator==(const Phase&) const = default;
};
/// In order; the first begins with epoch 1. Throws kInvalidArgument when `freeze_until` or
/// `unfreeze_at` make no sense for the network.
std::vector<Phase> phases_of(const TransferOptions& transfer, const ModelConfig& config);

/// The number of the phase that an epoch (from 1) belongs to.
std::size_t phase_at(const std::vector<Phase>& phases, int epoch);

/// In which phase (from 0) each parameter of the network is trained first.
std::map<std::string, std::size_t> first_trained(const std::vector<Phase>& phases,
                                                 const ModelConfig& config);

/// The factor of each trainable parameter's learning rate: 1 for the head, `decay` for the last
/// stage of the network, its square for the one before, …
std::map<std::string, double> lr_factors(const ModelConfig& config, double decay);

/// How many parameters the phase trains.
std::int64_t trained_parameters(const Phase& phase, const ModelConfig& config);

/// Whether nothing but the head is trained in that phase.
bool trains_head_only(const Phase& phase, const ModelConfig& config);

}  // namespace resnet

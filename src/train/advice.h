// What a run on few pictures does where its options are silent, and what it says about that.
#pragma once

#include <string>

#include "resnet/train.h"

namespace resnet {

inline constexpr int kSmallPicture = 96;  ///< Up to here the networks for small pictures win.

struct AugmentationChoice {
  Augmentation augmentation;
  std::string note;  ///< For few pictures: what was chosen, why, and what else to try.
};
/// For options that are resolved but for it. docs/DEFAULTS.md says how the rule was found.
AugmentationChoice choose_augmentation(const TrainOptions& options, const Dataset& train);

/// Names published weights that lie in the cache, for a run on few pictures that starts without
/// any; else empty. With `given_architecture` only weights of that network.
std::string suggest_weights(const TrainOptions& options, const Dataset& train,
                            const std::string& given_architecture);

}  // namespace resnet

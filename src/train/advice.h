// What a run on few images does where its options are silent, and what it says about that.
#pragma once

#include <string>

#include "resnet/train.h"

namespace resnet {

inline constexpr int kSmallImage = 96;  ///< Up to here the networks for small images win.

struct AugmentationChoice {
  Augmentation augmentation;
  std::string note;  ///< For few images: what was chosen, why, and what else to try.
};
/// For options that are resolved but for it. docs/DEFAULTS.md says how the rule was found.
AugmentationChoice choose_augmentation(const TrainOptions& options, const Dataset& train);

/// Names published weights that lie in the cache, for a run on few images that starts without
/// any; else empty. With `given_architecture` only weights of that network.
std::string suggest_weights(const TrainOptions& options, const Dataset& train,
                            const std::string& given_architecture);

}  // namespace resnet

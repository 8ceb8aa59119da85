// Filters that decorrelate the patches of images.
#pragma once

#include "resnet/train.h"

namespace resnet {

/// Weights for a first layer of `shape` [2 · c · k · k, c, k, k]: the directions in which the k x k
/// patches of the training images vary, as the network sees them, each scaled so that what it
/// measures has variance 1; then the same negated. From at most 2000 images, spread over the set;
/// those that cannot be read are left out. For resolved options. Throws kInvalidArgument on another
/// shape.
Tensor whitening_filters(const TrainOptions& resolved, const Dataset& train, const Shape& shape);

}  // namespace resnet

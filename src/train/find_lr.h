// What a learning-rate range test says, apart from running it.
#pragma once

#include "resnet/train.h"

namespace resnet {

/// The rate of a step: from the least to the greatest in equal ratios.
double rate_of(const LrFinderOptions& options, int step);

/// Fills `steepest` and `tenth` from `lr` and `smoothed`.
void suggest_rates(LrFinderResult& result);

}  // namespace resnet

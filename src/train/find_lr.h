// What a learning-rate range test says, apart from running it.
#pragma once

#include "resnet/train.h"

namespace resnet {

/// Fills the range of rates around the run's own.
LrFinderOptions around(LrFinderOptions options, double own);

/// The rate of a step: from the least to the greatest in equal ratios.
double rate_of(const LrFinderOptions& options, int step);

/// Fills `least`, `highest` and `suggestion` from `lr`, `loss`, `own` and `diverged`. A tenth of
/// the steps is a tenth of `steps`, of which the test may have done less.
void suggest_rates(LrFinderResult& result, int steps);

}  // namespace resnet

// What a run does where its options are silent.
#pragma once

#include "resnet/train.h"

namespace resnet {

/// The data spec with the size at which galaxies are drawn, before the data is opened.
DataSpec sized_data(const TrainOptions& options);

/// `resolve` that also says, a line each, what it chose for this data, and why.
TrainOptions resolve(TrainOptions options, const DataSplits& data, std::vector<std::string>& notes);

/// What lies between an image and the network, for resolved options.
Preprocessing preprocessing_of(const TrainOptions& resolved, const Dataset& train);

/// One weight a class for resolved options; empty without class weighting.
std::vector<float> class_weights_of(const TrainOptions& resolved, const Dataset& train);

}  // namespace resnet

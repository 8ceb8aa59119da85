// Going on with a run: where its data and weights are by now, whether they still fit, and what
// becomes of the learning rate.
#pragma once

#include <cstdint>
#include <string>

#include "train/checkpoint.h"

namespace resnet {

/// The options for the files of a run: paths of data and weights hold from any folder. Names, of
/// known data sets, published weights and galaxies, stay as they are.
TrainOptions with_absolute_paths(TrainOptions options);

/// A path below the current folder without what leads there; others, and names, as they are.
std::string seen_from_here(const std::string& path);

/// What `open_data` opens, for a run that goes on. Throws kNotFound with what to do about data that
/// has moved, and kInvalidArgument for other classes or another number of training images.
DataSplits open_data_again(const TrainOptions& options, const Checkpoint& checkpoint);

/// Throws kInvalidArgument, naming the option, if a run with options `now` would not continue what
/// the checkpoint has done. Options that only say how far, how fast and where may differ.
void check_resumable(const Checkpoint& checkpoint, const TrainOptions& now);

/// A line about the learning rate of the coming step if that is another one because the run has
/// another number of epochs than before; else "".
std::string rate_note(const TrainOptions& resolved, int epochs_before, std::int64_t step,
                      std::int64_t steps_per_epoch);

}  // namespace resnet

// Checkpoints: everything that a run needs to go on bit for bit, in one safetensors file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "resnet/train.h"

namespace resnet {

/// Where a run stands. Sums of the running epoch are kept, so that its record in metrics.csv comes
/// out the same after an interruption.
struct RunState {
  int epoch = 0;           ///< Finished ones.
  std::int64_t batch = 0;  ///< Batches done in the running epoch.
  std::int64_t step = 0;   ///< Updates done since the beginning.
  double loss_sum = 0;     ///< Over the images of the running epoch.
  std::int64_t right = 0;
  std::int64_t seen = 0;
  int best_epoch = 0;  ///< 0: none yet.
  /// Begun by a version that left out the last batches of an epoch that fill no step of
  /// `accumulate`.
  bool whole_windows = false;
  int top1_epoch = 0;  ///< The first with the best top-1; early stopping counts from it.
  EvalResult best;
};

struct Checkpoint {
  TrainOptions options;  ///< Resolved.
  RunState state;
  std::vector<std::string> class_names;
  std::int64_t train_images = 0;
};

/// Writes atomically: the file is the old or the complete new one. Throws kIo.
void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint,
                     const Variables& variables);

/// Everything but the tensors. Throws kNotFound, kIo, kBadData (damaged, or no checkpoint).
Checkpoint read_checkpoint(const std::filesystem::path& path);

/// The same, and fills `variables`, which must have exactly the tensors of the checkpoint (else
/// kBadData, naming one).
Checkpoint load_checkpoint(const std::filesystem::path& path, Variables& variables);

}  // namespace resnet

// The compiled step of training, for loops over it.
#pragma once

#include <memory>
#include <optional>

#include "resnet/train.h"

namespace resnet {

/// Network, loss, gradients and update of resolved options, with fresh variables.
///
///     step.begin(lr, number);
///     for (each of `accumulate` batches) loss += step.add(batch, …) / accumulate;
///     if (!step.apply()) …;
class TrainingStep {
 public:
  TrainingStep(const TrainOptions& resolved, const Dataset& train);

  /// `number` counts steps from 0.
  void begin(double lr, std::int64_t number);
  /// Returns the batch's loss. Dropout masks follow from the seed and the number of the batch.
  double add(const Batch& batch, std::uint64_t number);
  /// False when a gradient was not finite; then nothing was updated.
  bool apply();

  Tensor logits() const { return network_->output("logits"); }
  /// Forward and backward pass; without accumulation the update too.
  Program& network() { return *network_; }
  const std::shared_ptr<Variables>& variables() const { return variables_; }

 private:
  Program& updating() { return apply_ ? *apply_ : *network_; }

  const std::uint64_t seed_;
  const Optimizer optimizer_;
  std::shared_ptr<Variables> variables_ = std::make_shared<Variables>();
  std::optional<Program> network_;
  std::optional<Program> apply_;  // the update, with accumulation
};

StepOptions step_options(const TrainOptions& resolved);

/// How a loader makes the batches of training.
LoaderOptions train_loading(const TrainOptions& resolved);

}  // namespace resnet

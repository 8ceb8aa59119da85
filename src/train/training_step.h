// The compiled step of training, for loops over it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "resnet/train.h"
#include "train/checkpoint.h"
#include "train/training_graph.h"
#include "train/transfer.h"

namespace resnet {

/// All that a run begins with.
struct Prepared {
  DataSplits data;
  TrainOptions options;            ///< Resolved.
  std::optional<Loaded> loaded;    ///< What goes into `TrainingStep::load`; never when resumed.
  std::vector<std::string> notes;  ///< What was chosen for these images, and what else to try.
};
/// Opens data and weights and fills what the options leave open. A run that goes on from a
/// checkpoint needs its data.
Prepared prepare(const TrainOptions& options, const Checkpoint* resumed = nullptr);

/// Steps of an epoch, of `accumulate` whole batches each; the last takes what is left of the
/// batches, or, with `whole_windows`, there is none for it.
std::int64_t steps_of_epoch(const TrainOptions& resolved, std::int64_t images,
                            bool whole_windows = false);

/// Network, loss, gradients and update of resolved options, with fresh variables.
///
///     step.begin(lr, number, batches);
///     for (each of `batches`, at most `accumulate`) loss += step.add(batch, …) / batches;
///     if (!step.apply()) …;
class TrainingStep {
 public:
  TrainingStep(const TrainOptions& resolved, const Dataset& train, std::int64_t steps_per_epoch);

  /// Puts weights from elsewhere in the place of the fresh ones.
  void load(const std::map<std::string, Tensor>& tensors);

  /// Compiles anew for another phase of what is frozen; the first is entered already. Weights that
  /// are trained from now on get fresh optimizer state, and an average as if it had always been
  /// taken. `number` counts steps from 0.
  void enter(std::size_t phase, std::int64_t number);
  const std::vector<Phase>& phases() const { return phases_; }
  std::size_t phase() const { return phase_; }
  /// Compiles the head alone, for batches of features in place of images, or the network again.
  void use_features(bool features);

  /// `number` counts steps from 0; `batches` is how many of them this step will average.
  void begin(double lr, std::int64_t number, std::int64_t batches);
  /// Returns the loss of a batch of these images (or features). Dropout masks follow from the seed
  /// and the number of the batch.
  double add(const Tensor& images, const Tensor& targets, std::uint64_t number);
  double add(const Batch& batch, std::uint64_t number) {
    return add(batch.images, batch.targets, number);
  }
  /// False when a gradient was not finite; then nothing was updated.
  bool apply();

  Tensor logits() const { return network_->output("logits"); }
  /// Forward and backward pass; without accumulation the update too.
  Session& network() { return *network_; }
  const Session& network() const { return *network_; }
  const std::shared_ptr<Variables>& variables() const { return variables_; }

 private:
  Session& updating() { return apply_ ? *apply_ : *network_; }
  std::vector<Graph> graphs(const NetworkBuilder& network) const;
  void add_variables(const std::vector<Graph>& graphs);
  void compile(const std::vector<Graph>& graphs);

  const TrainOptions o_;
  const std::vector<Phase> phases_;
  const StepOptions step_;
  std::size_t phase_ = 0;
  const std::shared_ptr<Variables> variables_ = std::make_shared<Variables>();
  std::optional<Session> network_;
  std::optional<Session> apply_;  // the update, with accumulation
};

StepOptions step_options(const TrainOptions& resolved);

/// How a loader makes the batches of training.
LoaderOptions train_loading(const TrainOptions& resolved);

}  // namespace resnet

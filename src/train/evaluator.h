// A network compiled for answers, fed by a loader.
#pragma once

#include <functional>
#include <memory>

#include "resnet/train.h"

namespace resnet {

class FeatureCache;

class Evaluator {
 public:
  /// Reads `variables` anew in every run, so it may share those of a training program.
  Evaluator(const ModelConfig& config, std::shared_ptr<Variables> variables, std::int64_t batch,
            const CompileOptions& compile, DataLayout layout);

  /// The same for a graph of one's own, with an input "image" and outputs "logits" and
  /// "probabilities".
  Evaluator(const Graph& graph, std::int64_t classes, std::shared_ptr<Variables> variables,
            const CompileOptions& compile, DataLayout layout);

  /// [batch, classes], valid until the next call. `images` as the loader makes them.
  Tensor logits(const Tensor& images);
  Tensor probabilities(const Tensor& images);

  /// All of a loader's pictures, once. Returns no value when `stop` was set.
  /// `progress` is called after each batch with the pictures done so far and their top-1. With
  /// `features`, the graph reads those in place of the images.
  std::optional<EvalResult> run(Loader& loader, const std::atomic<bool>* stop,
                                const std::function<void(std::int64_t, double)>& progress,
                                FeatureCache* features = nullptr);

  const ProgramStats& stats() const { return program_.stats(); }

 private:
  std::int64_t classes_;
  Program program_;
};

/// Threads of a loader beside a network that computes: `wanted`, or half the processors if 0.
int loader_threads(int wanted);

/// Where variables of a device live: f32, on the reference device f64.
DType variable_type(Device device);

}  // namespace resnet

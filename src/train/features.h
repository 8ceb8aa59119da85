// What the head of a network reads, computed once for every image of a data set.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "resnet/train.h"

namespace resnet {

/// What the head reads as output "features" [batch, features] of an input "image".
Graph features_graph(const ModelConfig& config, std::int64_t batch);

class FeatureCache {
 public:
  /// Bytes that the features of that many images take.
  static std::int64_t bytes(const TrainOptions& resolved, std::int64_t images);

  /// `loader` passes once over all of `data`, in order. Returns nothing when `stop` was set;
  /// `progress` is called after each batch with the images done so far.
  static std::optional<FeatureCache> compute(const TrainOptions& resolved,
                                             const std::shared_ptr<Variables>& variables,
                                             const DatasetPtr& data, Loader& loader,
                                             const std::atomic<bool>* stop,
                                             const std::function<void(std::int64_t)>& progress);

  /// Images of one pixel with the labels and names of `data`, as unreadable where those are: a
  /// loader makes the same batches of them but for the images. Use with `preprocessing()`.
  const DatasetPtr& stand_in() const { return stand_in_; }
  static Preprocessing preprocessing();

  /// The features of a batch's images, [batch, features]; valid until the next call.
  const Tensor& rows(const Batch& batch);

 private:
  Tensor table_, rows_;  // [images, features], [batch, features]
  DatasetPtr stand_in_;
};

}  // namespace resnet

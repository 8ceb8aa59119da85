// A model that is compiled once and used many times.
//
//     resnet::Predictor predictor(resnet::map_model("runs/flowers"));
//     while (more()) use(predictor.predict({next_path()}).front());
//
// What one call needs to compile, later calls have: the first image takes the time of
// compilation, the next one only that of the network.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "resnet/train.h"

namespace resnet {

/// Not thread-safe: one for each thread; those made of one model share its weights, and each keeps
/// a copy in the layout of its kernels.
class Predictor {
 public:
  /// Compiles nothing yet. `options` hold for all calls; throws kInvalidArgument for views or
  /// scales that make no sense.
  explicit Predictor(ModelFile model, EvalOptions options = {});
  ~Predictor();
  Predictor(Predictor&&) noexcept;
  Predictor& operator=(Predictor&&) noexcept;

  /// As the function `resnet::predict`.
  std::vector<Prediction> predict(const std::vector<std::filesystem::path>& paths, int top = 5,
                                  const std::function<void(const Prediction&)>& each = {});

  /// The same for a data set, whose labels are not looked at: `Prediction::path` is its name for
  /// the image.
  std::vector<Prediction> predict(const DatasetPtr& data, int top = 5,
                                  const std::function<void(const Prediction&)>& each = {});

  /// As the function `resnet::evaluate`.
  EvalResult evaluate(const DatasetPtr& data);

  /// The network's logits [n, classes] for any number of images [n, c, h, w], f32, preprocessed
  /// as the model says (`preprocess`), in batches of EvalOptions::batch_size; one view. Throws
  /// kInvalidArgument for another shape, and kBadData, naming the layer, when one is not finite.
  Tensor logits(const Tensor& images);

  const ModelFile& model() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace resnet

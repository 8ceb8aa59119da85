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

#include "resnet/decode.h"
#include "resnet/train.h"

namespace resnet {

/// Not thread-safe: one for each thread, of which `for_another_thread` makes further ones.
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

  /// The same for files in memory; `Prediction::path` is the name of each. One that cannot be
  /// decoded, or is beyond the limits, has a prediction with `error`.
  std::vector<Prediction> predict(std::vector<EncodedImage> images, int top = 5,
                                  const DecodeLimits& limits = {});

  /// The same for decoded images of 1, 3 or 4 channels. Throws kInvalidArgument for one whose
  /// size and pixels disagree.
  std::vector<Prediction> predict(std::vector<Image> images, int top = 5);

  /// As the function `resnet::evaluate`.
  EvalResult evaluate(const DatasetPtr& data);

  /// The network's logits [n, classes] for any number of images [n, c, h, w], f32, preprocessed
  /// as the model says (`preprocess`), in batches of EvalOptions::batch_size; one view. Throws
  /// kInvalidArgument for another shape, and kBadData, naming the layer, when one is not finite.
  Tensor logits(const Tensor& images);

  /// Compiles what predicting that many images at a time takes, and runs it once, so that the first
  /// image need not wait for that.
  void warm_up(std::int64_t images = 1);

  /// One that shares the compiled programs and their weights, and may be used at the same time as
  /// this one. It takes memory for activations only. The functions in the options are shared, too.
  Predictor for_another_thread() const;

  const ModelFile& model() const;

 private:
  struct Impl;
  explicit Predictor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace resnet

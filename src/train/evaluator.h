// A network compiled for predictions, fed by a loader.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "data/each_batch.h"
#include "resnet/model_file.h"
#include "resnet/predictor.h"
#include "resnet/train.h"

namespace resnet {

class FeatureCache;

/// What is said of an image whose prediction holds NaN or infinity.
std::string prediction_not_finite(const std::string& layer);

class Evaluator {
 public:
  explicit Evaluator(const Program& program, std::int64_t classes)
      : classes_(classes), session_(program) {}

  /// Reads `variables` anew in every run, so it may share those of a training program.
  Evaluator(const ModelConfig& config, std::shared_ptr<Variables> variables, std::int64_t batch,
            const CompileOptions& compile, DataLayout layout);

  /// The same for a graph of one's own, with an input "image" and an output "logits".
  Evaluator(const Graph& graph, std::int64_t classes, std::shared_ptr<Variables> variables,
            const CompileOptions& compile, DataLayout layout);

  /// [batch, classes], valid until the next call. `images` as the loader makes them.
  Tensor logits(const Tensor& images);

  /// All of a loader's images, once. Returns no value when `stop` was set.
  /// `progress` is called after each batch with the images done so far and their top-1. With
  /// `features`, the graph reads those in place of the images.
  /// Of a loader with several views of an image the predictions are averaged.
  std::optional<EvalResult> run(Loader& loader, const std::atomic<bool>* stop,
                                const std::function<void(std::int64_t, double)>& progress,
                                FeatureCache* features = nullptr);

  /// The first layer that made a NaN or an infinity of the last images; they are evaluated again.
  std::string layer_not_finite();

  const ProgramStats& stats() const { return session_.program().stats(); }

 private:
  std::int64_t classes_;
  Session session_;
};

/// The programs that a model's predictions need, compiled when they are first wanted and kept for
/// all predictors that share them. Any thread may call any member.
class ModelPrograms {
 public:
  /// Throws kInvalidArgument on scales that make no sense.
  ModelPrograms(const ModelFile& model, const EvalOptions& options);

  std::size_t scales() const { return scales_.size(); }
  const Preprocessing& preprocessing(std::size_t scale) const {
    return scales_[scale].preprocessing;
  }
  /// How many images a program shall take at a time when that many are to be evaluated: the first
  /// time exactly these, later such numbers that a few programs serve all and none works in vain
  /// for as many rows as it has images. At most the batch size.
  std::int64_t batch_for(std::int64_t images);
  /// With an input of that many rows.
  Program program(std::size_t scale, std::int64_t rows);
  std::int64_t classes() const { return scales_.front().config.classes; }

 private:
  struct Scale {
    ModelConfig config;
    Preprocessing preprocessing;
    std::map<std::int64_t, Program> by_rows = {};
  };
  CompileOptions compile_;
  Quantization quantization_;
  std::shared_ptr<Variables> variables_;
  std::vector<Scale> scales_;
  std::int64_t most_;  // images at a time
  std::set<std::int64_t> sizes_;
  std::mutex mutex_;  // of `by_rows` and `sizes_`
};

/// A thread's sessions of these programs, made when they are first wanted.
class ModelSessions {
 public:
  explicit ModelSessions(std::shared_ptr<ModelPrograms> programs)
      : programs_(std::move(programs)) {}
  ModelPrograms& programs() const { return *programs_; }
  const std::shared_ptr<ModelPrograms>& shared() const { return programs_; }
  Evaluator& evaluator(std::size_t scale, std::int64_t rows);

 private:
  std::shared_ptr<ModelPrograms> programs_;
  std::map<std::pair<std::size_t, std::int64_t>, Evaluator> evaluators_;  // by scale and rows
};

struct Predictor::Impl {
  ModelFile model;
  EvalOptions options;
  ModelSessions sessions;
  bool difference_noted = false;
};

/// Calls `options.note` with what is odd about the images that `loader` loaded: that they were
/// clipped, and, if `difference_noted` is not set yet, that they differ from those of training.
void note_oddities(const ModelFile& model, const EvalOptions& options, const Loader& loader,
                   bool& difference_noted);

/// A model's predictions for all images of a data set, in order, over all views and scales.
class ViewEvaluator {
 public:
  /// `sessions` of the same options; they must outlive this. Throws kInvalidArgument on views that
  /// make no sense.
  ViewEvaluator(ModelSessions& sessions, DatasetPtr data, const EvalOptions& options,
                double max_bad_fraction);
  ~ViewEvaluator();

  /// The next batch of images, or false at the end.
  bool next();
  /// All that are left; `each` looks at the batch.
  Pass run(const Job& job, const std::function<void()>& each);
  const std::vector<std::int32_t>& labels() const {
    return labels_;
  }                                                  ///< −1: unreadable or unused.
  const std::vector<std::int64_t>& indices() const;  ///< −1: unused.
  /// Of the batch, [images, classes]: with one view the network's logits, else logarithms of the
  /// averaged probabilities, in f64. The softmax of either are the probabilities.
  const Tensor& logits() const { return logits_; }
  std::vector<BadImage> bad_images() const;
  /// Images whose predictions are not finite; their labels are −1. Why, naming the layer.
  const std::map<std::int64_t, std::string>& not_finite() const { return not_finite_; }
  /// Why an image cannot be read or evaluated; "" if it can.
  std::string bad_reason(std::int64_t index) const;
  /// Of the first scale.
  const Loader& loader() const;

 private:
  struct Scale;
  std::vector<std::unique_ptr<Scale>> scales_;
  std::size_t views_;
  std::vector<std::int32_t> labels_;
  Tensor logits_;
  std::map<std::int64_t, std::string> not_finite_;  // reasons by image
};

/// Probabilities of a row of [rows, classes].
std::vector<double> softmax(const Tensor& logits, std::size_t row);

/// Threads of a loader beside a network that computes: `wanted`, or half the processors if 0.
int loader_threads(int wanted);

/// Where variables of a device live: f32, on the reference device f64.
DType variable_type(Device device);

/// The weights of a model as variables of that device.
std::shared_ptr<Variables> variables_of(const ModelFile& model, Device device);

}  // namespace resnet

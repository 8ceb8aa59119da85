#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "core/check.h"
#include "core/guard.h"
#include "resnet/model_file.h"
#include "train/evaluator.h"
#include "train/files.h"

namespace resnet {
namespace {

std::vector<ClassScore> best_classes(const std::vector<double>& probabilities, int top,
                                     const std::vector<std::string>& names) {
  std::vector<int> order(probabilities.size());
  std::iota(order.begin(), order.end(), 0);
  const auto p = [&](int c) { return probabilities[static_cast<std::size_t>(c)]; };
  std::ranges::stable_sort(order, [&](int a, int b) { return p(a) > p(b); });
  order.resize(std::min(order.size(), static_cast<std::size_t>(std::max(1, top))));
  std::vector<ClassScore> scores;
  for (const int c : order) scores.push_back({c, names[static_cast<std::size_t>(c)], p(c)});
  return scores;
}

}  // namespace

Predictor::Predictor(ModelFile model, EvalOptions options) try {
  ModelSessions sessions(std::make_shared<ModelPrograms>(model, options));
  impl_ = std::make_unique<Impl>(Impl{std::move(model), std::move(options), std::move(sessions)});
} catch (...) {
  throw_as_error();
}
Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;
Predictor& Predictor::operator=(Predictor&&) noexcept = default;

const ModelFile& Predictor::model() const { return impl_->model; }

Predictor::Predictor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Predictor Predictor::for_another_thread() const try {
  return Predictor(std::make_unique<Impl>(
      Impl{impl_->model, impl_->options, ModelSessions(impl_->sessions.shared())}));
} catch (...) {
  throw_as_error();
}

void Predictor::warm_up(std::int64_t images) try {
  ModelSessions& sessions = impl_->sessions;
  const auto views = std::ssize(impl_->options.views);
  const std::int64_t rows = sessions.programs().batch_for(images) * views;
  for (std::size_t scale = 0; scale < sessions.programs().scales(); ++scale) {
    const Preprocessing& p = sessions.programs().preprocessing(scale);
    sessions.evaluator(scale, rows)
        .logits(Tensor::zeros(DType::kF32, {rows, p.channels, p.height, p.width}));
  }
} catch (...) {
  throw_as_error();
}

Tensor Predictor::logits(const Tensor& images) try {
  const Preprocessing& p = impl_->model.preprocessing;
  const Shape own{p.channels, p.height, p.width};
  const Shape& given = images.shape();
  if (given.size() != 4 || given[0] < 1 || !std::equal(own.begin(), own.end(), given.begin() + 1)) {
    fail(ErrorCode::kInvalidArgument, "images must have the shape [n, {}], found {}",
         fmt::join(own, ", "), to_string(given));
  }
  const std::int64_t n = given[0], classes = impl_->model.config.classes;
  const std::span<const float> pixels = images.as<float>();
  const std::size_t image = pixels.size() / static_cast<std::size_t>(n);
  Tensor result(DType::kF32, {n, classes});
  for (std::int64_t done = 0; done < n;) {
    const std::int64_t rows = impl_->sessions.programs().batch_for(n - done);
    const std::int64_t count = std::min(rows, n - done);
    Tensor batch = Tensor::zeros(DType::kF32, {rows, own[0], own[1], own[2]});
    std::ranges::copy(pixels.subspan(static_cast<std::size_t>(done) * image,
                                     static_cast<std::size_t>(count) * image),
                      batch.as<float>().begin());
    Evaluator& evaluator = impl_->sessions.evaluator(0, rows);
    const Tensor predictions = evaluator.logits(batch).cast(DType::kF32);
    const auto own_predictions =
        predictions.as<float>().first(static_cast<std::size_t>(count * classes));
    if (!std::ranges::all_of(own_predictions, [](float x) { return std::isfinite(x); })) {
      fail(ErrorCode::kBadData, "{}", prediction_not_finite(evaluator.layer_not_finite()));
    }
    std::ranges::copy(own_predictions, result.as<float>().begin() + done * classes);
    done += count;
  }
  return result;
} catch (...) {
  throw_as_error();
}

std::vector<Prediction> Predictor::predict(const std::vector<std::filesystem::path>& paths, int top,
                                           const std::function<void(const Prediction&)>& each) try {
  return predict(image_files(paths), top, each);
} catch (...) {
  throw_as_error();
}

std::vector<Prediction> Predictor::predict(const DatasetPtr& data, int top,
                                           const std::function<void(const Prediction&)>& each) try {
  Impl& p = *impl_;
  const ModelFile& model = p.model;
  const EvalOptions& options = p.options;
  if (data == nullptr || data->size() == 0) return {};

  // Each unreadable one is reported in its place.
  ViewEvaluator evaluator(p.sessions, data, options, /*max_bad_fraction=*/1);
  std::vector<Prediction> predictions;
  const Pass pass = evaluator.run({options.progress, options.stop}, [&] {
    for (std::size_t row = 0; row < evaluator.labels().size(); ++row) {
      const std::int64_t index = evaluator.indices()[row];
      if (index < 0) continue;
      Prediction prediction{.path = data->name(index), .classes = {}, .error = {}};
      if (evaluator.labels()[row] >= 0) {
        prediction.classes = best_classes(softmax(evaluator.logits(), row), top, model.class_names);
      } else {
        prediction.error = evaluator.bad_reason(index);
      }
      if (each) each(prediction);
      predictions.push_back(std::move(prediction));
    }
  });
  pass.throw_if_stopped();
  note_oddities(model, options, evaluator.loader(), p.difference_noted);
  return predictions;
} catch (...) {
  throw_as_error();
}

std::vector<Prediction> Predictor::predict(std::vector<EncodedImage> images, int top,
                                           const DecodeLimits& limits) try {
  return predict(image_files({}, std::move(images), limits), top);
} catch (...) {
  throw_as_error();
}

std::vector<Prediction> Predictor::predict(std::vector<Image> images, int top) try {
  std::vector<int> labels(images.size(), 0);
  return predict(make_dataset(std::move(images), std::move(labels), {"image"}), top);
} catch (...) {
  throw_as_error();
}

std::vector<Prediction> predict(const ModelFile& model,
                                const std::vector<std::filesystem::path>& paths, int top,
                                const EvalOptions& options,
                                const std::function<void(const Prediction&)>& each) try {
  return Predictor(model, options).predict(paths, top, each);
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

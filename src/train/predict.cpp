#include <algorithm>
#include <numeric>

#include "core/check.h"
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

std::vector<Prediction> predict(const ModelFile& model,
                                const std::vector<std::filesystem::path>& paths, int top,
                                const EvalOptions& options,
                                const std::function<void(const Prediction&)>& each) {
  const DatasetPtr data = picture_files(paths);
  if (data->size() == 0) return {};

  // Each unreadable one is reported in its place.
  ViewEvaluator evaluator(model, data, options, /*max_bad_fraction=*/1);
  std::vector<Prediction> predictions;
  while (evaluator.next()) {
    for (std::size_t row = 0; row < evaluator.labels().size(); ++row) {
      const std::int64_t index = evaluator.indices()[row];
      if (index < 0) continue;
      Prediction prediction{.path = data->name(index), .classes = {}, .error = {}};
      if (evaluator.labels()[row] >= 0) {
        prediction.classes = best_classes(softmax(evaluator.logits(), row), top, model.class_names);
      } else {
        for (const BadPicture& bad : evaluator.bad_pictures()) {
          if (bad.index == index) prediction.error = bad.reason;
        }
      }
      if (each) each(prediction);
      predictions.push_back(std::move(prediction));
    }
    if (options.progress) {
      options.progress(static_cast<std::int64_t>(predictions.size()), data->size());
    }
    if (options.stop != nullptr && options.stop->load()) {
      fail(ErrorCode::kInterrupted, "interrupted after {} of {} pictures", predictions.size(),
           data->size());
    }
  }
  return predictions;
}

}  // namespace resnet

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/check.h"
#include "resnet/model_file.h"
#include "train/evaluator.h"
#include "train/features.h"
#include "train/metrics.h"

namespace resnet {

int loader_threads(int wanted) {
  if (wanted > 0) return wanted;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / 2);
}

DType variable_type(Device device) {
  return device == Device::kReference ? DType::kF64 : DType::kF32;
}

Evaluator::Evaluator(const ModelConfig& config, std::shared_ptr<Variables> variables,
                     std::int64_t batch, const CompileOptions& compile, DataLayout layout)
    : Evaluator(inference_graph(config, batch), config.classes, std::move(variables), compile,
                layout) {}

Evaluator::Evaluator(const Graph& graph, std::int64_t classes, std::shared_ptr<Variables> variables,
                     const CompileOptions& compile, DataLayout layout)
    : classes_(classes), program_(graph, std::move(variables), compile, layout) {}

Tensor Evaluator::logits(const Tensor& images) {
  program_.set_input("image", images);
  program_.run();
  return program_.output("logits");
}

Tensor Evaluator::probabilities(const Tensor& images) {
  program_.set_input("image", images);
  program_.run();
  return program_.output("probabilities");
}

std::optional<EvalResult> Evaluator::run(Loader& loader, const std::atomic<bool>* stop,
                                         const std::function<void(std::int64_t, double)>& progress,
                                         FeatureCache* features) {
  const auto start = std::chrono::steady_clock::now();
  Metrics metrics(classes_);
  Batch batch;
  loader.start_epoch(0);
  while (loader.next(batch)) {
    const Tensor& images = features != nullptr ? features->rows(batch) : batch.images;
    metrics.add(logits(images), batch.labels);
    if (progress) progress(metrics.images(), metrics.top1());
    if (stop != nullptr && stop->load()) return std::nullopt;
  }
  EvalResult result;
  result.top1 = metrics.top1();
  result.top5 = metrics.top5();
  result.loss = metrics.loss();
  result.images = metrics.images();
  result.class_names = loader.dataset().class_names();
  result.confusion = metrics.confusion();
  result.skipped = loader.bad_pictures();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

EvalResult evaluate(const ModelFile& model, const DatasetPtr& data, const EvalOptions& options) {
  if (data == nullptr || data->size() == 0) {
    fail(ErrorCode::kBadData, "there are no pictures to evaluate on");
  }
  if (data->class_names() != model.class_names) {
    fail(
        ErrorCode::kInvalidArgument,
        "the data has {} classes, the model {}, or their names or order differ; open the data with "
        "open_test_data and the model's class names",
        data->class_names().size(), model.class_names.size());
  }
  const auto batch = static_cast<int>(
      std::clamp<std::int64_t>(options.batch_size, 1, std::max<std::int64_t>(1, data->size())));
  LoaderOptions load = evaluation_options(batch, loader_threads(options.loader_threads));
  load.max_bad_fraction = options.max_bad_fraction;
  Loader loader(data, model.preprocessing, Augmentation{}, load);
  auto variables = to_variables(model);
  if (variable_type(options.device) != DType::kF32) {
    variables = std::make_shared<Variables>(variables->cast(variable_type(options.device)));
  }
  Evaluator evaluator(model.config, std::move(variables), batch,
                      {.device = options.device, .threads = options.threads}, load.layout);
  std::function<void(std::int64_t, double)> progress;
  if (options.progress) {
    progress = [&](std::int64_t done, double) { options.progress(done, data->size()); };
  }
  auto result = evaluator.run(loader, options.stop, progress);
  if (!result) fail(ErrorCode::kInterrupted, "the evaluation was interrupted");
  if (result->images == 0) {
    fail(ErrorCode::kBadData, "not one of the {} pictures could be read; the first: {}: {}",
         data->size(), result->skipped.front().name, result->skipped.front().reason);
  }
  return *std::move(result);
}

EvalResult evaluate(const ModelFile& model, const DataSpec& data, const EvalOptions& options) {
  DataSpec spec = data;
  if (spec.image_size == 0) spec.image_size = model.preprocessing.height;
  return evaluate(model, open_test_data(spec, model.class_names), options);
}

std::string to_json(const EvalResult& result) {
  using Json = nlohmann::ordered_json;
  Json json{{"top1", result.top1},      {"top5", result.top5},       {"loss", result.loss},
            {"images", result.images},  {"seconds", result.seconds}, {"skipped", Json::array()},
            {"classes", Json::array()}, {"confusion", Json::array()}};
  for (const BadPicture& bad : result.skipped) {
    json["skipped"].push_back({{"name", bad.name}, {"reason", bad.reason}});
  }
  const std::size_t classes = result.class_names.size();
  for (std::size_t c = 0; c < classes; ++c) {
    std::int64_t pictures = 0, answers = 0;
    Json row = Json::array();
    for (std::size_t k = 0; k < classes; ++k) {
      pictures += result.confusion[c * classes + k];
      answers += result.confusion[k * classes + c];
      row.push_back(result.confusion[c * classes + k]);
    }
    const auto right = static_cast<double>(result.confusion[c * classes + c]);
    const auto share = [&](std::int64_t of) {
      return of == 0 ? Json(nullptr) : Json(right / static_cast<double>(of));
    };
    json["classes"].push_back({{"name", result.class_names[c]},
                               {"images", pictures},
                               {"recall", share(pictures)},
                               {"precision", share(answers)}});
    json["confusion"].push_back(std::move(row));
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace resnet

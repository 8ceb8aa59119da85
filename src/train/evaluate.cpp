#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>

#include "core/check.h"
#include "core/guard.h"
#include "core/json.h"
#include "core/processors.h"
#include "core/text.h"
#include "data/transform.h"
#include "resnet/model_file.h"
#include "train/evaluator.h"
#include "train/features.h"
#include "train/metrics.h"

namespace resnet {

namespace {

using Clock = std::chrono::steady_clock;

EvalResult result_of(const Metrics& metrics, const std::vector<std::string>& class_names,
                     Clock::time_point start) {
  EvalResult result;
  result.top1 = metrics.top1();
  result.top5 = metrics.top5();
  result.loss = metrics.loss();
  result.images = metrics.images();
  result.class_names = class_names;
  result.confusion = metrics.confusion();
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return result;
}

}  // namespace

int loader_threads(int wanted) {
  if (wanted > 0) return wanted;
  return std::max(1, usable_processors() / 2);
}

DType variable_type(Device device) {
  return device == Device::kReference ? DType::kF64 : DType::kF32;
}

std::shared_ptr<Variables> variables_of(const ModelFile& model, Device device) {
  auto variables = to_variables(model);
  const DType type = variable_type(device);
  return type == DType::kF32 ? variables : std::make_shared<Variables>(variables->cast(type));
}

Evaluator::Evaluator(const ModelConfig& config, std::shared_ptr<Variables> variables,
                     std::int64_t batch, const CompileOptions& compile, DataLayout layout)
    : Evaluator(inference_graph(config, batch), config.classes, std::move(variables), compile,
                layout) {}

Evaluator::Evaluator(const Graph& graph, std::int64_t classes, std::shared_ptr<Variables> variables,
                     const CompileOptions& compile, DataLayout layout)
    : classes_(classes), session_(graph, std::move(variables), compile, layout) {}

Tensor Evaluator::logits(const Tensor& images) {
  session_.share_input("image", images);
  session_.run();
  return session_.output("logits");
}

std::string prediction_not_finite(const std::string& layer) {
  return fmt::format(
      "the network's prediction is not finite: NaN or infinity first appears in '{}'; take another "
      "model, or --dtype f32 if it was bf16",
      layer);
}

std::string Evaluator::layer_not_finite() { return session_.find_non_finite().value_or("logits"); }

std::vector<double> softmax(const Tensor& logits, std::size_t row) {
  const auto of = [&](auto values) {
    const auto classes = static_cast<std::size_t>(logits.dim(1));
    const auto x = values.subspan(row * classes, classes);
    const double top = *std::ranges::max_element(x);
    std::vector<double> p(x.begin(), x.end());
    double total = 0;
    for (double& v : p) total += v = std::exp(v - top);
    for (double& v : p) v /= total;
    return p;
  };
  return logits.dtype() == DType::kF64 ? of(logits.as<double>()) : of(logits.as<float>());
}

namespace {

// Adds the probabilities of the views of each image to `sums` [images, classes].
void add_views(const Tensor& logits, std::size_t views, std::vector<double>& sums) {
  const auto rows = static_cast<std::size_t>(logits.dim(0));
  sums.resize(rows / views * static_cast<std::size_t>(logits.dim(1)));
  for (std::size_t row = 0; row < rows; ++row) {
    const std::vector<double> p = softmax(logits, row);
    double* sum = &sums[row / views * p.size()];
    for (std::size_t c = 0; c < p.size(); ++c) sum[c] += p[c];
  }
}

// Logarithms of the means of probabilities.
Tensor log_mean(const std::vector<double>& sums, std::int64_t classes, std::size_t looks) {
  Tensor result(DType::kF64, {std::ssize(sums) / classes, classes});
  std::ranges::transform(sums, result.as<double>().begin(), [&](double sum) {
    return std::log(std::max(sum / static_cast<double>(looks), std::numeric_limits<double>::min()));
  });
  return result;
}

}  // namespace

std::optional<EvalResult> Evaluator::run(Loader& loader, const std::atomic<bool>* stop,
                                         const std::function<void(std::int64_t, double)>& progress,
                                         FeatureCache* features) {
  const auto start = Clock::now();
  const std::size_t views = loader.options().views.size();
  Metrics metrics(classes_);
  const Job job{[&](std::int64_t done, std::int64_t) {
                  if (progress) progress(done, metrics.top1());
                },
                stop};
  const Pass pass = for_each_batch(loader, job, [&](const Batch& batch) {
    const Tensor& images = features != nullptr ? features->rows(batch) : batch.images;
    Tensor predictions = logits(images);
    if (views > 1) {
      std::vector<double> sums;
      add_views(predictions, views, sums);
      predictions = log_mean(sums, classes_, views);
    }
    metrics.add(predictions, batch.labels);
  });
  if (pass.stopped) return std::nullopt;
  EvalResult result = result_of(metrics, loader.dataset().class_names(), start);
  result.skipped = loader.bad_images();
  return result;
}

namespace {

/// The preprocessing for an input of this side.
Preprocessing at_scale(const Preprocessing& own, int side) {
  Preprocessing p = own;
  p.width = p.height = side;
  const double proportion = own.resize > 0 ? static_cast<double>(own.resize) / own.height : 1;
  p.resize = static_cast<int>(std::nearbyint(side * proportion));
  return p;
}

}  // namespace

ModelPrograms::ModelPrograms(const ModelFile& model, const EvalOptions& options)
    : compile_{.device = options.device, .threads = options.threads, .dtype = options.dtype},
      quantization_(model.quantization),
      variables_(variables_of(model, options.device)),
      most_(std::max<std::int64_t>(
          1, options.batch_size / std::max<std::int64_t>(1, std::ssize(options.views)))) {
  if (model.config.classes == 1) {
    fail(ErrorCode::kInvalidArgument,
         "the network has one output, of which softmax makes 100 % whatever the image is; import "
         "its f32 weights again (resnet import), which makes two classes of it");
  }
  std::vector<int> sides = options.scales;
  if (sides.empty()) sides.push_back(0);
  for (const int side : sides) {
    scales_.push_back({model.config, model.preprocessing});
    if (side == 0) continue;
    scales_.back().preprocessing = at_scale(model.preprocessing, side);
    check_preprocessing(scales_.back().preprocessing);
    scales_.back().config.image_size = side;
  }
}

std::int64_t ModelPrograms::batch_for(std::int64_t images) {
  const std::lock_guard lock(mutex_);
  const std::int64_t n = std::clamp<std::int64_t>(images, 1, most_);
  const auto found = sizes_.lower_bound(n);
  if (found != sizes_.end() && *found < 2 * n) return *found;
  const auto power = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(n)));
  const std::int64_t size = sizes_.empty() ? n : std::min(power, most_);
  sizes_.insert(size);
  return size;
}

Program ModelPrograms::program(std::size_t scale, std::int64_t rows) {
  const std::lock_guard lock(mutex_);
  Scale& s = scales_[scale];
  const auto found = s.by_rows.find(rows);
  if (found != s.by_rows.end()) return found->second;
  const DataLayout layout = LoaderOptions{}.layout;
  Graph graph = inference_graph(s.config, rows);
  if (!quantization_.empty()) graph = quantize_graph(graph, quantization_);
  return s.by_rows.emplace(rows, Program(graph, variables_, compile_, layout)).first->second;
}

Evaluator& ModelSessions::evaluator(std::size_t scale, std::int64_t rows) {
  const auto found = evaluators_.find({scale, rows});
  if (found != evaluators_.end()) return found->second;
  return evaluators_
      .emplace(std::pair(scale, rows),
               Evaluator(programs_->program(scale, rows), programs_->classes()))
      .first->second;
}

struct ViewEvaluator::Scale {
  Loader loader;
  Evaluator& evaluator;
  Batch batch;
};

ViewEvaluator::~ViewEvaluator() = default;

ViewEvaluator::ViewEvaluator(ModelSessions& sessions, DatasetPtr data, const EvalOptions& options,
                             double max_bad_fraction)
    : views_(options.views.size()) {
  ModelPrograms& programs = sessions.programs();
  const std::int64_t batch = programs.batch_for(data->size());
  LoaderOptions load =
      evaluation_options(static_cast<int>(batch), loader_threads(options.loader_threads));
  load.max_bad_fraction = max_bad_fraction;
  load.views = options.views;
  for (std::size_t i = 0; i < programs.scales(); ++i) {
    scales_.push_back(std::unique_ptr<Scale>(
        new Scale{{data, programs.preprocessing(i), Augmentation{}, load},
                  sessions.evaluator(i, batch * static_cast<std::int64_t>(views_)),
                  {}}));
    scales_.back()->loader.start_epoch(0);
  }
}

namespace {

// Whether each image, of one row or more, has finite logits only.
std::vector<bool> finite_rows(const Tensor& logits, std::size_t views) {
  const auto of = [&](auto values) {
    const std::size_t width = views * static_cast<std::size_t>(logits.dim(1));
    std::vector<bool> finite(values.size() / width, true);
    for (std::size_t i = 0; i < finite.size(); ++i) {
      for (const auto x : values.subspan(i * width, width))
        finite[i] = finite[i] && std::isfinite(x);
    }
    return finite;
  };
  return logits.dtype() == DType::kF64 ? of(logits.as<double>()) : of(logits.as<float>());
}

}  // namespace

bool ViewEvaluator::next() {
  const bool averages = views_ > 1 || scales_.size() > 1;
  std::vector<double> sums;
  for (const auto& scale : scales_) {
    Batch& batch = scale->batch;
    if (!scale->loader.next(batch)) return false;
    if (scale == scales_.front()) labels_ = batch.labels;
    // An image may be too thin for the largest scale only.
    for (std::size_t i = 0; i < labels_.size(); ++i)
      labels_[i] = std::min(labels_[i], batch.labels[i]);
    logits_ = scale->evaluator.logits(batch.images);
    const std::vector<bool> finite = finite_rows(logits_, views_);
    std::string layer;
    for (std::size_t i = 0; i < labels_.size(); ++i) {
      if (finite[i] || labels_[i] < 0) continue;
      if (layer.empty()) {
        logits_ = logits_.clone();  // the replay writes there
        layer = scale->evaluator.layer_not_finite();
      }
      not_finite_[batch.indices[i]] = prediction_not_finite(layer);
      labels_[i] = -1;
    }
    if (!averages) return true;
    add_views(logits_, views_, sums);
  }
  logits_ = log_mean(sums, logits_.dim(1), views_ * scales_.size());
  return true;
}

Pass ViewEvaluator::run(const Job& job, const std::function<void()>& each) {
  Pass pass{.total = loader().dataset().size()};
  while (next()) {
    each();
    const auto unused = std::ranges::count_if(indices(), [](auto i) { return i < 0; });
    if (!report(pass, job, std::ssize(indices()) - unused)) break;
  }
  return pass;
}

const std::vector<std::int64_t>& ViewEvaluator::indices() const {
  return scales_.front()->batch.indices;
}

std::vector<BadImage> ViewEvaluator::bad_images() const {
  std::map<std::int64_t, BadImage> bad;
  for (const auto& scale : scales_) {
    for (BadImage& b : scale->loader.bad_images()) bad.try_emplace(b.index, std::move(b));
  }
  std::vector<BadImage> list;
  for (auto& [index, b] : bad) list.push_back(std::move(b));
  return list;
}

std::string ViewEvaluator::bad_reason(std::int64_t index) const {
  if (const auto found = not_finite_.find(index); found != not_finite_.end()) return found->second;
  for (const auto& scale : scales_) {
    if (std::string reason = scale->loader.bad_reason(index); !reason.empty()) return reason;
  }
  return {};
}

const Loader& ViewEvaluator::loader() const { return scales_.front()->loader; }

void note_oddities(const ModelFile& model, const EvalOptions& options, const Loader& loader,
                   bool& difference_noted) {
  if (!options.note) return;
  const auto tell = [&](const std::string& note) {
    if (!note.empty()) options.note(note);
    return !note.empty();
  };
  tell(to_note(loader.clipped()));
  if (difference_noted || !options.scales.empty()) return;  // other sides of the input: no profile
  difference_noted = tell(difference_note(model.training_images, profile_of(loader.traits())));
}

namespace {

void report_predictions(const ViewEvaluator& evaluator,
                        const std::function<void(const LabelledPrediction&)>& each) {
  for (std::size_t row = 0; row < evaluator.labels().size(); ++row) {
    if (evaluator.labels()[row] < 0) continue;
    const std::vector<double> p = softmax(evaluator.logits(), row);
    const auto best = std::ranges::max_element(p);  // the first of equals
    each({.index = evaluator.indices()[row],
          .label = evaluator.labels()[row],
          .prediction = static_cast<int>(best - p.begin()),
          .probability = *best});
  }
}

}  // namespace

EvalResult Predictor::evaluate(const DatasetPtr& data) try {
  Impl& p = *impl_;
  const ModelFile& model = p.model;
  const EvalOptions& options = p.options;
  if (data == nullptr || data->size() == 0) {
    fail(ErrorCode::kBadData, "there are no images to evaluate on");
  }
  if (data->class_names() != model.class_names) {
    fail(
        ErrorCode::kInvalidArgument,
        "the data has {} classes, the model {}, or their names or order differ; open the data with "
        "open_test_data and the model's class names",
        data->class_names().size(), model.class_names.size());
  }
  const auto start = Clock::now();
  ViewEvaluator evaluator(p.sessions, data, options, options.max_bad_fraction);
  Metrics metrics(model.config.classes);
  const Pass pass = evaluator.run({options.progress, options.stop}, [&] {
    if (!evaluator.not_finite().empty()) {
      const auto& [index, reason] = *evaluator.not_finite().begin();
      fail(ErrorCode::kBadData, "{}: {}", data->name(index), reason);
    }
    metrics.add(evaluator.logits(), evaluator.labels());
    if (options.each) report_predictions(evaluator, options.each);
  });
  pass.throw_if_stopped();
  EvalResult result = result_of(metrics, data->class_names(), start);
  result.skipped = evaluator.bad_images();
  note_oddities(model, options, evaluator.loader(), p.difference_noted);
  if (result.images == 0) none_readable(data->size(), result.skipped);
  return result;
} catch (...) {
  throw_as_error();
}

EvalResult evaluate(const ModelFile& model, const DatasetPtr& data,
                    const EvalOptions& options) try {
  return Predictor(model, options).evaluate(data);
} catch (...) {
  throw_as_error();
}

EvalResult evaluate(const ModelFile& model, const DataSpec& data, const EvalOptions& options) try {
  DataSpec spec = data;
  if (spec.image_size == 0) spec.image_size = model.preprocessing.height;
  return evaluate(model, open_test_data(spec, model.class_names), options);
} catch (...) {
  throw_as_error();
}

std::string to_json(const EvalResult& result) try {
  Json skipped = Json::array(), class_list = Json::array(), confusion = Json::array();
  for (const BadImage& bad : result.skipped) {
    skipped.items().push_back(
        Json::object({{"name", json_text(bad.name)}, {"reason", json_text(bad.reason)}}));
  }
  const std::size_t classes = result.class_names.size();
  for (std::size_t c = 0; c < classes; ++c) {
    std::int64_t images = 0, predictions = 0;
    Json row = Json::array();
    for (std::size_t k = 0; k < classes; ++k) {
      images += result.confusion[c * classes + k];
      predictions += result.confusion[k * classes + c];
      row.items().push_back(result.confusion[c * classes + k]);
    }
    const auto right = static_cast<double>(result.confusion[c * classes + c]);
    const auto share = [&](std::int64_t of) {
      return of == 0 ? Json() : Json(right / static_cast<double>(of));
    };
    class_list.items().push_back(Json::object({{"name", json_text(result.class_names[c])},
                                               {"images", images},
                                               {"recall", share(images)},
                                               {"precision", share(predictions)}}));
    confusion.items().push_back(std::move(row));
  }
  return Json::object({{"top1", result.top1},
                       {"top5", result.top5},
                       {"loss", result.loss},
                       {"images", result.images},
                       {"seconds", result.seconds},
                       {"skipped", std::move(skipped)},
                       {"classes", std::move(class_list)},
                       {"confusion", std::move(confusion)}})
      .dump();
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

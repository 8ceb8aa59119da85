#include "resnet/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include "core/check.h"
#include "core/guard.h"
#include "core/nearest.h"
#include "core/random.h"
#include "core/warning.h"
#include "data/each_batch.h"
#include "data/parallel_for.h"
#include "resnet/network.h"
#include "resnet/program.h"
#include "train/calibrate.h"
#include "train/evaluator.h"
#include "train/metrics.h"

namespace resnet {

std::string_view name_of(Calibration calibration) {
  switch (calibration) {
    case Calibration::kMinMax: return "minmax";
    case Calibration::kPercentile: return "percentile";
    case Calibration::kKl: return "kl";
  }
  return "?";
}

Calibration parse_calibration(std::string_view name) {
  for (const auto c : {Calibration::kMinMax, Calibration::kPercentile, Calibration::kKl}) {
    if (name == name_of(c)) return c;
  }
  fail(ErrorCode::kInvalidArgument, "unknown calibration '{}'; expected minmax, percentile or kl",
       name);
}

namespace {

// Outputs of the calibrating program are named for what they are.
constexpr std::string_view kActivation = "activation ", kWeight = "weight ", kBias = "bias ";

bool is_layer_of_weights(const Node& n) { return n.op == Op::kConv2d || n.op == Op::kLinear; }

struct Statistics {
  Histogram histogram;
  std::vector<double> sums;  // of each channel
  double count = 0;          // of values a channel
};

struct LayerWeights {
  Tensor weights, bias;  // folded; the bias may be empty
};

// The network in f32, with everything that quantising it wants to know.
class Calibrator {
 public:
  Calibrator(const ModelFile& model, std::int64_t batch, const QuantizeOptions& options)
      : model_(model),
        options_(options),
        batch_(batch),
        graph_(marked(model, batch)),
        session_(graph_, to_variables(model), {.threads = options.threads}) {}

  std::int64_t batch() const { return batch_; }

  /// Looks at the first `count` images of a batch.
  void see(const Tensor& images, std::int64_t count) {
    session_.set_input("image", images);
    session_.run();
    std::vector<std::pair<Statistics*, Tensor>> values;
    for (const auto& [name, v] : graph_.outputs()) {
      if (!name.starts_with(kActivation)) continue;
      values.emplace_back(&statistics_[name.substr(kActivation.size())], session_.output(name));
    }
    try {
      parallel_for(std::ssize(values), loader_threads(options_.threads),
                   [&](std::int64_t i, std::size_t) {
                     auto& [s, t] = values[static_cast<std::size_t>(i)];
                     add(*s, t, count);
                   });
    } catch (const Error& error) {
      const auto layer = session_.find_non_finite();
      if (error.code() != ErrorCode::kNumeric || !layer) throw;
      fail(ErrorCode::kNumeric,
           "an activation is not finite: NaN or infinity first appears in '{}'; quantise another "
           "model",
           *layer);
    }
    images_ += count;
  }

  /// The int8 network, as one calibration has it.
  ModelFile quantized(Calibration calibration, const std::vector<std::string>& keep);

 private:
  static Graph marked(const ModelFile& model, std::int64_t batch) {
    Graph g = fold_graph(inference_graph(model.config, batch));
    for (const Value v : scaled_activations(g)) {
      g.mark_output(std::string(kActivation) + g.node(v).name, v);
    }
    const auto nodes = g.nodes();
    for (const Node& n : nodes) {
      if (!is_layer_of_weights(n)) continue;
      g.mark_output(std::string(kWeight) + n.name, n.inputs[1]);
      if (has_bias(n)) g.mark_output(std::string(kBias) + n.name, n.inputs[2]);
    }
    return g;
  }
  static bool has_bias(const Node& n) {
    const auto* conv = std::get_if<ConvAttributes>(&n.attributes);
    return conv != nullptr ? conv->bias : n.inputs.size() == 3;
  }

  void add(Statistics& s, const Tensor& t, std::int64_t count) const {
    const auto values = t.as<float>();
    const auto channels = static_cast<std::size_t>(t.dim(1));
    const std::size_t image = values.size() / static_cast<std::size_t>(batch_);
    const std::size_t pixels = image / channels;
    s.histogram.add(values.subspan(0, image * static_cast<std::size_t>(count)));
    s.sums.resize(channels);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count) * channels; ++i) {
      const auto plane = values.subspan(i * pixels, pixels);
      s.sums[i % channels] += std::accumulate(plane.begin(), plane.end(), 0.0);
    }
    s.count += static_cast<double>(pixels) * static_cast<double>(count);
  }

  float scale_of(const Statistics& s, Calibration calibration, bool is_unsigned) const {
    const int levels = is_unsigned ? 255 : 127;
    const double t = threshold(s.histogram, calibration, levels + 1, options_.percentile);
    constexpr double kLeast = 0x1p-30, kMost = 0x1p30;  // a dead activation has any scale
    return t == 0 ? 1.0F : static_cast<float>(std::clamp(t / levels, kLeast, kMost));
  }

  /// Quantises one layer: its i8 weights, its bias in their units, and their scales.
  void quantize_layer(const Node& n, float x_scale, ModelFile& result);

  const ModelFile& model_;
  const QuantizeOptions& options_;
  std::int64_t batch_;
  Graph graph_;
  Session session_;
  std::map<std::string, Statistics> statistics_;
  std::int64_t images_ = 0;
};

void Calibrator::quantize_layer(const Node& n, float x_scale, ModelFile& result) {
  const Tensor weights = session_.output(std::string(kWeight) + n.name);
  const auto w = weights.as<float>();
  const auto filters = static_cast<std::size_t>(weights.dim(0));
  const std::size_t inner = w.size() / filters;
  std::vector<float> bias(filters, 0.0F);
  if (has_bias(n)) {
    const Tensor b = session_.output(std::string(kBias) + n.name);
    std::ranges::copy(b.as<float>(), bias.begin());
  }
  const Statistics& x = statistics_.at(graph_.node(n.inputs[0]).name);
  const auto inputs = static_cast<std::size_t>(weights.dim(1));  // of a group
  const std::size_t window = inner / inputs;
  const std::size_t groups = x.sums.size() / inputs;
  const int largest = (1 << (options_.weight_bits - 1)) - 1;

  const auto finite = [](float v) { return std::isfinite(v); };
  if (!std::ranges::all_of(w, finite) || !std::ranges::all_of(bias, finite)) {
    fail(ErrorCode::kNumeric, "layer {}: a weight is not finite; train the model again", n.name);
  }

  Tensor integers(DType::kI8, weights.shape());
  Tensor units(DType::kF32, {weights.dim(0)});
  std::vector<float>& scales = result.quantization.weights.at(n.name);
  for (std::size_t m = 0; m < filters; ++m) {
    const auto row = w.subspan(m * inner, inner);
    double peak = 0;
    for (const float v : row) peak = std::max(peak, std::abs(static_cast<double>(v)));
    // A filter of (almost) nothing still has a bias, which must stay representable in its units.
    const double least = std::abs(static_cast<double>(bias[m])) / (x_scale * 0x1p24);
    const auto scale =
        static_cast<float>(std::clamp(std::max(peak / largest, least), 0x1p-38, 0x1p38));
    scales[m] = scale;
    double shift = 0;  // what rounding adds on average
    for (std::size_t i = 0; i < inner; ++i) {
      const double q = std::clamp(std::nearbyint(row[i] / static_cast<double>(scale)),
                                  static_cast<double>(-largest), static_cast<double>(largest));
      integers.as<std::int8_t>()[m * inner + i] = static_cast<std::int8_t>(q);
      const std::size_t channel = m / (filters / groups) * inputs + i / window;
      shift += (q * scale - row[i]) * x.sums[channel] / x.count;
    }
    const double corrected = options_.bias_correction ? bias[m] - shift : bias[m];
    // Whole, so that other programs, which add biases to sums of integers, compute the same.
    const double unit = static_cast<double>(x_scale) * scale;
    units.as<float>()[m] = static_cast<float>(std::nearbyint(corrected / unit) + 0.0);  // no -0
  }
  result.weights[n.name + ".weight"] = integers;
  result.weights[n.name + ".bias"] = units;
}

ModelFile Calibrator::quantized(Calibration calibration, const std::vector<std::string>& keep) {
  RESNET_CHECK(images_ > 0);
  ModelFile result = model_;
  result.weights.clear();
  Quantization& q = result.quantization;
  std::vector<std::string> layers;
  for (const Node& n : graph_.nodes()) {
    if (!is_layer_of_weights(n)) continue;
    layers.push_back(n.name);
    if (std::ranges::find(keep, n.name) != keep.end()) continue;
    const auto filters = static_cast<std::size_t>(graph_.shape(n.inputs[1])[0]);
    q.weights[n.name].assign(filters, 1.0F);
  }
  for (const std::string& name : keep) {
    if (std::ranges::find(layers, name) == layers.end()) {
      fail(ErrorCode::kInvalidArgument,
           "there is no convolution or linear layer '{}' to keep; did you mean '{}'?", name,
           nearest_name(name, layers));
    }
  }
  if (q.empty()) {
    fail(ErrorCode::kInvalidArgument, "with all {} layers kept, nothing is left to quantise",
         layers.size());
  }
  for (const auto& [name, s] : statistics_) q.activations[name] = 1.0F;
  const Graph inference = inference_graph(model_.config, 1);
  drop_unread_scales(inference, q);
  // The types follow from the graph: what may be negative, what is read by whom.
  std::map<std::string, bool> is_unsigned;
  const Graph shape = quantize_graph(inference, q);
  const auto note = [&](std::string_view name, DType dtype) {
    is_unsigned[std::string(name)] = dtype == DType::kU8;
  };
  const Graph folded = fold_graph(inference);
  std::map<std::string, std::string> data_of;  // the activation that a layer reads
  for (const Node& n : folded.nodes()) {
    if (is_layer_of_weights(n)) data_of[n.name] = folded.node(n.inputs[0]).name;
  }
  for (const Node& n : shape.nodes()) {
    if (n.outputs.empty() || n.op == Op::kParameter) continue;
    if (!is_floating(n.outputs[0].dtype)) note(n.name, n.outputs[0].dtype);
    const auto* a = std::get_if<QuantizedAttributes>(&n.attributes);
    if (a != nullptr && is_floating(shape.type(n.inputs[0]).dtype)) {
      note(data_of.at(n.name), a->x_dtype);
    }
  }
  for (auto& [name, scale] : q.activations) {
    scale = scale_of(statistics_.at(name), calibration, is_unsigned.at(name));
  }

  std::map<std::string, float> x_scales;
  const Graph scaled = quantize_graph(inference, q);
  for (const Node& n : scaled.nodes()) {
    const auto* a = std::get_if<QuantizedAttributes>(&n.attributes);
    if (a != nullptr) x_scales[n.name] = a->x_scale;
  }
  for (const Node& n : graph_.nodes()) {
    if (x_scales.contains(n.name) && is_layer_of_weights(n)) {
      quantize_layer(n, x_scales.at(n.name), result);
    }
  }
  // What stays in f32: as it was, or folded.
  for (const Node& n : scaled.nodes()) {
    if (n.op != Op::kParameter || result.weights.contains(n.name)) continue;
    const auto folded_name = [&](std::string_view suffix, std::string_view kind) {
      return std::string(kind) + n.name.substr(0, n.name.size() - suffix.size());
    };
    const bool is_bias = n.name.ends_with(".bias");
    const std::string output =
        is_bias ? folded_name(".bias", kBias) : folded_name(".weight", kWeight);
    const bool of_layer =
        std::ranges::any_of(graph_.outputs(), [&](const auto& o) { return o.first == output; });
    result.weights[n.name] = of_layer ? session_.output(output) : model_.weights.at(n.name);
  }
  return result;
}

void check_options(const QuantizeOptions& o) {
  if (o.images < 1 || o.held_out < 1) {
    fail(ErrorCode::kInvalidArgument, "calibration needs images, and so does its evaluation");
  }
  if (!(o.percentile > 50 && o.percentile <= 100)) {
    fail(ErrorCode::kInvalidArgument, "the percentile must be above 50 and at most 100, it is {}",
         o.percentile);
  }
  if (o.weight_bits != 7 && o.weight_bits != 8) {
    fail(ErrorCode::kInvalidArgument, "weights have 7 or 8 bits, not {}", o.weight_bits);
  }
}

// Every activation of a batch is kept at once: about the memory of four images of 224 x 224.
std::int64_t calibration_batch(const ModelFile& model, const QuantizeOptions& options) {
  const std::int64_t side = model.config.image_size;
  return std::clamp<std::int64_t>(4 * 224 * 224 / (side * side), 1,
                                  std::max(1, options.batch_size));
}

DatasetPtr some_of(const DatasetPtr& data, std::vector<std::int64_t> indices) {
  std::ranges::sort(indices);
  return make_subset(data, std::move(indices));
}

// Images for calibration, and others for its evaluation.
std::pair<DatasetPtr, DatasetPtr> images_of(const ModelFile& model, const DataSpec& spec,
                                            const QuantizeOptions& o) {
  const auto shuffled = [&](std::int64_t size, std::uint64_t stream) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(size));
    std::iota(order.begin(), order.end(), 0);
    Random random(o.seed, stream);
    for (std::size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[random.below(static_cast<std::uint32_t>(i))]);
    }
    return order;
  };
  const auto take = [](std::vector<std::int64_t> order, std::int64_t from, std::int64_t count) {
    const auto size = std::ssize(order);
    return std::vector<std::int64_t>(order.begin() + std::min(size, from),
                                     order.begin() + std::min(size, from + count));
  };
  const DatasetPtr held_out = open_test_data(spec, model.class_names);
  const DataSplits splits = open_data(spec);
  if (!splits.split_here && splits.train != nullptr && splits.train->size() > 0) {
    return {some_of(splits.train, take(shuffled(splits.train->size(), 0), 0, o.images)),
            some_of(held_out, take(shuffled(held_out->size(), 1), 0, o.held_out))};
  }
  const std::vector<std::int64_t> order = shuffled(held_out->size(), 0);
  const std::int64_t calibration = std::min<std::int64_t>(o.images, held_out->size() / 2);
  return {some_of(held_out, take(order, 0, calibration)),
          some_of(held_out, take(order, calibration, o.held_out))};
}

Job job_of(const QuantizeOptions& o, std::string_view what) {
  if (!o.progress) return {{}, o.stop};
  return {[&o, what](std::int64_t done, std::int64_t of) { o.progress(what, done, of); }, o.stop};
}

void warn_of_clipped(const Loader& loader) {
  const std::string text = to_note(loader.clipped());
  if (!text.empty()) warn_once("clipped images", text);
}

// What f32 and several int8 models predict for the same images.
void evaluate_trials(const ModelFile& real, const DatasetPtr& data,
                     const std::vector<ModelFile>& models, const QuantizeOptions& o,
                     Quantized& result, std::span<QuantizeTrial> trials) {
  const std::int64_t batch_size = std::min<std::int64_t>(std::max(1, o.batch_size), data->size());
  const CompileOptions compile{.threads = o.threads};
  const auto evaluator = [&](const ModelFile& m) {
    return std::make_unique<Evaluator>(inference_graph(m, batch_size), m.config.classes,
                                       to_variables(m), compile, DataLayout::kNCHW);
  };
  const auto f32 = evaluator(real);
  std::vector<std::unique_ptr<Evaluator>> others;
  for (const ModelFile& m : models) others.push_back(evaluator(m));
  const auto classes = static_cast<std::size_t>(real.config.classes);
  std::vector<double> squares(models.size(), 0.0);
  std::vector<std::int64_t> right(models.size(), 0), agreed(models.size(), 0);
  std::int64_t images = 0, right_f32 = 0;
  Loader loader(data, real.preprocessing, Augmentation{},
                evaluation_options(static_cast<int>(batch_size), loader_threads(o.loader_threads)));
  const Pass pass = for_each_batch(loader, job_of(o, "evaluating"), [&](const Batch& batch) {
    const Tensor truth = f32->logits(batch.images);
    const auto prediction = [&](const Tensor& logits, std::size_t row) {
      const auto z = logits.as<float>().subspan(row * classes, classes);
      return std::ranges::max_element(z) - z.begin();
    };
    const auto counts = [&](std::size_t row) { return batch.labels[row] >= 0; };
    for (std::size_t row = 0; row < batch.labels.size(); ++row) {
      if (!counts(row)) continue;
      ++images;
      right_f32 += prediction(truth, row) == batch.labels[row] ? 1 : 0;
    }
    for (std::size_t i = 0; i < others.size(); ++i) {
      const Tensor logits = others[i]->logits(batch.images);
      for (std::size_t row = 0; row < batch.labels.size(); ++row) {
        if (!counts(row)) continue;
        right[i] += prediction(logits, row) == batch.labels[row] ? 1 : 0;
        agreed[i] += prediction(logits, row) == prediction(truth, row) ? 1 : 0;
        for (std::size_t c = row * classes; c < (row + 1) * classes; ++c) {
          const double d = std::abs(static_cast<double>(logits.as<float>()[c]) -
                                    static_cast<double>(truth.as<float>()[c]));
          squares[i] += d * d;
          trials[i].max_difference = std::max(trials[i].max_difference, d);
        }
      }
    }
  });
  pass.throw_if_stopped();
  warn_of_clipped(loader);
  if (images == 0) none_readable(data->size(), loader.bad_images());
  const auto n = static_cast<double>(images);
  for (std::size_t i = 0; i < models.size(); ++i) {
    trials[i].top1 = static_cast<double>(right[i]) / n;
    trials[i].agreement = static_cast<double>(agreed[i]) / n;
    trials[i].rms_difference = std::sqrt(squares[i] / (n * static_cast<double>(classes)));
  }
  result.images = images;
  result.top1 = static_cast<double>(right_f32) / n;
}

// Unreadable images are rows of zeros, which are no statistics: the others take their places.
std::int64_t move_readable_up(Batch& batch) {
  const std::size_t row = batch.images.bytes() / static_cast<std::size_t>(batch.images.dim(0));
  std::byte* images = batch.images.raw();
  std::size_t good = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(batch.count); ++i) {
    if (batch.labels[i] < 0) continue;
    if (i != good) std::memcpy(images + good * row, images + i * row, row);
    ++good;
  }
  return static_cast<std::int64_t>(good);
}

void calibrate(Calibrator& calibrator, const ModelFile& model, const DatasetPtr& data,
               const QuantizeOptions& o) {
  Loader loader(
      data, model.preprocessing, Augmentation{},
      evaluation_options(static_cast<int>(calibrator.batch()), loader_threads(o.loader_threads)));
  std::int64_t seen = 0;
  const Pass pass = for_each_batch(loader, job_of(o, "calibrating"), [&](Batch& batch) {
    const std::int64_t good = move_readable_up(batch);
    if (good > 0) calibrator.see(batch.images, good);
    seen += good;
  });
  pass.throw_if_stopped();
  warn_of_clipped(loader);
  if (seen == 0) none_readable(data->size(), loader.bad_images());
}

// The layers that tradition keeps: the first of the stem and the last of the head.
std::vector<std::string> outer_layers(const ModelConfig& config) {
  const auto [graph, network] = describe_network(config, 1);
  std::vector<std::string> first, last;
  for (const Value v : network.stages.front().layers) {
    if (graph.node(v).op == Op::kConv2d) first.push_back(graph.node(v).name);
  }
  for (const Value v : network.head.layers) {
    if (graph.node(v).op == Op::kLinear) last.push_back(graph.node(v).name);
  }
  std::vector<std::string> result;
  if (!first.empty()) result.push_back(first.front());
  if (!last.empty()) result.push_back(last.back());
  return result;
}

}  // namespace

Quantized quantize_model(const ModelFile& model, const DataSpec& data,
                         const QuantizeOptions& options) try {
  check_options(options);
  refuse_quantized(model, "quantised again");
  DataSpec spec = data;
  if (spec.image_size == 0) spec.image_size = model.preprocessing.height;
  const auto [calibration, held_out] = images_of(model, spec, options);
  if (calibration->size() == 0 || held_out->size() == 0) {
    fail(ErrorCode::kBadData, "{}: calibration and its evaluation need an image each", spec.source);
  }
  Calibrator calibrator(model, calibration_batch(model, options), options);
  calibrate(calibrator, model, calibration, options);

  Quantized result;
  std::vector<ModelFile> models;
  const auto attempt = [&](Calibration c, std::vector<std::string> keep) {
    models.push_back(calibrator.quantized(c, keep));
    result.trials.push_back({.calibration = c, .keep = std::move(keep)});
  };
  const std::vector<std::string> keep = options.keep.value_or(std::vector<std::string>{});
  for (const auto c : {Calibration::kMinMax, Calibration::kPercentile, Calibration::kKl}) {
    if (options.calibration.value_or(c) == c) attempt(c, keep);
  }
  evaluate_trials(model, held_out, models, options, result, result.trials);
  for (std::size_t i = 1; i < result.trials.size(); ++i) {
    if (result.trials[i].rms_difference < result.trials[result.best].rms_difference) {
      result.best = i;
    }
  }
  if (!options.keep) {
    const QuantizeTrial all = result.trials[result.best];
    const std::size_t first = models.size();
    for (const std::string& layer : outer_layers(model.config)) attempt(all.calibration, {layer});
    std::vector<ModelFile> more(models.begin() + static_cast<std::ptrdiff_t>(first), models.end());
    evaluate_trials(model, held_out, more, options, result,
                    std::span(result.trials).subspan(first));
    std::vector<std::string> worth;
    std::size_t best = result.best;
    for (std::size_t i = first; i < result.trials.size(); ++i) {
      if (result.trials[i].agreement < all.agreement + options.worthwhile) continue;
      worth.push_back(result.trials[i].keep[0]);
      best = i;
    }
    if (worth.size() > 1) {
      attempt(all.calibration, worth);
      best = models.size() - 1;
      evaluate_trials(model, held_out, {models.back()}, options, result,
                      std::span(result.trials).subspan(best));
    }
    result.best = best;
  }
  result.model = std::move(models[result.best]);
  result.model.provenance["quantisation"] = to_table(result);
  return result;
} catch (...) {
  throw_as_error();
}

ModelFile quantize_model(const ModelFile& model, std::span<const Tensor> images,
                         const QuantizeOptions& options) try {
  check_options(options);
  refuse_quantized(model, "quantised again");
  if (images.empty()) fail(ErrorCode::kInvalidArgument, "calibration needs images");
  Calibrator calibrator(model, calibration_batch(model, options), options);
  const ModelConfig& c = model.config;
  const Shape image{c.channels, c.image_size, c.image_size};
  for (const Tensor& t : images) {
    if (t.shape().size() != 4 || !std::equal(image.begin(), image.end(), t.shape().begin() + 1)) {
      fail(ErrorCode::kInvalidArgument, "images must have the shape [n, {}, {}, {}], one has {}",
           c.channels, c.image_size, c.image_size, to_string(t.shape()));
    }
    const auto values = t.as<float>();
    const auto size = static_cast<std::size_t>(element_count(image));
    for (std::int64_t first = 0; first < t.dim(0); first += calibrator.batch()) {
      const std::int64_t count = std::min(calibrator.batch(), t.dim(0) - first);
      Tensor batch =
          Tensor::zeros(DType::kF32, {calibrator.batch(), c.channels, c.image_size, c.image_size});
      std::ranges::copy(values.subspan(static_cast<std::size_t>(first) * size,
                                       static_cast<std::size_t>(count) * size),
                        batch.as<float>().begin());
      calibrator.see(batch, count);
    }
  }
  return calibrator.quantized(options.calibration.value_or(Calibration::kMinMax),
                              options.keep.value_or(std::vector<std::string>{}));
} catch (...) {
  throw_as_error();
}

std::string to_table(const Quantized& q) {
  const auto percent = [](double share) { return fmt::format("{:.2f} %", 100 * share); };
  std::string text = fmt::format("{:<28} {:>8} {:>10} {:>12} {:>12}\n", "", "top-1", "agreement",
                                 "max |Δlogit|", "rms Δlogit");
  text += fmt::format("{:<28} {:>8}\n", "f32", percent(q.top1));
  for (std::size_t i = 0; i < q.trials.size(); ++i) {
    const QuantizeTrial& t = q.trials[i];
    std::string name = fmt::format("{}{}", i == q.best ? "* " : "  ", name_of(t.calibration));
    if (!t.keep.empty()) name += fmt::format(", {} in f32", fmt::join(t.keep, " and "));
    text += fmt::format("{:<28} {:>8} {:>10} {:>12.4f} {:>12.4f}\n", name, percent(t.top1),
                        percent(t.agreement), t.max_difference, t.rms_difference);
  }
  return text +
         fmt::format("of {} images that calibration did not see; * is in the file\n", q.images);
}

}  // namespace resnet

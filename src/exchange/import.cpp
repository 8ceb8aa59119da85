#include "exchange/import.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/guard.h"
#include "core/text.h"
#include "data/class_names.h"
#include "exchange/choose_network.h"
#include "exchange/match.h"
#include "exchange/model_file.h"
#include "exchange/onnx_import.h"
#include "formats/onnx_file.h"
#include "formats/shard_index.h"
#include "formats/weights_file.h"

namespace resnet {
namespace {

// ---------------------------------------------------------------------------------- preprocessing

std::string to_text(const std::array<float, 3>& v) {
  return fmt::format("{}, {}, {}", v[0], v[1], v[2]);
}

Preprocessing choose_preprocessing(const ModelConfig& config, const ImportOptions& options,
                                   const std::optional<TimmConfig>& timm, MatchReport& report) {
  const bool cifar = default_image_size(config.architecture) == 32;
  Preprocessing p;
  p.channels = static_cast<int>(config.channels);
  p.upright = false;  // torchvision and timm leave photographs as they lie
  int size = cifar ? 32 : 224;
  double crop = cifar ? 1 : 0.875;  // torchvision: 224 of 256
  if (cifar) {
    p.mean = {0.4914F, 0.4822F, 0.4465F};
    p.std = {0.2470F, 0.2435F, 0.2616F};
  }
  if (timm) {
    size = timm->image_size.value_or(size);
    crop = timm->crop_pct.value_or(crop);
    p.mean = timm->mean.value_or(p.mean);
    p.std = timm->std.value_or(p.std);
    if (!options.interpolation && !timm->interpolation.empty()) {
      p.interpolation = parse_interpolation(timm->interpolation);
    }
    if (!timm->crop_mode.empty() && timm->crop_mode != "center") {
      report.notes.push_back(
          fmt::format("config.json crops by '{}'; here it is the centre", timm->crop_mode));
    }
    if (timm->test_image_size && timm->test_image_size != timm->image_size) {
      report.notes.push_back(fmt::format(
          "config.json also names images of {} for tests; --image-size {} --resize {} uses them",
          *timm->test_image_size, *timm->test_image_size, *timm->test_image_size));
    }
  }
  size = options.image_size.value_or(size);
  p.width = p.height = size;
  p.resize = options.resize.value_or(static_cast<int>(std::floor(size / crop)));
  p.interpolation = options.interpolation.value_or(p.interpolation);
  if (config.channels == 1) {  // grey: the average over the colours
    for (auto* values : {&p.mean, &p.std}) {
      values->fill(((*values)[0] + (*values)[1] + (*values)[2]) / 3);
    }
  }
  p.mean = options.mean.value_or(p.mean);
  p.std = options.std.value_or(p.std);
  report.notes.push_back(fmt::format(
      "images are resized to {} ({}), cropped to {} x {}, mean {}, std {}: {}", p.resize,
      name_of(p.interpolation), p.width, p.height, to_text(p.mean), to_text(p.std),
      timm                          ? "from config.json and the options"
      : options.mean && options.std ? "from the options"
      : cifar
          ? "assumed, as usual for CIFAR-10; --mean and --std change it"
          : "assumed, as torchvision does; --mean, --std, --resize and --interpolation change it"));
  return p;
}

std::vector<std::string> choose_class_names(const ModelConfig& config, const ImportOptions& options,
                                            const std::optional<TimmConfig>& timm,
                                            const std::filesystem::path& path,
                                            MatchReport& report) {
  const auto classes = static_cast<std::size_t>(config.classes);
  if (!options.class_names.empty()) {
    if (options.class_names.size() != classes) {
      fail(ErrorCode::kInvalidArgument, "{}: the network has {} classes, but {} names were given",
           path.string(), classes, options.class_names.size());
    }
    return options.class_names;
  }
  if (timm && timm->class_names.size() == classes) return timm->class_names;
  report.notes.push_back("classes are called by their number; --classes names.txt names them");
  return unnamed_classes(classes);
}

// A network with one output z says yes with the probability sigmoid(z), which is softmax(0, z): its
// last layer becomes one of two outputs whose first is always 0.
void predict_two_classes(ModelConfig& config, std::map<std::string, Tensor>& weights,
                         MatchReport& report) {
  const std::string head = config.head_hidden > 0 ? "fc.3" : "fc";
  for (const char* leaf : {".weight", ".bias"}) {
    Tensor& t = weights.at(head + leaf);
    Shape shape = t.shape();
    shape[0] = 2;
    Tensor two = Tensor::zeros(DType::kF32, shape);
    const Tensor one = t.cast(DType::kF32);
    std::ranges::copy(one.as<float>(), two.as<float>().end() - one.size());
    t = two;
  }
  config.classes = 2;
  report.notes.push_back(
      "it has one output, which is taken for the logit of a sigmoid: two classes, the first for an "
      "output below 0 (probability below 50 %), the second for one above");
}

// ------------------------------------------------------------------------------------------ files

// One shard of several is no network.
void refuse_lone_shard(const std::filesystem::path& path) {
  const auto shard = shard_of(path);
  if (!shard || shard->count == 1) return;
  fail(ErrorCode::kNotFound,
       "{}: shard {} of {}, and beside it is no '{}', which says what the others hold; fetch all "
       "shards and the index into one folder, and give that folder",
       path.string(), shard->number, shard->count, shard->index);
}

// What `export` writes says what its network is, so that it comes back as it was. Nothing when the
// tensors are no longer those that were written.
std::optional<ImportedModel> import_exported(WeightsFile& content,
                                             const std::filesystem::path& path,
                                             const ImportOptions& options) {
  const auto metadata = metadata_of_export(content.metadata);
  if (!metadata || !options.prefix.empty() || !options.renames.empty() || !options.ignore.empty() ||
      !options.splice.empty()) {
    return std::nullopt;
  }
  ImportedModel result;
  try {
    const ModelConfig config = from_metadata(*metadata, path).config;
    if (!options.architecture.empty() && options.architecture != config.architecture) {
      return std::nullopt;
    }
    result.model = to_model({content.tensors, *metadata}, path);
  } catch (const Error&) {
    return std::nullopt;
  }
  result.report.format = content.format;
  result.report.notes.push_back(
      fmt::format("it says that it is {}", describe(result.model.config)));
  for (const auto& [name, shape] : parameters_of(result.model.config)) {
    result.report.matched.push_back({name, name});
  }
  for (const WeightsEntry& e : content.entries) {
    if (!result.model.weights.contains(e.name)) result.report.ignored.push_back(e.name);
  }
  result.model.provenance = {{"imported_from", path.filename().string()},
                             {"format", content.format}};
  change_by_options(result, path, options);
  return result;
}

// A model file of ours says everything; the options may still change how images are prepared.
ImportedModel import_our_own(WeightsFile content, const std::filesystem::path& path,
                             const ImportOptions& options) {
  ImportedModel result{to_model({std::move(content.tensors), std::move(content.metadata)}, path),
                       {.format = "model file"}};
  refuse_quantized(result.model, "trained, or imported again");
  for (const auto& [name, shape] : parameters_of(result.model.config)) {
    result.report.matched.push_back({name, name});
  }
  change_by_options(result, path, options);
  return result;
}

}  // namespace

void change_by_options(ImportedModel& imported, const std::filesystem::path& path,
                       const ImportOptions& options) {
  ModelFile& m = imported.model;
  if (!options.architecture.empty() && options.architecture != m.config.architecture) {
    fail(ErrorCode::kBadData, "{}: a model file of {}, not of {}; leave --arch out", path.string(),
         m.config.architecture, options.architecture);
  }
  Preprocessing& p = m.preprocessing;
  if (options.image_size) {
    p.width = p.height = *options.image_size;
    m.config.image_size = *options.image_size;
  }
  p.resize = options.resize.value_or(p.resize);
  p.interpolation = options.interpolation.value_or(p.interpolation);
  p.mean = options.mean.value_or(p.mean);
  p.std = options.std.value_or(p.std);
  if (m.config.classes == 1 && m.quantization.empty()) {  // integers are not made anew
    predict_two_classes(m.config, m.weights, imported.report);
    m.class_names = {"not " + m.class_names.front(), m.class_names.front()};
  }
  if (!options.class_names.empty()) {
    m.class_names = choose_class_names(m.config, options, std::nullopt, path, imported.report);
  }
}

ModelFile finish_import(ModelConfig config, std::map<std::string, Tensor> weights,
                        const std::filesystem::path& path, const ImportOptions& options,
                        const std::optional<TimmConfig>& timm, MatchReport& report) {
  if (config.channels != 1 && config.channels != 3) {
    fail(ErrorCode::kUnsupported, "{}: made for images of {} channels; here they have 1 or 3",
         path.string(), config.channels);
  }
  ModelFile model;
  const bool blank = options.allow_missing_head && config.classes == 1 &&
                     std::ranges::any_of(report.missing, is_head);
  if (config.classes == 1 && !blank) predict_two_classes(config, weights, report);
  model.preprocessing = choose_preprocessing(config, options, timm, report);
  config.image_size = model.preprocessing.height;
  model.class_names = choose_class_names(config, options, timm, path, report);
  model.config = std::move(config);
  model.weights = std::move(weights);
  model.provenance = {{"imported_from", path.filename().string()}, {"format", report.format}};
  if (!report.by_graph && !model.config.stride_on_first_1x1 &&
      model.weights.contains("layer1.0.conv3.weight")) {
    report.notes.push_back(
        "bottlenecks have their stride on the 3x3 convolution, as torchvision's and timm's; "
        "--stride-on-first-1x1 is the original's");
  }
  return model;
}

ImportedModel import_any(const std::filesystem::path& path, const ImportOptions& options) {
  if (is_onnx_file(path)) return import_onnx(path, options);
  refuse_lone_shard(path);
  WeightsFile content = read_weights(path);
  if (describes_model(content.metadata)) return import_our_own(std::move(content), path, options);
  if (auto exported = import_exported(content, path, options)) return std::move(*exported);

  MatchReport report{.format = content.format};
  const FileClues file = clues_of(path, content, options, report);
  const auto timm = read_timm_config(path.parent_path() / "config.json");
  ModelConfig config = choose_network(file, options, timm, report);
  const bool headless = !file.clues.has_head && options.allow_missing_head;
  if (headless) {
    config.classes = std::max<std::int64_t>(1, std::ssize(options.class_names));
    report.notes.push_back("it has no last layer; one of zeros stands in");
  }
  match_parameters(file, config, options, report);

  std::map<std::string, Tensor> weights;
  std::map<std::string, Shape> shapes;
  for (const auto& [name, shape] : parameters_of(config)) {
    shapes[name] = shape;
    if (headless && is_head(name)) weights[name] = Tensor::zeros(DType::kF32, shape);
  }
  for (const MatchReport::Match& m : report.matched) {
    weights[m.ours] = content.tensors.at(m.file).cast(DType::kF32).reshaped(shapes.at(m.ours));
  }
  ModelFile model = finish_import(config, std::move(weights), path, options, timm, report);
  return {std::move(model), std::move(report)};
}

ImportedModel import_model(const std::filesystem::path& given, const ImportOptions& options) try {
  const std::filesystem::path path = find_weights(given);
  ImportedModel result = import_any(path, options);
  const std::string broken = broken_weights(result.model);
  if (broken.empty()) return result;
  if (!options.allow_broken) {
    fail(ErrorCode::kBadData,
         "{}: {}; such a network predicts nothing: take another checkpoint, or --force imports it "
         "as it is",
         path.string(), broken);
  }
  result.report.notes.push_back("warning: " + broken);
  return result;
} catch (...) {
  throw_as_error();
}

std::string to_string(const MatchReport& r, bool all) {
  std::string text = fmt::format("{}: {} tensors matched by {}", r.format, r.matched.size(),
                                 r.by_graph     ? "comparing graphs"
                                 : r.structural ? "order and shape"
                                                : "name");
  if (!r.ignored.empty()) {
    text += fmt::format(", {} ignored ({}{})", r.ignored.size(), printable(r.ignored.front()),
                        r.ignored.size() > 1 ? ", …" : "");
  }
  for (const std::string& note : r.notes) text += "\n  " + printable(note);
  for (const auto& name : r.missing) text += "\n  missing: " + printable(name);
  for (const auto& name : r.unexpected) text += "\n  unexpected: " + printable(name);
  for (const auto& w : r.wrong_shape) {
    text += fmt::format("\n  another shape: {} {}, expected {}", printable(w.file),
                        to_string(w.found), to_string(w.expected));
  }
  if (all || r.structural) {
    for (const auto& m : r.matched) text += fmt::format("\n  {} <- {}", m.ours, printable(m.file));
  }
  return text;
}

Tensor adapt_input_channels(const Tensor& weights, std::int64_t channels) try {
  const Shape& from = weights.shape();
  if (from.size() != 4 || from[1] < 1 || channels < 1) {
    fail(
        ErrorCode::kInvalidArgument,
        "weights {} cannot be adapted to {} channels; expected [m, c, kh, kw] with c of at least 1",
        to_string(from), channels);
  }
  const Tensor source = weights.cast(DType::kF32);
  const std::int64_t old = from[1], area = from[2] * from[3];
  if (old == channels) return source.clone();
  Tensor result = Tensor::zeros(DType::kF32, {from[0], channels, from[2], from[3]});
  const auto in = source.as<float>();
  const auto out = result.as<float>();
  const auto at = [area](std::int64_t row, std::int64_t i) {
    return static_cast<std::size_t>(row * area + i);
  };
  for (std::int64_t m = 0; m < from[0]; ++m) {
    for (std::int64_t i = 0; i < area; ++i) {
      double sum = 0;
      for (std::int64_t c = 0; c < old; ++c) sum += in[at(m * old + c, i)];
      for (std::int64_t c = 0; c < channels; ++c) {
        out[at(m * channels + c, i)] =
            channels == 1
                ? static_cast<float>(sum)
                : static_cast<float>(in[at(m * old + c % old, i)] *
                                     (static_cast<double>(old) / static_cast<double>(channels)));
      }
    }
  }
  return result;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

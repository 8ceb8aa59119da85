#include "exchange/model_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/guard.h"
#include "core/json.h"
#include "core/text.h"
#include "data/transform.h"
#include "exchange/match.h"

namespace resnet {
namespace {

// Version 2 has two members more; a file that does not need them is of version 1, so that older
// programs read it.
// Version 3 is of int8 networks and has those, too.
constexpr std::string_view kVersion = "1", kSplicedVersion = "2", kQuantizedVersion = "3";
// Tensors of scales stand beside those of the network: of a layer's weights [filters], and of an
// activation [1] under the name of what makes it.
constexpr std::string_view kWeightScale = ".weight_scale", kOutputScale = ".output_scale";
constexpr const char* kTrainingImages = "training_images";
constexpr std::string_view kVersionKey = "resnet.format", kExportKey = "resnet.export";
constexpr std::size_t kMaxText = 4 << 20;  // bytes of one metadata text: JSON trees are larger
constexpr std::size_t kMaxLayerName = 256;
constexpr std::size_t kShown = 80;            // characters of a hostile value in a message
constexpr std::int64_t kMaxHidden = 1 << 20;  // units of a head's hidden layer
constexpr std::int64_t kMaxSide = 4096;       // of a network's input
constexpr std::int64_t kMaxChannels = 3;

// What is wrong with a model, said in one way whether it is being written (the caller's mistake) or
// read (the file's).
class Complaint {
 public:
  Complaint(ErrorCode code, const std::filesystem::path& path, std::string_view advice)
      : code_(code), file_(path.string()), advice_(advice) {}

  template <class... Args>
  [[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) const {
    fail(code_, "{}: {}; {}", file_, fmt::format(format, std::forward<Args>(args)...), advice_);
  }
  // Runs a check that throws without knowing the file.
  template <class F>
  auto run(F&& check) const {
    try {
      return check();
    } catch (const Error& e) {
      if (e.code() == ErrorCode::kOutOfMemory) throw;
      fail(code_, "{}: {}", file_, e.what());
    }
  }

 private:
  ErrorCode code_;
  std::string file_;
  std::string_view advice_;
};

Complaint on_read(const std::filesystem::path& path) {
  return {ErrorCode::kBadData, path, "the file is damaged; fetch it or train the model again"};
}
Complaint on_write(const std::filesystem::path& path) {
  return {ErrorCode::kInvalidArgument, path, "nothing was written"};
}

// ------------------------------------------------------------------------------------- the checks

void check_description(const ModelFile& m, const Complaint& bad) {
  const ModelConfig& c = m.config;
  const Preprocessing& p = m.preprocessing;
  bad.run([&] { check_architecture(c.architecture); });
  bad.run([&] { check_preprocessing(p); });
  const auto finite = [](float x) { return std::isfinite(x); };
  if (!std::ranges::all_of(p.mean, finite) || !std::ranges::all_of(p.std, finite)) {
    bad.raise("mean and std of the preprocessing must be finite numbers");
  }
  if (p.height > kMaxSide || p.width > kMaxSide || c.image_size < 1 || c.image_size > kMaxSide) {
    bad.raise("images of {} x {} and an image size of {} were expected to have sides of 1 to {}",
              p.width, p.height, c.image_size, kMaxSide);
  }
  if (c.channels < 1 || c.channels > kMaxChannels || c.channels != p.channels) {
    bad.raise("the network takes images of {} channels, the preprocessing makes {}", c.channels,
              p.channels);
  }
  if (c.classes < 1 || m.class_names.size() != static_cast<std::size_t>(c.classes)) {
    bad.raise("{} has {} classes, but {} class names were found", c.architecture, c.classes,
              m.class_names.size());
  }
}

// PyTorch counts batches beside its running statistics; nothing depends on the number.
bool is_batch_counter(const std::string& name) { return name.ends_with(".num_batches_tracked"); }

// The tensors of scales among those of a file. Their values stay 1 until they are read.
Quantization scales_among(const std::map<std::string, TensorType>& tensors, const Complaint& bad) {
  Quantization q;
  for (const auto& [name, type] : tensors) {
    const bool weights = name.ends_with(kWeightScale), output = name.ends_with(kOutputScale);
    if (!weights && !output) continue;
    if (type.dtype != DType::kF32 || type.shape.size() != 1 || (output && type.shape[0] != 1)) {
      bad.raise("tensor '{}' must hold f32 scales, {}, found {} {}", name,
                output ? "one" : "one for each filter", name_of(type.dtype), to_string(type.shape));
    }
    const std::string stem =
        name.substr(0, name.size() - (weights ? kWeightScale : kOutputScale).size());
    if (weights) {
      q.weights[stem].assign(static_cast<std::size_t>(type.shape[0]), 1.0F);
    } else {
      q.activations[stem] = 1.0F;
    }
  }
  if (q.empty()) bad.raise("an int8 network has no tensor of scales");
  return q;
}

bool is_scale(const std::string& name, const Quantization& q) {
  return !q.empty() && (name.ends_with(kWeightScale) || name.ends_with(kOutputScale));
}

// `found` maps names to {dtype, shape}. Complains of the first tensor that does not fit the
// network.
void check_tensors(const ModelConfig& config, const Quantization& quantization,
                   const std::map<std::string, TensorType>& found, const Complaint& bad) {
  std::set<std::string> known;
  const Graph graph = bad.run([&] {
    Graph g = inference_graph(config, 1);
    return quantization.empty() ? g : quantize_graph(g, quantization);
  });
  for (const Value v : graph.parameters()) {
    const auto& [name, type] = std::pair(graph.node(v).name, graph.type(v));
    const auto it = found.find(name);
    if (it == found.end()) {
      bad.raise("{} needs a tensor '{}' {}, none was found among {}", config.architecture, name,
                to_string(type.shape), found.size());
    }
    if (it->second.shape != type.shape) {
      bad.raise(
          "tensor '{}' of {} with {} classes and {} channels must have the shape {}, found {}",
          name, config.architecture, config.classes, config.channels, to_string(type.shape),
          to_string(it->second.shape));
    }
    const bool fits =
        type.dtype == DType::kF32 ? is_floating(it->second.dtype) : it->second.dtype == type.dtype;
    if (!fits) {
      bad.raise("tensor '{}' must hold {}, found {}", name,
                type.dtype == DType::kF32 ? "floating-point numbers" : "8-bit integers",
                name_of(it->second.dtype));
    }
    known.insert(name);
  }
  for (const auto& [name, type] : found) {
    if (!known.contains(name) && !is_batch_counter(name) && !is_scale(name, quantization)) {
      bad.raise("tensor '{}' {} is not part of {}", name, to_string(type.shape),
                config.architecture);
    }
  }
}

// --------------------------------------------------------------------------- metadata: JSON texts

// The shortest decimal that reads back as `x`, so that 0.485f is not written as
// 0.48500001430511475.
double shortest(float x) {
  const std::string text = fmt::format("{}", x);
  double result = 0;
  std::from_chars(text.data(), text.data() + text.size(), result);
  return result;
}

Json to_json(const std::array<float, 3>& values) {
  return Json::array({shortest(values[0]), shortest(values[1]), shortest(values[2])});
}

std::map<std::string, std::string> to_metadata(const ModelFile& m, const Complaint& bad) {
  const ModelConfig& c = m.config;
  const Preprocessing& p = m.preprocessing;
  std::map<std::string, Json> texts;
  for (const std::string& name : m.class_names) {
    if (!is_utf8(name)) bad.raise("the class name \"{}\" is not UTF-8", printable(name, 100));
  }
  texts["classes"] = m.class_names;
  Json& options = texts["options"] = Json::object({{"channels", c.channels},
                                                   {"dropout", c.dropout},
                                                   {"image_size", c.image_size},
                                                   {"layers_per_skip", c.layers_per_skip},
                                                   {"shortcut", name_of(c.shortcut)},
                                                   {"stride_on_first_1x1", c.stride_on_first_1x1},
                                                   {"zero_gamma", c.zero_gamma}});
  if (c.same_padding) options.add("same_padding", true);
  const bool quantized = !m.quantization.empty();
  const bool spliced = quantized || !c.splice.empty() || c.head_hidden != 0;
  if (spliced) {
    options.add("splice", c.splice);
    options.add("head_hidden", c.head_hidden);
  }
  Json& preprocessing = texts["preprocessing"] =
      Json::object({{"channels", p.channels},
                    {"height", p.height},
                    {"interpolation", name_of(p.interpolation)},
                    {"mean", to_json(p.mean)},
                    {"resize", p.resize},
                    {"std", to_json(p.std)},
                    {"upright", p.upright},
                    {"width", p.width}});
  if (p.scale_16bit != Scale16Bit::kClip) {
    preprocessing.add("scale_16bit", name_of(p.scale_16bit));
  }
  if (const ImageProfile& t = m.training_images; t.images > 0) {
    texts[kTrainingImages] = Json::object({{"images", t.images},
                                           {"sharpness", to_json(t.sharpness)},
                                           {"shorter_side", to_json(t.shorter_side)}});
  }
  Json& provenance = texts["provenance"] = Json::object();
  for (const auto& [key, text] : m.provenance) {  // names of folders may be any bytes
    provenance.add(json_text(key), json_text(text));
  }
  // "pt" tells Python's readers that the tensors are laid out as PyTorch's.
  std::map<std::string, std::string> metadata = {
      {"format", "pt"},
      {std::string(kVersionKey), std::string(quantized ? kQuantizedVersion
                                             : spliced ? kSplicedVersion
                                                       : kVersion)},
      {"architecture", c.architecture}};
  for (const auto& [key, json] : texts) {
    try {
      metadata[key] = json.dump();
    } catch (const Error&) {
      bad.raise("a name among the {} is not UTF-8", key);
    }
    if (metadata[key].size() > kMaxText) {
      bad.raise("the {} take {} bytes of text, above the limit of {}", key, metadata[key].size(),
                kMaxText);
    }
  }
  return metadata;
}

const std::string& text_of(const std::map<std::string, std::string>& metadata,
                           const std::string& key, const Complaint& bad) {
  const auto it = metadata.find(key);
  if (it == metadata.end()) bad.raise("its metadata have no key '{}'", key);
  if (it->second.size() > kMaxText) {
    bad.raise("its metadata '{}' has {} bytes, above the limit of {}", key, it->second.size(),
              kMaxText);
  }
  return it->second;
}

// The JSON text under a key, an "array" or "object". Nothing lies deeper than an array in an
// object.
Json json_of(const std::map<std::string, std::string>& metadata, const std::string& key,
             std::string_view type, const Complaint& bad) {
  std::string problem;
  auto json = Json::parse(text_of(metadata, key, bad), 2, &problem);
  if (!json || json->type_name() != type) {
    bad.raise("its metadata '{}' is not a JSON {}{}{}", key, type, json ? "" : ": ",
              printable(problem, 2 * kShown));
  }
  return std::move(*json);
}

// The members of one object, each taken once; `finish` complains of members that nobody took.
class Fields {
 public:
  Fields(const std::map<std::string, std::string>& metadata, std::string key, const Complaint& bad)
      : bad_(bad), key_(std::move(key)), json_(json_of(metadata, key_, "object", bad)) {}

  std::int64_t integer(const char* name, std::int64_t low, std::int64_t high) {
    const Json value = take(name);
    // Written so that neither 1e30 nor 2^63 is converted before it is compared.
    const bool fits = value.is_unsigned()
                          ? std::cmp_less_equal(value.as<std::uint64_t>(), high) &&
                                std::cmp_greater_equal(value.as<std::uint64_t>(), low)
                          : value.is_integer() && value.as<std::int64_t>() >= low &&
                                value.as<std::int64_t>() <= high;
    if (!fits) wrong(name, fmt::format("a whole number from {} to {}", low, high), value);
    return value.as<std::int64_t>();
  }
  double number(const char* name) {
    const Json value = take(name);
    if (!value.is_number()) wrong(name, "a number", value);
    return value.as<double>();
  }
  bool boolean(const char* name, bool if_absent) {
    return json_.contains(name) ? boolean(name) : if_absent;
  }
  bool boolean(const char* name) {
    const Json value = take(name);
    if (!value.is_bool()) wrong(name, "true or false", value);
    return value.as<bool>();
  }
  std::string string(const char* name, const char* if_absent) {
    return json_.contains(name) ? string(name) : if_absent;
  }
  std::string string(const char* name) {
    const Json value = take(name);
    if (!value.is_string()) wrong(name, "a text", value);
    return value.text();
  }
  std::array<float, 3> triple(const char* name) {
    const Json value = take(name);
    std::array<float, 3> result{};
    const auto fits = [](const Json& x) {
      return x.is_number() && std::abs(x.as<double>()) <= std::numeric_limits<float>::max();
    };
    if (!value.is_array() || value.items().size() != 3 ||
        !std::ranges::all_of(value.items(), fits)) {
      wrong(name, "three numbers", value);
    }
    for (std::size_t i = 0; i < 3; ++i) result[i] = value.items()[i].as<float>();
    return result;
  }
  std::map<std::string, std::string> all_strings() {
    std::map<std::string, std::string> result;
    for (const auto& [name, value] : json_.members()) {
      if (!value.is_string()) wrong(name, "a text", value);
      result.emplace(name, value.text());
    }
    return result;
  }
  // A member that we do not know may change what the model means.
  void finish() const {
    if (!json_.members().empty()) {
      bad_.raise("its metadata '{}' has the unknown member '{}'", key_,
                 json_.members().front().first.substr(0, kShown));
    }
  }

 private:
  Json take(const char* name) {
    auto value = json_.take(name);
    if (!value) bad_.raise("its metadata '{}' lacks '{}'", key_, name);
    return std::move(*value);
  }
  [[noreturn]] void wrong(std::string_view name, std::string_view expected,
                          const Json& found) const {
    const std::string text = found.dump_ascii();
    bad_.raise("its metadata '{}' must give {} for '{}', found {}", key_, expected,
               name.substr(0, kShown), text.substr(0, kShown));
  }

  const Complaint& bad_;
  const std::string key_;
  Json json_;
};

ModelFile from_metadata(const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path, const Complaint& bad) {
  const auto version = metadata.find(std::string(kVersionKey));
  if (version == metadata.end()) {
    fail(ErrorCode::kBadData,
         "{}: a safetensors file, but not a model file: its metadata have no key 'resnet.format', "
         "so architecture, classes and preprocessing are unknown; make a model file of it with "
         "`resnet import FILE -o model.safetensors`",
         path.string());
  }
  const bool spliced = version->second == kSplicedVersion || version->second == kQuantizedVersion;
  if (version->second != kVersion && !spliced) {
    fail(ErrorCode::kUnsupported,
         "{}: a model file of format version '{}', this program reads versions {} to {}; use a "
         "newer program",
         path.string(), version->second.substr(0, 20), kVersion, kQuantizedVersion);
  }

  ModelFile m;
  m.config.architecture = text_of(metadata, "architecture", bad);
  const Json classes = json_of(metadata, "classes", "array", bad);
  for (const Json& name : classes.items()) {
    if (!name.is_string()) bad.raise("its metadata 'classes' hold something that is no text");
    m.class_names.push_back(name.text());
  }
  m.config.classes = static_cast<std::int64_t>(m.class_names.size());

  Fields options(metadata, "options", bad);
  m.config.channels = options.integer("channels", 1, kMaxChannels);
  m.config.image_size = options.integer("image_size", 1, kMaxSide);
  m.config.shortcut = bad.run([&] { return parse_shortcut(options.string("shortcut")); });
  m.config.layers_per_skip = static_cast<int>(options.integer("layers_per_skip", 0, 10000));
  m.config.stride_on_first_1x1 = options.boolean("stride_on_first_1x1");
  m.config.same_padding = options.boolean("same_padding", false);
  m.config.zero_gamma = options.boolean("zero_gamma");
  m.config.dropout = options.number("dropout");
  if (spliced) {
    m.config.splice = options.string("splice");
    if (m.config.splice.size() > kMaxLayerName) bad.raise("the name of a layer is too long");
    m.config.head_hidden = options.integer("head_hidden", 0, kMaxHidden);
  }
  options.finish();

  Fields preprocessing(metadata, "preprocessing", bad);
  constexpr int kMaxResize = 1 << 15;
  m.preprocessing.height = static_cast<int>(preprocessing.integer("height", 1, kMaxSide));
  m.preprocessing.width = static_cast<int>(preprocessing.integer("width", 1, kMaxSide));
  m.preprocessing.resize = static_cast<int>(preprocessing.integer("resize", 0, kMaxResize));
  m.preprocessing.interpolation =
      bad.run([&] { return parse_interpolation(preprocessing.string("interpolation")); });
  m.preprocessing.channels = static_cast<int>(preprocessing.integer("channels", 1, kMaxChannels));
  m.preprocessing.mean = preprocessing.triple("mean");
  m.preprocessing.std = preprocessing.triple("std");
  m.preprocessing.upright = preprocessing.boolean("upright", true);
  m.preprocessing.scale_16bit =
      bad.run([&] { return parse_scale_16bit(preprocessing.string("scale_16bit", "clip")); });
  preprocessing.finish();

  if (metadata.contains(kTrainingImages)) {
    constexpr int kMostImages = 1 << 30;
    Fields images(metadata, kTrainingImages, bad);
    m.training_images.images = static_cast<int>(images.integer("images", 1, kMostImages));
    m.training_images.shorter_side = images.triple("shorter_side");
    m.training_images.sharpness = images.triple("sharpness");
    images.finish();
  }

  m.provenance = Fields(metadata, "provenance", bad).all_strings();
  return m;
}

// ------------------------------------------------------------------------------------------ files

std::filesystem::path resolve(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return path;
  const auto file = path / "model.safetensors";
  if (!std::filesystem::exists(file, ignored)) {
    fail(ErrorCode::kNotFound,
         "{}: a folder without a model.safetensors; give the folder of a run of `resnet train`, or "
         "a model file",
         path.string());
  }
  return file;
}

// The checked description of a file that holds these tensors.
ModelFile describe(const std::map<std::string, std::string>& metadata,
                   const std::map<std::string, TensorType>& tensors,
                   const std::filesystem::path& path) {
  ModelFile model = resnet::from_metadata(metadata, path);
  const Complaint bad = on_read(path);
  Quantization scales;
  if (describes_quantized(metadata)) scales = scales_among(tensors, bad);
  check_tensors(model.config, scales, tensors, bad);
  return model;
}

ModelFile read_description(const std::filesystem::path& file) {
  const SafetensorsHeader header = read_safetensors_header(file);
  refuse_foreign(header, file.string());
  std::map<std::string, TensorType> types;
  for (const SafetensorsEntry& e : header.entries) types[e.name] = {e.dtype, e.shape};
  return describe(header.metadata, types, file);
}

std::map<std::string, TensorType> types_of(const std::map<std::string, Tensor>& tensors) {
  std::map<std::string, TensorType> types;
  for (const auto& [name, tensor] : tensors) types[name] = {tensor.dtype(), tensor.shape()};
  return types;
}

// As tensors lie in a model: f32, but for integers.
Tensor stored(const Tensor& t) { return is_floating(t.dtype()) ? t.cast(DType::kF32) : t; }

}  // namespace

Graph inference_graph(const ModelFile& model, std::int64_t batch, std::int64_t image_size) {
  ModelConfig config = model.config;
  if (image_size != 0) config.image_size = image_size;
  Graph graph = inference_graph(config, batch);
  return model.quantization.empty() ? graph : quantize_graph(graph, model.quantization);
}

void refuse_quantized(const ModelFile& model, std::string_view what) {
  if (model.quantization.empty()) return;
  fail(ErrorCode::kUnsupported, "{} in int8 cannot be {}; use the model that it was quantised from",
       model.config.architecture, what);
}

std::map<std::string, std::string> to_metadata(const ModelFile& model,
                                               const std::filesystem::path& path) {
  const Complaint bad = on_write(path);
  check_description(model, bad);
  check_tensors(model.config, model.quantization, types_of(model.weights), bad);
  return to_metadata(model, bad);
}

std::map<std::string, std::string> metadata_for_export(const ModelFile& model,
                                                       const std::filesystem::path& path) {
  auto metadata = to_metadata(model, path);
  auto version = metadata.extract(std::string(kVersionKey));
  version.key() = kExportKey;
  metadata.insert(std::move(version));
  metadata.erase("format");
  return metadata;
}

std::optional<std::map<std::string, std::string>> metadata_of_export(
    const std::map<std::string, std::string>& metadata) {
  auto result = metadata;
  auto version = result.extract(std::string(kExportKey));
  if (version.empty()) return std::nullopt;
  version.key() = kVersionKey;
  result.insert(std::move(version));
  return result;
}

bool describes_model(const std::map<std::string, std::string>& metadata) {
  return metadata.contains(std::string(kVersionKey));
}

bool describes_quantized(const std::map<std::string, std::string>& metadata) {
  const auto version = metadata.find(std::string(kVersionKey));
  return version != metadata.end() && version->second == kQuantizedVersion;
}

ModelFile from_metadata(const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path) {
  const Complaint bad = on_read(path);
  ModelFile model = from_metadata(metadata, path, bad);
  check_description(model, bad);
  return model;
}

void save_model(const std::filesystem::path& path, const ModelFile& model) try {
  const auto metadata = to_metadata(model, path);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, tensor] : model.weights) {
    if (!is_batch_counter(name)) tensors[name] = stored(tensor);
  }
  const Quantization& q = model.quantization;
  for (const auto& [layer, scales] : q.weights) {
    tensors[layer + std::string(kWeightScale)] = Tensor::from<float>(
        {std::ssize(scales)}, std::span<const float>(scales.data(), scales.size()));
  }
  for (const auto& [name, scale] : q.activations) {
    tensors[name + std::string(kOutputScale)] = Tensor::full({1}, scale);
  }
  write_safetensors(path, tensors, metadata);
} catch (...) {
  throw_as_error();
}

ModelFile load_model_description(const std::filesystem::path& path) try {
  return read_description(resolve(path));
} catch (...) {
  throw_as_error();
}

ModelFile to_model(Safetensors content, const std::filesystem::path& path) {
  const auto types = types_of(content.tensors);
  ModelFile model = describe(content.metadata, types, path);
  const Complaint bad = on_read(path);
  if (describes_quantized(content.metadata)) {
    Quantization& q = model.quantization = scales_among(types, bad);
    for (auto& [layer, scales] : q.weights) {
      const Tensor& t = content.tensors.at(layer + std::string(kWeightScale));
      std::ranges::copy(t.as<float>(), scales.begin());
    }
    for (auto& [name, scale] : q.activations) {
      scale = content.tensors.at(name + std::string(kOutputScale)).as<float>()[0];
    }
    check_tensors(model.config, q, types, bad);  // now with the values of the scales
  }
  for (auto& [name, tensor] : content.tensors) {
    if (is_batch_counter(name) || is_scale(name, model.quantization)) continue;
    model.weights[name] = stored(tensor);
  }
  return model;
}

ModelFile load_model(const std::filesystem::path& path) try {
  const std::filesystem::path file = resolve(path);
  read_description(file);  // before a tensor is read
  return to_model(read_safetensors(file), file);
} catch (...) {
  throw_as_error();
}

ModelFile map_model(const std::filesystem::path& path) try {
  const std::filesystem::path file = resolve(path);
  return to_model(map_safetensors(file), file);
} catch (...) {
  throw_as_error();
}

std::string broken_weights(const ModelFile& model) try {
  std::vector<std::string> broken;
  std::size_t tensors = 0;
  for (const auto& [name, tensor] : model.weights) {
    if (tensor.dtype() != DType::kF32) continue;
    const auto values = tensor.as<float>();
    // Sums of x·0 are 0 unless an x is not finite, and are computed many at a time.
    std::array<float, 16> zeros{};
    std::size_t i = 0;
    for (; i + zeros.size() <= values.size(); i += zeros.size()) {
      for (std::size_t k = 0; k < zeros.size(); ++k) zeros[k] += values[i + k] * 0.0F;
    }
    for (; i < values.size(); ++i) zeros[0] += values[i] * 0.0F;
    const bool variance = name.ends_with("running_var");
    const bool finite = std::ranges::all_of(zeros, [](float z) { return z == 0; });
    if (finite && !variance) continue;
    const auto count = [&](auto what) { return std::ranges::count_if(values, what); };
    const auto wrong = count([](float x) { return !std::isfinite(x); });
    // A variance that was computed for another epsilon may be that much below 0.
    const auto negative = !variance ? 0 : count([](float x) { return x <= -1e-5F; });
    if (wrong + negative == 0) continue;
    ++tensors;
    if (broken.size() == 3) continue;
    broken.push_back(wrong > 0 ? fmt::format("'{}' has {} of {} values that are not finite", name,
                                             wrong, values.size())
                               : fmt::format("'{}' has {} of {} variances that are negative", name,
                                             negative, values.size()));
  }
  if (tensors > broken.size()) {
    broken.push_back(fmt::format("and {} more tensors are like that", tensors - broken.size()));
  }
  return fmt::format("{}", fmt::join(broken, ", "));
} catch (...) {
  throw_as_error();
}

void check_weights(const ModelFile& model, const std::filesystem::path& path) try {
  const std::string broken = broken_weights(model);
  if (broken.empty()) return;
  fail(ErrorCode::kBadData, "{}: {}, so that its predictions mean nothing; train or fetch it again",
       path.string(), broken);
} catch (...) {
  throw_as_error();
}

std::shared_ptr<Variables> to_variables(const ModelFile& model) try {
  auto variables = std::make_shared<Variables>();
  for (const auto& [name, tensor] : model.weights) variables->set(name, tensor);
  return variables;
} catch (...) {
  throw_as_error();
}

std::map<std::string, Tensor> from_variables(const Variables& variables,
                                             const ModelConfig& config) try {
  std::map<std::string, Tensor> weights;
  for (const auto& [name, shape] : parameters_of(config)) {
    weights[name] = variables.at(name).cast(DType::kF32).clone();
  }
  return weights;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

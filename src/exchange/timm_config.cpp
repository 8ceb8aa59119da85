#include "exchange/timm_config.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/check.h"
#include "core/file.h"
#include "core/json.h"
#include "core/lines.h"
#include "core/text.h"
#include "resnet/models.h"

namespace resnet {
namespace {

constexpr std::uint64_t kMaxBytes = 16 << 20;  // 22,000 class names are less than one

// The members of the file: newer ones have most of them one level down.
class Members {
 public:
  Members(const Json& file, const std::filesystem::path& path) : file_(file), path_(path) {
    if (const Json* inner = file.find("pretrained_cfg")) inner_ = inner;
  }

  const Json* find(const char* name) const {
    for (const Json* json : {inner_, &file_}) {
      const Json* found = json->find(name);
      if (found != nullptr && !found->is_null()) return found;
    }
    return nullptr;
  }
  std::string text(const char* name) const {
    const Json* json = find(name);
    if (json == nullptr) return "";
    if (!json->is_string()) wrong(name, "a text");
    return json->text();
  }
  std::optional<double> number(const char* name, double low, double high) const {
    const Json* json = find(name);
    if (json == nullptr) return std::nullopt;
    if (!json->is_number() || !(json->as<double>() >= low && json->as<double>() <= high)) {
      wrong(name, fmt::format("a number from {:g} to {:g}", low, high));
    }
    return json->as<double>();
  }
  // Side of the square images in "[3, 224, 224]".
  std::optional<int> side(const char* name) const {
    const Json* json = find(name);
    if (json == nullptr) return std::nullopt;
    const auto fits = [](const Json& x) {
      return x.is_integer() && x.as<double>() >= 1 && x.as<double>() <= 4096;
    };
    if (!json->is_array() || json->items().size() != 3 ||
        !std::ranges::all_of(json->items(), fits) || json->items()[1] != json->items()[2]) {
      wrong(name, "[channels, side, side] with sides up to 4096");
    }
    return json->items()[1].as<int>();
  }
  // Above `least`, which keeps a standard deviation from being 0.
  std::optional<std::array<float, 3>> triple(const char* name, double least,
                                             const char* expected) const {
    const Json* json = find(name);
    if (json == nullptr) return std::nullopt;
    const auto fits = [least](const Json& x) {
      return x.is_number() && x.as<double>() > least && x.as<double>() <= 1e6;
    };
    if (!json->is_array() || (json->items().size() != 3 && json->items().size() != 1) ||
        !std::ranges::all_of(json->items(), fits)) {
      wrong(name, expected);
    }
    std::array<float, 3> result{};
    for (std::size_t i = 0; i < 3; ++i) {
      result[i] = json->items()[json->items().size() == 1 ? 0 : i].as<float>();
    }
    return result;
  }
  std::vector<std::string> texts(const char* name) const {
    const Json* json = find(name);
    std::vector<std::string> result;
    if (json == nullptr) return result;
    const auto fits = [](const Json& x) { return x.is_string(); };
    if (!json->is_array() || !std::ranges::all_of(json->items(), fits)) {
      wrong(name, "a list of texts");
    }
    for (const Json& x : json->items()) result.push_back(x.text());
    return result;
  }

 private:
  [[noreturn]] void wrong(const char* name, std::string_view expected) const {
    fail(ErrorCode::kBadData,
         "{}: '{}' was expected to be {}; correct it, or move the file away and give the "
         "preprocessing yourself",
         path_.string(), name, expected);
  }

  const Json& file_;
  const Json* inner_ = &file_;
  const std::filesystem::path& path_;
};

// A setting of timm's networks and its values with which they are the ones here.
struct Setting {
  const char* name;
  std::vector<Json> ours;
};
const std::vector<Setting>& settings() {
  static const std::vector<Setting> kSettings = {
      {"global_pool", {"avg", "fast", "fastavg", ""}},
      {"act_layer", {"relu", "ReLU"}},
      {"norm_layer", {"batchnorm", "batchnorm2d", "BatchNorm2d"}},
      {"aa_layer", {}},
      {"attn_layer", {}},
      {"block_args", {Json::object()}},
      {"cardinality", {1}},
      {"base_width", {64}},
      {"output_stride", {32}},
      {"block_reduce_first", {1}},
      {"down_kernel_size", {1}},
      {"replace_stem_pool", {false}}};
  return kSettings;
}

std::string shown(const Json& value) { return printable(value.dump_ascii(), 80); }

// The first setting, wherever it stands, that makes it another network.
std::string change_of(const Json& file) {
  std::vector<const Json*> places = {&file};
  for (const char* inner : {"pretrained_cfg", "model_args"}) {
    const Json* found = file.find(inner);
    if (found != nullptr && found->is_object()) places.push_back(found);
  }
  for (const Json* place : places) {
    for (const Setting& setting : settings()) {
      const Json* found = place->find(setting.name);
      if (found == nullptr || found->is_null()) continue;
      if (std::ranges::find(setting.ours, *found) == setting.ours.end()) {
        return fmt::format("{} is {}", setting.name, shown(*found));
      }
    }
  }
  const Json* arguments = file.find("model_args");
  if (arguments == nullptr || !arguments->is_object()) return "";
  // Arguments that make no other network, or only one with other shapes.
  const std::vector<std::string> harmless = {
      "num_classes", "in_chans",   "drop_rate",      "drop_path_rate",  "drop_block_rate",
      "img_size",    "pretrained", "zero_init_last", "checkpoint_path", "scriptable"};
  for (const auto& [name, value] : arguments->members()) {
    const bool known = std::ranges::find(settings(), name, &Setting::name) != settings().end();
    if (known || value.is_null() || std::ranges::find(harmless, name) != harmless.end()) continue;
    return fmt::format("{} is {}", printable(name, 80), shown(value));
  }
  return "";
}

// A transformers' config: the network is told by the shapes, and by what they do not tell.
TimmConfig hugging_face_config(const Json& file) {
  TimmConfig config;
  const auto says = [&](const char* name, const Json& otherwise) {
    const Json* found = file.find(name);
    return found == nullptr || found->is_null() ? otherwise : *found;
  };
  if (says("model_type", "") != Json("resnet")) {
    config.change = fmt::format("model_type is {}", shown(*file.find("model_type")));
  } else if (says("hidden_act", "relu") != Json("relu")) {
    config.change = fmt::format("hidden_act is {}", shown(*file.find("hidden_act")));
  } else if (says("downsample_in_first_stage", false) != Json(false)) {
    config.change = "downsample_in_first_stage is true";
  }
  config.stride_on_first_1x1 = says("downsample_in_bottleneck", false) == Json(true);
  const Json names = says("id2label", Json::object());
  if (!names.is_object()) return config;
  const std::map<std::string_view, const Json&> by_number(names.members().begin(),
                                                          names.members().end());
  for (std::size_t i = 0; i < by_number.size(); ++i) {
    const auto found = by_number.find(std::to_string(i));
    if (found == by_number.end() || !found->second.is_string()) {
      config.class_names.clear();
      break;
    }
    config.class_names.push_back(found->second.text());
  }
  return config;
}

}  // namespace

std::string known_architecture(const TimmConfig& config, const std::filesystem::path& path) {
  const std::string file = path.string();
  const auto other = [&](const std::string& what) {
    fail(ErrorCode::kUnsupported,
         "{}: the config.json beside it says that {}, a network that is not among those here; one "
         "with the same shapes may give other predictions: if it is one of ours, name it with "
         "--arch",
         file, what);
  };
  // Names of timm's from before it had tags.
  std::string name = config.architecture.substr(0, config.architecture.find('.'));
  for (const std::string_view prefix : {"tv_", "ssl_", "swsl_", "gluon_"}) {
    if (name.starts_with(prefix)) name = name.substr(prefix.size());
  }
  if (config.architecture.starts_with("gluon_")) {
    if (name.ends_with("_v1b")) name = name.substr(0, name.size() - 4);
    if (name.ends_with("_v1d")) name = name.substr(0, name.size() - 4) + "d";
  }
  if (!config.architecture.empty() && !is_architecture(name)) {
    other(fmt::format("it is '{}'", printable(config.architecture, 80)));
  }
  if (!config.change.empty()) other(fmt::format("its {}", config.change));
  return name;
}

std::optional<TimmConfig> read_timm_config(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  return parse_timm_config(read_text_file(path, kMaxBytes), path);
}

std::optional<TimmConfig> parse_timm_config(std::string_view text,
                                            const std::filesystem::path& path) {
  const auto parsed = Json::parse(without_mark(text, path.string()), 3);
  if (!parsed) return std::nullopt;
  const Json& json = *parsed;
  const Json *type = json.find("model_type"), *architecture = json.find("architecture");
  if (type != nullptr && type->is_string() && architecture == nullptr) {
    return hugging_face_config(json);
  }
  if (architecture == nullptr || !(json.contains("pretrained_cfg") || json.contains("mean"))) {
    return std::nullopt;
  }
  const Members members(json, path);
  TimmConfig config;
  config.architecture = members.text("architecture");
  // timm writes architecture and classes of the model at the outside; what lies inside is the
  // preset's.
  if (architecture->is_string()) config.architecture = architecture->text();
  if (const auto classes = members.number("num_classes", 0, 1e9)) {
    config.classes = static_cast<std::int64_t>(*classes);
  }
  config.image_size = members.side("input_size");
  config.test_image_size = members.side("test_input_size");
  config.crop_pct = members.number("crop_pct", 0.01, 10);
  config.interpolation = members.text("interpolation");
  config.crop_mode = members.text("crop_mode");
  config.mean = members.triple("mean", -1e6, "three numbers");
  config.std = members.triple("std", 0, "three numbers above 0");
  config.class_names = members.texts("label_names");
  config.change = change_of(json);
  return config;
}

}  // namespace resnet

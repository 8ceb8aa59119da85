#include "exchange/timm_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "core/lines.h"

namespace resnet {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kMaxBytes = 16 << 20;  // 22,000 class names are less than one

// The members of the file: newer ones have most of them one level down.
class Members {
 public:
  Members(const Json& file, const std::filesystem::path& path) : file_(file), path_(path) {
    if (file.contains("pretrained_cfg")) inner_ = file.at("pretrained_cfg");
  }

  const Json* find(const char* name) const {
    for (const Json* json : {&inner_, &file_}) {
      if (!json->is_object()) continue;
      const auto it = json->find(name);
      if (it != json->end() && !it->is_null()) return &*it;
    }
    return nullptr;
  }
  std::string text(const char* name) const {
    const Json* json = find(name);
    if (json == nullptr) return "";
    if (!json->is_string()) wrong(name, "a text");
    return json->get<std::string>();
  }
  std::optional<double> number(const char* name, double low, double high) const {
    const Json* json = find(name);
    if (json == nullptr) return std::nullopt;
    if (!json->is_number() || !(json->get<double>() >= low && json->get<double>() <= high)) {
      wrong(name, fmt::format("a number from {:g} to {:g}", low, high));
    }
    return json->get<double>();
  }
  // Side of the square pictures in "[3, 224, 224]".
  std::optional<int> side(const char* name) const {
    const Json* json = find(name);
    if (json == nullptr) return std::nullopt;
    const auto fits = [](const Json& x) {
      return x.is_number_integer() && x.get<double>() >= 1 && x.get<double>() <= 4096;
    };
    if (!json->is_array() || json->size() != 3 || !std::ranges::all_of(*json, fits) ||
        json->at(1) != json->at(2)) {
      wrong(name, "[channels, side, side] with sides up to 4096");
    }
    return json->at(1).get<int>();
  }
  // Above `least`, which keeps a standard deviation from being 0.
  std::optional<std::array<float, 3>> triple(const char* name, double least,
                                             const char* expected) const {
    const Json* json = find(name);
    if (json == nullptr) return std::nullopt;
    const auto fits = [least](const Json& x) {
      return x.is_number() && x.get<double>() > least && x.get<double>() <= 1e6;
    };
    if (!json->is_array() || (json->size() != 3 && json->size() != 1) ||
        !std::ranges::all_of(*json, fits)) {
      wrong(name, expected);
    }
    std::array<float, 3> result{};
    for (std::size_t i = 0; i < 3; ++i) {
      result[i] = static_cast<float>(json->at(json->size() == 1 ? 0 : i).get<double>());
    }
    return result;
  }
  std::vector<std::string> texts(const char* name) const {
    const Json* json = find(name);
    std::vector<std::string> result;
    if (json == nullptr) return result;
    const auto fits = [](const Json& x) { return x.is_string(); };
    if (!json->is_array() || !std::ranges::all_of(*json, fits)) wrong(name, "a list of texts");
    for (const Json& x : *json) result.push_back(x.get<std::string>());
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
  Json inner_;
  const std::filesystem::path& path_;
};

}  // namespace

std::optional<TimmConfig> read_timm_config(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) return std::nullopt;
  return parse_timm_config(read_text_file(path, kMaxBytes), path);
}

std::optional<TimmConfig> parse_timm_config(std::string_view text,
                                            const std::filesystem::path& path) {
  // Deeper values are dropped while they are parsed, so that a hostile text makes no tall tree.
  const Json json = Json::parse(
      without_mark(text, path.string()),
      [](int depth, Json::parse_event_t, const Json&) { return depth <= 3; }, false);
  if (!json.is_object() || !json.contains("architecture") ||
      !(json.contains("pretrained_cfg") || json.contains("mean"))) {
    return std::nullopt;
  }
  const Members members(json, path);
  TimmConfig config;
  config.architecture = members.text("architecture");
  // timm writes architecture and classes of the model at the outside; what lies inside is the
  // preset's.
  if (json.at("architecture").is_string()) config.architecture = json.at("architecture");
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
  return config;
}

}  // namespace resnet

// TrainOptions as JSON. One list of fields per struct serves reading and writing, so that the two
// cannot disagree and every key is known in one place.
#include <fmt/format.h>

#include <limits>
#include <type_traits>

#include "core/check.h"
#include "core/guard.h"
#include "core/json.h"
#include "core/lines.h"
#include "core/nearest.h"
#include "core/text.h"
#include "resnet/train.h"
#include "train/names.h"

namespace resnet {

void unknown_name(std::string_view what, std::string_view name,
                  std::span<const std::string_view> known) {
  fail(ErrorCode::kInvalidArgument, "unknown {} \"{}\"; did you mean \"{}\"? Known are: {}", what,
       name, nearest_name(name, known), fmt::join(known, ", "));
}

std::string_view name_of(Optimizer optimizer) { return enum_name(optimizer); }
std::string_view name_of(Schedule schedule) { return enum_name(schedule); }
std::string_view name_of(ClassWeighting weighting) { return enum_name(weighting); }
Optimizer parse_optimizer(std::string_view name) { return parse_enum<Optimizer>(name); }
ClassOrder parse_class_order(std::string_view name) { return parse_enum<ClassOrder>(name); }
Schedule parse_schedule(std::string_view name) { return parse_enum<Schedule>(name); }

namespace {

template <class V>
void fields(V& v, DataSpec& o) {
  v("source", o.source);
  v("seed", o.seed);
  v("val_fraction", o.val_fraction);
  v("image_size", o.image_size);
  v("shuffle_buffer", o.shuffle_buffer);
  v("per_class", o.per_class);
  v("cache", o.cache);
  v("class_order", o.class_order);
}

template <class V>
void fields(V& v, ModelConfig& o) {
  v("architecture", o.architecture);
  v("classes", o.classes);
  v("channels", o.channels);
  v("image_size", o.image_size);
  v("shortcut", o.shortcut);
  v("layers_per_skip", o.layers_per_skip);
  v("stride_on_first_1x1", o.stride_on_first_1x1);
  v("same_padding", o.same_padding);
  v("zero_gamma", o.zero_gamma);
  v("dropout", o.dropout);
  v("splice", o.splice);
  v("head_hidden", o.head_hidden);
}

template <class V>
void fields(V& v, TransferOptions& o) {
  v("weights", o.weights);
  v("freeze_until", o.freeze_until);
  v("unfreeze_at", o.unfreeze_at);
  v("lr_decay_per_stage", o.lr_decay_per_stage);
  v("cache_features", o.cache_features);
}

template <class V>
void fields(V& v, OptimizerOptions& o) {
  v("kind", o.kind);
  v("lr", o.lr);
  v("weight_decay", o.weight_decay);
  v("momentum", o.momentum);
  v("nesterov", o.nesterov);
  v("beta1", o.beta1);
  v("beta2", o.beta2);
  v("eps", o.eps);
  v("trust", o.trust);
  v("decay_norm_and_bias", o.decay_norm_and_bias);
  v("norm_shift_lr_factor", o.norm_shift_lr_factor);
}

template <class V>
void fields(V& v, ScheduleOptions& o) {
  v("kind", o.kind);
  v("warmup_epochs", o.warmup_epochs);
  v("warmup_start", o.warmup_start);
  v("step_epochs", o.step_epochs);
  v("gamma", o.gamma);
  v("milestones", o.milestones);
  v("final_factor", o.final_factor);
  v("rise", o.rise);
  v("start_divisor", o.start_divisor);
  v("end_divisor", o.end_divisor);
  v("power", o.power);
}

// Of an Augmentation, of changes of one, or of several of these side by side.
template <class V, class... A>
void augmentation_fields(V&& v, A&... o) {
  v("random_resized_crop", o.random_resized_crop...);
  v("min_scale", o.min_scale...);
  v("max_scale", o.max_scale...);
  v("min_ratio", o.min_ratio...);
  v("max_ratio", o.max_ratio...);
  v("pad", o.pad...);
  v("reflect", o.reflect...);
  v("horizontal_flip", o.horizontal_flip...);
  v("alternate_flip", o.alternate_flip...);
  v("vertical_flip", o.vertical_flip...);
  v("quarter_turns", o.quarter_turns...);
  v("rotation", o.rotation...);
  v("brightness", o.brightness...);
  v("contrast", o.contrast...);
  v("saturation", o.saturation...);
  v("hue", o.hue...);
  v("randaugment", o.randaugment...);
  v("randaugment_magnitude", o.randaugment_magnitude...);
  v("random_erasing", o.random_erasing...);
  v("fast_decode", o.fast_decode...);
  v("mixup", o.mixup...);
  v("cutmix", o.cutmix...);
}

template <class V>
void fields(V& v, Augmentation& o) {
  augmentation_fields(v, o);
}

template <class V>
void fields(V& v, AugmentationChanges& o) {
  augmentation_fields(v, o);
}

template <class V>
void fields(V& v, TrainOptions& o) {
  v("data", o.data);
  v("model", o.model);
  v("transfer", o.transfer);
  v("epochs", o.epochs);
  v("batch_size", o.batch_size);
  v("accumulate", o.accumulate);
  v("optimizer", o.optimizer);
  v("schedule", o.schedule);
  v("clip_norm", o.clip_norm);
  v("label_smoothing", o.label_smoothing);
  v("ema_decay", o.ema_decay);
  v("early_stop_patience", o.early_stop_patience);
  v("class_weighting", o.class_weighting);
  v("class_weights", o.class_weights);
  v.augmentation("augmentation", o.augmentation, o.augmentation_changes);
  v("mean", o.mean);
  v("std", o.std);
  v("interpolation", o.interpolation);
  v("scale_16bit", o.scale_16bit);
  v("val_flip", o.val_flip);
  v("val_shift", o.val_shift);
  v("max_bad_fraction", o.max_bad_fraction);
  v("seed", o.seed);
  v("device", o.device);
  v("dtype", o.dtype);
  v("layout", o.layout);
  v("threads", o.threads);
  v("loader_threads", o.loader_threads);
  v("out", o.out);
  v("save_every", o.save_every);
  v("checkpoint_minutes", o.checkpoint_minutes);
  v("checkpoint_steps", o.checkpoint_steps);
}

template <class T>
inline constexpr bool kIsOptional = false;
template <class T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
using Triple = std::array<float, 3>;

// Nothing that a preset sets is left to one: a run's config.json, also one of a version that knew
// fewer fields.
bool is_whole(const AugmentationChanges& c) {
  return c.random_resized_crop && c.pad && c.reflect && c.horizontal_flip && c.vertical_flip &&
         c.quarter_turns;
}

struct Writer {
  Json json = Json::object();

  template <class T>
  void operator()(const char* key, T& value) {
    if constexpr (kIsOptional<T>) {
      if (value) json.add(key, encode(*value));
    } else {
      json.add(key, encode(value));
    }
  }

  void augmentation(const char* key, const std::optional<Augmentation>& base,
                    AugmentationChanges& changes) {
    if (base) {
      Augmentation all = changed(*base, changes);
      json.add(key, encode(all));
    } else if (changes != AugmentationChanges{}) {
      json.add(key, encode(changes));
    }
  }

  template <class T>
  static Json encode(T& value) {
    if constexpr (std::is_enum_v<T>) {
      return std::string(enum_name(value));
    } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
      return json_text(value.string());
    } else if constexpr (std::is_same_v<T, std::string>) {
      return json_text(value);
    } else if constexpr (std::is_same_v<T, Triple>) {
      Json list = Json::array();
      for (const float x : value) list.items().push_back(std::stod(fmt::format("{}", x)));  // 0.485
      return list;
    } else if constexpr (std::is_class_v<T> && !std::is_same_v<T, std::string> &&
                         !std::is_same_v<T, std::vector<double>> &&
                         !std::is_same_v<T, std::vector<int>>) {
      Writer w;
      fields(w, value);
      return std::move(w.json);
    } else {
      return value;
    }
  }
};

struct Reader {
  const Json& json;
  std::string path;  // of this object, "optimizer."
  std::vector<std::string_view> known = {};

  template <class T>
  void operator()(const char* key, T& value) {
    known.emplace_back(key);
    const Json* found = json.find(key);
    if (found == nullptr) return;
    if constexpr (kIsOptional<T>) {
      if (found->is_null()) {
        value.reset();
        return;
      }
      typename T::value_type inner = value.value_or(typename T::value_type{});
      decode(key, *found, inner);
      value = inner;
    } else {
      decode(key, *found, value);
    }
  }

  // A preset's name, or changes: of the preset that they name, else of what there is.
  void augmentation(const char* key, std::optional<Augmentation>& base,
                    AugmentationChanges& changes) {
    known.emplace_back(key);
    const Json* found = json.find(key);
    if (found == nullptr) return;
    if (found->is_null() || found->is_string()) {
      base.reset();
      changes = {};
      if (found->is_string()) base = augmentation_preset(found->text());
      return;
    }
    if (!found->is_object()) wrong(key, "an object { … } or a preset's name", *found);
    Json rest = *found;
    if (const auto preset = rest.take("preset")) {
      if (!preset->is_string()) wrong("augmentation.preset", "a name", *preset);
      base = augmentation_preset(preset->text());
      changes = {};
    }
    AugmentationChanges given;
    read(rest, path + key + ".", given);
    if (is_whole(given)) {
      base = changed({}, given);
      changes = {};
    } else if (base) {
      base = changed(*base, given);
    } else {
      augmentation_fields(
          [](const char*, auto& old, auto& now) {
            if (now) old = now;
          },
          changes, given);
    }
  }

  static bool all_numbers(const Json& x) {
    return x.is_array() && std::ranges::all_of(x.items(), &Json::is_number);
  }

  [[noreturn]] void wrong(const char* key, const char* wanted, const Json& found) const {
    fail(ErrorCode::kInvalidArgument, "option \"{}{}\" must be {}, found {}", path, key, wanted,
         found.dump());
  }

  template <class T>
  void decode(const char* key, const Json& in, T& value) const {
    if constexpr (std::is_same_v<T, bool>) {
      if (!in.is_bool()) wrong(key, "true or false", in);
      value = in.as<bool>();
    } else if constexpr (std::is_enum_v<T>) {
      if (!in.is_string()) wrong(key, "a name", in);
      value = parse_enum<T>(in.text());
    } else if constexpr (std::is_unsigned_v<T>) {
      if (!in.is_unsigned()) wrong(key, "a whole number of at least 0", in);
      value = in.as<T>();
    } else if constexpr (std::is_integral_v<T>) {
      const bool fits = in.is_unsigned()
                            ? std::in_range<T>(in.as<std::uint64_t>())
                            : in.is_integer() && std::in_range<T>(in.as<std::int64_t>());
      if (!fits) wrong(key, "a whole number", in);
      value = in.as<T>();
    } else if constexpr (std::is_floating_point_v<T>) {
      if (!in.is_number()) wrong(key, "a number", in);
      value = in.as<T>();
    } else if constexpr (std::is_same_v<T, std::string> ||
                         std::is_same_v<T, std::filesystem::path>) {
      if (!in.is_string()) wrong(key, "text", in);
      value = text_from_json(in.text());
    } else if constexpr (std::is_same_v<T, std::vector<double>>) {
      if (!all_numbers(in)) wrong(key, "a list of numbers", in);
      value.clear();
      for (const Json& x : in.items()) value.push_back(x.as<double>());
    } else if constexpr (std::is_same_v<T, std::vector<int>>) {
      if (!in.is_array()) wrong(key, "a list of whole numbers", in);
      value.assign(in.items().size(), 0);
      for (std::size_t i = 0; i < value.size(); ++i) decode(key, in.items()[i], value[i]);
    } else if constexpr (std::is_same_v<T, Triple>) {
      if (!all_numbers(in) || (in.items().size() != 3 && in.items().size() != 1)) {
        wrong(key, "a list of three numbers, or of one for all channels", in);
      }
      for (std::size_t i = 0; i < 3; ++i)
        value[i] = in.items()[in.items().size() == 1 ? 0 : i].as<float>();
    } else {
      if (!in.is_object()) wrong(key, "an object { … }", in);
      read(in, path + key + ".", value);
    }
  }

  template <class T>
  static void read(const Json& in, std::string path, T& value) {
    Reader r{in, std::move(path)};
    fields(r, value);
    for (const auto& [key, unused] : in.members()) {
      if (std::ranges::find(r.known, key) != r.known.end()) continue;
      fail(ErrorCode::kInvalidArgument, "unknown option \"{}{}\"; did you mean \"{}{}\"?", r.path,
           key, r.path, nearest_name(key, r.known));
    }
  }
};

}  // namespace

Augmentation changed(Augmentation base, const AugmentationChanges& changes) {
  augmentation_fields(
      [](const char*, auto& value, auto& change) {
        if (change) value = *change;
      },
      base, changes);
  if (base.alternate_flip && base.horizontal_flip > 0) {
    if (changes.alternate_flip && !changes.horizontal_flip) base.horizontal_flip = 0;
    if (changes.horizontal_flip && !changes.alternate_flip) base.alternate_flip = false;
  }
  return base;
}

std::string to_json(const TrainOptions& options) try {
  TrainOptions copy = options;
  return Writer::encode(copy).dump(2) + "\n";
} catch (...) {
  throw_as_error();
}

TrainOptions train_options_from_json(std::string_view text, TrainOptions base) try {
  std::string problem;
  const auto json = Json::parse(without_mark(text, "the options"), 16, &problem);
  if (!json) fail(ErrorCode::kInvalidArgument, "the options are not valid JSON: {}", problem);
  if (!json->is_object()) {
    fail(ErrorCode::kInvalidArgument, "the options must be a JSON object {{ … }}, found {}",
         json->type_name());
  }
  Reader::read(*json, "", base);
  return base;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

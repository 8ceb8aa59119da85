#include "cli/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "core/check.h"
#include "core/nearest.h"
#include "core/text.h"
#include "resnet/data.h"
#include "resnet/models.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

constexpr std::uint64_t kMostThreads = 1024;
constexpr std::uint64_t kLongestSide = 4096;     // of a network's input, as in the model file
constexpr std::uint64_t kLongestImage = 32768;   // of an image before it is cropped
constexpr std::uint64_t kMostPerStep = 1 << 20;  // images
constexpr std::uint64_t kMostEpochs = 1'000'000;
constexpr const char* kList = "LIST";  // name of the checks of lists, type of their flags

template <class T>
std::optional<T> convert(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// As it may be shown in a message.
std::string shown(const std::string& text) {
  return text.empty() ? "nothing" : printable(text, 60);
}

std::string in_words(const Range& r) {
  const bool bounded = r.most < std::numeric_limits<float>::max();
  std::string text = r.above    ? fmt::format("above {:g}", r.least)
                     : !bounded ? fmt::format("of at least {:g}", r.least)
                     : r.below  ? fmt::format("of at least {:g}", r.least)
                                : fmt::format("from {:g} to {:g}", r.least, r.most);
  if (bounded && r.below) text += fmt::format(" and below {:g}", r.most);
  if (bounded && r.above && !r.below) text += fmt::format(" and at most {:g}", r.most);
  return text;
}

// none, balanced, or a weight for each class.
CLI::Validator class_weights() {
  const CLI::Validator list = list_of(number({}));
  return {[list](std::string& text) {
            if (text == "none" || text == "balanced") return std::string();
            const std::string wrong = list(text);
            return wrong.empty() ? wrong
                                 : "expected none, balanced or numbers such as 1,2.5: " + wrong;
          },
          "", kList};
}

// Hue is a share of the colour circle.
CLI::Validator colour_jitter() {
  const CLI::Validator list = list_of(number({0, 100}), {1, 3, 4});
  return {[list](std::string& text) {
            const std::string wrong = list(text);
            if (!wrong.empty()) return wrong;
            const std::vector<double> v = numbers(text);
            return v.size() < 4 || v[3] <= 0.5
                       ? std::string()
                       : fmt::format("expected a hue from 0 to 0.5, got {:g}", v[3]);
          },
          "", kList};
}

// Without the list of all, which is longer than a line.
CLI::Validator architecture() {
  return {[](const std::string& text) {
            if (is_architecture(text)) return std::string();
            const std::string meant = nearest_name(text, architectures());
            return fmt::format(
                "unknown architecture '{}'; did you mean '{}'? resnet summary --help lists all",
                printable(text, 60), meant);
          },
          ""};
}

CLI::Validator renaming() {
  return {[](const std::string& text) {
            const std::size_t equals = text.find('=');
            return equals != 0 && equals != std::string::npos
                       ? std::string()
                       : fmt::format("expected OLD=NEW, or OLD= to drop words, got {}",
                                     shown(text));
          },
          ""};
}

using Rules = std::map<std::string, CLI::Validator>;

// What each flag takes. A flag means the same in all commands; where it does not, its command
// stands before it. Flags that are not here take any text: paths and names that files define.
const Rules& rules() {
  const CLI::Validator batch = whole(1, kMostPerStep), side = whole(1, kLongestSide),
                       share = number({0, 1}), epochs = number({0, kMostEpochs}),
                       positive = number({.least = 0, .above = true}),
                       below_one = number({.least = 0, .most = 1, .below = true}),
                       split = number({.least = 0, .most = 1, .above = true, .below = true});
  static const Rules all = {
      // Data.
      {"--val-fraction", split},
      {"--shuffle-buffer", whole()},
      {"--class-order", parsed_by(parse_class_order)},
      {"--per-class", whole()},
      {"--max-bad", share},
      {"--part", one_of({"train", "val"})},
      {"--count", whole(1, 1'000'000'000)},
      {"--size", side},
      {"data galaxies --size", whole(8, kLongestSide)},
      {"data pack --size", whole(1, kLongestImage)},
      {"--shorter-side", whole(0, kLongestImage)},
      {"--format", one_of({"raw", "jpeg"})},
      {"--quality", whole(1, 100)},
      // Preprocessing and views.
      {"--image-size", side},
      {"--resize", whole(0, kLongestImage)},
      {"--interpolation", parsed_by(parse_interpolation)},
      {"--scale-16bit", parsed_by(parse_scale_16bit)},
      {"data tensor --channels", one_of({"1", "3"})},
      {"--mean", list_of(number({0, 1}), {1, 3})},
      {"--std", list_of(number({.least = 0, .most = 1, .above = true}), {1, 3})},
      {"--crops", one_of({"1", "5", "10"})},
      {"--shift", whole(0, kLongestSide)},
      {"--val-shift", whole(0, kLongestSide)},
      {"--scales", list_of(side)},
      // Augmentation.
      {"--augment", parsed_by(augmentation_preset)},
      {"--mixup", number({0, 1000})},
      {"--cutmix", number({0, 1000})},
      {"--hflip", share},
      {"--vflip", share},
      {"--rotate", number({0, 180})},
      {"--color-jitter", colour_jitter()},
      {"--random-erasing", share},
      {"--randaugment", whole(0, 14)},
      // Network.
      {"--arch", architecture()},
      {"bench --arch", some_text()},  // or a model file
      {"--shortcut", parsed_by(parse_shortcut)},
      {"--layers-per-skip", whole(0, 10'000)},
      {"--classes", whole(1, 1'000'000)},
      {"import --classes", some_text()},  // a file
      {"--channels", whole(1, 1024)},
      {"--dropout", below_one},
      {"--head-hidden", whole(0, 1 << 20)},
      // Training.
      {"--epochs", whole(1, kMostEpochs)},
      {"--batch-size", batch},
      {"--accumulate", batch},
      {"--optimizer", parsed_by(parse_optimizer)},
      {"--lr", positive},
      {"--momentum", below_one},
      {"--weight-decay", number({})},
      {"--norm-shift-lr", positive},
      {"--label-smoothing", below_one},
      {"--clip-norm", number({})},
      {"--class-weights", class_weights()},
      {"--schedule", parsed_by(parse_schedule)},
      {"--warmup", epochs},
      {"--step-epochs", number({.least = 0, .most = kMostEpochs, .above = true})},
      {"--milestones", list_of(epochs)},
      {"--gamma", positive},
      {"--ema", below_one},
      {"--early-stop", whole()},
      {"--unfreeze-at", list_of(whole(1, kMostEpochs))},
      {"--lr-decay-per-stage", number({.least = 0, .most = 1, .above = true})},
      {"--recipe", parsed_by(recipe)},
      {"--save-every", whole()},
      {"--checkpoint-minutes", number({0, 1e6})},
      {"--min-lr", positive},
      {"--max-lr", positive},
      {"--smoothing", below_one},
      {"find-lr --steps", whole(10, 1'000'000)},
      // Machine.
      {"--seed", whole(0, std::numeric_limits<std::uint64_t>::max())},
      {"--threads", whole(0, kMostThreads)},
      {"--loader-threads", whole(0, kMostThreads)},
      {"--device", one_of({"cpu", "reference"})},
      {"--dtype", one_of({"f32", "bf16"})},
      {"bench --dtype", one_of({"f32", "bf16", "int8"})},
      {"--layout", one_of({"nchw", "nhwc"})},
      // Predictions, integers, measurements, files.
      {"--top", whole(1)},
      {"--calibration", one_of({"best", "minmax", "percentile", "kl"})},
      {"--images", whole(1)},
      {"--held-out", whole(1)},
      {"--percentile", number({.least = 50, .most = 100, .above = true})},
      {"--keep", list_of(some_text())},
      {"--weight-bits", one_of({"7", "8"})},
      {"--mode", one_of({"train", "infer"})},
      {"--steps", whole(1)},
      {"bench --warmup", whole()},
      {"--rename", renaming()},
      {"--to", one_of({"onnx", "torch", "safetensors"})},
      {"--metric", list_of(some_text())},
      {"--x", one_of({"epoch", "step", "seconds"})},
  };
  return all;
}

void collect(CLI::App& app, const std::string& path,
             std::vector<std::pair<std::string, CLI::App*>>& leaves) {
  for (CLI::App* c : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string name = path.empty() ? c->get_name() : path + " " + c->get_name();
    const std::size_t before = leaves.size();
    collect(*c, name, leaves);
    if (leaves.size() == before) leaves.emplace_back(name, c);
  }
}

}  // namespace

CLI::Validator whole(std::int64_t least, std::uint64_t most) {
  return {[=](std::string& text) {
            bool fits = false;
            if (const auto value = convert<std::int64_t>(text)) {
              fits = *value >= least && (*value < 0 || static_cast<std::uint64_t>(*value) <= most);
              if (fits) text = fmt::to_string(*value);  // CLI11 takes "010" for eight
            } else if (const auto large = convert<std::uint64_t>(text)) {
              fits = *large <= most;
              if (fits) text = fmt::to_string(*large);
            }
            if (fits) return std::string();
            constexpr std::uint64_t kUsual = std::numeric_limits<std::int32_t>::max();
            const bool number = convert<double>(text).has_value();
            return fmt::format(
                "expected a whole number {}, got {}",
                most < kUsual || (number && text.size() > 9 && !text.starts_with('-'))
                    ? fmt::format("from {} to {}", least, most)
                    : fmt::format("of at least {}", least),
                shown(text));
          },
          ""};
}

CLI::Validator number(const Range& r) {
  return {[r](std::string& text) {
            const auto value = convert<double>(text);
            const bool fits = value && std::isfinite(*value) &&
                              (r.above ? *value > r.least : *value >= r.least) &&
                              (r.below ? *value < r.most : *value <= r.most);
            if (fits) return std::string();
            const bool too_large = value && *value > r.most;
            return fmt::format("expected a number {}{}, got {}", in_words(r),
                               too_large && r.most == std::numeric_limits<float>::max()
                                   ? fmt::format(" and at most {:g}", r.most)
                                   : "",
                               shown(text));
          },
          ""};
}

CLI::Validator one_of(std::vector<std::string> names) {
  return {[names = std::move(names)](const std::string& text) {
            if (std::ranges::find(names, text) != names.end()) return std::string();
            const std::vector<std::string> all_but_last(names.begin(), names.end() - 1);
            return fmt::format("expected {} or {}, got {}", fmt::join(all_but_last, ", "),
                               names.back(), shown(text));
          },
          ""};
}

CLI::Validator list_of(CLI::Validator item, std::vector<std::size_t> counts) {
  return {[item = std::move(item), counts = std::move(counts)](std::string& text) {
            const std::vector<std::string> list = items(text);
            for (std::string entry : list) {
              const std::string wrong = item(entry);
              if (!wrong.empty() && list.size() == 1) return wrong;
              if (!wrong.empty()) return fmt::format("{} in {}", wrong, shown(text));
            }
            if (counts.empty() || std::ranges::find(counts, list.size()) != counts.end()) {
              return std::string();
            }
            return fmt::format("expected {} values with commas between them, got {}: {}",
                               fmt::join(counts, " or "), list.size(), shown(text));
          },
          "", kList};
}

CLI::Validator some_text() {
  return {[](const std::string& text) {
            return text.empty() ? std::string("expected a value, got nothing") : std::string();
          },
          ""};
}

std::vector<std::string> items(std::string_view list) {
  std::vector<std::string> all;
  for (std::size_t start = 0; start <= list.size();) {
    const std::size_t end = std::min(list.find(',', start), list.size());
    all.emplace_back(list.substr(start, end - start));
    start = end + 1;
  }
  return all;
}

std::vector<double> numbers(std::string_view list) {
  std::vector<double> all;
  for (const std::string& item : items(list)) {
    const auto value = convert<double>(item);
    if (!value) fail(ErrorCode::kInvalidArgument, "expected numbers with commas, got {}", list);
    all.push_back(*value);
  }
  return all;
}

std::vector<int> whole_numbers(std::string_view list) {
  std::vector<int> all;
  for (const std::string& item : items(list)) {
    const auto value = convert<int>(item);
    if (!value) {
      fail(ErrorCode::kInvalidArgument, "expected whole numbers with commas, got {}", list);
    }
    all.push_back(*value);
  }
  return all;
}

std::array<float, 3> per_channel(std::string_view list) {
  const std::vector<double> v = numbers(list);
  if (v.size() != 1 && v.size() != 3) {
    fail(ErrorCode::kInvalidArgument, "expected one number or three with commas, got {}", list);
  }
  std::array<float, 3> result{};
  for (std::size_t c = 0; c < 3; ++c) result[c] = static_cast<float>(v[v.size() == 1 ? 0 : c]);
  return result;
}

void limit_values(CLI::App& app) {
  for (const auto& [command, leaf] : leaf_commands(app)) {
    for (CLI::Option* option : leaf->get_options()) {
      if (option->get_items_expected_max() == 0) continue;  // takes no value
      option->check(some_text());
      if (option->get_lnames().empty()) continue;
      const std::string flag = "--" + option->get_lnames().front();
      auto rule = rules().find(command + " " + flag);
      if (rule == rules().end()) rule = rules().find(flag);
      if (rule == rules().end()) continue;
      option->transform(
          rule->second);  // before the other check, and bringing numbers into one form
      if (rule->second.get_name() == kList) option->type_name(kList);
    }
  }
}

bool takes_list(const CLI::Option& option) { return option.get_type_name() == kList; }

std::vector<std::pair<std::string, CLI::App*>> leaf_commands(CLI::App& app) {
  std::vector<std::pair<std::string, CLI::App*>> leaves;
  collect(app, "", leaves);
  return leaves;
}

}  // namespace resnet::cli

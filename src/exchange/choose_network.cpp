#include "exchange/choose_network.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/check.h"
#include "core/text.h"

namespace resnet {

ModelConfig Clues::implies(std::string architecture) const {
  ModelConfig config{.architecture = std::move(architecture), .classes = 1};
  std::int64_t fewest = 0;  // the first convolution has the fewest channels
  for (const Shape& shape : shapes) {
    if (shape.size() == 2) config.classes = std::max<std::int64_t>(1, shape[0]);
    if (shape.size() == 4 && (fewest == 0 || shape[1] < fewest)) fewest = shape[1];
  }
  if (classes > 0) config.classes = classes;
  config.channels = channels > 0 ? channels : std::max<std::int64_t>(1, fewest);
  config.image_size = default_image_size(config.architecture);
  config.head_hidden = head_hidden;
  config.splice = splice;
  return config;
}

namespace {

constexpr std::size_t kLongestName = 100;  // of a tensor, in messages

std::vector<Shape> sorted(std::vector<Shape> shapes) {
  std::ranges::sort(shapes);
  return shapes;
}

std::vector<Shape> shapes_of(const ModelConfig& config, bool with_head) {
  std::vector<Shape> shapes;
  for (const auto& [name, shape] : parameters_of(config)) {
    if (with_head || !is_head(name)) shapes.push_back(shape);
  }
  return sorted(std::move(shapes));
}

bool fits(const ModelConfig& config, const std::vector<Shape>& sorted_shapes, bool with_head) {
  try {
    return shapes_of(config, with_head) == sorted_shapes;
  } catch (const Error&) {  // settings that this network cannot have
    return false;
  }
}

// The kinds of shortcut under which a network is tried; the first that fits is taken, so that its
// own kind is called "default".
constexpr std::array kShortcuts = {Shortcut::kDefault, Shortcut::kA, Shortcut::kB, Shortcut::kC};

// Names worth trying for a file with that many convolutions and linear layers: the ImageNet
// networks, and of the endless CIFAR family those whose depth is that number less the projections.
std::vector<std::string> plausible_architectures(std::int64_t layers) {
  std::vector<std::string> names;
  for (const std::string& name : architectures()) {
    if (name.starts_with("plain") || default_image_size(name) == 32) continue;
    // Projections add at most one layer to every two.
    const std::int64_t depth = std::stol(name.substr(name.find_first_of("0123456789")));
    if (layers >= depth && 2 * layers <= 3 * depth + 8) names.push_back(name);
  }
  std::set<std::int64_t> depths;
  for (const std::int64_t projections : {0, 2, 3}) depths.insert(layers - projections);
  depths.insert(2 + (layers - 2) / 9 * 6);   // basic blocks with shortcut C: three layers a block
  depths.insert(2 + (layers - 2) / 12 * 9);  // bottlenecks with it: four
  for (const std::int64_t depth : depths) {
    for (const char* suffix :
         {"", "v2", "-basic", "-bottleneck", "v2-basic", "v2-bottleneck", "-cifar", "v2-cifar"}) {
      const std::string name = fmt::format("resnet{}{}", depth, suffix);
      if (is_architecture(name) && default_image_size(name) == 32) names.push_back(name);
    }
  }
  return names;
}

// Convolutions and linear layers, with a head of one.
std::int64_t count_layers(const Clues& clues) {
  const auto layers = std::ranges::count_if(
      clues.shapes, [](const Shape& shape) { return shape.size() == 4 || shape.size() == 2; });
  return layers + (clues.has_head ? 0 : 1) - (clues.head_hidden > 0 ? 1 : 0);
}

std::vector<ModelConfig> fitting(const Clues& clues) {
  const std::vector<Shape> wanted = sorted(clues.shapes);
  const bool with_head = clues.has_head;
  std::vector<ModelConfig> result;
  for (const std::string& name : plausible_architectures(count_layers(clues))) {
    for (const Shortcut shortcut : kShortcuts) {
      ModelConfig config = clues.implies(name);
      config.shortcut = shortcut;
      if (!fits(config, wanted, with_head)) continue;
      // "resnet20" and "resnet20-basic" are one network.
      const Parameters ours = parameters_of(config);
      if (std::ranges::none_of(result,
                               [&](const auto& other) { return parameters_of(other) == ours; })) {
        result.push_back(config);
      }
      break;
    }
  }
  return result;
}

}  // namespace

std::string describe(const ModelConfig& config) {
  std::string text = config.architecture;
  if (config.shortcut != Shortcut::kDefault) {
    text += fmt::format(" --shortcut {}", name_of(config.shortcut));
  }
  return text;
}

namespace {

std::string describe(const std::vector<ModelConfig>& configs, const ModelConfig* but = nullptr) {
  std::vector<std::string> texts;
  for (const ModelConfig& config : configs) {
    if (but == nullptr || describe(config) != describe(*but)) texts.push_back(describe(config));
  }
  if (texts.empty()) return "no network that is known here has these shapes";
  return fmt::format("its shapes are those of {} with {} classes; use --arch {}",
                     fmt::join(texts, " or "), configs.front().classes, texts.front());
}

}  // namespace

FileClues clues_of(const std::filesystem::path& path, const WeightsFile& content,
                   const ImportOptions& options, MatchReport& report) {
  FileClues file{.path = path, .candidates = {}, .clues = {}, .unreadable = {}};
  try {
    file.candidates = select_candidates(content.entries, options, report);
  } catch (const Error& e) {
    fail(e.code(), "{}: {}", path.string(), e.what());
  }
  Clues& clues = file.clues;
  clues.has_head = false;
  clues.splice = options.splice;
  for (const Candidate& c : file.candidates) {
    clues.shapes.push_back(c.shape);
    clues.has_head = clues.has_head || c.shape.size() == 2;
    const std::size_t rank = c.shape.size();
    if ((c.name == "fc.weight" || c.name == "fc.3.weight") && rank == 2) clues.classes = c.shape[0];
    if (c.name == "fc.0.weight" && rank == 2) clues.head_hidden = c.shape[0];
    if ((c.name == "conv1.weight" || c.name == "conv1.0.weight") && rank == 4) {
      clues.channels = c.shape[1];
    }
  }
  for (const WeightsEntry& e : content.entries) {
    const bool may_be_weights = !e.foreign.empty() || (!is_floating(e.dtype) && !e.shape.empty());
    if (!may_be_weights || e.name.ends_with("num_batches_tracked")) continue;
    file.unreadable.push_back(
        fmt::format("'{}' of type {}", printable(e.name, kLongestName), type_name(e)));
  }
  return file;
}

namespace {

// "a, b, c, …"
template <class T, class F>
std::string first_few(const std::vector<T>& items, F&& text) {
  constexpr std::size_t kShown = 3;
  std::vector<std::string> shown;
  for (std::size_t i = 0; i < std::min(items.size(), kShown); ++i) shown.push_back(text(items[i]));
  return fmt::format("{}{}", fmt::join(shown, ", "), items.size() > kShown ? ", …" : "");
}
std::string first_few(const std::vector<std::string>& names) {
  return first_few(names, [](const std::string& name) { return printable(name, kLongestName); });
}

// What ends an import that did not find its tensors: one of a type that is not read may be why.
[[noreturn]] void fail_import(const FileClues& file, const std::string& what) {
  if (file.unreadable.empty()) fail(ErrorCode::kBadData, "{}: {}", file.path.string(), what);
  fail(ErrorCode::kBadData,
       "{}: {}; not looked at, for {} of such types cannot be weights here: {}", file.path.string(),
       what, file.unreadable.size() == 1 ? "a tensor" : "tensors", first_few(file.unreadable));
}

constexpr std::string_view kCut =
    "if it was cut (--splice), a state_dict does not say where: give --arch and --splice, or take "
    "the model file that it was exported from; else give --arch to see what differs";

// The networks whose tensors are all there by name, beside the fewest others.
std::vector<std::pair<ModelConfig, MatchReport>> contained(const FileClues& file) {
  std::vector<std::pair<ModelConfig, MatchReport>> best;
  constexpr std::int64_t kMostStray = 4;  // layers among the others
  std::set<std::string> names;
  for (std::int64_t stray = 0; stray <= kMostStray; ++stray) {
    for (std::string& name : plausible_architectures(count_layers(file.clues) - stray)) {
      names.insert(std::move(name));
    }
  }
  for (const std::string& name : names) {
    for (const Shortcut shortcut : kShortcuts) {
      ModelConfig config = file.clues.implies(name);
      config.shortcut = shortcut;
      MatchReport by_name;
      try {
        match_by_name(parameters_of(config), file.candidates, by_name);
      } catch (const Error&) {  // settings that this network cannot have
        continue;
      }
      const bool whole = by_name.missing.empty() ||
                         (!file.clues.has_head && std::ranges::all_of(by_name.missing, is_head));
      if (!whole || !by_name.wrong_shape.empty()) continue;
      const std::size_t least = best.empty() ? std::string::npos : best[0].second.unexpected.size();
      if (by_name.unexpected.size() > least) continue;
      if (by_name.unexpected.size() < least) best.clear();
      const Parameters ours = parameters_of(config);
      if (std::ranges::none_of(best,
                               [&](const auto& b) { return parameters_of(b.first) == ours; })) {
        best.emplace_back(config, std::move(by_name));
      }
    }
  }
  return best;
}

// The words that leave out these tensors and nothing of the network: of one outside its layers the
// first word, of one inside its layer.
std::string ignore_flags(const std::vector<std::string>& strays, const ModelConfig& config) {
  std::set<std::string> stages, words;
  for (const auto& [name, shape] : parameters_of(config))
    stages.insert(name.substr(0, name.find('.')));
  for (const std::string& stray : strays) {
    const std::string name = canonical_name(stray);
    const std::string first = name.substr(0, name.find('.'));
    words.insert(stages.contains(first) ? name.substr(0, std::min(name.rfind('.'), name.size()))
                                        : first);
    if (words.size() == 3) break;
  }
  return printable(fmt::format("--ignore {}", fmt::join(words, " --ignore ")), 300);
}

// Exported from here, it has torchvision's names up to the cut, and a head.
bool may_be_cut(const FileClues& file) {
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(file.candidates, [&](const auto& c) { return c.name == name; });
  };
  return has("conv1.weight") && (has("fc.weight") || has("fc.3.weight"));
}

// Why no network has exactly these shapes, as far as names tell.
std::string nothing_fits(const FileClues& file) {
  std::string text = fmt::format("none that is known here has {} tensors of these shapes",
                                 file.clues.shapes.size());
  if (const auto near = contained(file); !near.empty()) {
    const auto& [config, report] = near.front();
    const std::size_t more = report.unexpected.size();
    return fmt::format(
        "{}; those of {} are among them, and {} more ({}): if the network computes the same "
        "without {}, leave {} out with {}",
        text, describe(config), more, first_few(report.unexpected), more == 1 ? "it" : "them",
        more == 1 ? "it" : "them", ignore_flags(report.unexpected, config));
  }
  return text + "; " +
         (may_be_cut(file) ? std::string(kCut) : "give --arch to see what differs from it");
}

}  // namespace

ModelConfig choose_network(const FileClues& file, const ImportOptions& options,
                           const std::optional<TimmConfig>& timm, MatchReport& report) {
  std::string name = options.architecture;
  if (name.empty() && timm) {
    name = known_architecture(*timm, file.path);
    if (!name.empty()) report.notes.push_back(fmt::format("config.json says it is {}", name));
  }
  const auto complete = [&](ModelConfig config) {
    config.layers_per_skip = options.layers_per_skip;
    config.stride_on_first_1x1 = options.stride_on_first_1x1 || (timm && timm->stride_on_first_1x1);
    if (options.shortcut) config.shortcut = *options.shortcut;
    return config;
  };
  if (name.empty()) {
    std::vector<ModelConfig> found = fitting(file.clues);
    if (options.shortcut) {  // the same network may be called by its default
      std::erase_if(found, [&](const ModelConfig& config) {
        return !fits(complete(config), sorted(file.clues.shapes), file.clues.has_head);
      });
    }
    if (found.size() > 1) {  // v1 and v2 with option A may have the same shapes: names decide
      std::erase_if(found, [&](const ModelConfig& config) {
        MatchReport by_name;
        match_by_name(parameters_of(complete(config)), file.candidates, by_name);
        return !std::ranges::all_of(by_name.missing, is_head);
      });
      if (found.empty()) found = fitting(file.clues);
    }
    if (found.size() != 1) {
      fail_import(file, fmt::format("cannot tell which network this is: {}",
                                    found.empty() ? nothing_fits(file) : describe(found)));
    }
    report.notes.push_back(fmt::format("its shapes are those of {}", describe(found.front())));
    return complete(found.front());
  }
  check_architecture(name);
  const ModelConfig config = complete(file.clues.implies(name));
  if (options.shortcut) return config;
  for (const Shortcut shortcut : kShortcuts) {
    ModelConfig with = config;
    with.shortcut = shortcut;
    if (!fits(with, sorted(file.clues.shapes), file.clues.has_head)) continue;
    if (shortcut != Shortcut::kDefault) {
      report.notes.push_back(fmt::format("its shortcuts are of kind {}", name_of(shortcut)));
    }
    return with;
  }
  return config;  // the report will say what is wrong with it
}

namespace {

// "3 missing (a, b, …)"
template <class T, class F>
void add_part(std::vector<std::string>& parts, const std::vector<T>& items, const char* what,
              F&& text) {
  if (items.empty()) return;
  parts.push_back(fmt::format("{} {} ({})", items.size(), what, first_few(items, text)));
}

[[noreturn]] void fail_to_match(const FileClues& file, const ModelConfig& config,
                                const MatchReport& report, const std::string& by_structure) {
  std::vector<std::string> parts;
  const auto same = [](const std::string& name) { return name; };
  add_part(parts, report.missing, "missing", same);
  add_part(parts, report.wrong_shape, "of another shape", [](const MatchReport::WrongShape& w) {
    return fmt::format("{} {}, expected {}", printable(w.file), to_string(w.found),
                       to_string(w.expected));
  });
  add_part(parts, report.unexpected, "unexpected", same);
  const auto fitted = fitting(file.clues);
  const bool right = std::ranges::any_of(
      fitted, [&](const ModelConfig& c) { return describe(c) == describe(config); });
  std::string advice = right ? std::string("give names with --rename OLD=NEW") : describe(fitted);
  const bool only_less =
      report.unexpected.empty() &&
      std::ranges::all_of(report.wrong_shape, [](const auto& w) { return is_head(w.file); });
  if (fitted.empty() && only_less && may_be_cut(file)) advice = kCut;
  if (!file.clues.has_head && std::ranges::all_of(report.missing, is_head) &&
      report.wrong_shape.empty() && report.unexpected.empty()) {
    advice = "it has no last layer; --allow-missing-head takes it for transfer";
  } else if (fitted.empty() && report.missing.empty() && report.wrong_shape.empty()) {
    advice = fmt::format(
        "if the network computes the same without what is unexpected, leave it out with {}",
        ignore_flags(report.unexpected, config));
  }
  fail_import(
      file,
      fmt::format(
          "does not fit {} by name: {}{}; {}", describe(config), fmt::join(parts, "; "),
          by_structure.empty() ? "" : fmt::format("; nor by order and shape: {}", by_structure),
          advice));
}

}  // namespace

void match_parameters(const FileClues& file, const ModelConfig& config,
                      const ImportOptions& options, MatchReport& report) {
  Parameters parameters = parameters_of(config);
  if (!file.clues.has_head && options.allow_missing_head) {
    std::erase_if(parameters, [](const auto& p) { return is_head(p.first); });
  }
  match_by_name(parameters, file.candidates, report);
  if (report.missing.empty() && report.wrong_shape.empty() && report.unexpected.empty()) return;
  // Names that mean something are believed: then order must not overrule them.
  std::string reason;
  if (2 * report.missing.size() >= parameters.size()) {
    reason = match_by_structure(parameters, file.candidates, report);
    if (reason.empty()) return;
  }
  fail_to_match(file, config, report, reason);
}

std::vector<ModelConfig> fitting_architectures(const std::vector<Shape>& shapes) {
  return fitting({.shapes = shapes});
}

}  // namespace resnet

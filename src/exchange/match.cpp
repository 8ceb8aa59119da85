#include "exchange/match.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <set>

#include "core/check.h"

namespace resnet {
namespace {

using Parts = std::vector<std::string_view>;
using Words = std::initializer_list<std::string_view>;

Parts split(std::string_view name) {
  Parts parts;
  for (std::size_t begin = 0; begin <= name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool is_one_of(std::string_view word, Words words) {
  return std::ranges::find(words, word) != words.end();
}

// Keys under which frameworks keep an average of the weights: timm, DeiT and torchvision, others.
bool is_average(std::string_view word) {
  return is_one_of(word, {"state_dict_ema", "model_ema", "ema_state_dict", "ema"});
}
// Keys and attributes under which the weights themselves lie.
bool is_wrapper(std::string_view word) {
  return is_one_of(word, {"state_dict", "model_state_dict", "model", "net", "network", "module",
                          "_orig_mod", "backbone", "encoder", "base_model", "resnet"});
}
// What lies beside the weights in checkpoints of a training.
bool is_of_training(std::string_view word) {
  return is_one_of(
      word, {"optimizer", "optimizer_state_dict", "optimizer_states", "optim", "lr_scheduler",
             "lr_schedulers", "scheduler", "scaler", "amp", "amp_scaler", "callbacks", "loops"});
}
// A loss and measures of training that a LightningModule keeps beside its network. They may have
// parameters, and no prediction depends on them.
bool is_of_loss(std::string_view word) {
  if (is_one_of(word, {"criterion", "loss", "losses", "metric", "metrics"})) return true;
  for (const std::string_view end : {"_loss", "_criterion", "_metric", "_metrics", "_accuracy"}) {
    if (word.ends_with(end)) return true;
  }
  return word.starts_with("loss_") || word.starts_with("criterion_");
}
bool is_counter(std::string_view leaf) {
  return is_one_of(leaf, {"num_batches_tracked", "n_averaged"});
}

std::string_view canonical_leaf(std::string_view leaf) {
  constexpr std::array<std::array<std::string_view, 2>, 5> kLeaves = {
      {{"gamma", "weight"},
       {"beta", "bias"},
       {"moving_mean", "running_mean"},
       {"moving_variance", "running_var"},
       {"moving_var", "running_var"}}};
  for (const auto& [from, to] : kLeaves) {
    if (leaf == from) return to;
  }
  return leaf;
}

bool is_number(std::string_view word) {
  return !word.empty() &&
         std::ranges::all_of(word, [](unsigned char c) { return std::isdigit(c) != 0; });
}

bool is_digit(std::string_view word) { return word.size() == 1 && is_number(word); }

// "head.fc.weight", "classifier.1.bias", "linear.weight".
bool is_head(const Parts& parts) {
  if (parts.size() < 2 ||
      !is_one_of(parts.front(), {"fc", "linear", "classifier", "head", "last_linear"}) ||
      !is_one_of(parts.back(), {"weight", "bias"})) {
    return false;
  }
  return std::all_of(parts.begin() + 1, parts.end() - 1, [](std::string_view word) {
    return is_number(word) || is_one_of(word, {"fc", "linear"});
  });
}

// Hugging Face's "stages.0.layers.1.layer.2.convolution" is torchvision's "layer1.1.conv3", its
// "embedder.embedder.normalization" "bn1".
std::string from_hugging_face(std::string name) {
  for (const auto& [theirs, ours] : {std::pair{"convolution", "conv"}, {"normalization", "bn"}}) {
    const std::string stem = fmt::format("embedder.embedder.{}.", theirs);
    if (name.starts_with(stem)) return fmt::format("{}1.{}", ours, name.substr(stem.size()));
    const Parts p = split(name);
    if (p.size() < 6 || p[0] != "stages" || p[2] != "layers" || !is_digit(p[1])) continue;
    if (p[4] == "downsample") {
      return fmt::format("layer{}.{}.{}", p[1][0] - '0' + 1, p[3],
                         fmt::join(p.begin() + 4, p.end(), "."));
    }
    if (p.size() == 8 && p[4] == "layer" && is_digit(p[5]) && p[6] == theirs) {
      return fmt::format("layer{}.{}.{}{}.{}", p[1][0] - '0' + 1, p[3], ours, p[5][0] - '0' + 1,
                         p[7]);
    }
  }
  return name;
}

// "a.b" at the components `old` of `name` replaced by `replacement`, everywhere.
std::string rename(const std::string& name, const std::string& old,
                   const std::string& replacement) {
  const Parts parts = split(name), from = split(old);
  Parts result;
  for (std::size_t i = 0; i < parts.size();) {
    if (i + from.size() <= parts.size() && std::equal(from.begin(), from.end(), &parts[i])) {
      if (!replacement.empty()) result.push_back(replacement);
      i += from.size();
    } else {
      result.push_back(parts[i++]);
    }
  }
  return fmt::format("{}", fmt::join(result, "."));
}

// The words in front under which weights lie: wrappers, averages.
std::size_t wrappers_of(const Parts& parts) {
  std::size_t n = 0;
  while (n + 1 < parts.size() && (is_wrapper(parts[n]) || is_average(parts[n]))) ++n;
  return n;
}

// "state_dict.ema" of a tensor that belongs to an average of the weights, else "".
std::string average_of(const Parts& parts) {
  const auto end = parts.begin() + static_cast<std::ptrdiff_t>(wrappers_of(parts));
  const auto found = std::find_if(parts.begin(), end, is_average);
  if (found == end) return "";
  return fmt::format("{}", fmt::join(parts.begin(), found + 1, "."));
}

bool lies_below(std::string_view name, std::string_view folder) {
  return name.size() > folder.size() && name.starts_with(folder) && name[folder.size()] == '.';
}

// The same tensor, whether written as a linear layer or as a 1x1 convolution.
Shape head_shape(const Shape& shape) {
  const bool conv = shape.size() == 4 && shape[2] == 1 && shape[3] == 1;
  return conv ? Shape{shape[0], shape[1]} : shape;
}

// --------------------------------------------------------------------------- order and shape

enum class Kind : std::uint8_t { kConv, kNorm, kLinear };
constexpr std::array<std::string_view, 3> kKinds = {"convolution", "batch norm", "linear layer"};

// The tensors below one name.
struct Layer {
  std::string name;
  Kind kind = Kind::kConv;
  Shape shape;                                 // of its weight
  bool projection = false;                     // on a shortcut, by its name
  std::map<std::string, std::size_t> tensors;  // leaf -> index
  bool same(const Layer& other) const {
    return shape == other.shape && projection == other.projection;
  }
};

// Layers in the order in which they begin; or why there are none.
template <class NameOf, class ShapeOf>
std::string to_layers(std::size_t count, NameOf name_at, ShapeOf shape_at,
                      std::vector<Layer>& layers) {
  std::map<std::string, std::size_t> index;
  std::vector<std::map<std::string, Shape>> shapes;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& name = name_at(i);
    const std::size_t dot = name.rfind('.');
    if (dot == std::string::npos) {
      return fmt::format("'{}' belongs to no layer, for its name has one word", name);
    }
    const std::string parent = name.substr(0, dot), leaf = name.substr(dot + 1);
    const auto [it, fresh] = index.emplace(parent, layers.size());
    if (fresh) {
      const Parts parts = split(parent);
      layers.push_back({.name = parent,
                        .shape = {},
                        .projection = std::ranges::find(parts, "downsample") != parts.end(),
                        .tensors = {}});
      shapes.emplace_back();
    }
    layers[it->second].tensors[leaf] = i;
    shapes[it->second][leaf] = shape_at(i);
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Layer& layer = layers[i];
    std::vector<std::string> leaves;
    for (const auto& [leaf, shape] : shapes[i]) leaves.push_back(leaf);
    const auto has = [&](Words words) { return std::ranges::equal(leaves, words); };
    const std::size_t rank = shapes[i].contains("weight") ? shapes[i].at("weight").size() : 0;
    if (rank == 4 && has({"weight"})) {
      layer.kind = Kind::kConv;
    } else if (rank == 2 && has({"bias", "weight"})) {
      layer.kind = Kind::kLinear;
    } else if (rank == 1 && has({"bias", "running_mean", "running_var", "weight"})) {
      layer.kind = Kind::kNorm;
    } else {
      return fmt::format(
          "'{}' with {} is neither a convolution without bias, nor a batch norm, nor a linear "
          "layer",
          layer.name, fmt::join(leaves, ", "));
    }
    layer.shape = shapes[i].at("weight");
    for (const auto& [leaf, shape] : shapes[i]) {  // a bias for each output
      if (leaf != "weight" && shape != Shape{layer.shape[0]}) {
        return fmt::format("'{}.{}' has the shape {} beside a weight of {}", layer.name, leaf,
                           to_string(shape), to_string(layer.shape));
      }
    }
  }
  return "";
}

// A word's text and the number at its end: "conv10" is {"conv", 10}.
std::pair<std::string_view, std::optional<std::uint64_t>> numbered(std::string_view word) {
  std::size_t digits = 0;
  while (digits < word.size() && digits < 18 &&
         std::isdigit(static_cast<unsigned char>(word[word.size() - 1 - digits])) != 0) {
    ++digits;
  }
  if (digits == 0) return {word, std::nullopt};
  std::uint64_t number = 0;
  for (const char c : word.substr(word.size() - digits)) {
    number = 10 * number + static_cast<std::uint64_t>(c - '0');
  }
  return {word.substr(0, word.size() - digits), number};
}

// The order of names in which "9" is before "10".
bool natural_less(const std::string& a, const std::string& b) {
  const auto keys = [](const std::string& name) {
    std::vector<std::pair<std::string_view, std::optional<std::uint64_t>>> result;
    for (const auto& part : split(name)) result.push_back(numbered(part));
    return result;
  };
  return keys(a) < keys(b);
}

// How names order two layers that shapes cannot tell apart: the numbers in the first word that
// differs.
enum class NameOrder : std::uint8_t { kNone, kAscending, kDescending };
NameOrder order_of(const std::string& a, const std::string& b) {
  const Parts x = split(a), y = split(b);
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
    if (x[i] == y[i]) continue;
    const auto [text_x, number_x] = numbered(x[i]);
    const auto [text_y, number_y] = numbered(y[i]);
    if (text_x != text_y || !number_x || !number_y || number_x == number_y) break;
    return number_x < number_y ? NameOrder::kAscending : NameOrder::kDescending;
  }
  return NameOrder::kNone;
}

// The block of "layer1.0.downsample.0" is "layer1.0".
std::string_view block_of(std::string_view layer) {
  return layer.substr(0, std::min(layer.rfind('.'), layer.find(".downsample")));
}

// Some register the projection before the convolutions of its block.
std::vector<Layer> projections_first(std::vector<Layer> layers) {
  for (auto begin = layers.begin(); begin != layers.end();) {
    const auto block = block_of(begin->name);
    const auto end = std::find_if(
        begin, layers.end(), [&](const Layer& layer) { return block_of(layer.name) != block; });
    std::stable_partition(begin, end, [](const Layer& layer) { return layer.projection; });
    begin = end;
  }
  return layers;
}

std::vector<Layer> of_kind(const std::vector<Layer>& layers, Kind kind) {
  std::vector<Layer> result;
  std::ranges::copy_if(layers, std::back_inserter(result),
                       [&](const Layer& layer) { return layer.kind == kind; });
  return result;
}

// Where the layers of one kind first differ, or "".
std::string difference(const std::vector<Layer>& file, const std::vector<Layer>& ours, Kind kind) {
  const std::string_view what = kKinds[static_cast<std::size_t>(kind)];
  const auto [f, o] = std::mismatch(file.begin(), file.end(), ours.begin(), ours.end(),
                                    [](const Layer& a, const Layer& b) { return a.same(b); });
  if (f != file.end() && o != ours.end()) {
    return fmt::format("{} {} is '{}' {} in the file and {} {} in the network", what,
                       f - file.begin() + 1, f->name, to_string(f->shape), o->name,
                       to_string(o->shape));
  }
  if (file.size() == ours.size()) return "";
  return fmt::format("the file has {} of the kind '{}', the network {}", file.size(), what,
                     ours.size());
}

// Two layers that only luck would tell apart, or "".
std::string doubt(const std::vector<Layer>& layers, bool sorted) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    for (std::size_t k = i + 1; k < layers.size(); ++k) {
      if (!layers[i].same(layers[k])) continue;
      const NameOrder order = order_of(layers[i].name, layers[k].name);
      if (order == NameOrder::kDescending || (order == NameOrder::kNone && sorted)) {
        return fmt::format("'{}' and '{}' have the same shape {}, and {} tell which comes first",
                           layers[i].name, layers[k].name, to_string(layers[i].shape),
                           sorted ? "in a file sorted by name nothing does"
                                  : "their place in the file and their numbers do not both");
      }
      break;  // the next one of this shape is enough
    }
  }
  return "";
}

// Gives the layers of a head of two their names here, fc.0 and fc.3: linear layers of one
// torch.nn.Sequential of which the second reads what the first makes, with a layer or more between
// them. Returns the files' names of its tensors; none where the head is another.
std::set<std::string> name_hidden_head(std::vector<Candidate>& candidates, MatchReport& report) {
  std::map<std::pair<std::string, int>, std::vector<Candidate*>> layers;  // {Sequential, position}
  for (Candidate& c : candidates) {
    const std::string canonical = canonical_name(c.name);
    if (canonical != "fc.weight" && canonical != "fc.bias") continue;
    const Parts parts = split(c.name);
    const std::string_view position = parts.size() < 3 ? "" : parts[parts.size() - 2];
    if (!is_number(position) || position.size() > 3) return {};
    const std::string sequential =
        fmt::format("{}", fmt::join(parts.begin(), parts.end() - 2, "."));
    layers[{sequential, std::stoi(std::string(position))}].push_back(&c);
  }
  const auto weight_of = [](const std::vector<Candidate*>& layer) -> const Candidate* {
    if (layer.size() != 2) return nullptr;
    const Candidate* w = layer[0]->shape.size() == 2 ? layer[0] : layer[1];
    const Candidate* b = w == layer[0] ? layer[1] : layer[0];
    return w->shape.size() == 2 && b->shape == Shape{w->shape[0]} ? w : nullptr;
  };
  if (layers.size() != 2) return {};
  const auto& [first, hidden] = *layers.begin();
  const auto& [second, last] = *std::next(layers.begin());
  const Candidate *in = weight_of(hidden), *out = weight_of(last);
  if (first.first != second.first || second.second < first.second + 2 || in == nullptr ||
      out == nullptr || out->shape[1] != in->shape[0]) {
    return {};
  }
  report.notes.push_back(fmt::format(
      "its head has two linear layers, '{}' with {} units and '{}'; between them stands "
      "a ReLU, as in torch.nn.Sequential(Linear, ReLU, Dropout, Linear)",
      in->file, in->shape[0], out->file));
  std::set<std::string> named;
  for (const auto& [layer, stem] : {std::pair(&hidden, "fc.0"), std::pair(&last, "fc.3")}) {
    for (Candidate* c : *layer) {
      c->name = fmt::format("{}.{}", stem, c->shape.size() == 2 ? "weight" : "bias");
      named.insert(c->file);
    }
  }
  return named;
}

}  // namespace

std::string canonical_name(std::string_view name) {
  Parts parts = split(name);
  while (parts.size() > 2 && (is_wrapper(parts.front()) || is_average(parts.front()))) {
    parts.erase(parts.begin());
  }
  parts.back() = canonical_leaf(parts.back());
  if (is_head(parts)) return fmt::format("fc.{}", parts.back());
  for (std::size_t i = 1; i + 1 < parts.size(); ++i) {
    if (!is_one_of(parts[i], {"shortcut", "downsample", "skip", "projection"})) continue;
    parts[i] = "downsample";
    std::string_view& next = parts[i + 1];
    if (i + 2 >= parts.size()) break;
    if (is_one_of(next, {"conv", "convolution"})) next = "0";
    if (is_one_of(next, {"bn", "norm", "normalization"})) next = "1";
  }
  return from_hugging_face(fmt::format("{}", fmt::join(parts, ".")));
}

std::vector<Candidate> select_candidates(const std::vector<WeightsEntry>& entries,
                                         const ImportOptions& options, MatchReport& report) {
  std::vector<Candidate> result;
  std::set<std::string> averages, others;  // the wrappers at the outside
  std::vector<std::string> losses;
  std::size_t averaged = 0;
  std::string prefix = options.prefix;
  while (prefix.ends_with('.')) prefix.pop_back();
  for (const WeightsEntry& e : entries) {
    const Parts parts = split(e.name);
    const bool outside = !prefix.empty() && !lies_below(e.name, prefix);
    const bool left_out = std::ranges::any_of(options.ignore, [&](const std::string& what) {
      return fmt::format(".{}.", e.name).find(fmt::format(".{}.", what)) != std::string::npos;
    });
    const bool readable = e.foreign.empty() && is_floating(e.dtype);
    const bool empty = e.shape.empty() || std::ranges::count(e.shape, 0) > 0;
    if (outside || left_out || !readable || empty || is_counter(parts.back()) ||
        (prefix.empty() && is_of_training(parts.front()))) {
      report.ignored.push_back(e.name);
      continue;
    }
    if (prefix.empty() && is_of_loss(parts[wrappers_of(parts)])) {
      report.ignored.push_back(e.name);
      losses.push_back(e.name);
      continue;
    }
    if (prefix.empty()) {
      const std::string average = average_of(parts);
      if (average.empty()) {
        others.emplace(parts.front());
      } else {
        averages.insert(average);
        ++averaged;
      }
    }
    std::string name = prefix.empty() ? e.name : e.name.substr(prefix.size() + 1);
    for (const auto& [old, replacement] : options.renames) name = rename(name, old, replacement);
    result.push_back({e.name, std::move(name), e.shape});
  }
  if (result.empty() && !prefix.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "no weights below the prefix '{}'; `resnet weights show` lists what the file has", prefix);
  }

  if (!losses.empty()) {
    report.notes.push_back(
        fmt::format("left out what belongs to a loss or a metric: {}{}", losses.front(),
                    losses.size() > 1 ? fmt::format(" and {} more", losses.size() - 1) : ""));
  }

  // Weights and their average: one of them. Several averages, or none of the two, are told apart by
  // the names they claim, below.
  if (!averages.empty() && std::ranges::any_of(others, is_wrapper)) {
    // Part of one, such as the head's alone, is no network.
    const bool average = options.prefer_average && 3 * averaged >= result.size();
    std::erase_if(result, [&](const Candidate& c) {
      const bool drop = average_of(split(c.file)).empty() == average;
      if (drop) report.ignored.push_back(c.file);
      return drop;
    });
    report.notes.push_back(
        average ? fmt::format("took '{}', the average of the weights; --no-average takes '{}'",
                              *averages.begin(), *std::ranges::find_if(others, is_wrapper))
                : fmt::format("left '{}', the average of the weights, alone", *averages.begin()));
  }

  const std::set<std::string> named = name_hidden_head(result, report);
  std::map<std::string, std::string> claimed;
  for (Candidate& c : result) {
    if (!named.contains(c.file)) c.name = canonical_name(c.name);
    if (c.name == "fc.weight") c.shape = head_shape(c.shape);
    const auto [it, fresh] = claimed.emplace(c.name, c.file);
    if (!fresh) {
      fail(ErrorCode::kBadData,
           "'{}' and '{}' both stand for '{}'; choose one with --prefix, or leave one out with "
           "--ignore{}",
           it->second, c.file, c.name,
           c.name.starts_with("fc.")
               ? "; a head of two layers is read as torch.nn.Sequential has it: Linear, ReLU, "
                 "Dropout, Linear (fc.0 and fc.3)"
               : "");
    }
  }
  return result;
}

Parameters parameters_of(const ModelConfig& config) {
  const Graph graph = inference_graph(config, 1);
  Parameters result;
  for (const Value v : graph.parameters()) result.emplace_back(graph.node(v).name, graph.shape(v));
  return result;
}

void match_by_name(const Parameters& parameters, const std::vector<Candidate>& candidates,
                   MatchReport& report) {
  std::map<std::string_view, const Candidate*> by_name;
  for (const Candidate& c : candidates) by_name[c.name] = &c;
  for (const auto& [name, shape] : parameters) {
    const auto it = by_name.find(name);
    if (it == by_name.end()) {
      report.missing.push_back(name);
      continue;
    }
    const Candidate& c = *it->second;
    by_name.erase(it);
    if (c.shape == shape) {
      report.matched.push_back({c.file, name});
    } else {
      report.wrong_shape.push_back({c.file, name, c.shape, shape});
    }
  }
  for (const Candidate& c : candidates) {
    if (by_name.contains(c.name)) report.unexpected.push_back(c.file);
  }
}

std::string match_by_structure(const Parameters& parameters,
                               const std::vector<Candidate>& candidates, MatchReport& report) {
  std::vector<Layer> file, ours;
  std::string reason = to_layers(
      candidates.size(), [&](std::size_t i) -> const std::string& { return candidates[i].name; },
      [&](std::size_t i) -> const Shape& { return candidates[i].shape; }, file);
  if (reason.empty()) {
    reason = to_layers(
        parameters.size(), [&](std::size_t i) -> const std::string& { return parameters[i].first; },
        [&](std::size_t i) -> const Shape& { return parameters[i].second; }, ours);
  }
  if (!reason.empty()) return reason;
  const std::vector<Layer> first = projections_first(ours);  // while projections are known
  // A file that names its shortcuts has to agree with us on which layers they are.
  if (std::ranges::none_of(file, &Layer::projection)) {
    for (Layer& layer : ours) layer.projection = false;
  }
  const bool named = std::ranges::any_of(file, &Layer::projection);
  const bool sorted = std::ranges::is_sorted(candidates, {}, &Candidate::file);
  if (sorted) {
    std::ranges::stable_sort(file, natural_less, &Layer::name);
  }

  std::vector<std::vector<Layer>> orders = {ours, first};
  for (Layer& layer : orders[1]) layer.projection = layer.projection && named;
  std::set<std::vector<std::pair<std::string, std::string>>> assignments;
  for (const auto& order : orders) {
    std::vector<std::pair<std::string, std::string>> pairs;  // {ours, file}
    std::string wrong;
    for (const Kind kind : {Kind::kConv, Kind::kNorm, Kind::kLinear}) {
      const auto theirs = of_kind(file, kind), wanted = of_kind(order, kind);
      if (wrong.empty()) wrong = difference(theirs, wanted, kind);
      if (!wrong.empty()) break;
      if (std::string what = doubt(theirs, sorted); !what.empty()) return what;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        for (const auto& [leaf, index] : theirs[i].tensors) {
          pairs.emplace_back(wanted[i].name + "." + leaf, candidates[index].file);
        }
      }
    }
    if (wrong.empty()) {
      std::ranges::sort(pairs);
      assignments.insert(pairs);
    } else if (reason.empty()) {  // what is wrong with our own order
      reason = wrong;
    }
  }
  if (assignments.empty()) return reason;
  if (assignments.size() > 1) return "projections may stand before or behind their blocks";
  report.structural = true;
  report.matched.clear();
  report.missing.clear();
  report.unexpected.clear();
  report.wrong_shape.clear();
  std::map<std::string, std::string> found(assignments.begin()->begin(),
                                           assignments.begin()->end());
  for (const auto& [name, shape] : parameters) report.matched.push_back({found.at(name), name});
  return "";
}

}  // namespace resnet

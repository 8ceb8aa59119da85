#include "train/transfer.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <set>

#include "core/check.h"
#include "data/class_names.h"
#include "data/sources.h"
#include "resnet/network.h"
#include "resnet/pretrained.h"
#include "resnet/weights.h"
#include "train/training_graph.h"

namespace resnet {
namespace {

// The network as it is trained, with a batch that does not matter.
DescribedGraph network_graph(const ModelConfig& config, const std::string& freeze_until = "") {
  DescribedGraph result{Graph(Mode::kTraining), {}};
  result.network = network_of(config, freeze_until)(result.graph, 2);
  return result;
}

std::set<std::string> trainable_names(const Graph& g) {
  std::set<std::string> names;
  for (const Value v : g.trainable()) names.insert(g.node(v).name);
  return names;
}

std::set<std::string> head_names(const DescribedGraph& g) {
  const auto names = head_parameters(g.graph, g.network);
  return {names.begin(), names.end()};
}

bool has_layer(const DescribedGraph& g, const std::string& name) {
  try {
    find_layer(g.graph, g.network, name);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::string shown(const ModelConfig& c) {
  return c.splice.empty() ? c.architecture : c.architecture + " cut after " + c.splice;
}

// A layer that the whole network has and the cut one lacks needs no guess at another name.
void check_not_cut_off(const DescribedGraph& cut, const std::string& layer,
                       const ModelConfig& config) {
  if (config.splice.empty() || has_layer(cut, layer)) return;
  ModelConfig whole = config;
  whole.splice.clear();
  if (!has_layer(network_graph(whole), layer)) return;
  fail(
      ErrorCode::kInvalidArgument,
      "--freeze-until {}: that layer lies behind the cut, --splice {}; name one that is kept, e.g. "
      "{}",
      layer, config.splice, config.splice);
}

// Grey images have one mean, that of the channels, as they have one luma.
std::array<float, 3> for_channels(std::array<float, 3> values, std::int64_t from, std::int64_t to) {
  if (from == 3 && to == 1) values.fill((values[0] + values[1] + values[2]) / 3);
  if (from == 1) values.fill(values[0]);
  return values;
}

// Which class of the weights each of the new ones is; nothing if there is one that is none.
struct SameClasses {
  std::vector<int> rows;
  bool by_index = false;
};
std::optional<SameClasses> same_classes(const std::vector<std::string>& theirs,
                                        const std::vector<std::string>& ours, bool numbered) {
  if (theirs.size() != ours.size() || ours.empty()) return std::nullopt;
  SameClasses same{.rows = positions_of(ours, theirs)};
  const auto complete = [&] {
    const std::set<int> rows(same.rows.begin(), same.rows.end());
    return rows.size() == ours.size() && *rows.begin() == 0;
  };
  if (complete()) return same;
  if (!are_unnamed(theirs)) return std::nullopt;
  std::iota(same.rows.begin(), same.rows.end(), 0);
  if (numbered) {
    std::ranges::transform(ours, same.rows.begin(), [](const std::string& name) {
      return static_cast<int>(whole_number(name));
    });
    if (std::ranges::max(same.rows) >= std::ssize(ours) || !complete()) return std::nullopt;
  }
  same.by_index = true;
  return same;
}

// The rows of the last layer in another order.
Tensor with_rows(const Tensor& t, const std::vector<int>& rows) {
  if (std::ranges::is_sorted(rows)) return t;
  Tensor result = t.clone();
  const std::size_t bytes = result.bytes() / rows.size();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::copy_n(t.raw() + static_cast<std::size_t>(rows[r]) * bytes, bytes,
                result.raw() + r * bytes);
  }
  return result;
}

}  // namespace

ModelFile load_starting_point(const TrainOptions& o) {
  if (is_pretrained_name(o.transfer.weights)) {
    return load_pretrained(o.transfer.weights, {.cache = o.data.cache});
  }
  ImportOptions import;
  import.architecture = o.model.architecture;
  import.allow_missing_head = true;
  import.allow_broken = true;  // what is taken of them is looked at below
  return import_model(resolve_model(o.transfer.weights), import).model;
}

TrainOptions adopt(TrainOptions o, const ModelFile& weights) {
  const ModelConfig& theirs = weights.config;
  ModelConfig& ours = o.model;
  if (!ours.architecture.empty() && ours.architecture != theirs.architecture) {
    fail(ErrorCode::kInvalidArgument,
         "{} holds weights of {}, not of {}; leave the architecture out, or choose other weights",
         o.transfer.weights, theirs.architecture, ours.architecture);
  }
  const bool other_body =
      (ours.shortcut != Shortcut::kDefault && ours.shortcut != theirs.shortcut) ||
      (ours.layers_per_skip != 0 && ours.layers_per_skip != theirs.layers_per_skip) ||
      (ours.stride_on_first_1x1 && !theirs.stride_on_first_1x1) ||
      (ours.same_padding && !theirs.same_padding);
  if (other_body) {
    fail(ErrorCode::kInvalidArgument,
         "{} holds weights of a {} with other shortcuts, skips, strides or padding; leave these "
         "out, the weights know them",
         o.transfer.weights, theirs.architecture);
  }
  ours.architecture = theirs.architecture;
  ours.shortcut = theirs.shortcut;
  ours.layers_per_skip = theirs.layers_per_skip;
  ours.stride_on_first_1x1 = theirs.stride_on_first_1x1;
  ours.same_padding = theirs.same_padding;
  // The head of weights that were cut belongs to that cut.
  if (ours.splice.empty() && !theirs.splice.empty()) {
    ours.splice = theirs.splice;
    if (ours.head_hidden == 0) ours.head_hidden = theirs.head_hidden;
  }
  if (ours.image_size == 0) ours.image_size = theirs.image_size;
  if (!o.interpolation) o.interpolation = weights.preprocessing.interpolation;
  if (!o.scale_16bit) o.scale_16bit = weights.preprocessing.scale_16bit;
  return o;
}

void adopt_statistics(TrainOptions& o, const ModelFile& weights, const Dataset& train) {
  const Preprocessing& p = weights.preprocessing;
  const std::int64_t channels = o.model.channels != 0 ? o.model.channels : train.grey() ? 1 : 3;
  if (!o.mean) o.mean = for_channels(p.mean, p.channels, channels);
  if (!o.std) o.std = for_channels(p.std, p.channels, channels);
}

Loaded fit_weights(const ModelFile& weights, const ModelConfig& config,
                   const std::vector<std::string>& class_names, bool numbered) {
  const DescribedGraph described = describe_network(config, 1);
  const Graph& g = described.graph;
  const std::set<std::string> head = head_names(described);
  std::set<std::string> stems;  // weights of the convolutions that read the image
  for (const Node& n : g.nodes()) {
    if (n.op == Op::kConv2d && g.node(n.inputs[0]).op == Op::kInput) {
      stems.insert(g.node(n.inputs[1]).name);
    }
  }
  std::optional<SameClasses> same;
  if (weights.config.splice == config.splice && weights.config.head_hidden == config.head_hidden) {
    same = same_classes(weights.class_names, class_names, numbered);
  }
  // Its rows are the classes.
  const std::vector<Value>& last = g.node(described.network.logits).inputs;
  Loaded result;
  result.by_index = same && same->by_index;
  for (const Value v : g.parameters()) {
    const std::string& name = g.node(v).name;
    if (head.contains(name) && !same) {
      result.fresh.push_back(name);
      continue;
    }
    const auto found = weights.weights.find(name);
    if (found == weights.weights.end()) {
      fail(ErrorCode::kInvalidArgument, "the weights have no tensor '{}'; they are of {}", name,
           shown(weights.config));
    }
    Tensor t = found->second;
    if (stems.contains(name) && t.shape().size() == 4 && t.dim(1) != g.shape(v)[1]) {
      t = adapt_input_channels(t, g.shape(v)[1]);
    }
    if (t.shape() != g.shape(v)) {
      fail(ErrorCode::kInvalidArgument,
           "tensor '{}' of the weights must have the shape {} for {}, it has {}", name,
           to_string(g.shape(v)), shown(config), to_string(t.shape()));
    }
    if (same && std::ranges::find(last, v) != last.end()) t = with_rows(t, same->rows);
    result.tensors[name] = std::move(t);
  }
  return result;
}

std::vector<Phase> phases_of(const TransferOptions& o, const ModelConfig& config) {
  const std::string& until = o.freeze_until;
  if (until.empty()) {
    if (!o.unfreeze_at.empty()) {
      fail(ErrorCode::kInvalidArgument,
           "--unfreeze-at needs --freeze-until; 'avgpool' freezes all but the head");
    }
    return {{}};
  }
  const DescribedGraph g = network_graph(config);
  const std::vector<NetworkPart>& stages = g.network.stages;
  check_not_cut_off(g, until, config);
  const std::optional<std::size_t> highest =
      stage_of(g.network, find_layer(g.graph, g.network, until));
  if (!highest) {
    fail(ErrorCode::kInvalidArgument,
         "freezing until '{}' leaves nothing to train; 'avgpool' freezes all but the head", until);
  }
  std::vector<Phase> phases{{1, until}};
  const std::size_t frozen = *highest + 1;  // stages of which something is
  if (o.unfreeze_at.size() > frozen) {
    fail(ErrorCode::kInvalidArgument,
         "--unfreeze-at has {} epochs, but freezing until '{}' leaves {} part(s) to unfreeze (stem "
         "and "
         "stages)",
         o.unfreeze_at.size(), until, frozen);
  }
  for (std::size_t i = 0; i < o.unfreeze_at.size(); ++i) {
    const bool last = i + 1 == o.unfreeze_at.size();
    const int epoch = o.unfreeze_at[i];
    if (epoch < 2 || epoch <= phases.back().first_epoch) {
      fail(ErrorCode::kInvalidArgument,
           "--unfreeze-at: expected rising epochs from 2 on, found {} after {}", epoch,
           phases.back().first_epoch);
    }
    // The highest first.
    phases.push_back({epoch, last ? "" : stages[*highest - i - 1].name});
  }
  return phases;
}

std::size_t phase_at(const std::vector<Phase>& phases, int epoch) {
  std::size_t at = 0;
  while (at + 1 < phases.size() && phases[at + 1].first_epoch <= epoch) ++at;
  return at;
}

std::map<std::string, std::size_t> first_trained(const std::vector<Phase>& phases,
                                                 const ModelConfig& config) {
  std::map<std::string, std::size_t> result;
  for (std::size_t i = 0; i < phases.size(); ++i) {
    const Graph g = network_graph(config, phases[i].freeze_until).graph;
    for (const std::string& name : trainable_names(g)) {
      result.try_emplace(name, i);
    }
  }
  return result;
}

std::map<std::string, double> lr_factors(const ModelConfig& config, double decay) {
  const auto [g, network] = network_graph(config);
  std::map<std::string, double> result;
  for (const Value v : g.trainable()) {
    const auto stage = stage_of(network, v);
    result[g.node(v).name] =
        stage ? std::pow(decay, static_cast<double>(network.stages.size() - *stage)) : 1;
  }
  return result;
}

std::int64_t trained_parameters(const Phase& phase, const ModelConfig& config) {
  const Graph g = network_graph(config, phase.freeze_until).graph;
  std::int64_t sum = 0;
  for (const Value v : g.trainable()) sum += element_count(g.shape(v));
  return sum;
}

bool trains_head_only(const Phase& phase, const ModelConfig& config) {
  const DescribedGraph g = network_graph(config, phase.freeze_until);
  if (!g.network.auxiliary.empty()) return false;  // these read more than the features
  const std::set<std::string> head = head_names(g);
  return std::ranges::includes(head, trainable_names(g.graph));
}

}  // namespace resnet

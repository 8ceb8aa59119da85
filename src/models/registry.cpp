#include "models/registry.h"

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>

#include "core/check.h"
#include "core/guard.h"
#include "core/nearest.h"
#include "core/text.h"
#include "graph/subgraph.h"

namespace resnet {
namespace {

using FamilyPtr = std::shared_ptr<const Family>;

// The order does not matter: no two families know the same name.
struct Registry {
  std::mutex mutex;
  std::vector<FamilyPtr> families;
  Registry() {
    for (Family& family : std::array{resnet_family(), resnet_v2_family(), resnet_cifar_family(),
                                     plain_family(), resnet_fast_family()}) {
      families.push_back(std::make_shared<const Family>(std::move(family)));
    }
  }
};

Registry& registry() {
  static Registry all;
  return all;
}

// A copy: families may ask the registry themselves.
std::vector<FamilyPtr> families() {
  const std::scoped_lock lock(registry().mutex);
  return registry().families;
}

FamilyPtr find_family(std::string_view name) {
  for (FamilyPtr& family : families()) {
    if (family->image_size(name) != 0) return std::move(family);
  }
  return nullptr;
}

FamilyPtr family_of(std::string_view name) {
  if (FamilyPtr family = find_family(name)) return family;
  constexpr std::size_t kLongest = 64;  // names come from files, too: keep the message short
  const std::string shown(name.substr(0, kLongest));
  const std::vector<std::string> known = architectures();
  fail(ErrorCode::kInvalidArgument,
       "unknown architecture '{}'; did you mean '{}'? Known are {} and other CIFAR networks with "
       "6n+2 (basic) or 9n+2 (bottleneck) layers",
       shown, nearest_name(lower(shown), known), fmt::join(known, ", "));
}

void check_config(const Graph& graph, const ModelConfig& c, Value image) {
  const Shape& shape = graph.shape(image);
  if (c.classes < 1) {
    fail(ErrorCode::kInvalidArgument, "{}: needs at least one class, got {}", c.architecture,
         c.classes);
  }
  if (shape.size() != 4 || shape[1] != c.channels) {
    fail(ErrorCode::kInvalidArgument, "{}: needs images [n, {}, h, w], got {}", c.architecture,
         c.channels, to_string(shape));
  }
  if (!(c.dropout >= 0 && c.dropout < 1)) {
    fail(ErrorCode::kInvalidArgument, "{}: dropout must be at least 0 and below 1, got {}",
         c.architecture, c.dropout);
  }
  constexpr std::int64_t kMostHidden = 1 << 20;
  if (c.head_hidden < 0 || c.head_hidden > kMostHidden) {
    fail(ErrorCode::kInvalidArgument,
         "{}: head_hidden must be 0 (a linear head) to {} units, got {}", c.architecture,
         kMostHidden, c.head_hidden);
  }
}

}  // namespace

std::string_view name_of(Shortcut shortcut) {
  switch (shortcut) {
    case Shortcut::kDefault: return "default";
    case Shortcut::kA: return "A";
    case Shortcut::kB: return "B";
    case Shortcut::kC: return "C";
    case Shortcut::kNone: return "none";
  }
  return "?";
}

Shortcut parse_shortcut(std::string_view name) {
  for (const auto s :
       {Shortcut::kDefault, Shortcut::kA, Shortcut::kB, Shortcut::kC, Shortcut::kNone}) {
    if (name == name_of(s)) return s;
  }
  fail(ErrorCode::kInvalidArgument, "unknown shortcut '{}'; expected default, A, B, C or none",
       name);
}

void register_family(Family family) try {
  for (const std::string& name : family.names) {
    if (is_architecture(name)) {
      fail(ErrorCode::kInvalidArgument, "there is a network '{}' already; choose another name",
           name);
    }
    if (family.image_size(name) == 0) {
      fail(ErrorCode::kInvalidArgument,
           "the family of '{}' does not know that name: its image_size gives 0", name);
    }
  }
  auto shared = std::make_shared<const Family>(std::move(family));
  const std::scoped_lock lock(registry().mutex);
  registry().families.push_back(std::move(shared));
} catch (...) {
  throw_as_error();
}

Network build_whole(Graph& graph, const ModelConfig& config, Value image) {
  const FamilyPtr family = family_of(config.architecture);
  check_config(graph, config, image);
  return family->build(graph, config, image);
}

namespace {

void check_cut(const Graph& graph, const Network& whole, const std::string& splice) {
  const std::string& head = whole.head.name;
  const bool inside =
      std::ranges::any_of(whole.head.layers, [&](Value v) { return graph.node(v).name == splice; });
  if (!inside && splice != head && !splice.starts_with(head + ".")) return;
  fail(ErrorCode::kInvalidArgument,
       "cannot cut after '{}': it is the head, which a cut replaces; name a layer before it, e.g. "
       "{}, or leave the cut out to replace the head alone",
       splice, whole.stages.back().name);
}

// The network up to the cut, and what a new head reads.
Network build_cut(Graph& graph, const ModelConfig& config, Value image) {
  // The whole network is built beside the graph, which gets what lies before the cut.
  ModelConfig uncut = config;
  uncut.splice.clear();
  Graph whole(graph.mode());
  const Value whole_image = whole.input("image", graph.shape(image));
  Network network = build_whole(whole, uncut, whole_image);
  check_cut(whole, network, config.splice);
  const Value cut = find_layer(whole, network, config.splice);
  const auto copied = copy_values(graph, whole, {cut}, {{whole_image, image}});
  network = mapped(network, copied);
  network.features = copied.at(cut);
  return network;
}

Value pooled(Graph& graph, Value x) {
  return graph.shape(x).size() == 4 ? graph.global_avg_pool(x) : x;
}

}  // namespace

Network build_network(Graph& graph, const ModelConfig& config, Value image) {
  if (config.splice.empty()) return build_whole(graph, config, image);
  const Network cut = build_cut(graph, config, image);
  NetworkParts parts(graph, cut);
  return add_head(graph, parts, config, pooled(graph, cut.features));
}

Value build_features(Graph& graph, const ModelConfig& config, Value image) {
  if (!config.splice.empty()) return pooled(graph, build_cut(graph, config, image).features);
  Graph whole(graph.mode());
  const Value whole_image = whole.input("image", graph.shape(image));
  const Value features = build_whole(whole, config, whole_image).features;
  return copy_subgraph(graph, whole, features, {{whole_image, image}});
}

Network finish_classifier(Graph& graph, NetworkParts& parts, const ModelConfig& config, Value x) {
  return add_head(graph, parts, config, graph.global_avg_pool(x));
}

Value build_head(Graph& graph, const ModelConfig& config, Value x) {
  if (config.head_hidden == 0) {
    return graph.linear("fc", graph.dropout(x, config.dropout), config.classes);
  }
  graph.set_scope("fc");
  x = graph.relu(graph.linear("fc.0", x, config.head_hidden));
  x = graph.dropout(x, config.dropout);
  graph.set_scope("");
  return graph.linear("fc.3", x, config.classes);
}

bool is_head(std::string_view name) { return name == "fc" || name.starts_with("fc."); }

Network add_head(Graph& graph, NetworkParts& parts, const ModelConfig& config, Value features) {
  const auto head = parts.head("fc");
  return parts.finish(features, build_head(graph, config, features));
}

Value build_model(Graph& graph, const ModelConfig& config, Value image) {
  return build_network(graph, config, image).logits;
}

DescribedGraph describe_network(const ModelConfig& config, std::int64_t batch, Mode mode) {
  DescribedGraph result{Graph(mode), {}};
  const Value image =
      result.graph.input("image", {batch, config.channels, config.image_size, config.image_size});
  result.network = build_network(result.graph, config, image);
  return result;
}

Graph inference_graph(const ModelConfig& config, std::int64_t batch) {
  auto [graph, network] = describe_network(config, batch);
  graph.mark_output("logits", network.logits);
  graph.mark_output("probabilities", graph.softmax(network.logits));
  return std::move(graph);
}

std::vector<std::string> architectures() {
  std::vector<std::string> names;
  for (const FamilyPtr& family : families()) {
    names.insert(names.end(), family->names.begin(), family->names.end());
  }
  std::ranges::sort(names);
  return names;
}

bool is_architecture(std::string_view name) { return find_family(name) != nullptr; }

void check_architecture(std::string_view name) { family_of(name); }

std::int64_t default_image_size(std::string_view architecture) {
  return family_of(architecture)->image_size(architecture);
}

}  // namespace resnet

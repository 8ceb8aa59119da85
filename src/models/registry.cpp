#include "models/registry.h"

#include <algorithm>

#include "core/check.h"
#include "core/nearest.h"
#include "core/text.h"

namespace resnet {
namespace {

// The order does not matter: no two families know the same name.
const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      resnet_family(), resnet_v2_family(),   resnet_cifar_family(),
      plain_family(),  resnet_fast_family(),
  };
  return all;
}

const Family* find_family(std::string_view name) {
  for (const Family& family : families()) {
    if (family.image_size(name) != 0) return &family;
  }
  return nullptr;
}

const Family& family_of(std::string_view name) {
  if (const Family* family = find_family(name)) return *family;
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

Value build_body(Graph& graph, const ModelConfig& config, Value image) {
  const Family& family = family_of(config.architecture);
  check_config(graph, config, image);
  return family.build(graph, config, image);
}

Value build_features(Graph& graph, const ModelConfig& config, Value image) {
  if (config.splice.empty()) return graph.global_avg_pool(build_body(graph, config, image));
  if (is_head(config.splice)) {
    fail(
        ErrorCode::kInvalidArgument,
        "cannot cut after '{}': it is the head, which a cut replaces; name a layer before it, e.g. "
        "layer3, or leave the cut out to replace the head alone",
        config.splice);
  }
  // The whole network is built beside the graph, which gets what lies before the cut.
  Graph whole(graph.mode());
  const Value whole_image = whole.input("image", graph.shape(image));
  whole.global_avg_pool(build_body(whole, config, whole_image));
  const Value cut = find_layer(whole, config.splice);
  const Value x = copy_subgraph(graph, whole, cut, {{whole_image, image}});
  return graph.shape(x).size() == 4 ? graph.global_avg_pool(x) : x;
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

Value build_model(Graph& graph, const ModelConfig& config, Value image) {
  return build_head(graph, config, build_features(graph, config, image));
}

bool is_head(std::string_view name) { return name == "fc" || name.starts_with("fc."); }

Graph inference_graph(const ModelConfig& config, std::int64_t batch) {
  Graph graph(Mode::kInference);
  const Value image =
      graph.input("image", {batch, config.channels, config.image_size, config.image_size});
  const Value logits = build_model(graph, config, image);
  graph.mark_output("logits", logits);
  graph.mark_output("probabilities", graph.softmax(logits));
  return graph;
}

std::vector<std::string> architectures() {
  std::vector<std::string> names;
  for (const Family& family : families()) {
    names.insert(names.end(), family.names.begin(), family.names.end());
  }
  std::ranges::sort(names);
  return names;
}

bool is_architecture(std::string_view name) { return find_family(name) != nullptr; }

void check_architecture(std::string_view name) { family_of(name); }

std::int64_t default_image_size(std::string_view architecture) {
  return family_of(architecture).image_size(architecture);
}

}  // namespace resnet

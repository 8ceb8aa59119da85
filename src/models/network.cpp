#include "resnet/network.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "graph/ops.h"
#include "graph/subgraph.h"
#include "models/registry.h"

namespace resnet {
namespace {

bool has(const std::vector<Value>& values, Value v) {
  return std::ranges::find(values, v) != values.end();
}

bool has(const NetworkPart& part, Value v) {
  return has(part.layers, v) || has(part.parameters, v);
}

NetworkPart mapped(const NetworkPart& part, const std::map<Value, Value>& to) {
  NetworkPart result{.name = part.name};
  const auto map = [&](const std::vector<Value>& from, std::vector<Value>& into) {
    for (const Value v : from) {
      if (const auto found = to.find(v); found != to.end()) into.push_back(found->second);
    }
  };
  map(part.layers, result.layers);
  map(part.parameters, result.parameters);
  return result;
}

}  // namespace

NetworkParts::NetworkParts(const Graph& graph, Network before)
    : graph_(graph), before_(std::move(before)), first_(graph.nodes().size()) {}

NetworkParts::Open::~Open() { parts_.marks_[mark_].end = parts_.graph_.nodes().size(); }

NetworkParts::Open NetworkParts::open(Kind kind, std::string name) {
  if (!marks_.empty() && marks_.back().end == 0) {
    fail(ErrorCode::kInvalidArgument,
         "part '{}' of the network is opened while '{}' is open; end that one before", name,
         marks_.back().name);
  }
  const auto same = [&](const Mark& m) { return m.kind != Kind::kAuxiliary && m.name == name; };
  if (kind != Kind::kAuxiliary && std::ranges::any_of(marks_, same)) {
    fail(ErrorCode::kInvalidArgument, "two parts of the network are called '{}'", name);
  }
  marks_.push_back({kind, std::move(name), graph_.nodes().size(), 0});
  return {*this, marks_.size() - 1};
}

NetworkParts::Open NetworkParts::stage(std::string name) {
  return open(Kind::kStage, std::move(name));
}
NetworkParts::Open NetworkParts::head(std::string name) {
  return open(Kind::kHead, std::move(name));
}
NetworkParts::Open NetworkParts::auxiliary() { return open(Kind::kAuxiliary, "auxiliary"); }

void NetworkParts::add_loss(Value logits, double weight) { losses_.push_back({logits, weight}); }

Network NetworkParts::finish(Value features, Value logits) const {
  Network network{.features = features,
                  .logits = logits,
                  .auxiliary = losses_,
                  .stages = before_.stages,
                  .tail = before_.tail};
  network.tail.name = "tail";
  network.stages.reserve(network.stages.size() + marks_.size());  // pointers stay good
  // The part of each node: that of its mark, or of the stage before it.
  std::vector<NetworkPart*> parts(graph_.nodes().size(), nullptr);
  const auto fill = [&](std::size_t from, std::size_t to, NetworkPart& part) {
    for (std::size_t i = from; i < to; ++i) {
      if (parts[i] == nullptr) parts[i] = &part;
    }
  };
  std::size_t last_end = first_;  // of the last stage
  for (const Mark& m : marks_) {
    const std::size_t end = m.end == 0 ? parts.size() : m.end;
    if (m.end == 0 && m.kind != Kind::kHead) {
      fail(ErrorCode::kInvalidArgument, "part '{}' of the network has no end", m.name);
    }
    if (m.kind != Kind::kStage) {
      if (m.kind == Kind::kHead) network.head.name = m.name;
      fill(m.begin, end, network.head);
      continue;
    }
    network.stages.push_back({.name = m.name});
    NetworkPart& own = network.stages.back();
    fill(last_end, m.begin, network.stages.size() == 1 ? own : *(&own - 1));
    fill(m.begin, end, own);
    last_end = end;
  }
  for (std::size_t i = first_; i < parts.size(); ++i) {
    const Node& node = graph_.nodes()[i];
    NetworkPart& part = parts[i] == nullptr ? network.tail : *parts[i];
    const Value v{static_cast<std::int32_t>(i), 0};
    if (node.op == Op::kParameter) part.parameters.push_back(v);
    if (is_layer(node)) part.layers.push_back(v);
  }
  std::erase_if(network.stages, [](const NetworkPart& p) { return p.layers.empty(); });
  if (network.head.layers.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "the network has no head; open NetworkParts::head before the layers that end in its "
         "logits");
  }
  if (network.stages.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "the network has no stage; open NetworkParts::stage before its first layers");
  }
  return network;
}

Network mapped(const Network& network, const std::map<Value, Value>& to) {
  const auto at = [&](Value v) {
    const auto found = to.find(v);
    return found == to.end() ? Value{} : found->second;
  };
  Network result{.features = at(network.features), .logits = at(network.logits)};
  for (const AuxiliaryLoss& loss : network.auxiliary) {
    if (at(loss.logits)) result.auxiliary.push_back({at(loss.logits), loss.weight});
  }
  for (const NetworkPart& stage : network.stages) {
    NetworkPart part = mapped(stage, to);
    if (!part.layers.empty()) result.stages.push_back(std::move(part));
  }
  result.tail = mapped(network.tail, to);
  result.head = mapped(network.head, to);
  return result;
}

Network copy_network(Graph& to, const Graph& from, const Network& network,
                     std::map<Value, Value> known, Value frozen) {
  std::vector<Value> outputs{network.logits};
  for (const AuxiliaryLoss& loss : network.auxiliary) outputs.push_back(loss.logits);
  return mapped(network, copy_values(to, from, outputs, std::move(known), frozen));
}

Value find_layer(const Graph& graph, const Network& network, std::string_view name) {
  const auto stage = std::ranges::find(network.stages, name, &NetworkPart::name);
  return stage != network.stages.end() ? stage->output() : find_layer(graph, name);
}

std::optional<std::size_t> stage_of(const Network& network, Value v) {
  for (std::size_t i = 0; i < network.stages.size(); ++i) {
    if (has(network.stages[i], v)) return i;
  }
  if (has(network.tail, v)) return network.stages.size() - 1;
  return std::nullopt;
}

std::vector<std::string> head_parameters(const Graph& graph, const Network& network) {
  std::vector<std::string> names;
  for (const Value v : network.head.parameters) names.push_back(graph.node(v).name);
  return names;
}

}  // namespace resnet

#include "support/random_graph.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/random.h"
#include "resnet/models.h"
#include "resnet/variables.h"
#include "runtime/support.h"

namespace resnet::test {
namespace {

class Builder {
 public:
  Builder(std::uint64_t seed, Mode mode) : random_(seed), graph_(mode) {}

  Graph build() {
    const std::int64_t side = between(5, 14);
    values_ = {graph_.input("image", {between(1, 3), between(1, 4), side, side + between(-1, 1)})};
    values_.push_back(convolution(values_[0]));
    for (std::int64_t left = between(4, 12); left > 0; --left) values_.push_back(layer());
    graph_.mark_output("middle", some_value());
    const Value x = values_.back();
    const Value logits = graph_.linear("fc", graph_.global_avg_pool(x), 3);
    if (graph_.mode() == Mode::kInference) {
      graph_.mark_output("logits", logits);
      return std::move(graph_);
    }
    const Value targets = graph_.input("targets", graph_.shape(logits));
    const Value loss = graph_.softmax_cross_entropy(logits, targets, 0.1);
    add_sgd(graph_, loss, {.momentum = 0.9, .weight_decay = 1e-3}, true);
    return std::move(graph_);
  }

 private:
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + random_.below(static_cast<std::uint32_t>(high - low + 1));
  }
  bool chance(int percent) { return between(1, 100) <= percent; }
  std::string name(const char* what) { return what + std::to_string(count_++); }
  const Shape& shape(Value v) const { return graph_.shape(v); }
  Value some_value() {
    return values_[static_cast<std::size_t>(
        between(1, static_cast<std::int64_t>(values_.size()) - 1))];
  }

  Value convolution(Value x) {
    constexpr std::int64_t kKernels[] = {1, 1, 3, 3, 3, 5};
    ConvOptions o;
    o.kernel = kKernels[between(0, 5)];
    const std::int64_t channels = shape(x)[1];
    if (chance(20)) o.groups = channels;
    o.filters = o.groups * between(1, o.groups > 1 ? 2 : 24);
    o.stride = chance(25) ? 2 : 1;
    o.dilation = o.kernel > 1 && chance(15) ? 2 : 1;
    o.bias = chance(30);
    o.padding = chance(30) ? Padding::kSame : Padding::kFixed;
    return graph_.conv2d(name("conv"), x, o);
  }

  Value norm(Value x) {
    const Shape& s = shape(x);
    if (s[0] * s[2] * s[3] == 1) return x;  // no statistics of one number
    return graph_.batch_norm(name("bn"), x,
                             {.eps = chance(50) ? 1e-5 : 1e-3, .frozen = chance(15)});
  }

  // A value of the same shape: one that is there, or made by a convolution.
  Value partner(Value x) {
    std::vector<Value> same;
    for (const Value v : values_) {
      if (shape(v) == shape(x)) same.push_back(v);
    }
    if (!same.empty() && chance(70)) {
      return same[static_cast<std::size_t>(between(0, static_cast<std::int64_t>(same.size()) - 1))];
    }
    const Value y = graph_.conv2d(name("conv"), x, {.filters = shape(x)[1], .kernel = 1});
    return chance(50) ? norm(y) : y;
  }

  Value pool(Value x) {
    PoolOptions o{.kernel = between(2, 3), .stride = between(1, 2)};
    if (shape(x)[2] < 4 || shape(x)[3] < 4) return graph_.relu(x);
    if (chance(50)) {
      o.padding = Padding::kSame;
    } else {
      o.pad = o.kernel / 2;
    }
    o.count_padding = chance(50);
    return chance(50) ? graph_.max_pool(x, o) : graph_.avg_pool(x, o);
  }

  Value layer() {
    const Value x = chance(75) ? values_.back() : some_value();
    switch (between(0, 12)) {
      case 0: return convolution(x);
      case 1: return norm(convolution(x));
      case 2: return graph_.relu(norm(convolution(x)));
      case 3: return norm(x);
      case 4: return graph_.relu(norm(x));
      case 5: return graph_.relu(x);
      case 6: return graph_.add(norm(x), partner(x));
      case 7: return graph_.relu(graph_.add(norm(x), partner(x)));
      case 8: return graph_.mul(graph_.sigmoid(partner(x)), x);
      case 9: {
        const Value parts[] = {x, partner(x)};
        return shape(x)[1] < 40 ? graph_.concat(parts) : graph_.add(x, parts[1]);
      }
      case 10: return pool(x);
      case 11: return graph_.dropout(x, 0.3);
      default: return graph_.pad_shortcut(x, shape(x)[1] + between(0, 5), between(1, 2));
    }
  }

  Random random_;
  Graph graph_;
  std::vector<Value> values_;
  int count_ = 0;
};

}  // namespace

Graph random_graph(std::uint64_t seed, Mode mode) { return Builder(seed, mode).build(); }

std::map<std::string, Tensor> random_sources(const Graph& graph, std::uint64_t seed) {
  Variables variables;
  initialise(graph, variables, seed);
  std::map<std::string, Tensor> sources;
  std::uint64_t index = 0;
  for (const Node& n : graph.nodes()) {
    if (n.op != Op::kInput && n.op != Op::kParameter) continue;
    Random random(seed, 1, index++);
    Tensor t(DType::kF32, n.outputs[0].shape);
    auto values = t.as<float>();
    for (float& x : values) x = static_cast<float>(random.normal());
    if (n.op == Op::kParameter) {
      const auto start = variables.at(n.name).as<float>();
      // Averages of squares and of the second kind stay positive.
      const bool positive = n.name.ends_with("running_var");
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = positive ? start[i] + std::abs(values[i]) : start[i] + 0.1F * values[i];
      }
    } else if (n.name == "targets") {
      const auto classes = static_cast<float>(t.dim(1));
      for (float& x : values) x = 1 / classes;
    } else if (n.name == "lr") {
      values[0] = 0.02F;
    }
    sources[n.name] = t.cast(DType::kF64);
  }
  return sources;
}

}  // namespace resnet::test

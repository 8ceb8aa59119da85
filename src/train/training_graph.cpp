#include "train/training_graph.h"

#include <algorithm>
#include <limits>
#include <set>

#include "core/check.h"

namespace resnet {
namespace {

constexpr ParameterAttributes kState{.role = Role::kOptimizer, .init = Init::kZeros};

const std::string& name_of(const Graph& g, Value v) { return g.node(v).name; }

Role role_of(const Graph& g, Value v) {
  return std::get<ParameterAttributes>(g.node(v).attributes).role;
}

// A variable of the optimizer with the shape of `weight`.
Value state_of(Graph& g, const std::string& prefix, Value weight) {
  return g.parameter(prefix + name_of(g, weight), Shape(g.shape(weight)), kState);
}

struct Loss {
  Value loss;
  std::vector<Value> weights;    // all that is trained
  std::vector<Value> gradients;  // of each; one that the loss does not reach is left out of both
};

// With the name of an input, the gradients are those of the loss times that input.
Loss add_loss(Graph& g, const Network& network, const StepOptions& o,
              std::string_view factor = {}) {
  const Value logits = network.logits;
  if (g.mode() != Mode::kTraining) {
    fail(ErrorCode::kInvalidArgument, "a step of training needs a graph of Mode::kTraining");
  }
  const Shape shape = g.shape(logits);  // [n, classes]
  if (shape.size() != 2) {
    fail(ErrorCode::kInvalidArgument, "the logits must be [n, classes], they are {}",
         to_string(shape));
  }
  const Value targets = g.input("targets", shape);
  Value class_weights;
  if (o.class_weights) class_weights = g.parameter(std::string(kClassWeights), {shape[1]}, kState);
  Loss result;
  result.loss = g.softmax_cross_entropy(logits, targets, o.label_smoothing, class_weights);
  for (const AuxiliaryLoss& a : network.auxiliary) {
    const Value loss = g.softmax_cross_entropy(a.logits, targets, o.label_smoothing, class_weights);
    result.loss = g.add(result.loss, g.scale(loss, a.weight));
  }
  g.mark_output("loss", result.loss);
  g.mark_output("logits", logits);
  const std::vector<Value> trainable = g.trainable();
  Value differentiated = result.loss;
  if (!factor.empty()) {
    differentiated =
        g.append(Op::kMul, "loss.scaled", {result.loss, g.input(std::string(factor), {1})});
  }
  const std::vector<Value> all = gradients(g, differentiated, trainable);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!all[i]) continue;
    result.weights.push_back(trainable[i]);
    result.gradients.push_back(all[i]);
  }
  if (result.weights.empty()) {
    fail(ErrorCode::kInvalidArgument, "nothing to train: the logits depend on no weight");
  }
  return result;
}

Value constant(Graph& g, const std::string& name, double value) {
  return g.append(Op::kFill, name, {}, FillAttributes{.value = value, .shape = {1}});
}

void add_update(Graph& g, Value w, Value gradient, Value lr, Value scale, const StepOptions& step) {
  const OptimizerOptions& o = step.optimizer;
  const bool decayed = o.decay_norm_and_bias || role_of(g, w) == Role::kWeight;
  const bool is_weight = role_of(g, w) == Role::kWeight;
  UpdateAttributes a{.momentum = o.momentum,
                     .weight_decay = decayed ? o.weight_decay.value_or(0) : 0,
                     .beta1 = o.beta1,
                     .beta2 = o.beta2,
                     .eps = o.eps,
                     .trust = is_weight ? o.trust : 0};  // LARS leaves vectors alone
  const std::string name = name_of(g, w) + ".update";
  double factor = step.lr_factor ? step.lr_factor(name_of(g, w)) : 1;
  if (role_of(g, w) == Role::kNormShift) factor *= o.norm_shift_lr_factor;
  if (factor != 1) {
    lr = g.append(Op::kMul, name + ".lr", {lr, constant(g, name + ".factor", factor)});
  }
  switch (o.kind) {
    case Optimizer::kSgd:
      a.nesterov = o.nesterov;
      g.append(Op::kSgd, name, {w, state_of(g, "optimizer.momentum.", w), gradient, lr, scale}, a);
      break;
    case Optimizer::kAdamW: {
      Value number = g.find("step");
      if (!number) number = g.input("step", {1});
      // Moments that started at 0 later are corrected for it from then on.
      const std::int64_t before = step.steps_before ? step.steps_before(name_of(g, w)) : 0;
      if (before != 0) {
        const Value offset = constant(g, name + ".before", -static_cast<double>(before));
        number = g.append(Op::kAdd, name + ".step", {number, offset});
      }
      const Value first = state_of(g, "optimizer.moment1.", w);
      const Value second = state_of(g, "optimizer.moment2.", w);
      g.append(Op::kAdamW, name, {w, first, second, gradient, lr, number, scale}, a);
      break;
    }
    case Optimizer::kLars:
      g.append(Op::kLars, name, {w, state_of(g, "optimizer.momentum.", w), gradient, lr, scale}, a);
      break;
  }
}

// All that a step changes: the weights, and what the forward pass averages.
std::vector<Value> changing(const Graph& g, const std::vector<Value>& weights) {
  std::set<Value> result(weights.begin(), weights.end());
  for (const Node& n : g.nodes()) {
    for (int i = 0; i < updated_inputs(n.op); ++i) {
      const Value v = n.inputs[static_cast<std::size_t>(i)];
      if (role_of(g, v) != Role::kOptimizer) result.insert(v);
    }
  }
  return {result.begin(), result.end()};
}

void add_updates(Graph& g, const std::vector<Value>& weights, const std::vector<Value>& gradients,
                 const std::vector<Value>& averaged, const StepOptions& o) {
  // The scale guards the weights even without clipping: it is 0 when the global norm is not finite,
  // and a scale of 0 turns the updates off.
  const double max_norm = o.clip_norm > 0 ? o.clip_norm : std::numeric_limits<float>::max();
  const Value scale =
      g.append(Op::kClipScale, "gradient_scale", gradients, ClipAttributes{.max_norm = max_norm});
  g.mark_output("gradient_scale", scale);
  const Value lr = g.input("lr", {1});
  // The average is of the new values. It starts at 0; who reads it divides by 1 - decay^steps, as
  // Adam does.
  const auto average = [&](Value v) {
    if (o.ema_decay <= 0) return;
    g.append(Op::kRunningAverage, name_of(g, v) + ".ema",
             {state_of(g, std::string(kEmaPrefix), v), v},
             UpdateAttributes{.momentum = 1 - o.ema_decay});
  };
  for (std::size_t i = 0; i < weights.size(); ++i) {
    add_update(g, weights[i], gradients[i], lr, scale, o);
    average(weights[i]);  // here, while the weights are in cache
  }
  for (const Value v : averaged) {
    if (std::ranges::find(weights, v) == weights.end()) average(v);
  }
}

}  // namespace

void add_training_step(Graph& graph, const Network& network, const StepOptions& options) {
  const Loss l = add_loss(graph, network, options);
  add_updates(graph, l.weights, l.gradients, changing(graph, l.weights), options);
}

void add_training_step(Graph& graph, Value logits, const StepOptions& options) {
  add_training_step(graph, Network{.logits = logits}, options);
}

namespace {

Value image_input(Graph& g, const ModelConfig& c, std::int64_t batch) {
  return g.input("image", {batch, c.channels, c.image_size, c.image_size});
}

}  // namespace

NetworkBuilder network_of(const ModelConfig& config, const std::string& freeze_until) {
  return [config, freeze_until](Graph& g, std::int64_t batch) {
    if (freeze_until.empty()) return build_network(g, config, image_input(g, config, batch));
    const auto [whole, network] = describe_network(config, batch, g.mode());
    return copy_network(g, whole, network, {}, find_layer(whole, network, freeze_until));
  };
}

NetworkBuilder head_of(const ModelConfig& config) {
  return [config](Graph& g, std::int64_t batch) {
    // Cut out of the whole network, whose head it is.
    const auto [whole, network] = describe_network(config, batch, g.mode());
    const Value x = g.input("image", whole.shape(network.features));
    return copy_network(g, whole, network, {{network.features, x}});
  };
}

Graph training_graph(const NetworkBuilder& network, std::int64_t batch,
                     const StepOptions& options) {
  Graph g(Mode::kTraining);
  add_training_step(g, network(g, batch), options);
  return g;
}

Graph accumulating_graph(const NetworkBuilder& network, std::int64_t batch,
                         const StepOptions& options, int parts) {
  Graph g(Mode::kTraining);
  const Loss l = add_loss(g, network(g, batch), options, kWindowScale);
  for (std::size_t i = 0; i < l.weights.size(); ++i) {
    g.append(Op::kAccumulate, name_of(g, l.weights[i]) + ".accumulate",
             {state_of(g, std::string(kGradientPrefix), l.weights[i]), l.gradients[i]},
             UpdateAttributes{.scale = 1.0 / parts});
  }
  return g;
}

Graph applying_graph(const NetworkBuilder& network, const StepOptions& options) {
  // The same analysis as above finds which weights have gradients; the batch does not matter.
  Graph whole(Mode::kTraining);
  const Loss l = add_loss(whole, network(whole, 2), options);
  Graph g(Mode::kTraining);
  for (const Value v : whole.parameters()) {
    if (role_of(whole, v) == Role::kOptimizer) continue;
    g.parameter(name_of(whole, v), whole.shape(v),
                std::get<ParameterAttributes>(whole.node(v).attributes));
  }
  std::vector<Value> weights, sums;
  for (const Value v : l.weights) {
    weights.push_back(g.find(name_of(whole, v)));
    sums.push_back(state_of(g, std::string(kGradientPrefix), weights.back()));
  }
  std::vector<Value> averaged;
  for (const Value v : changing(whole, l.weights)) averaged.push_back(g.find(name_of(whole, v)));
  add_updates(g, weights, sums, averaged, options);
  for (const Value sum : sums) g.append(Op::kClear, name_of(g, sum) + ".clear", {sum});
  return g;
}

}  // namespace resnet

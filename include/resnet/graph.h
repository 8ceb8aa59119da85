// The description of a computation: a static graph of operations in single-assignment form.
//
// Building a graph runs nothing. Forward, backward and optimizer updates are nodes of the same
// graph; `gradients()` extends a graph by its derivatives, and `compile()` (program.h) turns it
// into something that runs. Nodes are stored in an order in which every node follows its inputs.
//
//   Graph g(Mode::kTraining);
//   Value x = g.input("image", {128, 3, 32, 32});
//   x = g.conv2d("conv1", x, {.filters = 16, .kernel = 3});
//   x = g.relu(g.batch_norm("bn1", x));
//   x = g.linear("fc", g.global_avg_pool(x), 10);
//
// What the nodes themselves look like is in ir.h, which who only builds networks need not know.
//
// A Graph is a value type. Distinct graphs may be used from distinct threads.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "resnet/ir.h"
#include "resnet/tensor.h"

namespace resnet {

enum class Mode : std::uint8_t {
  kTraining,   ///< batch norm uses batch statistics and updates the running ones; dropout is active
  kInference,  ///< batch norm uses the running statistics; dropout does nothing
};

/// Padding of convolution and pooling.
enum class Padding : std::uint8_t {
  kExplicit,  ///< `pad` on every side
  kFixed,     ///< total = kernel - 1 (dilated), whatever the input's size; the odd one at the end
  kSame,      ///< output = ceil(input / stride), depends on the input's size (TensorFlow)
};

struct ConvOptions {
  std::int64_t filters = 0;
  std::int64_t kernel = 3;
  std::int64_t stride = 1;
  Padding padding = Padding::kFixed;
  std::int64_t pad = 0;  ///< with kExplicit
  std::int64_t dilation = 1;
  std::int64_t groups = 1;
  bool bias = false;
  Init init = Init::kHeNormal;  ///< of the weights
  bool frozen = false;          ///< the weights are never trained; the bias is
};

struct PoolOptions {
  std::int64_t kernel = 2;
  std::int64_t stride = 2;
  Padding padding = Padding::kExplicit;
  std::int64_t pad = 0;
  bool count_padding = true;
};

struct NormOptions {
  double eps = 1e-5;
  double momentum = 0.1;    ///< running = (1 - momentum) * running + momentum * batch
  bool zero_gamma = false;  ///< start γ at 0 (Goyal et al. 2017, for the last one of a block)
  bool frozen = false;      ///< use and keep the running statistics even in training
};

class Graph {
 public:
  explicit Graph(Mode mode = Mode::kInference) : mode_(mode) {}
  Mode mode() const { return mode_; }

  // --- Layers: they create their parameters under torchvision's names (`name` + ".weight", …).
  // Every function throws Error(kInvalidArgument) naming the layer when shapes do not fit.

  Value input(std::string name, Shape shape, DType dtype = DType::kF32);
  Value conv2d(const std::string& name, Value x, const ConvOptions& options);
  /// Parameters weight (γ), bias (β), running_mean, running_var. Ioffe & Szegedy 2015.
  Value batch_norm(const std::string& name, Value x, const NormOptions& options = {});
  Value linear(const std::string& name, Value x, std::int64_t features, bool bias = true);

  // --- Operations without parameters.
  Value relu(Value x);
  Value sigmoid(Value x);
  Value add(Value a, Value b);
  Value mul(Value a, Value b);
  Value scale(Value x, double factor);  ///< x * factor
  Value max_pool(Value x, const PoolOptions& options);
  Value avg_pool(Value x, const PoolOptions& options);
  Value global_avg_pool(Value x);
  Value flatten(Value x);  ///< [n, ...] -> [n, rest]
  Value dropout(Value x, double p);
  Value pad_shortcut(Value x, std::int64_t out_channels, std::int64_t stride);
  Value concat(std::span<const Value> xs);
  Value softmax(Value x);
  /// Mean over the batch of −Σ t' log p with t' = (1−ε) t + ε/c. `targets` [n, c] are rows of
  /// probabilities (one-hot or mixed). With class weights w: Σ w t' (−log p) / Σ w t, or 0 / 0 = 0.
  Value softmax_cross_entropy(Value logits, Value targets, double label_smoothing = 0,
                              Value class_weights = {});

  // --- The raw form, for autodiff, passes and tests.
  Value parameter(std::string name, Shape shape, const ParameterAttributes& attributes,
                  DType dtype = DType::kF32);
  /// Appends a node; its output types come from the op's shape rule. Returns output 0
  /// (for updates: a Value that must not be read).
  Value append(Op op, std::string name, std::vector<Value> inputs, Attributes attributes = {});
  /// The same for a node as it stands, whose output types are inferred again.
  Value append(Node node);

  const std::vector<Node>& nodes() const { return nodes_; }
  const Node& node(Value v) const { return nodes_[static_cast<std::size_t>(v.node)]; }
  const TensorType& type(Value v) const {
    return node(v).outputs[static_cast<std::size_t>(v.output)];
  }
  const Shape& shape(Value v) const { return type(v).shape; }
  /// The parameter or input of that name, or an invalid Value.
  Value find(std::string_view name) const;
  /// All parameters in order of creation.
  std::vector<Value> parameters() const;
  /// The parameters that an optimizer trains (weights, biases, γ, β).
  std::vector<Value> trainable() const;

  /// Names the next operations without parameters: "layer1.0" makes relu "layer1.0.relu".
  void set_scope(std::string scope) { scope_ = std::move(scope); }
  const std::string& scope() const { return scope_; }

  /// A value that the host wants to read after a run, under a name. Outputs stay alive.
  void mark_output(std::string name, Value v);
  const std::vector<std::pair<std::string, Value>>& outputs() const { return outputs_; }

 private:
  std::string scoped(std::string_view what) const;

  Mode mode_;
  std::string scope_;
  std::vector<Node> nodes_;
  std::vector<std::pair<std::string, Value>> outputs_;
  std::unordered_map<std::string, std::int32_t> sources_;  // inputs and parameters by name
};

/// Appends the derivative of the scalar `loss` with respect to each of `wrt` and returns them in
/// order (an invalid Value where the loss does not depend on it). Reverse mode; throws kUnsupported
/// for an op without a gradient rule, and for outputs and inputs that its rule does not cover.
std::vector<Value> gradients(Graph& graph, Value loss, std::span<const Value> wrt);

/// The output of a layer: of the last operation of the forward pass that is called `name`
/// ("layer2.0.conv1", "bn1", "layer2.0.relu"), or else of the last one below it, so that a block
/// ("layer2.0") and a stage ("layer2") have outputs, too. Throws kInvalidArgument with the nearest
/// name.
Value find_layer(const Graph& graph, std::string_view name);

/// Appends to `to` a copy of what `v` depends on in `from`, the running averages of its batch norms
/// included, and returns what is v there. Values in `known` are not copied: its right-hand sides,
/// values of `to`, take their place.
///
/// What `frozen` depends on, if it is valid, is frozen in the copy: parameters become
/// Role::kBuffer, so that nothing trains them and autodiff does not look behind them, batch norms
/// use and keep their running statistics, dropout is off. Throws kInvalidArgument for a batch norm
/// without running statistics.
Value copy_subgraph(Graph& to, const Graph& from, Value v, std::map<Value, Value> known = {},
                    Value frozen = {});

/// Checks every invariant of the IR: order, arity, re-inferred types, unique names, updates only of
/// parameters. Throws kInternal with the offending node printed.
void verify(const Graph& graph);

/// One line per node: `%12 = conv2d "layer1.0.conv1" (%3, %4) [32, 64, 56, 56]`.
std::string to_string(const Graph& graph);

}  // namespace resnet

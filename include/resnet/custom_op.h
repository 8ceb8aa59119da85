// Ops of your own. A program says what an op computes and how it is differentiated; from then on it
// is an op like any other: graphs with it are differentiated, compiled, trained and printed.
//
//   const Op swish = register_op({
//       .name = "swish",
//       .gradient = [](GradientRule& r) { r.dx[0] = …; },
//       .compute = [](const OpArguments<double>& a) { … a.out[0][i] = …; },
//   });
//   Value y = graph.append(swish, "layer1.swish", {x}, CustomAttributes{{{"beta", 1.5}}});
//
// The library's own ops have the same rules (src/graph/ops/).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "resnet/graph.h"
#include "resnet/ir.h"
#include "resnet/tensor.h"

namespace resnet {

/// What a shape rule sees.
struct ShapeRule {
  std::string_view layer;
  Op op;
  std::span<const TensorType> inputs;
  const Attributes& attributes;

  const Shape& shape(std::size_t i) const { return inputs[i].shape; }
  /// The attributes; throws kInternal when they are of another kind.
  template <class T>
  const T& as() const {
    const T* a = std::get_if<T>(&attributes);
    if (a == nullptr) wrong_attributes();
    return *a;
  }
  [[noreturn]] void wrong_attributes() const;
};

/// What a gradient rule sees: the node, the gradients of its outputs, and which inputs need one.
/// It appends to the graph, with `emit`, and leaves its results in `dx`.
struct GradientRule {
  Graph& graph;
  const std::int32_t id;
  const Node node;               ///< a copy: appending to the graph moves its nodes
  const std::vector<Value> dys;  ///< of each output; invalid where the loss does not depend on it
  const Value dy;                ///< of output 0
  const std::vector<bool>& needed;
  std::vector<Value> dx;  ///< the result: gradient of each input; invalid where there is none

  bool needs(std::size_t i) const {
    return i < node.inputs.size() && needed[static_cast<std::size_t>(node.inputs[i].node)];
  }
  Value x(std::size_t i) const { return node.inputs[i]; }
  Value y(std::int32_t i = 0) const { return {id, i}; }
  const Shape& shape(std::size_t i) const { return graph.shape(node.inputs[i]); }
  template <class T>
  T attributes() const {
    return std::get<T>(node.attributes);
  }
  Value emit(Op op, std::vector<Value> inputs, Attributes attributes = {});
  /// Throws kUnsupported: "layer x: op `what`".
  [[noreturn]] void unsupported(std::string_view what) const;
};

/// What a cost rule sees.
struct CostRule {
  Op op;
  std::span<const TensorType> inputs;
  std::span<const TensorType> outputs;

  const Shape& x(std::size_t i) const { return inputs[i].shape; }
  const Shape& y() const { return outputs[0].shape; }
};

enum class OpKind : std::uint8_t {
  kSource,    ///< a value from outside: input, parameter, constant
  kForward,   ///< what a network is made of
  kBackward,  ///< only derivatives use it
  kUpdate,    ///< overwrites its first inputs
  kHelper,    ///< of training and of compilation
};

/// One run of a registered op: its operands, row-major, and what there is to know of the node.
template <class T>
struct OpArguments {
  std::span<const T* const> in;
  std::span<T* const> out;
  std::span<const TensorType> inputs;
  std::span<const TensorType> outputs;
  const Attributes& attributes;

  std::int64_t size(std::size_t input) const { return element_count(inputs[input].shape); }
};

struct OpDefinition {
  std::string name;                ///< "swish": new, and not empty
  OpKind kind = OpKind::kForward;  ///< or kBackward: used by gradients alone
  int min_inputs = 1;
  int max_inputs = 1;  ///< -1: any number
  /// Shapes of the outputs, which are f32; throws kInvalidArgument naming the layer when the inputs
  /// do not fit. Null: one output in the shape of input 0.
  std::function<std::vector<Shape>(const ShapeRule&)> shapes = nullptr;
  /// Null: `gradients` refuses what depends on it.
  std::function<void(GradientRule&)> gradient = nullptr;
  /// Multiply-adds, for summaries and profiles. Null: none worth counting.
  std::function<std::int64_t(const CostRule&)> multiply_adds = nullptr;
  /// The formula, in double. The reference device runs it as it stands, the cpu device after
  /// converting. Several threads may call it at the same time, one for each session.
  std::function<void(const OpArguments<double>&)> compute;
  /// What the cpu device runs instead, if it is given.
  std::function<void(const OpArguments<float>&)> compute_f32 = nullptr;
};

/// Adds an op for as long as the program runs. Safe to call from several threads. Throws
/// kInvalidArgument for a name that is taken, a kind that is not offered, an impossible number of
/// inputs, and where `compute` is missing.
Op register_op(OpDefinition definition);

/// The attribute `name` of a node of a registered op: std::int64_t, double, std::string or
/// std::vector<std::int64_t>. Throws kInvalidArgument when there is none of this name and type.
template <class T>
const T& attribute(const Attributes& attributes, const std::string& name);

}  // namespace resnet

// The op table: all that the library has to know of an op, in one row. The rows stand with their
// rules in graph/ops/; what a device can compute is the device's answer (compile/target.h).
#pragma once

#include <cstdint>
#include <vector>

#include "resnet/custom_op.h"
#include "resnet/graph.h"

namespace resnet {

struct OpInfo {
  Op op;
  std::string_view name;
  OpKind kind;
  int min_inputs = 0;
  int max_inputs = 0;      ///< -1: any number
  int updated_inputs = 0;  ///< leading inputs, all parameters, that the op overwrites
  /// Checks the inputs and returns the output types. Throws kInvalidArgument naming the layer.
  std::vector<TensorType> (*infer)(const ShapeRule&) = nullptr;
  /// Appends the derivative; null: there is none.
  void (*gradient)(GradientRule&) = nullptr;
  /// How many leading outputs a loss may depend on. (Positions of maxima are not differentiated.)
  int differentiable_outputs = 1;
  /// By the textbook, whatever kernel runs; null: none worth counting.
  std::int64_t (*multiply_adds)(const CostRule&) = nullptr;
  /// What a program registered; null: an op of the library.
  const OpDefinition* custom = nullptr;
};

const OpInfo& op_info(Op op);

/// Every row of the table, registered ops included, in no order that means something.
std::vector<const OpInfo*> all_ops();

/// The output types by the op's rule, after checking how many inputs there are. Whether a device
/// has a kernel for these types is asked when the graph is compiled.
std::vector<TensorType> infer(const ShapeRule& r);

/// An operation of the forward pass. (The derivative uses forward ops, too.)
bool is_layer(const Node& node);

}  // namespace resnet

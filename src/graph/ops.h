// The op table: name, arity and shape rule of every op, in one place.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "resnet/graph.h"

namespace resnet {

/// What a shape rule sees. `in(i)` is the type of input i.
struct RuleInput {
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

enum class OpKind : std::uint8_t {
  kSource,    ///< a value from outside: input, parameter, constant
  kForward,   ///< what a network is made of
  kBackward,  ///< only derivatives use it
  kUpdate,    ///< overwrites its first inputs
  kHelper,    ///< of training and of compilation
};

struct OpInfo {
  Op op;
  const char* name;
  OpKind kind;
  int min_inputs;
  int max_inputs;      ///< -1: any number
  int updated_inputs;  ///< leading inputs, all parameters, that the op overwrites
  /// Checks the inputs and returns the output types. Throws kInvalidArgument naming the layer.
  std::vector<TensorType> (*infer)(const RuleInput&);
};

const OpInfo& op_info(Op op);

/// Whether the op's 4-D activations may be bf16 as well as f32.
bool takes_bf16(Op op);

/// The output types by the op's rule, after checking how many inputs there are and that the op
/// takes their types.
std::vector<TensorType> infer(const RuleInput& r);

/// An operation of the forward pass. (The derivative uses forward ops, too, under other names.)
bool is_layer(const Node& node);

/// Output size of a window that slides over a padded dimension.
constexpr std::int64_t window_output(std::int64_t size, std::int64_t pad, std::int64_t kernel,
                                     std::int64_t stride, std::int64_t dilation = 1) {
  return (size + pad - (dilation * (kernel - 1) + 1)) / stride + 1;
}

}  // namespace resnet

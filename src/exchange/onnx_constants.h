// The constants of an ONNX graph: its initializers, and what exporters leave to be computed of
// them.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "exchange/onnx_net.h"
#include "formats/onnx_file.h"

namespace resnet::onnx_net {

/// "Conv 'conv1'", for messages.
std::string describe(const OnnxNode& node);

/// Whether the node has its i-th input.
bool has(const OnnxNode& node, std::size_t i);

template <class T>
T attribute(const OnnxNode& node, const char* name, T otherwise) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) return otherwise;
  const T* value = std::get_if<T>(&found->second);
  return value == nullptr ? otherwise : *value;
}

Ints to_ints(const Tensor& tensor);

bool is_permutation(const Ints& axes, std::size_t rank);

/// Axis i of the result is axis axes[i] of `tensor`, as ONNX's Transpose has it.
Tensor permuted(const Tensor& tensor, const Ints& axes);

class OnnxConstants {
 public:
  /// `file` is for messages; both must outlive the object.
  OnnxConstants(const OnnxModel& model, const std::string& file);

  bool contains(const std::string& name) const { return constants_.contains(name); }
  const Tensor& at(const std::string& name) const { return constants_.at(name); }

  /// Computes a node whose inputs are constants; false for an operation that is not known here.
  /// Throws kBadData when all results together outgrow the weights, which no exporter needs.
  bool fold(const OnnxNode& node);

 private:
  std::optional<Tensor> folded(const OnnxNode& node) const;

  const std::string& file_;
  std::map<std::string, Tensor> constants_;
  std::size_t budget_ = 1 << 20;
};

}  // namespace resnet::onnx_net

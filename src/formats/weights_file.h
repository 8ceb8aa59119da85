// Files of weights of any kind that is read here, told by their first bytes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

/// One tensor of a weights file, by the path of dictionary keys that leads to it, joined with dots.
struct WeightsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

struct WeightsFile {
  std::string format;                           ///< "safetensors", "PyTorch zip", …
  std::vector<WeightsEntry> entries;            ///< in file order
  std::map<std::string, std::string> metadata;  ///< texts and numbers beside the tensors: "epoch"
  /// Python objects whose code is not run and which are therefore not understood: "callbacks.0" is
  /// an object of "some.Class". Tensors that depend on one are here too, and not among the entries.
  std::map<std::string, std::string> left_out = {};
  std::map<std::string, Tensor> tensors = {};  ///< empty from `describe_weights`
};

/// Everything in the file. Nothing in it is ever run, and sizes are compared with the file before
/// memory is taken. Throws `kNotFound`, `kIo`, `kBadData` (damaged, hostile, or no weights file) or
/// `kUnsupported` (a kind of file or of element that is known and not read), with advice.
WeightsFile read_weights(const std::filesystem::path& path);

/// The same without the elements.
WeightsFile describe_weights(const std::filesystem::path& path);

}  // namespace resnet

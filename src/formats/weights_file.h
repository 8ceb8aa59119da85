// Files of weights of any kind that is read here, told by their first bytes.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

/// One tensor of a weights file, by the path of dictionary keys that leads to it, joined with dots.
struct WeightsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  /// The file's name of an element type that is not read here ("F8_E4M3"), with the bytes it takes;
  /// else "". Such a tensor is listed, and never among `tensors`.
  std::string foreign = {};
  std::uint64_t foreign_bytes = 0;
};

/// "f32", or the file's name of a type that is not read.
std::string_view type_name(const WeightsEntry& entry);

struct WeightsFile {
  std::string format;                           ///< "safetensors", "PyTorch zip", …
  std::vector<WeightsEntry> entries;            ///< in file order
  std::map<std::string, std::string> metadata;  ///< texts and numbers beside the tensors: "epoch"
  /// Python objects whose code is not run and which are therefore not understood: "callbacks.0" is
  /// an object of "some.Class". Tensors that depend on one are here too, and not among the entries.
  std::map<std::string, std::string> left_out = {};
  std::map<std::string, Tensor> tensors = {};  ///< empty from `describe_weights`
};

/// Everything in the file, or in all shards of a set when `path` is its index
/// (formats/shard_index.h). Nothing in it is ever run, and sizes are compared with the file before
/// memory is taken. Throws `kNotFound`, `kIo`, `kBadData` (damaged, hostile, or no weights file) or
/// `kUnsupported` (a kind of file or of element that is known and not read), with advice.
WeightsFile read_weights(const std::filesystem::path& path);

/// The same without the elements.
WeightsFile describe_weights(const std::filesystem::path& path);

/// The file of weights that a path stands for: in a folder model.safetensors, pytorch_model.bin or
/// the index of one that is split into shards; for one shard the index beside it, if there is one.
/// Throws `kNotFound` for a folder with none of them.
std::filesystem::path find_weights(const std::filesystem::path& path);

}  // namespace resnet

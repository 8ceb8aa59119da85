// ONNX models: one protobuf message (onnx.proto) with a graph of named operations and the tensors
// they use, https://github.com/onnx/onnx/blob/main/docs/IR.md. PyTorch's newer exporter leaves the
// tensors in a second file beside it, "external data", which is read too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

/// Empty: of a kind that this library does not read (strings, subgraphs, …).
using OnnxAttribute = std::variant<std::monostate, float, std::int64_t, std::string, Tensor,
                                   std::vector<float>, std::vector<std::int64_t>>;

struct OnnxNode {
  std::string op;                         ///< "Conv"
  std::string name = {};                  ///< may be empty
  std::string domain = {};                ///< empty: ONNX's own operations
  std::vector<std::string> inputs = {};   ///< names of values; empty: an optional one left out
  std::vector<std::string> outputs = {};  ///< likewise
  std::map<std::string, OnnxAttribute> attributes = {};
};

/// A dimension of an input or output: a size, or −1 and the symbol that stands for it, if any.
struct OnnxDimension {
  std::int64_t size = -1;
  std::string symbol = {};
  bool operator==(const OnnxDimension&) const = default;
};

struct OnnxValue {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<OnnxDimension> shape = {};
};

/// One graph with what belongs to it.
struct OnnxModel {
  std::int64_t ir_version = 8;
  std::int64_t opset = 17;  ///< version of ONNX's own operations
  std::string producer_name = {}, producer_version = {};
  std::string graph_name = {};
  std::vector<OnnxNode> nodes = {};  ///< each after the nodes whose outputs it reads
  std::vector<std::pair<std::string, Tensor>> initializers = {};  ///< weights and constants
  /// Of the graph. Files before IR version 4 list initializers as inputs too.
  std::vector<OnnxValue> inputs = {}, outputs = {};
  std::map<std::string, std::string> metadata = {};
};

/// Reads a model and its external data, which must lie in the folder of `path` or below it. Every
/// declared size is compared with the bytes present before memory is taken. Afterwards names are
/// known to be unique and every value to be defined before it is read, so the graph has no cycle.
/// Tensors and numbers of `Constant` nodes are initializers of the model, and these nodes are gone.
/// Throws kNotFound, kIo, kBadData (damaged, or no ONNX), kUnsupported (element types other than
/// those of DType).
OnnxModel read_onnx(const std::filesystem::path& path);

/// The same from memory; `name` is for messages. External data are refused.
OnnxModel parse_onnx(std::span<const std::byte> bytes, const std::string& name);

/// Writes the model as one file, atomically. Throws kIo, and kUnsupported above the 2 GiB that a
/// protobuf message may have.
void write_onnx(const std::filesystem::path& path, const OnnxModel& model);

/// Whether a file that begins with `start` (some tens of bytes) may be ONNX: the format has no
/// magic number, but a model begins with its IR version, whose field is the first.
bool looks_like_onnx(std::string_view start);
/// The same of a file. Throws kNotFound, kIo, kBadData when it is no regular file.
bool is_onnx_file(const std::filesystem::path& path);

/// A name out of a file for a message: short and on one line.
std::string shown(std::string_view name);

}  // namespace resnet

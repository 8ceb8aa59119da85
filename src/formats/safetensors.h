// The safetensors format: u64 little-endian header length, a JSON header, raw little-endian
// tensors. https://huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

struct Safetensors {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

/// What the header says of one tensor.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint64_t begin = 0;  ///< bytes from the start of the data, end exclusive
  std::uint64_t end = 0;
};
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< in file order, without holes or overlaps
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0;  ///< bytes from the start of the file
};

/// The header alone, checked against the file's size; no tensor is read.
/// Throws `kNotFound`, `kIo`, `kBadData` (not one byte is allocated for a header that lies), or
/// `kUnsupported` for an element type that the library has no `DType` for, naming the tensor.
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);

/// All tensors and the metadata. Throws like `read_safetensors_header`.
Safetensors read_safetensors(const std::filesystem::path& path);

/// The same with tensors that are parts of the mapped file (`Tensor::mapped`); those that are not
/// aligned there are copies.
Safetensors map_safetensors(const std::filesystem::path& path);

/// The same from memory; `name` is only for messages.
Safetensors parse_safetensors(std::span<const std::byte> bytes, const std::string& name);

/// Writes atomically (see core/file.h). Tensors are ordered by falling alignment, then name, as the
/// safetensors library does, so equal contents give equal files and every tensor is aligned.
/// Throws `kInvalidArgument` when a name or a metadata string is not UTF-8, or `kIo`.
void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace resnet

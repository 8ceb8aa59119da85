// The safetensors format: u64 little-endian header length, a JSON header, raw little-endian
// tensors. https://huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"
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
  /// The format's name of an element type that the library has no DType for ("F8_E4M3"); else "".
  /// Such a tensor is known by its description alone.
  std::string foreign = {};
};
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< in file order, without holes or overlaps
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0;  ///< bytes from the start of the file
};

/// The header alone, checked against the file's size; no tensor is read.
/// Throws `kNotFound`, `kIo`, or `kBadData` (not one byte is allocated for a header that lies).
SafetensorsHeader read_safetensors_header(const std::filesystem::path& path);
SafetensorsHeader read_safetensors_header(const ByteSource& source);

/// Throws `kUnsupported`, naming the tensor, when one has an element type without a DType.
void refuse_foreign(const SafetensorsHeader& header, const std::string& file);

/// What becomes of tensors whose element type has no DType.
enum class ForeignTensors : std::uint8_t { kRefuse, kLeaveOut };

/// All tensors and the metadata. Throws like `read_safetensors_header` and, unless they are left
/// out, like `refuse_foreign`.
Safetensors read_safetensors(const std::filesystem::path& path,
                             ForeignTensors foreign = ForeignTensors::kRefuse);

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

/// Writes a file whose tensors are larger than memory, or of lengths that show only in the end. The
/// file has its name when `commit` returns; until then there is a temporary one. Throws as
/// `write_safetensors` does.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& path, std::map<std::string, std::string> metadata);
  ~SafetensorsWriter();
  /// The next bytes of the tensor that the next `end_tensor` names.
  void append(std::span<const std::byte> bytes);
  /// At most 32 tensors with names of at most 64 bytes, which the shape must fit.
  void end_tensor(const std::string& name, DType dtype, const Shape& shape);
  std::uint64_t bytes() const;  ///< written so far
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace resnet

// Files of torch.save: a zip archive, or the older plain sequence of pickles and storages.
// What of Python's objects is understood is listed in docs/FORMATS.md; nothing is ever run.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "core/file.h"
#include "formats/weights_file.h"
#include "resnet/tensor.h"

namespace resnet {

/// What to read of a file.
enum class ReadWeights : std::uint8_t {
  kDescription,  ///< no elements, but the same checks
  kAll,
};

/// Tensors and the numbers and texts beside them, by the path of keys and indices that leads to
/// them. Views of one storage become tensors of their own, in row-major order; a tensor that is in
/// the file under several names is one tensor here too. Throws `kBadData` (damaged, hostile, a
/// whole pickled model) and `kUnsupported` (TorchScript, files from before PyTorch 0.1.10).
WeightsFile read_torch_zip(const ByteSource& source, ReadWeights what);
WeightsFile read_torch_legacy(const ByteSource& source, ReadWeights what);

/// Whether a file that begins so is a legacy one: a pickle of PyTorch's magic number.
bool looks_like_torch_legacy(std::string_view start);

/// An OrderedDict of tensors, as `torch.save(model.state_dict(), path)` writes it: torch.load takes
/// it with weights_only=True, and with mmap=True. Written atomically. Throws `kInvalidArgument`
/// when a name is not UTF-8, `kUnsupported` above 4 GiB, `kIo`.
/// `metadata` stand in the dictionary's attribute "_metadata", below the key "resnet.cpp", where
/// load_state_dict passes over them; the readers above give them back.
void write_torch_file(const std::filesystem::path& path,
                      const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace resnet

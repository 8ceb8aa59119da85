// From the values of a pickle that torch.save wrote to names and tensors.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/file.h"
#include "formats/pickle.h"
#include "formats/torch_file.h"

namespace resnet {

/// Bytes of the storages, whose places the two containers tell differently.
class TorchStorages {
 public:
  virtual ~TorchStorages() = default;
  /// Bytes of that storage, or nothing when there is none of that key.
  virtual std::optional<std::uint64_t> size(const std::string& key) const = 0;
  virtual void read(const std::string& key, std::uint64_t offset,
                    std::span<std::byte> out) const = 0;
};

/// All that the pickle holds, as read_torch_zip and read_torch_legacy give it, but for the format.
/// `source` is the file, for messages; all tensors together take at most four times `bytes`, what
/// its storages may hold, and 1 MiB.
WeightsFile read_tensors(const Pickle& pickle, const TorchStorages& storages,
                         const ByteSource& source, std::uint64_t bytes, std::endian order,
                         ReadWeights what);

}  // namespace resnet

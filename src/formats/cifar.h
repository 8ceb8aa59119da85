// CIFAR-10 and CIFAR-100, binary version (https://www.cs.toronto.edu/~kriz/cifar.html): a folder or
// the .tar.gz as it is downloaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

enum class CifarKind : std::uint8_t { kCifar10, kCifar100 };

struct CifarSplit {
  Tensor images;                            ///< u8 [n, 3, 32, 32], planes red, green, blue
  std::vector<std::int32_t> labels;         ///< [n], 0…9 or 0…99 (fine)
  std::vector<std::int32_t> coarse_labels;  ///< [n], 0…19; empty for CIFAR-10
};

struct Cifar {
  CifarKind kind = CifarKind::kCifar10;
  CifarSplit train;
  CifarSplit test;
  std::vector<std::string> class_names;         ///< 10 or 100: from the files, or "0", "1", …
  std::vector<std::string> coarse_class_names;  ///< 20; empty for CIFAR-10
};

/// `path` is the folder with the .bin files, the folder above it, or an archive of either. All
/// batches must be there; each may hold any number of records. Throws `kNotFound` or `kBadData` (a
/// length that is no multiple of the record, a label out of range), naming the file.
Cifar read_cifar(const std::filesystem::path& path);

/// Whether `read_cifar` is the right reader: a folder or archive that holds a file of CIFAR's
/// names. An archive without one is read to its end.
bool is_cifar(const std::filesystem::path& path);

/// Number of records of one .bin file. `name` is only for messages.
std::size_t count_cifar_records(std::span<const std::byte> bytes, const std::string& name,
                                CifarKind kind);
/// Puts the records of one .bin file behind the `split.labels.size()` that `split` holds; its
/// images tensor must have room for them.
void parse_cifar_batch(std::span<const std::byte> bytes, const std::string& name, CifarKind kind,
                       CifarSplit& split);

}  // namespace resnet

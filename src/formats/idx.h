// IDX, the format of MNIST and its relatives: big-endian sizes, then bytes; plain or gzipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

/// u8 [n, height, width] from a file with magic 0x00000803. Throws `kNotFound` or `kBadData`.
Tensor read_idx_images(const std::filesystem::path& path);
/// [n] from a file with magic 0x00000801. Throws `kNotFound` or `kBadData`.
std::vector<std::int32_t> read_idx_labels(const std::filesystem::path& path);

/// The same from memory, already inflated; `name` is only for messages.
Tensor parse_idx_images(std::span<const std::byte> bytes, const std::string& name);
std::vector<std::int32_t> parse_idx_labels(std::span<const std::byte> bytes,
                                           const std::string& name);

struct IdxSplit {
  Tensor images;                     ///< u8 [n, height, width]
  std::vector<std::int32_t> labels;  ///< [n]
};
struct Idx {
  IdxSplit train;
  IdxSplit test;
};

/// The four files of MNIST's names in a folder: {train,t10k}-{images-idx3,labels-idx1}-ubyte, each
/// plain or .gz. Throws `kNotFound` (naming what is missing) or `kBadData` (also when counts
/// differ).
Idx read_idx_folder(const std::filesystem::path& folder);
/// Whether the folder holds MNIST's training images.
bool is_idx_folder(const std::filesystem::path& folder);

}  // namespace resnet

// NumPy's .npz: a zip of .npy files, stored or deflated.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>

#include "resnet/tensor.h"

namespace resnet {

/// The arrays whose names (without ".npy") `wanted` accepts. Memory grows with what is really
/// unpacked, at most 64 times the file's size, or 256 MiB if that is more. Throws `kNotFound`,
/// `kBadData` (no zip, damaged, an array that is, too large), and what `parse_npy` throws.
std::map<std::string, Tensor> read_npz(const std::filesystem::path& path,
                                       const std::function<bool(const std::string&)>& wanted);

}  // namespace resnet

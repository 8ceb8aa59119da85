// NumPy's .npy format: a magic, a version, a Python dictionary as text, the elements.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "resnet/tensor.h"

namespace resnet {

/// One array, versions 1 to 3, in row-major order and this machine's byte order whatever the file's
/// are. Kinds without a `DType` of their own are widened: i2 and u2 to i32, u4 and u8 to i64 (a u8
/// that does not fit is `kBadData`). `name` is only for messages. Nothing is allocated before the
/// declared shape has been compared with the number of bytes. Throws `kBadData`, or `kUnsupported`
/// for texts, records, complex numbers and objects.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name);

/// The same from a file. Throws also `kNotFound` and `kIo`.
Tensor read_npy(const std::filesystem::path& path);

/// Version 1.0, little-endian, row-major, written atomically. NumPy knows no bf16: written as f32.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace resnet

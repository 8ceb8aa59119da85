// A data set packed into one file, for sets that are larger than memory or slow to decode.
//
//     pack_data({.source = "photos/"}, "photos.pack", {.shorter_side = 256, .threads = 4});
//     DataSplits data = open_data({.source = "photos.pack"});
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "resnet/data.h"

namespace resnet {

enum class PackFormat : std::uint8_t { kRaw, kJpeg };

/// "raw", "jpeg".
std::string_view name_of(PackFormat format);
/// Throws `kInvalidArgument` for another name.
PackFormat parse_pack_format(std::string_view name);

struct PackOptions {
  /// Above 0: squares of this side, cut from the centre after a resize of the shorter side to it.
  int size = 0;
  /// With `size` 0: images whose shorter side is longer are shrunk to it; 0: none is.
  int shorter_side = 256;
  Interpolation interpolation = Interpolation::kBilinear;
  Scale16Bit scale_16bit = Scale16Bit::kClip;  ///< Of 16-bit grey files; what is packed has 8.
  bool upright = true;  ///< Turn photographs by their EXIF orientation, which is not kept.
  /// Raw pixels are exact; JPEG takes a tenth of the room and has to be decoded again.
  PackFormat format = PackFormat::kRaw;
  int quality = 95;  ///< Of JPEG, 1 … 100.
  int threads = 1;
  const std::atomic<bool>* stop = nullptr;  ///< Becomes true: end with `kInterrupted`.
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
};

struct PackReport {
  std::int64_t images = 0;
  std::uint64_t bytes = 0;        ///< Of the file.
  std::vector<BadImage> skipped;  ///< Could not be read; they are not in the file.
  ClippedImages clipped = {};
  std::string description;  ///< "photos: 800 training and 200 validation images …"
};

/// Writes all parts of a data set (train, val, test, as far as it has them) with their labels,
/// class names and file names into one file that `open_data` takes: a safetensors file, see
/// docs/FORMATS.md. It replaces `out` when it is complete; nothing is left of one that is not.
///
/// With raw pixels and the `interpolation` and `upright` of a `Preprocessing`, evaluation sees the
/// same bits as of the original images where `shorter_side` equals its `resize` (or `size` equals
/// all of `resize`, `width` and `height`), and so does training without random resized crops. These
/// are cut from the smaller image then, so that they differ in sharpness and in the last pixel.
///
/// `spec.val_fraction` and `spec.seed` are not used: a data set without a val part is packed as one
/// and divided when it is opened. Throws what `open_data` throws, `kBadData` when no image of a
/// part can be read, `kInvalidArgument`, `kIo`, `kInterrupted`.
PackReport pack_data(const DataSpec& spec, const std::filesystem::path& out,
                     const PackOptions& options = {});

}  // namespace resnet

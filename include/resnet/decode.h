// Images from files that are in memory: uploads, entries of archives, rows of a database.
//
//     resnet::Predictor predictor(resnet::map_model("runs/flowers"));
//     predictor.predict({{.name = "upload", .bytes = body}}, /*top=*/5, {.max_pixels =
//     20'000'000});
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "resnet/image.h"

namespace resnet {

/// What is declared beyond these is refused (kBadData) before memory is taken for it.
struct DecodeLimits {
  std::uint64_t max_bytes = std::uint64_t{1} << 30;  ///< Of the file.
  std::uint64_t max_pixels = 178'956'970;            ///< Width times height; Pillow's limit.
};

struct DecodeOptions {
  bool grey = false;  ///< One channel (ITU-R 601 luma); otherwise three, RGB.
  Scale16Bit scale_16bit = Scale16Bit::kClip;
  bool upright = false;  ///< Turn photographs by their EXIF orientation.
  DecodeLimits limits = {};
};

/// An image file in memory.
struct EncodedImage {
  std::string name = "image";  ///< For messages and `Prediction::path`.
  std::vector<std::byte> bytes;
};

/// Decodes JPEG, PNG, WebP or FITS; the first bytes tell which. Pixels equal those of Pillow's
/// `Image.open(f).convert("RGB")`, or "L", to the bit. Throws kBadData for damaged files and those
/// beyond the limits, kUnsupported for other formats, which it names. Any number of threads may
/// call it.
Image decode(const EncodedImage& image, const DecodeOptions& options = {});
/// The same without a copy of the bytes.
Image decode(std::span<const std::byte> bytes, const DecodeOptions& options = {},
             const std::string& name = "image");

}  // namespace resnet

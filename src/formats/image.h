// Images from bytes: JPEG, PNG, WebP and FITS in, PNG and JPEG out. The format is told by the
// first bytes, never by the name. Pixels equal those of Pillow's `Image.open(f).convert("RGB" or
// "L")` to the bit; FITS, which Pillow leaves linear, is stretched as fits.cpp says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "resnet/image.h"

namespace resnet {

enum class ColorMode : std::uint8_t { kGrey, kRgb };

struct ImageOptions {
  /// Of 16-bit grey PNG; of 16-bit colour the high byte is taken, as Pillow does.
  Scale16Bit scale_16bit = Scale16Bit::kClip;
  /// Above 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, the smallest whose shorter side
  /// is at least this: libjpeg's scaled inverse DCT, a mean over 2×2, 4×4 or 8×8 pixels, roughly.
  int shorter_side = 0;
  /// Asked, once the size is known, for the part that is wanted; what it gives is to lie inside. Of
  /// a JPEG that is not progressive little more than that part is decoded. Damage anywhere in the
  /// file is found nevertheless: whether an image can be read does not depend on the part.
  PartPicker pick = {};
  std::uint64_t max_pixels = 178'956'970;  ///< refuse larger declared sizes (Pillow's limit)
};

/// Decodes one image. The result has 1 channel (`kGrey`) or 3 (`kRgb`); transparency is dropped,
/// as Pillow's `convert` does. Pixels lie as stored, with the EXIF orientation in
/// `Image::orientation`. `name` is only for messages. The declared size is checked against
/// the limit and against the number of bytes before anything is allocated. Throws `kBadData`
/// (damaged, truncated, implausible) or `kUnsupported` (GIF, TIFF, …, named). Thread-safe.
Image decode_image(std::span<const std::byte> bytes, const std::string& name, ColorMode mode,
                   const ImageOptions& options = {});

/// Throws `kInvalidArgument` for a part that is empty or does not lie inside.
Image part_of_image(const Image& image, const Rect& part);

/// Turned and mirrored by its orientation, which becomes 1.
Image upright(Image image);
/// Where `part` of the image turned upright lies in the image of this size as it is stored.
Rect stored_part(const Rect& part, int width, int height, int orientation);

/// Bytes that begin as an image does: one that can be decoded, or one of another format that no
/// text begins like. A dozen bytes are enough.
bool begins_image(std::span<const std::byte> bytes);

/// By extension alone, any case: jpg jpeg png webp fits (also .gz), and also the kinds that
/// `decode_image` refuses by name (gif bmp tif tiff heic heif avif …), so that they are reported
/// and not silently ignored.
bool is_image_path(const std::filesystem::path& path);

/// 8-bit PNG of 1 (grey), 3 (RGB) or 4 (RGBA) channels. The same image gives the same bytes.
/// Throws `kInvalidArgument` when sizes and pixels disagree.
std::vector<std::byte> encode_png(const Image& image);
/// Baseline JPEG of 1 (grey) or 3 (RGB) channels, colour at half the resolution. Throws
/// `kInvalidArgument` when sizes and pixels disagree, or for a quality outside of 1 … 100.
std::vector<std::byte> encode_jpeg(const Image& image, int quality);

}  // namespace resnet

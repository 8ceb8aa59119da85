// What image.cpp shares with the decoders, one file a format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "formats/image.h"

namespace resnet::image {

using Bytes = std::span<const std::byte>;

// Each gives 1 or 3 channels, whichever the file holds.
Image decode_jpeg(Bytes bytes, const std::string& name, const ImageOptions& options);
Image decode_png(Bytes bytes, const std::string& name, const ImageOptions& options);
Image decode_webp(Bytes bytes, const std::string& name, const ImageOptions& options);
/// Plain, and gzipped. How values become pixels is said in fits.cpp.
Image decode_fits(Bytes bytes, const std::string& name, const ImageOptions& options);
Image decode_fits_gzip(Bytes bytes, const std::string& name, const ImageOptions& options);
bool is_fits(Bytes bytes);

/// Refuses a declared size above the limit, or one that a file of `file_bytes` cannot hold when no
/// byte stands for more than `max_pixels_per_byte`.
void check_size(std::uint64_t width, std::uint64_t height, std::uint64_t file_bytes,
                std::uint64_t max_pixels_per_byte, const std::string& name,
                const ImageOptions& options);

/// What `options.pick` wants of an image of this size; all of it if there is no such function.
/// Throws `kInvalidArgument` for a part that is empty or does not lie inside.
Rect wanted_part(const ImageOptions& options, int width, int height, int orientation);

/// For codings in which a byte may stand for any number of pixels: an image that is both large and
/// very dense is an attack; small ones are allowed whatever their length.
constexpr std::uint64_t max_pixels_per_byte(std::uint64_t pixels) {
  constexpr std::uint64_t kHarmlessPixels = std::uint64_t{1} << 24;
  return pixels <= kHarmlessPixels ? kHarmlessPixels : std::uint64_t{1} << 16;
}

/// The orientation in a TIFF block (what follows "Exif\0\0"); 1 when there is none or it is
/// damaged: broken EXIF is common and no reason to refuse an image.
int exif_orientation(Bytes tiff);

}  // namespace resnet::image

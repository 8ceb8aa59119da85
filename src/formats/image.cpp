#include "formats/image.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/check.h"
#include "core/text.h"
#include "formats/image_internal.h"

namespace resnet {
namespace image {

void check_size(std::uint64_t width, std::uint64_t height, std::uint64_t file_bytes,
                std::uint64_t max_pixels_per_byte, const std::string& name,
                const ImageOptions& options) {
  // Decoders give at most 32 bits a side, so the product cannot overflow.
  if (width == 0 || height == 0) {
    fail(ErrorCode::kBadData, "{}: the image declares the size {} x {}; it is damaged", name, width,
         height);
  }
  const std::uint64_t pixels = width * height;
  if (pixels > options.max_pixels) {
    fail(ErrorCode::kBadData,
         "{}: the image declares {} x {} pixels, above the limit of {}; shrink it", name, width,
         height, options.max_pixels);
  }
  if (pixels / max_pixels_per_byte > file_bytes) {
    fail(ErrorCode::kBadData,
         "{}: the image declares {} x {} pixels, which its {} bytes cannot hold; it is damaged",
         name, width, height, file_bytes);
  }
}

namespace {

void check_part(const Rect& part, int width, int height) {
  if (part.left < 0 || part.top < 0 || part.width < 1 || part.height < 1 ||
      part.width > width - part.left || part.height > height - part.top) {
    fail(ErrorCode::kInvalidArgument,
         "{} x {} pixels from ({}, {}) on of an image of {} x {}; expected a part inside it",
         part.width, part.height, part.left, part.top, width, height);
  }
}

}  // namespace

Rect wanted_part(const ImageOptions& options, int width, int height, int orientation) {
  if (!options.pick) return {0, 0, width, height};
  const Rect part = options.pick(width, height, orientation);
  check_part(part, width, height);
  return part;
}

namespace {

using namespace std::string_view_literals;

Image take_part(Image image, const ImageOptions& options) {
  if (!options.pick) return image;
  return part_of_image(image, wanted_part(options, image.width, image.height, image.orientation));
}

bool starts_with(Bytes bytes, std::string_view magic, std::size_t offset = 0) {
  if (bytes.size() < offset + magic.size()) return false;
  return std::equal(magic.begin(), magic.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](char c, std::byte b) { return static_cast<std::byte>(c) == b; });
}

/// The name of a kind of file that we recognise and do not read; empty when we do not know it.
std::string_view recognise(Bytes bytes) {
  struct Magic {
    std::string_view bytes;
    std::size_t offset;
    std::string_view kind;
  };
  static constexpr std::array kMagics = {
      Magic{"GIF8"sv, 0, "GIF"},
      Magic{"BM"sv, 0, "BMP"},
      Magic{"II*\0"sv, 0, "TIFF"},
      Magic{"MM\0*"sv, 0, "TIFF"},
      Magic{"II+\0"sv, 0, "TIFF"},
      Magic{"MM\0+"sv, 0, "TIFF"},
      Magic{"ftypavi"sv, 4, "AVIF"},
      Magic{"ftyphe"sv, 4, "HEIC"},
      Magic{"ftypmif1"sv, 4, "HEIC"},
      Magic{"ftypmsf1"sv, 4, "HEIC"},
      Magic{"%PDF"sv, 0, "PDF"},
      Magic{"\0\0\0\x0cjP  "sv, 0, "JPEG 2000"},
      Magic{"\xff\x4f\xff\x51"sv, 0, "JPEG 2000"},
      Magic{"\0\0\0\x0cJXL "sv, 0, "JPEG XL"},
      Magic{"\xff\x0a"sv, 0, "JPEG XL"},
      Magic{"8BPS"sv, 0, "Photoshop"},
      Magic{"\0\0\1\0"sv, 0, "ICO"},
      Magic{"<svg"sv, 0, "SVG"},
      Magic{"<?xml"sv, 0, "XML or SVG"},
      Magic{"<!DOCTYPE"sv, 0, "a web page"},
      Magic{"<!doctype"sv, 0, "a web page"},
      Magic{"<html"sv, 0, "a web page"},
  };
  for (const Magic& m : kMagics) {
    if (starts_with(bytes, m.bytes, m.offset)) return m.kind;
  }
  return {};
}

constexpr std::string_view kJpeg = "\xff\xd8\xff"sv;
constexpr std::string_view kPng = "\x89PNG\r\n\x1a\n"sv;
constexpr std::string_view kFits = "SIMPLE  ="sv;
constexpr std::string_view kGzip = "\x1f\x8b"sv;  // of FITS

bool is_webp(Bytes bytes) {
  return starts_with(bytes, "RIFF"sv) && starts_with(bytes, "WEBP"sv, 8);
}

Image decode_any(Bytes bytes, const std::string& name, const ImageOptions& options) {
  if (bytes.empty()) fail(ErrorCode::kBadData, "{}: the file is empty", name);
  if (starts_with(bytes, kJpeg)) return decode_jpeg(bytes, name, options);
  if (starts_with(bytes, kPng)) return take_part(decode_png(bytes, name, options), options);
  if (is_webp(bytes)) return take_part(decode_webp(bytes, name, options), options);
  if (is_fits(bytes)) return take_part(decode_fits(bytes, name, options), options);
  if (starts_with(bytes, kGzip)) {
    return take_part(decode_fits_gzip(bytes, name, options), options);
  }
  const std::string_view kind = recognise(bytes);
  if (kind.empty()) {
    fail(ErrorCode::kBadData,
         "{}: expected a JPEG, PNG, WebP or FITS image, found something else; remove or convert "
         "it",
         name);
  }
  fail(ErrorCode::kUnsupported, "{}: {} is not supported; convert it to PNG or JPEG", name, kind);
}

/// ITU-R 601 luma in Pillow's fixed point.
std::uint8_t luma(const std::uint8_t* rgb) {
  return static_cast<std::uint8_t>((rgb[0] * 19595U + rgb[1] * 38470U + rgb[2] * 7471U + 0x8000U) >>
                                   16);
}

Image to_mode(Image image, ColorMode mode) {
  const int channels = mode == ColorMode::kGrey ? 1 : 3;
  if (image.channels == channels) return image;
  Image out(image.width, image.height, channels);
  out.orientation = image.orientation;
  out.clipped = image.clipped;
  if (channels == 1) {
    for (std::size_t i = 0; i < out.pixels.size(); ++i) out.pixels[i] = luma(&image.pixels[i * 3]);
  } else {
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      std::fill_n(&out.pixels[i * 3], 3, image.pixels[i]);
    }
  }
  return out;
}

}  // namespace

bool is_fits(Bytes bytes) { return starts_with(bytes, kFits); }

}  // namespace image

Image decode_image(std::span<const std::byte> bytes, const std::string& name, ColorMode mode,
                   const ImageOptions& options) {
  return image::to_mode(image::decode_any(bytes, name, options), mode);
}

Image part_of_image(const Image& image, const Rect& part) {
  image::check_part(part, image.width, image.height);
  Image out(part.width, part.height, image.channels);
  out.orientation = image.orientation;
  out.clipped = image.clipped;
  const auto bytes = static_cast<std::size_t>(part.width * image.channels);
  for (int y = 0; y < part.height; ++y) {
    std::copy_n(image.row(part.top + y) + part.left * image.channels, bytes, out.row(y));
  }
  return out;
}

bool begins_image(std::span<const std::byte> bytes) {
  using namespace image;
  if (starts_with(bytes, kJpeg) || starts_with(bytes, kPng) || is_webp(bytes) || is_fits(bytes) ||
      starts_with(bytes, kGzip)) {
    return true;
  }
  constexpr std::size_t kEnough = 12;
  const auto is_control = [](std::byte b) {
    const auto c = std::to_integer<unsigned char>(b);
    return c < 0x20 && c != '\n' && c != '\r' && c != '\t';
  };
  return !recognise(bytes).empty() &&
         std::ranges::any_of(bytes.first(std::min(bytes.size(), kEnough)), is_control);
}

bool is_image_path(const std::filesystem::path& path) {
  static constexpr std::array<std::string_view, 24> kExtensions = {
      ".jpg", ".jpeg", ".jpe",  ".jfif", ".png",  ".webp",    ".gif",    ".bmp",
      ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2",     ".jxl",    ".ppm",
      ".pgm", ".fits", ".fit",  ".fts",  ".fz",   ".fits.gz", ".fit.gz", ".fts.gz"};
  const std::string name = lower(path.filename().string());
  return std::any_of(kExtensions.begin(), kExtensions.end(), [&](std::string_view extension) {
    return name.size() > extension.size() && name.ends_with(extension);
  });
}

}  // namespace resnet

#include "formats/image.h"

#include <zlib.h>

#include <cstring>

#include "fuzz.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

/// Almost every change to a PNG breaks a checksum and would end there: make the checksums right
/// again.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  constexpr std::size_t kSignature = 8;
  constexpr std::size_t kAround = 12;  // a chunk's length, kind and checksum
  const bool keep_broken = seed % 16 == 0;
  if (size < kSignature || std::memcmp(data, "\x89PNG", 4) != 0 || keep_broken) return size;
  for (std::size_t at = kSignature; size - at >= kAround;) {
    const std::size_t length = std::size_t{data[at]} << 24 | std::size_t{data[at + 1]} << 16 |
                               std::size_t{data[at + 2]} << 8 | data[at + 3];
    if (length > size - at - kAround) break;
    const uLong crc = crc32(0, data + at + 4, static_cast<uInt>(length + 4));
    for (std::size_t i = 0; i < 4; ++i) {
      data[at + 8 + length + i] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
    }
    at += kAround + length;
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  ImageOptions options;
  options.max_pixels = 1 << 18;  // so that a second holds many images
  options.scale_16bit = static_cast<Scale16Bit>(size % 8);
  for (const ColorMode mode : {ColorMode::kRgb, ColorMode::kGrey}) {
    fuzz::expect_no_other_error([&] {
      const Image image = decode_image(fuzz::bytes_of(data, size), "fuzz", mode, options);
      const auto pixels =
          static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
      fuzz::require(pixels > 0 && pixels <= options.max_pixels);
      fuzz::require(image.channels == (mode == ColorMode::kRgb ? 3 : 1));
      fuzz::require(image.pixels.size() == pixels * static_cast<std::size_t>(image.channels));
    });
  }
  // A part is a piece of the whole, and can be read where that can.
  Image whole;
  bool sound = false;
  fuzz::expect_no_other_error([&] {
    whole = decode_image(fuzz::bytes_of(data, size), "fuzz", ColorMode::kRgb, options);
    sound = true;
  });
  if (!sound) return 0;
  const int seed = size > 0 ? data[size - 1] : 0;
  Rect part;
  options.pick = [&](int width, int height, int) {
    part = {seed % width, seed / 2 % height, 0, 0};
    part.width = 1 + seed / 3 % (width - part.left);
    part.height = 1 + seed / 5 % (height - part.top);
    return part;
  };
  const Image image = decode_image(fuzz::bytes_of(data, size), "fuzz", ColorMode::kRgb, options);
  fuzz::require(image.pixels == part_of_image(whole, part).pixels);
  return 0;
}

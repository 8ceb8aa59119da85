// The one EXIF tag that changes what an image shows.
#include <algorithm>
#include <utility>

#include "formats/image_internal.h"

namespace resnet {
namespace image {

int exif_orientation(Bytes tiff) {
  constexpr std::uint32_t kOrientationTag = 0x0112;
  constexpr std::uint32_t kShort = 3;
  const auto at = [&](std::size_t i) { return std::to_integer<std::uint32_t>(tiff[i]); };
  if (tiff.size() < 8) return 1;
  const bool little = at(0) == 'I' && at(1) == 'I';
  if (!little && !(at(0) == 'M' && at(1) == 'M')) return 1;
  const auto u16 = [&](std::size_t i) {
    return little ? at(i) | at(i + 1) << 8 : at(i) << 8 | at(i + 1);
  };
  const auto u32 = [&](std::size_t i) {
    return little ? u16(i) | u16(i + 2) << 16 : u16(i) << 16 | u16(i + 2);
  };
  if (u16(2) != 42) return 1;
  const std::size_t directory = u32(4);
  if (directory > tiff.size() - 2) return 1;
  const std::size_t entries = u16(directory);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * 12;
    if (entry + 12 > tiff.size()) return 1;
    if (u16(entry) != kOrientationTag) continue;
    const std::uint32_t value = u16(entry + 2) == kShort ? u16(entry + 8) : 1;
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

namespace {

/// What makes an image upright: mirroring it as it is stored, then swapping rows and columns.
struct Turn {
  bool mirror_x = false;
  bool mirror_y = false;
  bool swaps = false;
};

Turn turn_of(int o) {
  if (o <= 1 || o > 8) return {};
  return {o == 2 || o == 3 || o == 7 || o == 8, o == 3 || o == 4 || o == 6 || o == 7, o >= 5};
}

}  // namespace
}  // namespace image

Image upright(Image image) {
  const int orientation = std::exchange(image.orientation, 1);
  if (orientation <= 1 || orientation > 8) return image;
  const int w = image.width;
  const int h = image.height;
  const auto [mirror_x, mirror_y, swaps] = image::turn_of(orientation);
  Image out(swaps ? h : w, swaps ? w : h, image.channels);
  const auto channels = static_cast<std::size_t>(image.channels);
  for (int y = 0; y < out.height; ++y) {
    std::uint8_t* to = out.row(y);
    for (int x = 0; x < out.width; ++x, to += channels) {
      const int u = swaps ? y : x;  // where the pixel comes from, before mirroring
      const int v = swaps ? x : y;
      const std::uint8_t* from = image.row(mirror_y ? h - 1 - v : v) +
                                 static_cast<std::size_t>(mirror_x ? w - 1 - u : u) * channels;
      std::copy_n(from, channels, to);
    }
  }
  return out;
}

Rect stored_part(const Rect& part, int width, int height, int orientation) {
  const image::Turn turn = image::turn_of(orientation);
  Rect stored = part;
  if (turn.swaps) stored = {part.top, part.left, part.height, part.width};
  if (turn.mirror_x) stored.left = width - stored.left - stored.width;
  if (turn.mirror_y) stored.top = height - stored.top - stored.height;
  return stored;
}

}  // namespace resnet

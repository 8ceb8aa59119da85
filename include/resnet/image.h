// A decoded picture in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace resnet {

/// 8-bit pixels, interleaved, rows from top to bottom: `pixels[(y * width + x) * channels + c]`.
struct Image {
  int width = 0;
  int height = 0;
  int channels = 3;  ///< 1 grey, 3 RGB, 4 RGBA
  /// EXIF's, of a decoded photograph: how its pixels lie; 1 is upright, see `upright`.
  int orientation = 1;
  std::vector<std::uint8_t> pixels;

  Image() = default;
  Image(int w, int h, int c)
      : width(w),
        height(h),
        channels(c),
        pixels(static_cast<std::size_t>(w) * static_cast<std::size_t>(h) *
               static_cast<std::size_t>(c)) {}
  std::uint8_t* row(int y) {
    return pixels.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width * channels);
  }
  const std::uint8_t* row(int y) const {
    return pixels.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width * channels);
  }
};

/// A part of a picture, in pixels.
struct Rect {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
  bool operator==(const Rect&) const = default;
};

/// Chooses a part of a picture of which only the size and the EXIF orientation are known yet; both
/// the size and the part as the pixels are stored.
using PartPicker = std::function<Rect(int width, int height, int orientation)>;

}  // namespace resnet

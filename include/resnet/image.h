// A decoded picture in memory.
#pragma once

#include <cstdint>
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

}  // namespace resnet

// A decoded image in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace resnet {

/// How 16-bit grey values v (of PNG) become bytes. A microscope or a 12-bit camera uses a part of
/// the range only, so that one has to be chosen. FITS always takes `kAsinh`.
enum class Scale16Bit : std::uint8_t {
  kClip,        ///< min(v, 255), as Pillow and torchvision do: what is brighter becomes white.
  kHighByte,    ///< v / 256, rounded down: the whole range, as 16-bit colour is read.
  k10Bit,       ///< min(1, v / 1023) · 255, rounded.
  k12Bit,       ///< The same with 4095.
  k14Bit,       ///< The same with 16383.
  kRange,       ///< (v − least) / (most − least) · 255 of each image's own values, rounded.
  kPercentile,  ///< The same between the percentiles 0.25 and 99.75, and clipped there.
  kAsinh,       ///< The latter, y in 0 … 1, as asinh(y / 0.1) / asinh(1 / 0.1) · 255.
};

/// "clip", "high-byte", "10bit", "12bit", "14bit", "range", "percentile", "asinh".
std::string_view name_of(Scale16Bit scale);
/// Throws `kInvalidArgument` for another name, listing these.
Scale16Bit parse_scale_16bit(std::string_view name);

/// 8-bit pixels, interleaved, rows from top to bottom: `pixels[(y * width + x) * channels + c]`.
struct Image {
  int width = 0;
  int height = 0;
  int channels = 3;  ///< 1 grey, 3 RGB, 4 RGBA
  /// EXIF's, of a decoded photograph: how its pixels lie; 1 is upright, see `upright`.
  int orientation = 1;
  /// Decoded with `Scale16Bit::kClip` from 16-bit values of which some were above 255.
  bool clipped = false;
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

/// A part of an image, in pixels.
struct Rect {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
  bool operator==(const Rect&) const = default;
};

/// Chooses a part of an image of which only the size and the EXIF orientation are known yet; both
/// the size and the part as the pixels are stored.
using PartPicker = std::function<Rect(int width, int height, int orientation)>;

}  // namespace resnet

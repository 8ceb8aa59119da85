// Pillow's Image.resize for 8-bit images, bit for bit, as Pillow 13 does it (Resample.c and
// Geometry.c of its libImaging are the description). An image is filtered along its rows, rounded
// to 8 bits, then along its columns; where the height shrinks by more than twice as many pixels as
// the width, columns come first. The filter's support grows with the scale, so shrinking averages
// over everything that falls into a pixel.
//
// Pillow 2.7 to 12 filtered rows first (but for images over 100 times as tall as wide). Resize of
// the shorter side differs from theirs, by one in single values, only where an image more than
// twice as tall as wide shrinks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "resnet/data.h"

namespace resnet {

/// Pixels that belong to somebody else. Crops, flips and quarter turns only change these numbers.
struct ImageView {
  const std::uint8_t* data = nullptr;  ///< of the top left pixel
  int width = 0;
  int height = 0;
  int channels = 3;
  std::ptrdiff_t step_x = 3;  ///< bytes from a pixel to its right neighbour
  std::ptrdiff_t step_y = 0;  ///< bytes from a pixel to the one below

  ImageView() = default;
  explicit ImageView(const Image& image)
      : data(image.pixels.data()),
        width(image.width),
        height(image.height),
        channels(image.channels),
        step_x(image.channels),
        step_y(std::ptrdiff_t{image.width} * image.channels) {}
  const std::uint8_t* at(int x, int y) const { return data + x * step_x + y * step_y; }
  ImageView crop(int left, int top, int w, int h) const;
  ImageView flipped_horizontally() const;
  ImageView flipped_vertically() const;
  ImageView turned() const;  ///< by 90 degrees, counter-clockwise
};

/// One axis of a resampling: output i is the sum of count[i] inputs from first[i] on, weighted with
/// 22-bit fixed-point numbers at weights[i · stride].
struct FilterAxis {
  int stride = 0;
  std::vector<int> first;
  std::vector<int> count;
  std::vector<std::int32_t> weights;
  std::vector<double> exact;  ///< before rounding; scratch
};

struct ResampleScratch {
  FilterAxis x;
  FilterAxis y;
  Image between;
};

/// The part `region` of what resizing `source` to width x height gives; `out` becomes that part.
/// Only what the part needs is computed. Pixels of a row must be adjacent (step_x = channels).
void resample(const ImageView& source, int width, int height, const Rect& region,
              Interpolation interpolation, ResampleScratch& scratch, Image& out);

/// Gives `image` this shape, upright, keeping its memory where that is enough.
void reshape(Image& image, int width, int height, int channels);

/// Width and height after torchvision's Resize(shorter).
ImageSize resized_size(int width, int height, int shorter);

}  // namespace resnet

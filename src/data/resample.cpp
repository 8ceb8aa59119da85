#include "data/resample.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/guard.h"
#include "data/resample_kernels.h"

namespace resnet {
namespace {

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

double cubic(double x) {  // Keys' kernel with a = −0.5, evaluated in Pillow's order
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0.0;
}

std::int32_t fixed_point(double weight) {
  constexpr double kOne = 1 << kFilterBits;
  return static_cast<std::int32_t>((weight < 0 ? -0.5 : 0.5) + weight * kOne);
}

/// Weights of outputs begin … begin + n − 1 of `out_size`.
void plan_axis(int in_size, int out_size, int begin, int n, Interpolation interpolation,
               FilterAxis& axis) {
  const bool bicubic = interpolation == Interpolation::kBicubic;
  const double scale = static_cast<double>(in_size) / out_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = (bicubic ? 2.0 : 1.0) * filter_scale;
  const double inverse = 1.0 / filter_scale;
  axis.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  const auto count = static_cast<std::size_t>(n);
  axis.first.resize(count);
  axis.count.resize(count);
  axis.weights.assign(count * static_cast<std::size_t>(axis.stride), 0);
  axis.exact.resize(static_cast<std::size_t>(axis.stride));
  for (std::size_t i = 0; i < count; ++i) {
    const double center = (begin + static_cast<int>(i) + 0.5) * scale;
    const int low = std::max(0, static_cast<int>(center - support + 0.5));
    const int high = std::min(in_size, static_cast<int>(center + support + 0.5));
    double total = 0;
    for (int j = low; j < high; ++j) {
      const double x = (j - center + 0.5) * inverse;
      const double w = bicubic ? cubic(x) : triangle(x);
      axis.exact[static_cast<std::size_t>(j - low)] = w;
      total += w;
    }
    std::int32_t* weights = axis.weights.data() + i * static_cast<std::size_t>(axis.stride);
    for (int j = 0; j < high - low; ++j) {
      const double w = axis.exact[static_cast<std::size_t>(j)];
      weights[j] = fixed_point(total != 0 ? w / total : w);
    }
    axis.first[i] = low;
    axis.count[i] = high - low;
  }
}

void copy_region(const ImageView& source, const Rect& region, Image& out) {
  const auto bytes = static_cast<std::size_t>(region.width * source.channels);
  for (int y = 0; y < region.height; ++y) {
    std::memcpy(out.row(y), source.at(region.left, region.top + y), bytes);
  }
}

/// Pillow walks in steps of the scale and truncates; adding up repeats its rounding.
void resample_nearest(const ImageView& source, int width, int height, const Rect& region,
                      Image& out) {
  const double scale_x = static_cast<double>(source.width) / width;
  const double scale_y = static_cast<double>(source.height) / height;
  std::vector<int> columns;
  double x = scale_x * 0.5;
  for (int i = 0; i < region.left + region.width; ++i, x += scale_x) {
    if (i >= region.left) columns.push_back(std::min(static_cast<int>(x), source.width - 1));
  }
  double y = scale_y * 0.5;
  for (int i = 0; i < region.top; ++i) y += scale_y;
  for (int i = 0; i < region.height; ++i, y += scale_y) {
    const std::uint8_t* row = source.at(0, std::min(static_cast<int>(y), source.height - 1));
    std::uint8_t* to = out.row(i);
    for (const int column : columns) {
      for (int c = 0; c < source.channels; ++c) *to++ = row[column * source.step_x + c];
    }
  }
}

/// Each row of `source`, which begins with column `offset` of what `x` was planned for.
void filter_rows(const ImageView& source, const FilterAxis& x, int offset, Image& out) {
  for (int row = 0; row < source.height; ++row) {
    // Behind any row but the last there is another one to read from.
    filter_row(source.at(-offset, row), source.channels, x.first.data(), x.count.data(),
               x.weights.data(), x.stride, out.width, row + 1 < source.height, out.row(row));
  }
}

/// The same down the columns; `source` begins with row `offset`.
void filter_columns(const ImageView& source, const FilterAxis& y, int offset, Image& out) {
  for (int row = 0; row < out.height; ++row) {
    const auto i = static_cast<std::size_t>(row);
    filter_column(source.at(0, y.first[i] - offset), source.step_y,
                  &y.weights[i * static_cast<std::size_t>(y.stride)], y.count[i],
                  out.width * source.channels, out.row(row));
  }
}

/// Pillow 13's choice, whether or not it is faster here: the order shows in the last bit.
bool columns_first(const ImageView& source, int width, int height) {
  const std::int64_t fewer_rows = std::int64_t{source.height} - height;
  return fewer_rows > 0 && fewer_rows > 2 * (std::int64_t{source.width} - width);
}

}  // namespace

ImageView ImageView::crop(int left, int top, int w, int h) const {
  ImageView view = *this;
  view.data = at(left, top);
  view.width = w;
  view.height = h;
  return view;
}

ImageView ImageView::flipped_horizontally() const {
  ImageView view = *this;
  view.data = at(width - 1, 0);
  view.step_x = -step_x;
  return view;
}

ImageView ImageView::flipped_vertically() const {
  ImageView view = *this;
  view.data = at(0, height - 1);
  view.step_y = -step_y;
  return view;
}

ImageView ImageView::turned() const {  // new (x, y) shows old (width − 1 − y, x)
  ImageView view = *this;
  view.data = at(width - 1, 0);
  view.width = height;
  view.height = width;
  view.step_x = step_y;
  view.step_y = -step_x;
  return view;
}

void reshape(Image& image, int width, int height, int channels) {
  image.clipped = false;
  image.width = width;
  image.height = height;
  image.channels = channels;
  image.orientation = 1;
  image.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) *
                      static_cast<std::size_t>(channels));
}

ImageSize resized_size(int width, int height, int shorter) {
  const auto scaled = [&](int longer, int shortest) {
    const double length = static_cast<double>(std::int64_t{shorter} * longer) / shortest;
    if (length > 1 << 24) {
      fail(ErrorCode::kBadData,
           "an image of {} x {} pixels is too thin to be resized to a shorter side of {}; remove "
           "it or crop it first",
           width, height, shorter);
    }
    return static_cast<int>(length);
  };
  if (width <= height) return {shorter, scaled(height, width)};
  return {scaled(width, height), shorter};
}

void resample(const ImageView& source, int width, int height, const Rect& region,
              Interpolation interpolation, ResampleScratch& scratch, Image& out) {
  RESNET_CHECK(source.step_x == source.channels && source.width > 0 && source.height > 0);
  RESNET_CHECK(region.left >= 0 && region.top >= 0 && region.left + region.width <= width &&
               region.top + region.height <= height);
  const int channels = source.channels;
  reshape(out, region.width, region.height, channels);
  const bool along_x = width != source.width;
  const bool along_y = height != source.height;
  if (!along_x && !along_y) return copy_region(source, region, out);
  if (interpolation == Interpolation::kNearest) {
    return resample_nearest(source, width, height, region, out);
  }

  const FilterAxis& x = scratch.x;
  const FilterAxis& y = scratch.y;
  if (along_x) plan_axis(source.width, width, region.left, region.width, interpolation, scratch.x);
  if (along_y)
    plan_axis(source.height, height, region.top, region.height, interpolation, scratch.y);
  Image& between = scratch.between;
  if (!along_x) {
    filter_columns(source.crop(region.left, 0, region.width, source.height), y, 0, out);
  } else if (!along_y) {
    filter_rows(source.crop(0, region.top, source.width, region.height), x, 0, out);
  } else if (columns_first(source, width, height)) {
    const int low = x.first.front();
    reshape(between, x.first.back() + x.count.back() - low, region.height, channels);
    filter_columns(source.crop(low, 0, between.width, source.height), y, 0, between);
    filter_rows(ImageView(between), x, low, out);
  } else {
    const int low = y.first.front();
    reshape(between, region.width, y.first.back() + y.count.back() - low, channels);
    filter_rows(source.crop(0, low, source.width, between.height), x, 0, between);
    filter_columns(ImageView(between), y, low, out);
  }
}

Image resize(const Image& image, int width, int height, Interpolation interpolation) try {
  if (width < 1 || height < 1 || image.width < 1 || image.height < 1) {
    fail(ErrorCode::kInvalidArgument,
         "cannot resize an image of {} x {} to {} x {}: sides must be at least 1 pixel",
         image.width, image.height, width, height);
  }
  ResampleScratch scratch;
  Image out;
  resample(ImageView(image), width, height, {0, 0, width, height}, interpolation, scratch, out);
  return out;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

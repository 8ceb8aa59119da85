#include "data/transform.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/guard.h"
#include "formats/image.h"

namespace resnet {
namespace {

constexpr int kMaxSide = 1 << 15;  // of a network's input

std::uint8_t luma(const std::uint8_t* rgb) {  // ITU-R 601-2 in 16-bit fixed point, as Pillow's "L"
  return static_cast<std::uint8_t>((rgb[0] * 19595U + rgb[1] * 38470U + rgb[2] * 7471U + 0x8000U) >>
                                   16);
}

/// Where a length of `size` meets a crop of `crop`: in the centre, torchvision pads first, then
/// crops, and rounds halves to even.
struct CropSpan {
  int begin;  ///< first pixel kept
  int count;  ///< pixels kept
  int pad;    ///< black pixels before them
};
CropSpan center_span(int size, int crop) {
  if (size < crop) return {0, size, (crop - size) / 2};
  return {static_cast<int>(std::nearbyint((size - crop) / 2.0)), crop, 0};
}
CropSpan corner_span(int size, int crop, bool at_end) {
  if (size < crop) return center_span(size, crop);
  return {at_end ? size - crop : 0, crop, 0};
}

}  // namespace

std::string_view name_of(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::kNearest: return "nearest";
    case Interpolation::kBilinear: return "bilinear";
    case Interpolation::kBicubic: return "bicubic";
  }
  return "?";
}

Interpolation parse_interpolation(std::string_view name) {
  for (const auto i :
       {Interpolation::kNearest, Interpolation::kBilinear, Interpolation::kBicubic}) {
    if (name == name_of(i)) return i;
  }
  fail(ErrorCode::kInvalidArgument,
       "unknown interpolation \"{}\"; expected nearest, bilinear or bicubic", name);
}

void check_preprocessing(const Preprocessing& s) {
  if (s.height < 1 || s.width < 1 || s.height > kMaxSide || s.width > kMaxSide || s.resize < 0 ||
      s.resize > kMaxSide) {
    fail(ErrorCode::kInvalidArgument,
         "preprocessing to {} x {} pixels after a resize to {}: expected sides of 1 to {} and a "
         "resize of 0 (none) to {}",
         s.width, s.height, s.resize, kMaxSide, kMaxSide);
  }
  if (s.channels != 1 && s.channels != 3) {
    fail(ErrorCode::kInvalidArgument, "preprocessing to {} channels; expected 1 (grey) or 3 (RGB)",
         s.channels);
  }
  for (std::size_t c = 0; c < static_cast<std::size_t>(s.channels); ++c) {
    if (!std::isfinite(s.mean[c]) || !std::isfinite(s.std[c]) || s.std[c] <= 0) {
      fail(ErrorCode::kInvalidArgument,
           "preprocessing with mean {} and std {} in channel {}; expected finite numbers and a "
           "positive std",
           s.mean[c], s.std[c], c);
    }
  }
}

void convert_channels(const Image& image, int channels, Image& out) try {
  const int from = image.channels;
  const auto known = [](int c) { return c == 1 || c == 3 || c == 4; };
  if (!known(from) || !known(channels) || image.width < 1 || image.height < 1) {
    fail(ErrorCode::kInvalidArgument,
         "cannot convert an image of {} x {} pixels and {} channels to {} channels; expected 1, 3 "
         "or 4",
         image.width, image.height, from, channels);
  }
  reshape(out, image.width, image.height, channels);
  const std::uint8_t* p = image.pixels.data();
  const std::uint8_t* end = p + image.pixels.size();
  std::uint8_t* q = out.pixels.data();
  if (from == channels) {
    std::memcpy(q, p, image.pixels.size());
    return;
  }
  for (; p < end; p += from, q += channels) {
    if (channels == 1) {
      *q = luma(p);
      continue;
    }
    for (int c = 0; c < 3; ++c) q[c] = p[from == 1 ? 0 : c];
    if (channels == 4) q[3] = 255;
  }
} catch (...) {
  throw_as_error();
}

Image convert_channels(const Image& image, int channels) try {
  Image out;
  convert_channels(image, channels, out);
  return out;
} catch (...) {
  throw_as_error();
}

const Image& prepared(const Image& image, const Preprocessing& settings, Image& scratch) {
  const bool turn = settings.upright && image.orientation > 1;
  if (turn) scratch = upright(image);
  const Image& source = turn ? scratch : image;
  if (source.channels == settings.channels && source.width > 0 && source.height > 0) return source;
  if (turn) {
    scratch = convert_channels(scratch, settings.channels);
  } else {
    convert_channels(image, settings.channels, scratch);
  }
  return scratch;
}

namespace {

int reflected(int i, int n) {
  if (n == 1) return 0;
  const int period = 2 * (n - 1);
  i = ((i % period) + period) % period;
  return i < n ? i : period - i;
}

}  // namespace

ImageView shifted(const ImageView& image, int dx, int dy, Image& out) {
  const int width = image.width, channels = image.channels;
  reshape(out, width, image.height, channels);
  const auto copy = [&](const std::uint8_t* from, std::uint8_t* to, int pixels) {
    std::memcpy(to, from, static_cast<std::size_t>(pixels * channels));
  };
  // Columns [begin, end) need no mirror, and lie one behind the other unless the view is turned.
  const bool in_order = image.step_x == channels;
  const int begin = in_order ? std::clamp(dx, 0, width) : 0;
  const int end = in_order ? std::clamp(width + dx, begin, width) : 0;
  for (int y = 0; y < out.height; ++y) {
    const int row = reflected(y - dy, image.height);
    std::uint8_t* to = out.row(y);
    const auto mirror = [&](int x) {
      copy(image.at(reflected(x - dx, width), row), to + x * channels, 1);
    };
    for (int x = 0; x < begin; ++x) mirror(x);
    if (end > begin) copy(image.at(begin - dx, row), to + begin * channels, end - begin);
    for (int x = end; x < width; ++x) mirror(x);
  }
  return ImageView(out);
}

ImageView fit(const ImageView& source, const Preprocessing& s, const View& view,
              FitScratch& scratch) {
  ImageSize size{source.width, source.height};
  if (s.resize > 0) size = resized_size(source.width, source.height, s.resize);
  CropSpan x = center_span(size.width, s.width);
  CropSpan y = center_span(size.height, s.height);
  if (view.corner != Corner::kCenter) {
    const bool right = view.corner == Corner::kTopRight || view.corner == Corner::kBottomRight;
    const bool bottom = view.corner == Corner::kBottomLeft || view.corner == Corner::kBottomRight;
    x = corner_span(size.width, s.width, right);
    y = corner_span(size.height, s.height, bottom);
  }
  if (view.mirrored) {  // where the part lies before mirroring, which comes last here
    x.begin = size.width - x.begin - x.count;
    x.pad = s.width - x.count - x.pad;
  }
  const auto faced = [&](const ImageView& part) {
    const ImageView turned = view.mirrored ? part.flipped_horizontally() : part;
    return view.shift == 0 ? turned : shifted(turned, view.shift, view.shift, scratch.shifted);
  };
  ImageView kept;
  if (size == ImageSize{source.width, source.height}) {
    kept = source.crop(x.begin, y.begin, x.count, y.count);
  } else {
    resample(source, size.width, size.height, {x.begin, y.begin, x.count, y.count}, s.interpolation,
             scratch.resample, scratch.part);
    kept = ImageView(scratch.part);
  }
  if (kept.width == s.width && kept.height == s.height) return faced(kept);

  reshape(scratch.padded, s.width, s.height, source.channels);
  std::fill(scratch.padded.pixels.begin(), scratch.padded.pixels.end(), std::uint8_t{0});
  for (int row = 0; row < kept.height; ++row) {
    std::memcpy(scratch.padded.row(y.pad + row) + x.pad * source.channels, kept.at(0, row),
                static_cast<std::size_t>(kept.width * source.channels));
  }
  return faced(ImageView(scratch.padded));
}

Normalizer::Normalizer(const Preprocessing& settings) : table_{} {
  check_preprocessing(settings);
  for (std::size_t c = 0; c < static_cast<std::size_t>(settings.channels); ++c) {
    for (std::size_t v = 0; v < 256; ++v) {
      table_[c][v] = (static_cast<float>(v) / 255.0F - settings.mean[c]) / settings.std[c];
    }
  }
}

void Normalizer::write(const ImageView& view, float* out, DataLayout layout) const {
  const std::ptrdiff_t plane = std::ptrdiff_t{view.width} * view.height;
  const float* red = table_[0].data();
  const float* green = table_[1].data();
  const float* blue = table_[2].data();
  for (int y = 0; y < view.height; ++y) {
    const std::uint8_t* p = view.at(0, y);
    if (view.channels == 1) {
      for (int x = 0; x < view.width; ++x, p += view.step_x) *out++ = red[*p];
    } else if (layout == DataLayout::kNHWC) {
      for (int x = 0; x < view.width; ++x, p += view.step_x) {
        *out++ = red[p[0]];
        *out++ = green[p[1]];
        *out++ = blue[p[2]];
      }
    } else {
      for (int x = 0; x < view.width; ++x, p += view.step_x, ++out) {
        out[0] = red[p[0]];
        out[plane] = green[p[1]];
        out[2 * plane] = blue[p[2]];
      }
    }
  }
}

float sharpness_of(const float* input, const Preprocessing& s, DataLayout layout) {
  constexpr int kMostRows = 64;  // of a large image every so many are enough
  const bool interleaved = layout == DataLayout::kNHWC;
  const std::ptrdiff_t step = interleaved ? s.channels : 1, stride = step * s.width;
  const float* plane = input;
  if (s.channels == 3) plane += interleaved ? 1 : std::ptrdiff_t{s.width} * s.height;
  const int every = std::max(1, (s.height - 2) / kMostRows);
  double laplacian = 0, gradient = 0;
  for (int y = 1; y + 1 < s.height; y += every) {
    const float* p = plane + y * stride + step;
    float row_laplacian = 0, row_gradient = 0;
    for (int x = 1; x + 1 < s.width; ++x, p += step) {
      const float right = p[step], below = p[stride];
      row_laplacian += std::abs(4 * *p - p[-step] - right - p[-stride] - below);
      row_gradient += (std::abs(right - *p) + std::abs(below - *p)) / 2;
    }
    laplacian += row_laplacian;
    gradient += row_gradient;
  }
  return gradient > 0 ? static_cast<float>(laplacian / gradient) : 0;
}

Image preprocess_pixels(const Image& image, const Preprocessing& settings, const View& view) try {
  check_preprocessing(settings);
  Image spare;
  FitScratch scratch;
  const ImageView seen = fit(ImageView(prepared(image, settings, spare)), settings, view, scratch);
  Image out(seen.width, seen.height, seen.channels);
  std::uint8_t* to = out.pixels.data();
  for (int y = 0; y < seen.height; ++y) {
    for (int x = 0; x < seen.width; ++x, to += seen.channels) {
      std::memcpy(to, seen.at(x, y), static_cast<std::size_t>(seen.channels));
    }
  }
  return out;
} catch (...) {
  throw_as_error();
}

void preprocess(const Image& image, const Preprocessing& settings, float* out, DataLayout layout,
                const View& view) try {
  const Normalizer normalizer(settings);
  Image spare;
  FitScratch scratch;
  const Image& source = prepared(image, settings, spare);
  normalizer.write(fit(ImageView(source), settings, view, scratch), out, layout);
} catch (...) {
  throw_as_error();
}

std::vector<View> evaluation_views(int crops, bool flip, int shift) {
  if (shift < 0) fail(ErrorCode::kInvalidArgument, "a shift of {}; expected at least 0", shift);
  std::vector<View> views;
  if (crops == 5 || crops == 10) {
    views = {{Corner::kTopLeft},
             {Corner::kTopRight},
             {Corner::kBottomLeft},
             {Corner::kBottomRight},
             {Corner::kCenter}};
  } else if (crops == 1) {
    views = {{Corner::kCenter}};
  } else {
    fail(ErrorCode::kInvalidArgument, "{} crops of an image; expected 1, 5 or 10", crops);
  }
  if (crops == 10 || flip) {
    const std::size_t n = views.size();
    for (std::size_t i = 0; i < n; ++i) views.push_back({views[i].corner, true});
  }
  const std::size_t unmoved = shift == 0 ? 0 : views.size();
  for (std::size_t i = 0; i < unmoved; ++i) {
    for (const int by : {shift, -shift}) views.push_back({views[i].corner, views[i].mirrored, by});
  }
  return views;
}

Preprocessing default_preprocessing(const Dataset& dataset, int image_size) try {
  Preprocessing s;
  const ImageSize own = dataset.image_size();
  const bool as_is = own.width > 0 && own.height > 0 &&
                     (image_size == 0 || own == ImageSize{image_size, image_size});
  if (as_is) {
    s.width = own.width;
    s.height = own.height;
    s.resize = std::min(own.width, own.height);  // of images of another size
  } else {
    const int side = image_size == 0 ? 224 : image_size;
    s.width = s.height = side;
    s.resize = static_cast<int>(std::nearbyint(side * 256.0 / 224.0));
  }
  if (dataset.grey()) {
    s.channels = 1;
    s.mean = {0.449F, 0.449F, 0.449F};
    s.std = {0.226F, 0.226F, 0.226F};
  }
  check_preprocessing(s);
  return s;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

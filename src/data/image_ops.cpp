#include "data/image_ops.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "data/resample.h"

namespace resnet {
namespace {

using Table = std::array<std::uint8_t, 256>;

std::uint8_t clip(int v) { return static_cast<std::uint8_t>(std::clamp(v, 0, 255)); }

/// Pillow's Image.blend: from `degenerate` (factor 0) through `value` (1) and beyond; truncates.
std::uint8_t blend(int degenerate, int value, float factor) {
  const float mixed =
      static_cast<float>(degenerate) + factor * static_cast<float>(value - degenerate);
  if (mixed <= 0.0F) return 0;
  if (mixed >= 255.0F) return 255;
  return static_cast<std::uint8_t>(mixed);
}

void look_up(Image& image, const Table& table) {
  for (std::uint8_t& v : image.pixels) v = table[v];
}

void blend_with(Image& image, int degenerate, float factor) {
  Table table{};
  for (int v = 0; v < 256; ++v) table[static_cast<std::size_t>(v)] = blend(degenerate, v, factor);
  look_up(image, table);
}

int luma(const std::uint8_t* p) {
  return static_cast<int>((p[0] * 19595U + p[1] * 38470U + p[2] * 7471U + 0x8000U) >> 16);
}

/// Applies to each channel the table that `make` derives from its histogram.
template <class MakeTable>
void remap_by_histogram(Image& image, MakeTable make) {
  const auto channels = static_cast<std::size_t>(image.channels);
  for (std::size_t c = 0; c < channels; ++c) {
    std::array<std::int64_t, 256> histogram{};
    for (std::size_t i = c; i < image.pixels.size(); i += channels) {
      ++histogram[image.pixels[i]];
    }
    Table table{};
    for (std::size_t v = 0; v < 256; ++v) table[v] = static_cast<std::uint8_t>(v);
    make(histogram, table);
    for (std::size_t i = c; i < image.pixels.size(); i += channels) {
      image.pixels[i] = table[image.pixels[i]];
    }
  }
}

std::array<std::uint8_t, 3> to_hsv(const std::uint8_t* p) {
  const int high = std::max({p[0], p[1], p[2]});
  const int low = std::min({p[0], p[1], p[2]});
  if (high == low) return {0, 0, static_cast<std::uint8_t>(high)};
  const auto range = static_cast<float>(high - low);
  const float s = range / static_cast<float>(high);
  const float r = static_cast<float>(high - p[0]) / range;
  const float g = static_cast<float>(high - p[1]) / range;
  const float b = static_cast<float>(high - p[2]) / range;
  double h = 0;
  if (p[0] == high) {
    h = b - g;
  } else if (p[1] == high) {
    h = 2.0 + r - b;
  } else {
    h = 4.0 + g - r;
  }
  // Pillow keeps the hue in a float between these two steps.
  const auto hue = static_cast<float>(std::fmod(static_cast<float>(h) / 6.0 + 1.0, 1.0));
  return {clip(static_cast<int>(hue * 255.0)), clip(static_cast<int>(s * 255.0)),
          static_cast<std::uint8_t>(high)};
}

std::array<std::uint8_t, 3> to_rgb(const std::array<std::uint8_t, 3>& hsv) {
  const std::uint8_t v = hsv[2];
  if (hsv[1] == 0) return {v, v, v};
  const double h = hsv[0] * 6.0 / 255.0;
  const int sector = static_cast<int>(std::floor(h));
  const auto f = static_cast<float>(h - sector);
  const auto s = static_cast<float>(hsv[1] / 255.0);
  const std::uint8_t p = clip(static_cast<int>(std::round(v * (1.0 - s))));
  const std::uint8_t q = clip(static_cast<int>(std::round(v * (1.0 - s * f))));
  const std::uint8_t t = clip(static_cast<int>(std::round(v * (1.0 - s * (1.0 - f)))));
  switch (sector % 6) {
    case 0: return {v, t, p};
    case 1: return {q, v, p};
    case 2: return {p, v, t};
    case 3: return {p, q, v};
    case 4: return {t, p, v};
    default: return {v, p, q};
  }
}

}  // namespace

void adjust_brightness(Image& image, float factor) { blend_with(image, 0, factor); }

void adjust_contrast(Image& image, float factor) {
  std::int64_t total = 0;
  for (std::size_t i = 0; i < image.pixels.size(); i += static_cast<std::size_t>(image.channels)) {
    total += image.channels == 1 ? image.pixels[i] : luma(&image.pixels[i]);
  }
  const double pixels = static_cast<double>(image.width) * image.height;
  blend_with(image, static_cast<int>(static_cast<double>(total) / pixels + 0.5), factor);
}

void adjust_saturation(Image& image, float factor) {
  if (image.channels == 1) return;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    std::uint8_t* p = &image.pixels[i];
    const int grey = luma(p);
    for (int c = 0; c < 3; ++c) p[c] = blend(grey, p[c], factor);
  }
}

void adjust_sharpness(Image& image, float factor, Image& scratch) {
  scratch = image;  // the border is not smoothed
  const int channels = image.channels;
  const std::ptrdiff_t step = std::ptrdiff_t{image.width} * channels;
  for (int y = 1; y + 1 < image.height; ++y) {
    const std::uint8_t* p = scratch.row(y);
    std::uint8_t* out = image.row(y);
    for (int x = channels; x < (image.width - 1) * channels; ++x) {
      int sum = 4 * p[x];
      for (const std::ptrdiff_t dy : {-step, std::ptrdiff_t{0}, step}) {
        sum += p[x + dy - channels] + p[x + dy] + p[x + dy + channels];
      }
      out[x] = blend((2 * sum + 13) / 26, p[x], factor);  // weights 1, centre 5, of 13; rounded
    }
  }
}

void adjust_hue(Image& image, double shift) {
  if (image.channels == 1) return;
  const auto turn = static_cast<std::uint8_t>(static_cast<int>(shift * 255));
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    auto hsv = to_hsv(&image.pixels[i]);
    hsv[0] = static_cast<std::uint8_t>(hsv[0] + turn);
    const auto rgb = to_rgb(hsv);
    std::copy(rgb.begin(), rgb.end(), &image.pixels[i]);
  }
}

void posterize(Image& image, int bits) {
  const auto mask = static_cast<std::uint8_t>(0xff << (8 - bits));
  for (std::uint8_t& v : image.pixels) v &= mask;
}

void solarize(Image& image, double threshold) {
  Table table{};
  for (int v = 0; v < 256; ++v) {
    table[static_cast<std::size_t>(v)] = static_cast<std::uint8_t>(v < threshold ? v : 255 - v);
  }
  look_up(image, table);
}

void autocontrast(Image& image) {
  remap_by_histogram(image, [](const auto& histogram, Table& table) {
    int low = 0;
    int high = 255;
    while (low < 255 && histogram[static_cast<std::size_t>(low)] == 0) ++low;
    while (high > 0 && histogram[static_cast<std::size_t>(high)] == 0) --high;
    if (high <= low) return;
    const double scale = 255.0 / (high - low);
    const double offset = -low * scale;
    for (int v = 0; v < 256; ++v) {
      table[static_cast<std::size_t>(v)] = clip(static_cast<int>(v * scale + offset));
    }
  });
}

void equalize(Image& image) {
  remap_by_histogram(image, [](const auto& histogram, Table& table) {
    std::int64_t total = 0;
    std::int64_t last = 0;
    int used = 0;
    for (const std::int64_t count : histogram) {
      if (count == 0) continue;
      total += count;
      last = count;
      ++used;
    }
    const std::int64_t step = (total - last) / 255;
    if (used <= 1 || step == 0) return;
    std::int64_t n = step / 2;
    for (std::size_t v = 0; v < 256; ++v) {
      table[v] = static_cast<std::uint8_t>(std::min<std::int64_t>(n / step, 255));
      n += histogram[v];
    }
  });
}

AffineMap rotation_about_center(double degrees, int width, int height) {
  // Pillow rounds to 15 digits, so that turns by right angles are exact.
  const auto rounded = [](double v) { return std::round(v * 1e15) / 1e15; };
  const double angle = -degrees * std::numbers::pi / 180.0;
  const double cosine = rounded(std::cos(angle));
  const double sine = rounded(std::sin(angle));
  const double x = width / 2.0;
  const double y = height / 2.0;
  return {cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y};
}

void transform(Image& image, const AffineMap& m, Interpolation interpolation, Image& scratch) {
  std::swap(image, scratch);
  const Image& in = scratch;
  const int channels = in.channels;
  reshape(image, in.width, in.height, channels);
  const bool nearest = interpolation == Interpolation::kNearest;
  for (int y = 0; y < in.height; ++y) {
    std::uint8_t* out = image.row(y);
    for (int x = 0; x < in.width; ++x, out += channels) {
      double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2];
      double sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
      if (!(sx >= 0 && sx < in.width && sy >= 0 && sy < in.height)) {
        std::fill(out, out + channels, std::uint8_t{0});
        continue;
      }
      if (nearest) {
        const std::uint8_t* p = in.row(static_cast<int>(sy)) + static_cast<int>(sx) * channels;
        std::copy(p, p + channels, out);
        continue;
      }
      sx -= 0.5;
      sy -= 0.5;
      const int left = static_cast<int>(std::floor(sx));
      const int top = static_cast<int>(std::floor(sy));
      const double dx = sx - left;
      const double dy = sy - top;
      const int x0 = std::max(left, 0) * channels;
      const int x1 = std::min(left + 1, in.width - 1) * channels;
      const std::uint8_t* upper = in.row(std::max(top, 0));
      const std::uint8_t* lower = in.row(std::min(top + 1, in.height - 1));
      for (int c = 0; c < channels; ++c) {
        const double a = upper[x0 + c] + dx * (upper[x1 + c] - upper[x0 + c]);
        const double b = lower[x0 + c] + dx * (lower[x1 + c] - lower[x0 + c]);
        out[c] = static_cast<std::uint8_t>(a + dy * (b - a));
      }
    }
  }
}

}  // namespace resnet

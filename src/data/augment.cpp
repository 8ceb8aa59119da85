#include "data/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

#include "core/check.h"
#include "data/image_ops.h"
#include "formats/image.h"

namespace resnet {
namespace {

int round_to_int(double v) { return static_cast<int>(std::nearbyint(v)); }

int below(Random& random, int n) {
  return static_cast<int>(random.below(static_cast<std::uint32_t>(n)));
}

Rect random_part(int width, int height, const Augmentation& a, Random& random) {
  const double area = static_cast<double>(width) * height;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * random.uniform(a.min_scale, a.max_scale);
    const double ratio = std::exp(random.uniform(std::log(a.min_ratio), std::log(a.max_ratio)));
    const int w = round_to_int(std::sqrt(target * ratio));
    const int h = round_to_int(std::sqrt(target / ratio));
    if (w < 1 || h < 1 || w > width || h > height) continue;
    const int top = below(random, height - h + 1);
    const int left = below(random, width - w + 1);
    return {left, top, w, h};
  }
  // No luck: the largest central part whose ratio is allowed.
  const double ratio = static_cast<double>(width) / height;
  int w = width;
  int h = height;
  if (ratio < a.min_ratio) h = std::clamp(round_to_int(width / a.min_ratio), 1, height);
  if (ratio > a.max_ratio) w = std::clamp(round_to_int(height * a.max_ratio), 1, width);
  return {(width - w) / 2, (height - h) / 2, w, h};
}

void jitter_colors(const Augmentation& a, Random& random, Image& image) {
  const auto factor = [&](double x) {
    return static_cast<float>(random.uniform(std::max(0.0, 1.0 - x), 1.0 + x));
  };
  const float brightness = factor(a.brightness);
  const float contrast = factor(a.contrast);
  const float saturation = factor(a.saturation);
  const double hue = random.uniform(-a.hue, a.hue);
  std::array<int, 4> order = {0, 1, 2, 3};
  for (int i = 3; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(below(random, i + 1))]);
  }
  for (const int which : order) {
    if (which == 0 && a.brightness > 0) adjust_brightness(image, brightness);
    if (which == 1 && a.contrast > 0) adjust_contrast(image, contrast);
    if (which == 2 && a.saturation > 0) adjust_saturation(image, saturation);
    if (which == 3 && a.hue > 0) adjust_hue(image, hue);
  }
}

/// One operation of RandAugment's space, as torchvision.transforms.RandAugment: strengths in 31
/// steps, signed ones negated half of the time, nearest pixel, black outside.
void randaugment_step(int magnitude, Random& random, Image& image, Image& scratch) {
  const int operation = below(random, 14);
  const bool negative = random.bernoulli(0.5);
  const double level = magnitude / 30.0;
  const double sign = negative ? -1.0 : 1.0;
  const auto enhance = static_cast<float>(1.0 + sign * 0.9 * level);
  const auto map = [&](const AffineMap& m) {
    transform(image, m, Interpolation::kNearest, scratch);
  };
  switch (operation) {
    case 0: break;  // identity
    case 1: map({1, sign * 0.3 * level, 0, 0, 1, 0}); break;
    case 2: map({1, 0, 0, sign * 0.3 * level, 1, 0}); break;
    case 3: map({1, 0, -std::trunc(sign * level * 150.0 / 331.0 * image.width), 0, 1, 0}); break;
    case 4: map({1, 0, 0, 0, 1, -std::trunc(sign * level * 150.0 / 331.0 * image.height)}); break;
    case 5: map(rotation_about_center(sign * 30.0 * level, image.width, image.height)); break;
    case 6: adjust_brightness(image, enhance); break;
    case 7: adjust_saturation(image, enhance); break;
    case 8: adjust_contrast(image, enhance); break;
    case 9: adjust_sharpness(image, enhance, scratch); break;
    case 10: posterize(image, 8 - round_to_int(magnitude / 7.5)); break;
    case 11: solarize(image, 255.0 * (1.0 - level)); break;
    case 12: autocontrast(image); break;
    default: equalize(image); break;
  }
}

/// Gamma(shape, 1) by Marsaglia and Tsang, "A simple method for generating gamma variables", 2000.
double draw_gamma(Random& random, double shape) {
  if (shape < 1) {
    const double u = 1.0 - random.uniform(0, 1);
    return draw_gamma(random, shape + 1) * std::pow(u, 1.0 / shape);
  }
  const double d = shape - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = random.normal();
    const double v = std::pow(1.0 + c * x, 3);
    if (v <= 0) continue;
    const double u = 1.0 - random.uniform(0, 1);
    if (std::log(u) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

double draw_beta(Random& random, double alpha) {
  const double a = draw_gamma(random, alpha);
  const double b = draw_gamma(random, alpha);
  if (a + b <= 0) return random.bernoulli(0.5) ? 1.0 : 0.0;  // both underflowed: alpha is tiny
  return a / (a + b);
}

/// Calls mix(row i, original of its partner) for every row.
template <class Mix>
void with_partner(std::span<float> values, int count, std::size_t width, std::vector<float>& spare,
                  Mix mix) {
  const auto row = [&](int i) { return values.data() + static_cast<std::size_t>(i) * width; };
  spare.assign(row(count - 1), row(count - 1) + width);
  for (int i = count - 1; i > 0; --i) mix(row(i), row(i - 1));
  mix(row(0), spare.data());
}

}  // namespace

void check_augmentation(const Augmentation& a, const Preprocessing& p) {
  const auto require = [](bool ok, const char* what) {
    if (!ok) fail(ErrorCode::kInvalidArgument, "augmentation: expected {}", what);
  };
  const auto probability = [](double x) { return x >= 0 && x <= 1; };
  require(a.min_scale > 0 && a.min_scale <= a.max_scale && a.max_scale <= 1,
          "0 < min_scale <= max_scale <= 1 for the random resized crop");
  require(a.min_ratio > 0 && a.min_ratio <= a.max_ratio && a.max_ratio <= 1000,
          "0 < min_ratio <= max_ratio for the random resized crop");
  require(a.pad >= 0 && a.pad <= 1024, "a padding of 0 to 1024 pixels");
  require(probability(a.horizontal_flip) && probability(a.vertical_flip),
          "flip probabilities between 0 and 1");
  require(!a.alternate_flip || a.horizontal_flip == 0,
          "a horizontal flip either by chance or alternating");
  require(!a.quarter_turns || p.width == p.height, "a square input for quarter turns");
  require(a.rotation >= 0 && a.rotation <= 180, "a rotation of 0 to 180 degrees");
  require(a.brightness >= 0 && a.contrast >= 0 && a.saturation >= 0 && a.hue >= 0 && a.hue <= 0.5 &&
              std::isfinite(a.brightness + a.contrast + a.saturation),
          "colour jitter of 0 or more, hue of at most 0.5");
  require(a.randaugment >= 0 && a.randaugment <= 14 && a.randaugment_magnitude >= 0 &&
              a.randaugment_magnitude <= 30,
          "0 to 14 RandAugment operations of magnitude 0 to 30");
  require(probability(a.random_erasing), "an erasing probability between 0 and 1");
  require(a.mixup >= 0 && a.cutmix >= 0 && std::isfinite(a.mixup + a.cutmix),
          "mixup and cutmix parameters of 0 (off) or more");
}

Augmentation augmentation_preset(std::string_view name) {
  if (name == "none") return {};
  if (name == "cifar") return {.pad = 4, .horizontal_flip = 0.5};
  if (name == "imagenet") return {.random_resized_crop = true, .horizontal_flip = 0.5};
  if (name == "galaxy") {
    return {.pad = 4,
            .reflect = true,
            .horizontal_flip = 0.5,
            .vertical_flip = 0.5,
            .quarter_turns = true};
  }
  fail(ErrorCode::kInvalidArgument,
       "unknown augmentation \"{}\"; expected none, cifar, imagenet or galaxy", name);
}

Augmenter::Augmenter(const Preprocessing& preprocessing, const Augmentation& augmentation)
    : preprocessing_(preprocessing), augmentation_(augmentation), normalizer_(preprocessing) {
  check_augmentation(augmentation, preprocessing);
}

Rect Augmenter::pick(int width, int height, int orientation, Random& random) const {
  if (!augmentation_.random_resized_crop) return {0, 0, width, height};
  if (!preprocessing_.upright) orientation = 1;
  const bool swaps = orientation >= 5;
  return stored_part(
      random_part(swaps ? height : width, swaps ? width : height, augmentation_, random), width,
      height, orientation);
}

ImageView Augmenter::fit_part(const ImageView& part, Scratch& scratch) const {
  const Preprocessing& p = preprocessing_;
  if (!augmentation_.random_resized_crop) return fit(part, p, {}, scratch.fit);
  resample(part, p.width, p.height, {0, 0, p.width, p.height}, p.interpolation,
           scratch.fit.resample, scratch.fit.part);
  return ImageView(scratch.fit.part);
}

ImageView Augmenter::shift(const ImageView& view, Random& random, Scratch& scratch) const {
  const int pad = augmentation_.pad;
  const int channels = view.channels;
  const int left = below(random, 2 * pad + 1);
  const int top = below(random, 2 * pad + 1);
  if (augmentation_.reflect) return shifted(view, pad - left, pad - top, scratch.padded);
  reshape(scratch.padded, view.width + 2 * pad, view.height + 2 * pad, channels);
  std::memset(scratch.padded.pixels.data(), 0, scratch.padded.pixels.size());
  for (int y = 0; y < view.height; ++y) {
    std::memcpy(scratch.padded.row(y + pad) + pad * channels, view.at(0, y),
                static_cast<std::size_t>(view.width * channels));
  }
  return ImageView(scratch.padded).crop(left, top, view.width, view.height);
}

void Augmenter::change_pixels(Random& random, Scratch& scratch) const {
  const Augmentation& a = augmentation_;
  Image& image = scratch.changed;
  if (a.rotation > 0) {
    const double degrees = random.uniform(-a.rotation, a.rotation);
    transform(image, rotation_about_center(degrees, image.width, image.height),
              Interpolation::kBilinear, scratch.spare);
  }
  if (a.brightness > 0 || a.contrast > 0 || a.saturation > 0 || a.hue > 0) {
    jitter_colors(a, random, image);
  }
  for (int i = 0; i < a.randaugment; ++i) {
    randaugment_step(a.randaugment_magnitude, random, image, scratch.spare);
  }
}

void Augmenter::erase(Random& random, float* out, DataLayout layout) const {
  if (!random.bernoulli(augmentation_.random_erasing)) return;
  const int width = preprocessing_.width;
  const int height = preprocessing_.height;
  const int channels = preprocessing_.channels;
  const double area = static_cast<double>(width) * height;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * random.uniform(0.02, 0.33);
    const double ratio = std::exp(random.uniform(std::log(0.3), std::log(3.3)));
    const int h = round_to_int(std::sqrt(target * ratio));
    const int w = round_to_int(std::sqrt(target / ratio));
    if (h < 1 || w < 1 || h >= height || w >= width) continue;
    const int top = below(random, height - h + 1);
    const int left = below(random, width - w + 1);
    const bool planes = layout == DataLayout::kNCHW;
    for (int c = 0; c < (planes ? channels : 1); ++c) {
      for (int y = top; y < top + h; ++y) {
        const int step = planes ? 1 : channels;
        float* row = out + ((static_cast<std::ptrdiff_t>(c) * height + y) * width + left) * step;
        std::fill(row, row + static_cast<std::ptrdiff_t>(w) * step, 0.0F);
      }
    }
    return;
  }
}

void Augmenter::operator()(const Image& image, Random random, bool mirrored, float* out,
                           DataLayout layout, Scratch& scratch) const {
  const Rect part = pick(image.width, image.height, image.orientation, random);
  const bool whole = part == Rect{0, 0, image.width, image.height};
  finish(whole ? image : part_of_image(image, part), random, mirrored, out, layout, scratch);
}

void Augmenter::finish(const Image& part, Random random, bool mirrored, float* out,
                       DataLayout layout, Scratch& scratch) const {
  const Augmentation& a = augmentation_;
  const Image& source = prepared(part, preprocessing_, scratch.converted);
  ImageView view = fit_part(ImageView(source), scratch);
  if (a.pad > 0) view = shift(view, random, scratch);
  if (mirrored != random.bernoulli(a.horizontal_flip)) view = view.flipped_horizontally();
  if (random.bernoulli(a.vertical_flip)) view = view.flipped_vertically();
  if (a.quarter_turns) {
    for (int turns = below(random, 4); turns > 0; --turns) view = view.turned();
  }
  const bool changes = a.rotation > 0 || a.brightness > 0 || a.contrast > 0 || a.saturation > 0 ||
                       a.hue > 0 || a.randaugment > 0;
  if (changes) {
    reshape(scratch.changed, view.width, view.height, view.channels);
    std::uint8_t* to = scratch.changed.pixels.data();
    for (int y = 0; y < view.height; ++y) {
      for (int x = 0; x < view.width; ++x, to += view.channels) {
        std::memcpy(to, view.at(x, y), static_cast<std::size_t>(view.channels));
      }
    }
    change_pixels(random, scratch);
    view = ImageView(scratch.changed);
  }
  normalizer_.write(view, out, layout);
  if (a.random_erasing > 0) erase(random, out, layout);
}

void Augmenter::look(const Image& image, const std::vector<View>& views, float* out,
                     DataLayout layout, Scratch& scratch) const {
  const Preprocessing& p = preprocessing_;
  const Image& source = prepared(image, p, scratch.converted);
  for (const View& view : views) {
    normalizer_.write(fit(ImageView(source), p, view, scratch.fit), out, layout);
    out += std::ptrdiff_t{p.channels} * p.height * p.width;
  }
}

void mix_batch(const Augmentation& a, Random random, DataLayout layout, Batch& batch,
               std::vector<float>& spare) {
  if ((a.mixup <= 0 && a.cutmix <= 0) || batch.count < 2) return;
  const bool cut = a.cutmix > 0 && (a.mixup <= 0 || random.bernoulli(0.5));
  double ratio = draw_beta(random, cut ? a.cutmix : a.mixup);  // of a row's own image
  const Shape& shape = batch.images.shape();
  const auto width_of = [&](const Tensor& t) {
    return static_cast<std::size_t>(t.size() / t.dim(0));
  };
  if (cut) {
    const bool planes = layout == DataLayout::kNCHW;
    const auto channels = static_cast<int>(planes ? shape[1] : shape[3]);
    const auto height = static_cast<int>(planes ? shape[2] : shape[1]);
    const auto width = static_cast<int>(planes ? shape[3] : shape[2]);
    const double half = 0.5 * std::sqrt(1.0 - ratio);
    const int x = below(random, width);
    const int y = below(random, height);
    const int left = std::max(0, x - static_cast<int>(half * width));
    const int right = std::min(width, x + static_cast<int>(half * width));
    const int top = std::max(0, y - static_cast<int>(half * height));
    const int bottom = std::min(height, y + static_cast<int>(half * height));
    const auto step = static_cast<std::size_t>(planes ? 1 : channels);
    with_partner(
        batch.images.as<float>(), batch.count, width_of(batch.images), spare,
        [&](float* to, const float* from) {
          for (int c = 0; c < (planes ? channels : 1); ++c) {
            for (int row = top; row < bottom; ++row) {
              const std::size_t at =
                  (static_cast<std::size_t>(c * height + row) * static_cast<std::size_t>(width) +
                   static_cast<std::size_t>(left)) *
                  step;
              std::copy_n(from + at, static_cast<std::size_t>(right - left) * step, to + at);
            }
          }
        });
    ratio = 1.0 - static_cast<double>((right - left) * (bottom - top)) / (width * height);
  }
  const auto own = static_cast<float>(ratio);
  const float other = 1.0F - own;
  const auto blend = [&](Tensor& t) {
    const std::size_t n = width_of(t);
    with_partner(t.as<float>(), batch.count, n, spare, [&](float* to, const float* from) {
      for (std::size_t i = 0; i < n; ++i) to[i] = own * to[i] + other * from[i];
    });
  };
  if (!cut) blend(batch.images);
  blend(batch.targets);
}

}  // namespace resnet

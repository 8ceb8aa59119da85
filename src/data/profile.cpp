// Whether images resemble those of training, and whether they were read as they should be.
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/guard.h"
#include "core/text.h"
#include "data/each_batch.h"
#include "resnet/data.h"

namespace resnet {
namespace {

constexpr std::size_t kNamed = 3;
constexpr std::int64_t kSample = 256;

// How far outside of what training spans a median may lie; docs/FORMATS.md has the rule.
constexpr double kSizeSlack = 1.5;
constexpr double kSharpnessSlack = 1.1;

template <class Get>
std::array<float, 3> percentiles(const std::vector<ImageTraits>& traits, const Get& get) {
  std::vector<float> values;
  for (const ImageTraits& t : traits) values.push_back(get(t));
  std::ranges::sort(values);
  const auto at = [&](double percent) {
    return values[static_cast<std::size_t>(
        std::lround(percent / 100 * static_cast<double>(values.size() - 1)))];
  };
  return {at(1), at(50), at(99)};
}

// Sizes that vary in training may vary as much again.
double slack_of(const std::array<float, 3>& size) {
  return std::max(kSizeSlack, static_cast<double>(size[2]) / std::max(1.0F, size[0]));
}

}  // namespace

void ClippedImages::add(const std::string& name) {
  ++count;
  if (first.size() < kNamed) first.push_back(name);
}

std::string to_note(const ClippedImages& clipped) {
  if (clipped.count == 0) return {};
  std::vector<std::string> names;
  for (const std::string& name : clipped.first) names.push_back(printable(name));
  const auto more = clipped.count - static_cast<std::int64_t>(names.size());
  return fmt::format(
      "16-bit grey values above 255 became white in {}{}; --scale-16bit high-byte, 10bit, 12bit, "
      "14bit, range, percentile or asinh keeps what is in them (see resnet train --help)",
      fmt::join(names, ", "), more > 0 ? fmt::format(" and {} more", more) : "");
}

ImageProfile profile_of(const std::vector<ImageTraits>& traits) {
  ImageProfile profile;
  profile.images = static_cast<int>(traits.size());
  if (traits.empty()) return profile;
  profile.shorter_side =
      percentiles(traits, [](const auto& t) { return static_cast<float>(t.shorter_side); });
  profile.sharpness = percentiles(traits, [](const auto& t) { return t.sharpness; });
  return profile;
}

ImageProfile measure_profile(const DatasetPtr& dataset, const Preprocessing& preprocessing,
                             int threads, ClippedImages* clipped) try {
  const std::int64_t count = std::min(dataset->size(), kSample);
  std::vector<std::int64_t> sample;
  for (std::int64_t i = 0; i < count; ++i) sample.push_back(i * dataset->size() / count);
  LoaderOptions load =
      evaluation_options(static_cast<int>(std::min<std::int64_t>(count, 16)), threads);
  load.max_bad_fraction = 1;
  Loader loader(make_subset(dataset, std::move(sample)), preprocessing, Augmentation{}, load);
  for_each_batch(loader, {}, [](const Batch&) {});
  if (clipped != nullptr) *clipped = loader.clipped();
  return profile_of(loader.traits());
} catch (...) {
  throw_as_error();
}

std::string difference_note(const ImageProfile& training, const ImageProfile& images) {
  if (training.images == 0 || images.images == 0) return {};
  const std::string what =
      images.images == 1 ? "this image is" : "these images, by their median, are";
  const auto& trained = training.shorter_side;
  const double size = images.shorter_side[1];
  const double slack = slack_of(trained);
  if (size > slack * trained[2] || size * slack < trained[0]) {
    return fmt::format(
        "{} {:g} pixels on the shorter side, those of training were {:g}{}: predictions may be "
        "worse "
        "than the test of the model says",
        what, size, trained[1],
        trained[0] == trained[2] ? "" : fmt::format(" ({:g} to {:g})", trained[0], trained[2]));
  }
  const auto& sharp = training.sharpness;
  const double own = images.sharpness[1];
  const bool blurred = own * kSharpnessSlack<sharp[0], sharper = own> kSharpnessSlack * sharp[2];
  if (!blurred && !sharper) return {};
  return fmt::format(
      "{} {} than those of training ({:.2f}, they had {:.2f} to {:.2f}): {}; predictions may be "
      "worse "
      "than the test of the model says",
      what, blurred ? "much softer" : "much sharper or noisier", own, sharp[0], sharp[2],
      blurred ? "enlarged or out of focus" : "noise, or another scale");
}

}  // namespace resnet

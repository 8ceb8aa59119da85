// Whether images resemble those of training: what is measured of them, and when it is said.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/random.h"
#include "data/support.h"
#include "data/transform.h"
#include "resnet/data.h"

namespace resnet {
namespace {

constexpr int kSide = 16;

Preprocessing as_stored() {
  Preprocessing p;
  p.width = p.height = kSide;
  p.resize = 0;
  p.channels = 1;
  p.mean = {0, 0, 0};
  p.std = {1, 1, 1};
  return p;
}

using Pixel = std::function<double(double x, double y, Random& random)>;

ImageProfile profile(const Pixel& pixel, int side = kSide, int count = 8) {
  std::vector<Image> images;
  for (int i = 0; i < count; ++i) {
    Random random(static_cast<std::uint64_t>(i));
    Image image = test_image(side, side, 1, 1);
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x) {
        const double v = pixel(x + i, y, random);
        image.pixels[static_cast<std::size_t>(y * side + x)] = static_cast<std::uint8_t>(v);
      }
    }
    images.push_back(std::move(image));
  }
  Preprocessing p = as_stored();
  p.resize = side == kSide ? 0 : kSide;
  const std::vector<int> labels(images.size(), 0);
  return measure_profile(make_dataset(std::move(images), labels, {"a"}), p, 1);
}

double ordinary(double x, double y, Random& random) {
  return 120 + 60 * std::sin(x) * std::cos(0.8 * y) + 8 * random.uniform(-1, 1);
}
double noise(double, double, Random& random) { return random.uniform(0, 255); }
double smooth(double x, double y, Random&) { return 20 + 3 * x + 4 * y + 0.06 * x * y; }

TEST(Profile, ImagesLikeThoseOfTrainingGetNoNote) {
  const ImageProfile training = profile(ordinary);
  EXPECT_EQ(training.images, 8);
  EXPECT_EQ(training.shorter_side[1], kSide);
  EXPECT_EQ(difference_note(training, training), "");
  EXPECT_EQ(difference_note(training, profile(ordinary, kSide, 3)), "");
}

TEST(Profile, SofterAndNoisierImagesAreSaid) {
  const ImageProfile training = profile(ordinary);
  EXPECT_NE(difference_note(training, profile(smooth)).find("softer"), std::string::npos);
  EXPECT_NE(difference_note(training, profile(noise)).find("noisier"), std::string::npos);
  EXPECT_NE(difference_note(profile(smooth), training).find("sharper"), std::string::npos);
}

TEST(Profile, TheSizeIsSaidFirst) {
  const ImageProfile training = profile(ordinary);
  const std::string note = difference_note(training, profile(noise, 4 * kSide));
  EXPECT_NE(note.find("64 pixels"), std::string::npos) << note;
  EXPECT_EQ(difference_note(training, profile(ordinary, kSide + 4)).find("pixels"),
            std::string::npos);
}

TEST(Profile, NothingIsComparedWithNothing) {
  const ImageProfile some = profile(ordinary);
  EXPECT_EQ(difference_note({}, some), "");
  EXPECT_EQ(difference_note(some, {}), "");
}

TEST(Profile, SharpnessDependsOnNeitherBrightnessNorContrast) {
  std::vector<float> image(kSide * kSide), other(kSide * kSide), flat(kSide * kSide, 0.5F);
  Random random(3);
  for (std::size_t i = 0; i < image.size(); ++i) {
    image[i] = static_cast<float>(random.below(256));
    other[i] = 8 * image[i] + 64;  // exact in f32
  }
  const Preprocessing p = as_stored();
  const float own = sharpness_of(image.data(), p, DataLayout::kNCHW);
  EXPECT_EQ(sharpness_of(other.data(), p, DataLayout::kNCHW), own);
  EXPECT_NEAR(own, 3, 0.5) << "as of noise";
  EXPECT_EQ(sharpness_of(flat.data(), p, DataLayout::kNCHW), 0);
}

}  // namespace
}  // namespace resnet

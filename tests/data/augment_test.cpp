#include "data/augment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "data/support.h"

namespace resnet {
namespace {

constexpr int kSide = 16;

Preprocessing identity(int width = kSide, int height = kSide) {
  Preprocessing s;
  s.width = width;
  s.height = height;
  s.resize = 0;
  s.mean = {0, 0, 0};
  s.std = {1.0F / 255, 1.0F / 255, 1.0F / 255};  // so that floats are the pixels' values
  return s;
}

/// What the augmentation makes of `image`, as pixels [h][w][c], for the n-th image of an epoch.
std::vector<int> augmented(const Image& image, const Augmentation& a, std::uint64_t n,
                           const Preprocessing& s = identity()) {
  std::vector<float> out(static_cast<std::size_t>(s.width * s.height * 3), NAN);
  Augmenter::Scratch scratch;
  Augmenter(s, a)(image, Random(1, 2, n), false, out.data(), DataLayout::kNHWC, scratch);
  std::vector<int> values;
  for (const float v : out) values.push_back(static_cast<int>(std::lround(v)));
  return values;
}

std::vector<int> values_of(const Image& p) { return {p.pixels.begin(), p.pixels.end()}; }

std::vector<int> remapped(const Image& p, auto source_of) {
  std::vector<int> out;
  for (int y = 0; y < p.height; ++y) {
    for (int x = 0; x < p.width; ++x) {
      const auto [sx, sy] = source_of(x, y);
      const bool inside = sx >= 0 && sy >= 0 && sx < p.width && sy < p.height;
      for (int c = 0; c < 3; ++c) out.push_back(inside ? p.row(sy)[sx * 3 + c] : 0);
    }
  }
  return out;
}

TEST(Augment, NothingIsTheEvaluationPath) {
  const Image p = test_image(kSide, kSide, 3);
  EXPECT_EQ(augmented(p, {}, 0), values_of(p));
}

TEST(Augment, Flips) {
  const Image p = test_image(kSide, kSide, 3);
  EXPECT_EQ(augmented(p, {.horizontal_flip = 1}, 0), remapped(p, [](int x, int y) {
              return std::pair{kSide - 1 - x, y};
            }));
  EXPECT_EQ(augmented(p, {.vertical_flip = 1}, 0), remapped(p, [](int x, int y) {
              return std::pair{x, kSide - 1 - y};
            }));
  int flipped = 0;
  for (std::uint64_t n = 0; n < 400; ++n) {
    flipped += augmented(p, {.horizontal_flip = 0.25}, n) != values_of(p) ? 1 : 0;
  }
  EXPECT_NEAR(flipped, 100, 35);  // four standard deviations of a binomial
}

TEST(Augment, QuarterTurnsAreTheFourTurns) {
  const Image p = test_image(kSide, kSide, 3);
  std::map<std::vector<int>, int> expected;
  const int last = kSide - 1;
  expected[values_of(p)] = 0;
  expected[remapped(p, [&](int x, int y) { return std::pair{last - y, x}; })] = 0;
  expected[remapped(p, [&](int x, int y) { return std::pair{last - x, last - y}; })] = 0;
  expected[remapped(p, [&](int x, int y) { return std::pair{y, last - x}; })] = 0;
  ASSERT_EQ(expected.size(), 4U);
  for (std::uint64_t n = 0; n < 400; ++n) {
    const auto found = expected.find(augmented(p, {.quarter_turns = true}, n));
    ASSERT_NE(found, expected.end()) << n;
    ++found->second;
  }
  for (const auto& [image, count] : expected) EXPECT_NEAR(count, 100, 35);
}

TEST(Augment, TurnsAndFlipsTogetherAreTheEightSymmetries) {
  const Image p = test_image(kSide, kSide, 3);
  Augmentation a = augmentation_preset("galaxy");
  a.pad = 0;
  std::set<std::vector<int>> seen;
  for (std::uint64_t n = 0; n < 200; ++n) seen.insert(augmented(p, a, n));
  EXPECT_EQ(seen.size(), 8U);
}

TEST(Augment, PadAndCropShowsEveryShift) {
  const Image p = test_image(kSide, kSide, 3);
  for (const bool reflect : {false, true}) {
    std::map<std::vector<int>, int> expected;
    for (int dy = -2; dy <= 2; ++dy) {
      for (int dx = -2; dx <= 2; ++dx) {
        expected[remapped(p, [&](int x, int y) {
          int sx = x + dx;
          int sy = y + dy;
          if (reflect) {
            sx = sx < 0 ? -sx : sx >= kSide ? 2 * (kSide - 1) - sx : sx;
            sy = sy < 0 ? -sy : sy >= kSide ? 2 * (kSide - 1) - sy : sy;
          }
          return std::pair{sx, sy};
        })] = 0;
      }
    }
    ASSERT_EQ(expected.size(), 25U);
    for (std::uint64_t n = 0; n < 500; ++n) {
      const auto found = expected.find(augmented(p, {.pad = 2, .reflect = reflect}, n));
      ASSERT_NE(found, expected.end()) << n;
      ++found->second;
    }
    for (const auto& [image, count] : expected) EXPECT_GT(count, 0);
  }
}

TEST(Augment, PaddingLargerThanTheImage) {
  const Image p = test_image(3, 3, 3);
  for (const bool reflect : {false, true}) {
    for (std::uint64_t n = 0; n < 50; ++n) {
      EXPECT_EQ(augmented(p, {.pad = 20, .reflect = reflect}, n, identity(3, 3)).size(), 27U);
    }
  }
}

TEST(Augment, RandomResizedCropStaysInsideAndVaries) {
  // Red is the column, green the row: corners tell which part was taken.
  Image p(200, 100, 3);
  for (int y = 0; y < 100; ++y) {
    for (int x = 0; x < 200; ++x) {
      p.row(y)[3 * x] = static_cast<std::uint8_t>(x);
      p.row(y)[3 * x + 1] = static_cast<std::uint8_t>(2 * y);
    }
  }
  const Augmentation a = augmentation_preset("imagenet");
  double smallest = 1;
  double largest = 0;
  int flips = 0;
  for (std::uint64_t n = 0; n < 500; ++n) {
    const auto v = augmented(p, a, n);
    const std::size_t end = v.size() - 3;
    // Between the outermost pixel centres lie (16 − 1) / 16 of the part.
    const double w = std::abs(v[end] - v[0]) * 16.0 / 15;
    const double h = (v[end + 1] - v[1]) * 16.0 / 15 / 2;
    flips += v[end] < v[0] ? 1 : 0;
    const double area = w * h / 20000;
    smallest = std::min(smallest, area);
    largest = std::max(largest, area);
    EXPECT_GT(w / h, 0.75 * 0.85);
    EXPECT_LT(w / h, 4.0 / 3 * 1.15);
  }
  EXPECT_NEAR(smallest, 0.08, 0.02);
  EXPECT_GT(largest, 0.5);
  EXPECT_NEAR(flips, 250, 60);
}

TEST(Augment, RandomResizedCropOfAnImpossibleShapeTakesTheCentre) {
  const Image p = test_image(300, 2, 3);
  Augmentation a;
  a.random_resized_crop = true;
  a.min_scale = 0.9;  // no part of an allowed ratio is that large
  EXPECT_EQ(augmented(p, a, 0), augmented(p, a, 1));
}

TEST(Augment, ErasingBlanksOneRectangle) {
  Image p(kSide, kSide, 3);
  std::fill(p.pixels.begin(), p.pixels.end(), std::uint8_t{200});
  int erased = 0;
  for (std::uint64_t n = 0; n < 400; ++n) {
    const auto v = augmented(p, {.random_erasing = 0.5}, n);
    int left = kSide, right = -1, top = kSide, bottom = -1, count = 0;
    for (int i = 0; i < kSide * kSide; ++i) {
      const int value = v[static_cast<std::size_t>(3 * i)];
      ASSERT_TRUE(value == 0 || value == 200);
      if (value != 0) continue;
      ++count;
      left = std::min(left, i % kSide);
      right = std::max(right, i % kSide);
      top = std::min(top, i / kSide);
      bottom = std::max(bottom, i / kSide);
    }
    if (count == 0) continue;
    ++erased;
    EXPECT_EQ(count, (right - left + 1) * (bottom - top + 1));
    EXPECT_LT(count, 0.45 * kSide * kSide);
  }
  EXPECT_NEAR(erased, 200, 50);
}

TEST(Augment, LayoutsAgree) {
  const Image p = test_image(30, 20, 3);
  Augmentation a = augmentation_preset("imagenet");
  a.random_erasing = 1;
  a.hue = 0.3;
  a.randaugment = 2;
  Preprocessing s = identity(24, 18);
  const Augmenter augmenter(s, a);
  Augmenter::Scratch scratch;
  for (std::uint64_t n = 0; n < 40; ++n) {
    std::vector<float> nchw(3 * 24 * 18), nhwc(nchw.size());
    augmenter(p, Random(1, 2, n), false, nchw.data(), DataLayout::kNCHW, scratch);
    augmenter(p, Random(1, 2, n), false, nhwc.data(), DataLayout::kNHWC, scratch);
    EXPECT_EQ(to_nchw(nhwc, 3), nchw);
  }
}

TEST(Augment, EveryRandaugmentStrengthRunsOnEveryShape) {
  for (const int side : {1, 2, 7}) {
    for (const int channels : {1, 3}) {
      Preprocessing s = identity(side, side + 1);
      s.channels = channels;
      for (const int magnitude : {0, 9, 30}) {
        Augmentation a;
        a.randaugment = 5;
        a.randaugment_magnitude = magnitude;
        a.brightness = a.contrast = a.saturation = 2;
        a.hue = 0.5;
        a.rotation = 180;
        const Augmenter augmenter(s, a);
        Augmenter::Scratch scratch;
        for (std::uint64_t n = 0; n < 40; ++n) {
          std::vector<float> out(static_cast<std::size_t>(side * (side + 1) * channels), NAN);
          augmenter(test_image(side, side + 1, 3), Random(1, 2, n), false, out.data(),
                    DataLayout::kNCHW, scratch);
          for (const float v : out) ASSERT_TRUE(v >= 0 && v <= 255.001F) << v;
        }
      }
    }
  }
}

TEST(Augment, PresetsAreKnownByName) {
  EXPECT_EQ(augmentation_preset("none"), Augmentation{});
  EXPECT_EQ(augmentation_preset("cifar").pad, 4);
  EXPECT_TRUE(augmentation_preset("imagenet").random_resized_crop);
  expect_error(ErrorCode::kInvalidArgument, {"\"heavy\"", "none, cifar, imagenet or galaxy"},
               [] { augmentation_preset("heavy"); });
}

}  // namespace
}  // namespace resnet

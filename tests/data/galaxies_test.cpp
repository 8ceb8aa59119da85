#include "data/galaxies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <thread>

#include "resnet/error.h"

namespace resnet {
namespace {

int classes() { return static_cast<int>(galaxy_class_names().size()); }

int class_of(const std::string& name) {
  const auto& names = galaxy_class_names();
  return static_cast<int>(std::find(names.begin(), names.end(), name) - names.begin());
}

std::array<double, 3> mean_rgb(const Image& image) {
  std::array<double, 3> sum{};
  for (std::size_t i = 0; i < image.pixels.size(); ++i) sum[i % 3] += image.pixels[i];
  for (double& s : sum) s /= static_cast<double>(image.width) * image.height;
  return sum;
}

double grey(const Image& image, int x, int y) {
  const std::uint8_t* p = image.row(y) + 3 * x;
  return (p[0] + p[1] + p[2]) / 3.0;
}

/// Mean brightness of the central quarter of the frame, and of its outermost sixteenth.
std::array<double, 2> centre_and_border(const Image& image) {
  const int n = image.width;
  std::array<double, 2> sum{};
  std::array<int, 2> count{};
  for (int y = 0; y < n; ++y)
    for (int x = 0; x < n; ++x) {
      const bool centre = std::abs(2 * x + 1 - n) < n / 2 && std::abs(2 * y + 1 - n) < n / 2;
      const int edge = std::min({x, y, n - 1 - x, n - 1 - y});
      if (!centre && edge >= std::max(1, n / 16)) continue;
      sum[centre ? 0 : 1] += grey(image, x, y);
      ++count[centre ? 0 : 1];
    }
  return {sum[0] / count[0], sum[1] / count[1]};
}

/// Axis ratio from the second moments of the bright pixels around the brightest part.
double axis_ratio(const Image& image) {
  const int n = image.width;
  const double floor = centre_and_border(image)[1] + 40;
  double w = 0, sx = 0, sy = 0;
  std::vector<std::array<double, 3>> bright;
  for (int y = 0; y < n; ++y)
    for (int x = 0; x < n; ++x) {
      const double v = grey(image, x, y) - floor;
      if (v <= 0) continue;
      bright.push_back({static_cast<double>(x), static_cast<double>(y), v});
      w += v, sx += v * x, sy += v * y;
    }
  if (bright.size() < 20) return 1;
  double xx = 0, yy = 0, xy = 0;
  for (const auto& [x, y, v] : bright) {
    xx += v * (x - sx / w) * (x - sx / w) / w;
    yy += v * (y - sy / w) * (y - sy / w) / w;
    xy += v * (x - sx / w) * (y - sy / w) / w;
  }
  const double mean = (xx + yy) / 2;
  const double root = std::sqrt((xx - yy) * (xx - yy) / 4 + xy * xy);
  return std::sqrt(std::max(0.0, mean - root) / (mean + root));
}

double median_axis_ratio(const std::string& name) {
  std::vector<double> q;
  for (std::uint64_t i = 0; i < 61; ++i)
    q.push_back(axis_ratio(draw_galaxy(class_of(name), 64, 5, i)));
  std::nth_element(q.begin(), q.begin() + 30, q.end());
  return q[30];
}

TEST(Galaxies, HasDistinctClassNames) {
  const auto& names = galaxy_class_names();
  EXPECT_GE(names.size(), 6U);
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
}

TEST(Galaxies, ArePureFunctionsOfTheirArguments) {
  for (int cls = 0; cls < classes(); ++cls)
    for (const int size : {16, 32, 33, 64})
      EXPECT_EQ(draw_galaxy(cls, size, 3, 8).pixels, draw_galaxy(cls, size, 3, 8).pixels);
}

TEST(Galaxies, DoNotDependOnThreadOrOrder) {
  constexpr int kCount = 40;
  std::vector<Image> forward(kCount);
  std::vector<Image> backward(kCount);
  const auto draw = [](int i) {
    return draw_galaxy(i % classes(), 32, 11, static_cast<std::uint64_t>(i));
  };
  std::thread a([&] {
    for (int i = 0; i < kCount; ++i) forward[static_cast<std::size_t>(i)] = draw(i);
  });
  std::thread b([&] {
    for (int i = kCount - 1; i >= 0; --i) backward[static_cast<std::size_t>(i)] = draw(i);
  });
  a.join();
  b.join();
  for (std::size_t i = 0; i < kCount; ++i) EXPECT_EQ(forward[i].pixels, backward[i].pixels) << i;
}

TEST(Galaxies, DifferInClassSeedAndIndex) {
  std::set<std::string> seen;
  for (int cls = 0; cls < classes(); ++cls)
    for (std::uint64_t seed = 0; seed < 3; ++seed)
      for (std::uint64_t index = 0; index < 5; ++index) {
        const Image image = draw_galaxy(cls, 32, seed, index);
        seen.emplace(image.pixels.begin(), image.pixels.end());
      }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(classes()) * 15);
}

TEST(Galaxies, RefuseImpossibleArguments) {
  EXPECT_THROW(draw_galaxy(-1, 32, 0, 0), Error);
  EXPECT_THROW(draw_galaxy(classes(), 32, 0, 0), Error);
  EXPECT_THROW(draw_galaxy(0, 7, 0, 0), Error);
  EXPECT_THROW(draw_galaxy(0, 5000, 0, 0), Error);
}

TEST(Galaxies, ShineInTheMiddleAtEverySize) {
  for (const int size : {8, 16, 32, 64, 224})
    for (int cls = 0; cls < classes(); ++cls) {
      double inside = 0;
      double outside = 0;
      for (std::uint64_t index = 0; index < 8; ++index) {
        const Image image = draw_galaxy(cls, size, 1, index);
        ASSERT_EQ(image.width, size);
        ASSERT_EQ(image.height, size);
        ASSERT_EQ(image.channels, 3);
        ASSERT_EQ(image.pixels.size(), static_cast<std::size_t>(size) * size * 3);
        const auto [centre, border] = centre_and_border(image);
        EXPECT_GT(centre, border) << galaxy_class_names()[static_cast<std::size_t>(cls)] << " "
                                  << index << " at " << size;
        inside += centre;
        outside += border;
        // Neither black nor burnt out: what a NaN or a wrong scale would make of it.
        const auto white = std::count(image.pixels.begin(), image.pixels.end(), 255);
        EXPECT_LT(static_cast<double>(white) / static_cast<double>(image.pixels.size()), 0.2);
        EXPECT_GT(mean_rgb(image)[1], 5);
      }
      EXPECT_GT(inside, 1.5 * outside);
    }
}

TEST(Galaxies, AreTheSameSceneAtAnySize) {
  for (int cls = 0; cls < classes(); ++cls) {
    const Image small = draw_galaxy(cls, 32, 2, 4);
    const Image large = draw_galaxy(cls, 64, 2, 4);
    double n = 0, sa = 0, sb = 0, aa = 0, bb = 0, ab = 0;
    for (int y = 0; y < 32; ++y)
      for (int x = 0; x < 32; ++x) {
        const double a = grey(small, x, y);
        const double b = (grey(large, 2 * x, 2 * y) + grey(large, 2 * x + 1, 2 * y) +
                          grey(large, 2 * x, 2 * y + 1) + grey(large, 2 * x + 1, 2 * y + 1)) /
                         4;
        n += 1, sa += a, sb += b, aa += a * a, bb += b * b, ab += a * b;
      }
    const double correlation =
        (ab - sa * sb / n) / std::sqrt((aa - sa * sa / n) * (bb - sb * sb / n));
    EXPECT_GT(correlation, 0.85) << cls;
  }
}

TEST(Galaxies, LookLikeTheirClass) {
  EXPECT_LT(median_axis_ratio("edge_on_disc"), 0.35);
  EXPECT_GT(median_axis_ratio("elliptical"), 0.6);
  // A ring is brighter than the gap inside it, whatever its inclination: along its major axis the
  // brightness rises again. Over many rings the gap's place varies, so count the risen ones.
  int risen = 0;
  for (std::uint64_t i = 0; i < 60; ++i) {
    const Image image = draw_galaxy(class_of("ring"), 64, 5, i);
    bool found = false;
    for (int direction = 0; direction < 16 && !found; ++direction) {
      const double t = direction * 3.14159265 / 8;
      double lowest = 255;
      for (int r = 0; r < 26; ++r) {
        double v = 0;  // a short arc, against the noise
        for (int k = -2; k <= 2; ++k) {
          const double s = t + 0.06 * k;
          v += grey(image, static_cast<int>(32 + r * std::cos(s)),
                    static_cast<int>(32 + r * std::sin(s))) /
               5;
        }
        lowest = std::min(lowest, v);
        found = found || v > lowest + 15;
      }
    }
    risen += found;
  }
  EXPECT_GT(risen, 45);
}

// What a lazy classifier could use: mean colour and brightness must not give the class away.
TEST(Galaxies, AreNotToldApartByMeanColour) {
  const auto features = [](std::uint64_t seed, std::uint64_t count) {
    std::vector<std::vector<std::array<double, 3>>> out(static_cast<std::size_t>(classes()));
    for (int cls = 0; cls < classes(); ++cls)
      for (std::uint64_t i = 0; i < count; ++i)
        out[static_cast<std::size_t>(cls)].push_back(mean_rgb(draw_galaxy(cls, 32, seed, i)));
    return out;
  };
  std::vector<std::array<double, 3>> centroid(static_cast<std::size_t>(classes()));
  const auto train = features(1, 120);
  for (std::size_t c = 0; c < train.size(); ++c)
    for (const auto& f : train[c])
      for (std::size_t b = 0; b < 3; ++b) centroid[c][b] += f[b] / 120;
  double lowest = 255;
  double highest = 0;
  for (const auto& c : centroid) {
    lowest = std::min(lowest, c[1]);
    highest = std::max(highest, c[1]);
  }
  EXPECT_LT(highest, 1.5 * lowest);

  int right = 0;
  int total = 0;
  const auto test = features(2, 80);
  for (std::size_t c = 0; c < test.size(); ++c)
    for (const auto& f : test[c]) {
      const auto distance = [&](const std::array<double, 3>& m) {
        return std::hypot(f[0] - m[0], f[1] - m[1], f[2] - m[2]);
      };
      const auto nearest =
          std::min_element(centroid.begin(), centroid.end(),
                           [&](const auto& p, const auto& q) { return distance(p) < distance(q); });
      right += nearest - centroid.begin() == static_cast<std::ptrdiff_t>(c);
      ++total;
    }
  EXPECT_LT(static_cast<double>(right) / total, 0.4);
}

}  // namespace
}  // namespace resnet

#include "data/galaxies.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/check.h"
#include "core/random.h"

// How an image is made (formulas, references and ranges: docs/GALAXIES.md):
//   1. a class function lays light down on a finer grid than the image, in three bands;
//   2. the light is scaled to a total flux drawn from one distribution for all classes, and
//   reddened;
//   3. neighbours and stars are added, then the telescope blurs everything;
//   4. the sky comes in, photons are counted, the sky is subtracted, and an asinh stretch gives 8
//   bits.
// Lengths are in half image widths: the frame is [-1, 1] x [-1, 1], whatever its size in pixels.

namespace resnet {
namespace {

// Every random number is drawn in a statement of its own where order matters: the order in which a
// compiler evaluates arguments must not change an image.

constexpr float kPi = std::numbers::pi_v<float>;

/// Light in the three bands (red, green, blue).
using Rgb = std::array<float, 3>;

// Colours of stellar populations, and how strongly each band is dimmed by dust.
constexpr Rgb kOld = {1.22F, 1.00F, 0.72F};
constexpr Rgb kMiddle = {1.06F, 1.00F, 0.90F};
constexpr Rgb kYoung = {0.84F, 1.00F, 1.22F};
constexpr Rgb kKnot = {0.90F, 0.92F, 1.32F};
constexpr Rgb kDust = {0.75F, 1.00F, 1.30F};

Rgb mix(const Rgb& a, const Rgb& b, float t) {
  return {a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2])};
}

float uniform(Random& rng, double low, double high) {
  return static_cast<float>(rng.uniform(low, high));
}
float log_uniform(Random& rng, double low, double high) {
  return static_cast<float>(std::exp(rng.uniform(std::log(low), std::log(high))));
}
float normal(Random& rng, double sigma) { return static_cast<float>(sigma * rng.normal()); }
float angle(Random& rng) { return uniform(rng, 0, 2 * std::numbers::pi); }

struct Vec {
  float x = 0;
  float y = 0;
};

/// The supersampled light, one plane a band, `n` x `n` each.
struct Canvas {
  int n = 0;
  std::array<std::vector<float>, 3> band;

  explicit Canvas(int side) : n(side) {
    for (auto& b : band)
      b.assign(static_cast<std::size_t>(side) * static_cast<std::size_t>(side), 0.0F);
  }
  float step() const { return 2.0F / static_cast<float>(n); }
  float at(int i) const { return (static_cast<float>(i) + 0.5F) * step() - 1.0F; }
  /// The first grid line at or after coordinate `x`, within the grid.
  int line(float x) const {
    return static_cast<int>(
        std::clamp(std::ceil((x + 1.0F) / step() - 0.5F), 0.0F, static_cast<float>(n)));
  }
  std::size_t offset(int y) const {
    return static_cast<std::size_t>(y) * static_cast<std::size_t>(n);
  }
};

/// Several functions of the radius, tabulated together so that a cell costs one interpolation.
template <std::size_t kN>
class Profiles {
 public:
  /// `f(r)` gives the values at radius r, for r up to `reach`.
  template <class F>
  Profiles(float reach, F f) : reach_(reach), scale_(kBins / reach) {
    for (int i = 0; i <= kBins; ++i)
      value_[static_cast<std::size_t>(i)] = f(static_cast<float>(i) / scale_);
    value_[kBins + 1] = value_[kBins];
  }
  float reach() const { return reach_; }
  std::array<float, kN> operator()(float r) const {
    const float t = std::min(r * scale_, static_cast<float>(kBins));
    const int i = static_cast<int>(t);
    const float f = t - static_cast<float>(i);
    const auto& a = value_[static_cast<std::size_t>(i)];
    const auto& b = value_[static_cast<std::size_t>(i) + 1];
    std::array<float, kN> out;
    for (std::size_t k = 0; k < kN; ++k) out[k] = a[k] + f * (b[k] - a[k]);
    return out;
  }

 private:
  static constexpr int kBins = 320;
  float reach_;
  float scale_;
  std::array<std::array<float, kN>, kBins + 2> value_;
};

class Profile {
 public:
  template <class F>
  Profile(float reach, F f) : table_(reach, [&](float r) { return std::array<float, 1>{f(r)}; }) {}
  float operator()(float r) const { return table_(r)[0]; }

 private:
  Profiles<1> table_;
};

/// b_n of the Sérsic law, so that r_e holds half the light (Ciotti & Bertin 1999, eq. 18).
float sersic_b(float n) { return 2 * n - 1.0F / 3 + 4 / (405 * n) + 46 / (25515 * n * n); }

/// I(r) of unit luminosity (Sérsic 1963), for circular isophotes; n = 1 is the exponential disc, n
/// = 4 de Vaucouleurs' law. `soft` rounds off the cusp below the grid's resolution.
Profile sersic(float n, float re, float reach, float soft) {
  const float b = sersic_b(n);
  const float total =
      2 * kPi * n * re * re * std::exp(b) * std::pow(b, -2 * n) * std::tgamma(2 * n);
  return Profile(reach, [=](float r) {
    const float x = std::sqrt(r * r + soft * soft) / re;
    return std::exp(-b * (std::pow(x, 1 / n) - 1)) / total;
  });
}

/// Apparent axis ratio of an oblate spheroid of true axis ratio q0 (Hubble 1926).
float axis_ratio(float cos_i, float q0) {
  return std::sqrt(q0 * q0 + (1 - q0 * q0) * cos_i * cos_i);
}

/// An elliptical Sérsic component: bulges, ellipticals and neighbours.
/// `boxy` deforms the isophotes (a4/a; positive discy, negative boxy).
struct Spheroid {
  Vec centre;
  float pa = 0;
  float q = 1;
  float n = 4;
  float re = 0.1F;
  float boxy = 0;
};

void add(Canvas& canvas, const Spheroid& s, float light, const Rgb& colour) {
  const float reach = std::min(3.5F, s.re * (3 + 3 * s.n));
  const Profile profile = sersic(s.n, s.re, reach, 0.4F * canvas.step());
  const float c = std::cos(s.pa);
  const float d = std::sin(s.pa);
  const float norm = light / s.q;
  const int x0 = canvas.line(s.centre.x - reach);
  const int x1 = canvas.line(s.centre.x + reach);
  const int y1 = canvas.line(s.centre.y + reach);
  for (int y = canvas.line(s.centre.y - reach); y < y1; ++y) {
    const float dy = canvas.at(y) - s.centre.y;
    const std::size_t row = canvas.offset(y);
    for (int x = x0; x < x1; ++x) {
      const float dx = canvas.at(x) - s.centre.x;
      const float u = c * dx + d * dy;
      const float v = (c * dy - d * dx) / s.q;
      float r2 = u * u + v * v;
      if (r2 >= reach * reach) continue;
      if (s.boxy != 0) {
        const float cos2 = r2 > 0 ? (u * u - v * v) / r2 : 1.0F;
        const float cos4 = 2 * cos2 * cos2 - 1;
        r2 *= 1 - 2 * s.boxy * cos4;
      }
      const float value = norm * profile(std::sqrt(r2));
      for (std::size_t b = 0; b < 3; ++b)
        canvas.band[b][row + static_cast<std::size_t>(x)] += value * colour[b];
    }
  }
}

/// A round Gaussian patch: star-forming knots, tidal debris.
void add_blob(Canvas& canvas, Vec centre, float sigma, float light, const Rgb& colour) {
  // A patch finer than the grid would be missed between its lines.
  const float s = std::max(sigma, 0.5F * canvas.step());
  const float reach = 3 * s;
  const int x0 = canvas.line(centre.x - reach);
  const int x1 = canvas.line(centre.x + reach);
  const int y0 = canvas.line(centre.y - reach);
  const int y1 = canvas.line(centre.y + reach);
  std::vector<float> across(static_cast<std::size_t>(std::max(0, x1 - x0)));
  for (int x = x0; x < x1; ++x) {
    const float d = (canvas.at(x) - centre.x) / s;
    across[static_cast<std::size_t>(x - x0)] = std::exp(-0.5F * d * d);
  }
  const float peak = light / (2 * kPi * s * s);
  for (int y = y0; y < y1; ++y) {
    const float d = (canvas.at(y) - centre.y) / s;
    const float down = peak * std::exp(-0.5F * d * d);
    for (std::size_t b = 0; b < 3; ++b) {
      float* row = canvas.band[b].data() + canvas.offset(y) + x0;
      const float value = down * colour[b];
      for (std::size_t x = 0; x < across.size(); ++x) row[x] += value * across[x];
    }
  }
}

/// A thin disc seen at an angle: where its plane lies in the image.
struct Plane {
  Vec centre;
  float pa = 0;     ///< position angle of the line of nodes
  float q = 1;      ///< apparent axis ratio
  float spin = 0;   ///< rotation within the plane
  float sense = 1;  ///< +1 or -1: which way the arms wind

  Vec to_image(float r, float theta) const {
    const float u = r * std::cos(sense * (theta + spin));
    const float v = r * std::sin(sense * (theta + spin)) * q;
    return {centre.x + u * std::cos(pa) - v * std::sin(pa),
            centre.y + u * std::sin(pa) + v * std::cos(pa)};
  }
};

/// What a disc holds at one radius, per unit area of its plane.
enum Radial {
  kSmooth,    ///< light of the old disc
  kArms,      ///< light that the arms modulate
  kContrast,  ///< the share of that light which is in the arms, 0 to 1
  kCos,       ///< cosine and sine of the azimuth of the first arm's ridge
  kSin,
};

struct Disc {
  Profiles<5> radial;
  int arms = 2;
  float sharpness = 2;  ///< kappa of the arms' azimuthal profile exp(kappa (cos - 1))
  float dust = 0;       ///< optical depth of the lanes on the arms' inner edges
  float lopsided = 0;
  Rgb old_colour = kOld;
  Rgb young_colour = kYoung;
};

void add(Canvas& canvas, const Plane& plane, const Disc& disc) {
  // Image to plane: turn back by pa, stretch by 1/q, mirror, turn back by spin.
  const float c = std::cos(plane.pa);
  const float s = std::sin(plane.pa);
  const float cs = std::cos(plane.spin);
  const float ss = std::sin(plane.spin);
  const float k = plane.sense / plane.q;
  const float ux = cs * c - ss * s * k;
  const float uy = cs * s + ss * c * k;
  const float vx = -ss * c - cs * s * k;
  const float vy = -ss * s + cs * c * k;

  // The arms' azimuthal profile as a function of 1 - cos, of mean one.
  float mean = 0;
  for (int i = 0; i < 32; ++i)
    mean += std::exp(disc.sharpness * (std::cos(2 * kPi * static_cast<float>(i) / 32) - 1)) / 32;
  const Profile ridge(2.0F, [&](float t) { return std::exp(-disc.sharpness * t) / mean; });
  const Profile lane(2.0F, [&](float t) { return disc.dust * std::exp(-3 * t); });
  const float lag_c = std::cos(0.9F);
  const float lag_s = std::sin(0.9F);

  const float norm = 1 / plane.q;
  const float reach = disc.radial.reach();
  for (int y = 0; y < canvas.n; ++y) {
    const float dy = canvas.at(y) - plane.centre.y;
    const std::size_t row = canvas.offset(y);
    for (int x = 0; x < canvas.n; ++x) {
      const float dx = canvas.at(x) - plane.centre.x;
      const float u = ux * dx + uy * dy;
      const float v = vx * dx + vy * dy;
      const float r2 = u * u + v * v;
      if (r2 >= reach * reach) continue;
      const float r = std::sqrt(r2);
      const std::array<float, 5> at_r = disc.radial(r);
      const float old = norm * at_r[kSmooth];
      float young = norm * at_r[kArms];
      float depth = 0;
      const float arm = at_r[kContrast];
      if (r > 0) {
        const float cos_t = u / r;
        const float sin_t = v / r;
        if (arm > 0) {
          // e^{i m (theta - phase)} by repeated multiplication.
          const float cp = at_r[kCos];
          const float sp = at_r[kSin];
          const float zr = cos_t * cp + sin_t * sp;
          const float zi = sin_t * cp - cos_t * sp;
          float pr = zr;
          float pi = zi;
          for (int m = 1; m < disc.arms; ++m) {
            const float t = pr * zr - pi * zi;
            pi = pr * zi + pi * zr;
            pr = t;
          }
          young *= 1 - arm + arm * ridge(std::max(0.0F, 1 - pr));
          depth = arm * lane(std::max(0.0F, 1 - (pr * lag_c - pi * lag_s)));
        }
        young *= 1 + disc.lopsided * cos_t;
      }
      const std::size_t at = row + static_cast<std::size_t>(x);
      for (std::size_t b = 0; b < 3; ++b) {
        const float light = old * disc.old_colour[b] + young * disc.young_colour[b];
        canvas.band[b][at] += light / (1 + depth * kDust[b]);
      }
    }
  }
}

/// A bar in the plane of a disc: a Ferrers (1877) ellipsoid's surface density on generalised
/// ellipses (Athanassoula et al. 1990), `shape` = 2 an ellipse, more is boxier.
void add_bar(Canvas& canvas, const Plane& plane, float length, float width, float shape,
             float light, const Rgb& colour) {
  const float c = std::cos(plane.pa);
  const float s = std::sin(plane.pa);
  const float cs = std::cos(plane.spin);
  const float ss = std::sin(plane.spin);
  const float k = plane.sense / plane.q;
  const float norm = 2.5F * light / (kPi * length * width * plane.q);
  const int x0 = canvas.line(plane.centre.x - length);
  const int x1 = canvas.line(plane.centre.x + length);
  const int y1 = canvas.line(plane.centre.y + length);
  for (int y = canvas.line(plane.centre.y - length); y < y1; ++y) {
    const float dy = canvas.at(y) - plane.centre.y;
    const std::size_t row = canvas.offset(y);
    for (int x = x0; x < x1; ++x) {
      const float dx = canvas.at(x) - plane.centre.x;
      const float n = c * dx + s * dy;
      const float o = k * (c * dy - s * dx);
      const float u = std::abs(cs * n + ss * o) / length;
      const float v = std::abs(cs * o - ss * n) / width;
      if (u >= 1 || v >= 1) continue;
      const float m = std::pow(u, shape) + std::pow(v, shape);
      if (m >= 1) continue;
      const float value = norm * (1 - m) * std::sqrt(1 - m);
      for (std::size_t b = 0; b < 3; ++b)
        canvas.band[b][row + static_cast<std::size_t>(x)] += value * colour[b];
    }
  }
}

/// What a class function starts from: where the galaxy is, how large and how it is turned.
struct Setting {
  Vec centre;
  float size = 0.7F;  ///< radius at which the galaxy fades into the sky
  float pa = 0;
};

/// The plane of a disc whose inclination is drawn uniformly in cos i between cos(most) and 1.
Plane inclined(Random& rng, const Setting& at, float most_degrees, float* cos_i) {
  *cos_i = uniform(rng, std::cos(most_degrees * kPi / 180), 1);
  Plane plane;
  plane.centre = at.centre;
  plane.pa = at.pa;
  plane.q = axis_ratio(*cos_i, 0.2F);
  plane.spin = angle(rng);
  plane.sense = rng.bernoulli(0.5) ? 1.0F : -1.0F;
  return plane;
}

void add_bulge(Canvas& canvas, Random& rng, const Plane& plane, float cos_i, float light, float re,
               const Rgb& colour) {
  Spheroid bulge;
  bulge.centre = plane.centre;
  bulge.pa = plane.pa;
  bulge.q = axis_ratio(cos_i, 0.7F);
  bulge.n = uniform(rng, 1.5, 4);
  bulge.re = re;
  add(canvas, bulge, light, colour);
}

void draw_elliptical(Canvas& canvas, Random& rng, const Setting& at) {
  Spheroid body;
  body.centre = at.centre;
  body.pa = at.pa;
  body.q = uniform(rng, 0.55, 1);
  body.n = uniform(rng, 1.5, 5.5);
  body.re = at.size * uniform(rng, 0.28, 0.5);
  body.boxy = normal(rng, 0.012);
  add(canvas, body, 1, mix(kOld, kMiddle, uniform(rng, 0, 0.8)));
}

/// A disc with arms. Lengths as everywhere in half frames, light as shares of the galaxy's.
struct SpiralShape {
  float scale = 0.2F;        ///< scale length h of the old disc
  float inner = 0.1F;        ///< where the arms begin
  float outer = 0.8F;        ///< where they end
  float cot = 3;             ///< cotangent of the pitch angle
  float old_light = 0.3F;    ///< smooth disc
  float young_light = 0.5F;  ///< disc with arms
  float contrast = 0.9F;     ///< share of the young light that is in the arms
  int arms = 2;
  int knots = 20;
};

void add_spiral(Canvas& canvas, Random& rng, const Plane& plane, const SpiralShape& shape,
                const Rgb& old_colour, const Rgb& young_colour) {
  const float soft = 0.4F * canvas.step();
  const float reach = 2.4F;
  const float wave = angle(rng);
  const float ripple = uniform(rng, 0.02, 0.12);
  const auto phase = [&](float r) {
    const float l = std::log(std::max(r, 0.02F) / shape.inner);
    return shape.cot * l + ripple * std::sin(4 * l + wave);
  };
  const Profile exponential = sersic(1, 1.678F * shape.scale, reach, soft);
  const float outer = shape.outer;
  const float inner = shape.inner;
  const auto radial = [&](float r) -> std::array<float, 5> {
    // The young disc is flatter than the old one and ends with the arms.
    const float flat = 2.2F * shape.scale;
    const float edge = 1 / (1 + std::exp((r - outer) / (0.07F * outer)));
    const float hole = r * r / (r * r + 0.5F * inner * inner);
    const float young =
        shape.young_light * edge * hole * std::exp(-r / flat) / (2 * kPi * flat * shape.scale);
    const float t = std::clamp((r / inner - 0.7F) / 0.5F, 0.0F, 1.0F);
    return {shape.old_light * exponential(r), young, shape.contrast * t * t * (3 - 2 * t),
            std::cos(phase(r)), std::sin(phase(r))};
  };
  const Disc disc{
      .radial = Profiles<5>(reach, radial),
      .arms = shape.arms,
      .sharpness = uniform(rng, 1.4, 2.8),
      .dust = uniform(rng, 0, 0.6),
      .lopsided = uniform(rng, 0, 0.2),
      .old_colour = old_colour,
      .young_colour = young_colour,
  };
  add(canvas, plane, disc);
  // Flocculence: knots of star formation strewn along the arms.
  for (int i = 0; i < shape.knots; ++i) {
    const float r = inner + (0.95F * outer - inner) * std::sqrt(rng.uniform());
    const auto arm = static_cast<float>(rng.below(static_cast<std::uint32_t>(shape.arms)));
    const float theta =
        phase(r) + 2 * kPi * arm / static_cast<float>(shape.arms) + normal(rng, 0.13);
    const float light = shape.young_light * 0.008F * log_uniform(rng, 0.3, 2);
    add_blob(canvas, plane.to_image(r, theta), uniform(rng, 0.012, 0.03), light,
             mix(young_colour, kKnot, 0.8F));
  }
}

/// A range of pitch angles, in degrees.
struct Winding {
  double pitch_low;
  double pitch_high;
};

/// An unbarred pattern with the pitch angles given for two and for three arms: between two
/// neighbouring arms the radius grows by exp(2 pi tan(pitch) / arms), so more arms need more pitch
/// to look equally wound.
SpiralShape wound(Random& rng, const Setting& at, Winding two, Winding three) {
  SpiralShape shape;
  shape.arms = rng.bernoulli(0.7) ? 2 : 3;
  const Winding w = shape.arms == 2 ? two : three;
  shape.cot = 1 / std::tan(uniform(rng, w.pitch_low, w.pitch_high) * kPi / 180);
  shape.scale = at.size * uniform(rng, 0.26, 0.36);
  shape.outer = at.size * uniform(rng, 0.88, 1.02);
  shape.contrast = uniform(rng, 0.75, 1);
  shape.knots = 6 + static_cast<int>(rng.below(30));
  return shape;
}

void draw_spiral(Canvas& canvas, Random& rng, const Setting& at, bool tight) {
  float cos_i = 1;
  const Plane plane = inclined(rng, at, 52, &cos_i);
  SpiralShape shape =
      tight ? wound(rng, at, {9, 14}, {13, 18}) : wound(rng, at, {27, 40}, {33, 44});
  shape.inner = at.size * uniform(rng, 0.14, 0.22);
  const float bulge = uniform(rng, 0.06, 0.36);
  shape.young_light = uniform(rng, 0.42, 0.62);
  shape.old_light = 1 - bulge - shape.young_light;
  const Rgb old_colour = mix(kOld, kMiddle, uniform(rng, 0, 0.6));
  const Rgb young_colour = mix(kMiddle, kYoung, uniform(rng, 0.2, 1));
  add_spiral(canvas, rng, plane, shape, old_colour, young_colour);
  add_bulge(canvas, rng, plane, cos_i, bulge, at.size * uniform(rng, 0.08, 0.14), old_colour);
}

void draw_barred(Canvas& canvas, Random& rng, const Setting& at) {
  float cos_i = 1;
  const Plane plane = inclined(rng, at, 50, &cos_i);
  SpiralShape shape = wound(rng, at, {14, 32}, {20, 34});
  shape.arms = 2;
  const float length = at.size * uniform(rng, 0.46, 0.62);
  shape.inner = length * 0.85F;
  const float bar = uniform(rng, 0.14, 0.26);
  const float bulge = uniform(rng, 0.05, 0.14);
  shape.young_light = uniform(rng, 0.34, 0.48);
  shape.old_light = std::max(0.05F, 1 - bar - bulge - shape.young_light);
  const Rgb old_colour = mix(kOld, kMiddle, uniform(rng, 0, 0.6));
  const Rgb young_colour = mix(kMiddle, kYoung, uniform(rng, 0.2, 1));
  add_spiral(canvas, rng, plane, shape, old_colour, young_colour);
  const float width = length * uniform(rng, 0.2, 0.32);
  const float boxiness = uniform(rng, 2, 3.5);
  add_bar(canvas, plane, length, width, boxiness, bar, old_colour);
  add_bulge(canvas, rng, plane, cos_i, bulge, at.size * uniform(rng, 0.06, 0.1), old_colour);
}

void draw_ring(Canvas& canvas, Random& rng, const Setting& at) {
  float cos_i = 1;
  const Plane plane = inclined(rng, at, 52, &cos_i);
  const float radius = at.size * uniform(rng, 0.55, 0.75);
  const float width = radius * uniform(rng, 0.1, 0.2);
  const float core = uniform(rng, 0.12, 0.4);
  const float ring = uniform(rng, 0.34, 0.52);
  const float disc_light = 1 - core - ring;
  const float reach = 2.4F;
  const Profile exponential = sersic(1, 1.678F * 0.4F * at.size, reach, 0.4F * canvas.step());
  const Rgb old_colour = mix(kOld, kMiddle, uniform(rng, 0, 0.6));
  const Rgb young_colour = mix(kMiddle, kYoung, uniform(rng, 0.2, 1));
  const auto radial = [&](float r) -> std::array<float, 5> {
    const float t = (r - radius) / width;
    const float peak = ring / (std::pow(2 * kPi, 1.5F) * radius * width);
    return {disc_light * exponential(r), peak * std::exp(-0.5F * t * t), 0, 1, 0};
  };
  const Disc disc{
      .radial = Profiles<5>(reach, radial),
      .lopsided = uniform(rng, 0, 0.35),
      .old_colour = old_colour,
      .young_colour = young_colour,
  };
  add(canvas, plane, disc);
  const int knots = 6 + static_cast<int>(rng.below(24));
  for (int i = 0; i < knots; ++i) {
    const float r = radius + normal(rng, 0.5 * width);
    const float theta = angle(rng);
    const float sigma = uniform(rng, 0.012, 0.03);
    const float light = ring * 0.008F * log_uniform(rng, 0.3, 2);
    add_blob(canvas, plane.to_image(r, theta), sigma, light, mix(young_colour, kKnot, 0.8F));
  }
  add_bulge(canvas, rng, plane, cos_i, core, at.size * uniform(rng, 0.1, 0.17), old_colour);
}

/// A disc seen from the side: exponential along the plane and sech² across it (van der Kruit &
/// Searle 1981), a bulge, and a lane of dust in front.
void draw_edge_on(Canvas& canvas, Random& rng, const Setting& at) {
  const float size = at.size * 1.15F;
  const float h = size * uniform(rng, 0.24, 0.32);
  const float z0 = h * uniform(rng, 0.2, 0.36);
  const float bulge = rng.bernoulli(0.7) ? uniform(rng, 0.08, 0.35) : 0.02F;
  const Rgb old_colour = mix(kOld, kMiddle, uniform(rng, 0, 0.6));
  const Rgb disc_colour = mix(mix(kOld, kMiddle, 0.7F), kYoung, uniform(rng, 0, 0.8));

  Spheroid spheroid;
  spheroid.centre = at.centre;
  spheroid.pa = at.pa;
  spheroid.q = uniform(rng, 0.6, 0.85);
  spheroid.n = uniform(rng, 1.5, 4);
  spheroid.re = size * uniform(rng, 0.07, 0.12);
  add(canvas, spheroid, bulge, old_colour);

  const float reach = 2.4F;
  // (R/h) K1(R/h) is the line-of-sight integral of the disc; sqrt(1 + pi x / 2) e^-x is within 3 %.
  const Profile along(reach, [&](float r) {
    const float x = r / h;
    const float edge = 1 / (1 + std::exp((r - size) / (0.08F * size)));
    return edge * std::sqrt(1 + 0.5F * kPi * x) * std::exp(-x) / (kPi * h * 2 * z0);
  });
  const Profile across(reach, [&](float z) {
    const float c = std::cosh(std::min(z / z0, 20.0F));
    return 1 / (c * c);
  });
  const float depth = rng.bernoulli(0.7) ? uniform(rng, 1.5, 6) : 0.0F;
  const float lane_z = z0 * normal(rng, 0.25);
  const float lane_width = z0 * uniform(rng, 0.25, 0.5);
  const float warp = normal(rng, 0.05) / size;  // S-shaped: the two ends bend opposite ways
  const float c = std::cos(at.pa);
  const float s = std::sin(at.pa);
  for (int y = 0; y < canvas.n; ++y) {
    const float dy = canvas.at(y) - at.centre.y;
    const std::size_t row = canvas.offset(y);
    for (int x = 0; x < canvas.n; ++x) {
      const float dx = canvas.at(x) - at.centre.x;
      const float u = c * dx + s * dy;
      const float r = std::abs(u);
      const float z = c * dy - s * dx - warp * u * r;
      const std::size_t i = row + static_cast<std::size_t>(x);
      const float light = (1 - bulge) * along(r) * across(std::abs(z));
      for (std::size_t b = 0; b < 3; ++b) canvas.band[b][i] += light * disc_colour[b];
      const float t = (z - lane_z) / lane_width;
      if (depth > 0 && std::abs(t) < 4) {
        const float tau = depth * std::exp(-0.5F * t * t - 0.8F * r / h);
        // Some of the stars stand in front of the dust.
        for (std::size_t b = 0; b < 3; ++b)
          canvas.band[b][i] *= 0.25F + 0.75F * std::exp(-tau * kDust[b]);
      }
    }
  }
}

/// Two galaxies in collision, with the tails and the bridge that tides draw out of their discs
/// (Toomre & Toomre 1972): arcs that start on the far side of each galaxy and curve the same way
/// round.
void draw_merger(Canvas& canvas, Random& rng, const Setting& at) {
  const float apart = at.size * uniform(rng, 0.42, 0.72);
  const float share = uniform(rng, 0.35, 0.65);
  const float sense = rng.bernoulli(0.5) ? 1.0F : -1.0F;
  const Vec axis = {std::cos(at.pa), std::sin(at.pa)};
  const Rgb debris = mix(kMiddle, kYoung, uniform(rng, 0, 0.9));
  const float tails = uniform(rng, 0.14, 0.28);
  for (int k = 0; k < 2; ++k) {
    const float side = k == 0 ? 1.0F : -1.0F;
    const float mass = k == 0 ? share : 1 - share;
    const Vec centre = {at.centre.x + side * (1 - mass) * apart * axis.x,
                        at.centre.y + side * (1 - mass) * apart * axis.y};
    const Rgb colour = mix(kOld, kMiddle, uniform(rng, 0, 1));
    const float re = at.size * std::sqrt(mass) * uniform(rng, 0.2, 0.3);
    Spheroid disc;
    disc.centre = {centre.x + normal(rng, 0.015), centre.y + normal(rng, 0.015)};
    disc.pa = angle(rng);
    disc.q = uniform(rng, 0.4, 0.95);
    disc.n = 1;
    disc.re = re;
    const float bulge = uniform(rng, 0.3, 0.55);
    add(canvas, disc, mass * (1 - bulge) * (1 - tails), mix(colour, kYoung, uniform(rng, 0, 0.6)));
    Spheroid core;
    core.centre = centre;
    core.pa = disc.pa;
    core.q = uniform(rng, 0.7, 1);
    core.n = uniform(rng, 1, 3);
    core.re = 0.4F * re;
    add(canvas, core, mass * bulge * (1 - tails), colour);

    // The tail: its direction turns at a steady rate while it widens and fades.
    const int steps = 26;
    const float length = at.size * uniform(rng, 0.6, 1.15);
    const float turn = sense * uniform(rng, 1.2, 2.8);
    const float power = mass * tails * (rng.bernoulli(0.2) ? 0.3F : 1.0F);
    const float ease = uniform(rng, 0.2, 1);
    float heading = at.pa + (side > 0 ? 0 : kPi) + sense * uniform(rng, -1.2, 0.1);
    Vec p = centre;
    for (int i = 0; i < steps; ++i) {
      const float t = (static_cast<float>(i) + 0.5F) / static_cast<float>(steps);
      heading += turn / static_cast<float>(steps);
      p.x += length / static_cast<float>(steps) * std::cos(heading);
      p.y += length / static_cast<float>(steps) * std::sin(heading);
      add_blob(canvas, {p.x + normal(rng, 0.008), p.y + normal(rng, 0.008)}, 0.035F + 0.04F * t,
               power * (1 + ease * (0.5F - t) * 2) / static_cast<float>(steps), debris);
    }
  }
  // The bridge between the two, and debris around them.
  for (int i = 0; i < 6; ++i) {
    const float t = uniform(rng, -0.5, 0.5) * apart;
    const Vec p = {at.centre.x + t * axis.x + normal(rng, 0.03),
                   at.centre.y + t * axis.y + normal(rng, 0.03)};
    add_blob(canvas, p, uniform(rng, 0.05, 0.1), 0.008F, debris);
  }
}

/// A Magellanic irregular: a faint lopsided body without a bulge, and associations of young stars
/// scattered over it, clustered around a few centres.
void draw_irregular(Canvas& canvas, Random& rng, const Setting& at) {
  const float q = uniform(rng, 0.5, 0.95);
  const float c = std::cos(at.pa);
  const float s = std::sin(at.pa);
  const auto place = [&](float u, float v) {
    return Vec{at.centre.x + c * u - s * v * q, at.centre.y + s * u + c * v * q};
  };
  const Rgb body_colour = mix(mix(kOld, kMiddle, 0.6F), kYoung, uniform(rng, 0, 0.7));
  const Rgb knot_colour = mix(kMiddle, kKnot, uniform(rng, 0.1, 0.9));
  Spheroid body;
  body.centre = at.centre;
  body.pa = at.pa;
  body.q = q;
  body.n = uniform(rng, 0.5, 0.9);
  body.re = at.size * uniform(rng, 0.38, 0.5);
  const float smooth = uniform(rng, 0.4, 0.55);
  add(canvas, body, smooth, body_colour);
  const int complexes = 4 + static_cast<int>(rng.below(4));
  for (int i = 0; i < complexes; ++i) {
    const float u = normal(rng, 0.36) * at.size;
    const float v = normal(rng, 0.36) * at.size;
    const float light = (1 - smooth) / static_cast<float>(complexes) * log_uniform(rng, 0.5, 1.8);
    add_blob(canvas, place(u, v), at.size * uniform(rng, 0.1, 0.18), 0.55F * light,
             mix(body_colour, knot_colour, 0.5F));
    const int knots = 3 + static_cast<int>(rng.below(6));
    for (int j = 0; j < knots; ++j) {
      const float du = normal(rng, 0.1) * at.size;
      const float dv = normal(rng, 0.1) * at.size;
      add_blob(canvas, place(u + du, v + dv), uniform(rng, 0.015, 0.045),
               0.45F * light / static_cast<float>(knots), knot_colour);
    }
  }
}

/// A Gaussian of `sigma` cells over an n x n plane, then means over `factor` x `factor` cells, both
/// in one kernel; light beyond the frame is taken to be what its edge shows.
std::vector<float> blur(const std::vector<float>& plane, int n, int factor, float sigma) {
  const int radius = std::max(1, static_cast<int>(std::ceil(2.7F * sigma)));
  const int taps = 2 * radius + factor;
  std::vector<float> kernel(static_cast<std::size_t>(taps), 0.0F);
  float sum = 0;
  for (int i = -radius; i <= radius; ++i) {
    const float t = static_cast<float>(i) / sigma;
    const float w = std::exp(-0.5F * t * t);
    for (int k = 0; k < factor; ++k) kernel[static_cast<std::size_t>(i + radius + k)] += w;
    sum += w * static_cast<float>(factor);
  }
  for (float& k : kernel) k /= sum;
  const int m = n / factor;
  const auto un = static_cast<std::size_t>(n);
  std::vector<float> padded(un + 2 * static_cast<std::size_t>(radius));
  std::vector<float> out(static_cast<std::size_t>(m) * static_cast<std::size_t>(m), 0.0F);
  float* middle = padded.data() + radius;
  for (int y = 0; y < m; ++y) {
    std::fill_n(middle, n, 0.0F);
    for (int k = 0; k < taps; ++k) {
      const int from = std::clamp(y * factor + k - radius, 0, n - 1);
      const float* in = plane.data() + static_cast<std::size_t>(from) * un;
      const float w = kernel[static_cast<std::size_t>(k)];
      for (int x = 0; x < n; ++x) middle[x] += w * in[x];
    }
    std::fill_n(padded.data(), radius, middle[0]);
    std::fill_n(middle + n, radius, middle[n - 1]);
    float* row = out.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(m);
    for (int k = 0; k < taps; ++k) {
      const float w = kernel[static_cast<std::size_t>(k)];
      const float* in = padded.data() + k;
      for (int x = 0; x < m; ++x) row[x] += w * in[x * factor];
    }
  }
  return out;
}

/// 4096 equally likely values of a standard normal: noise at one look-up a number.
const std::array<float, 4096>& normal_quantiles() {
  static const std::array<float, 4096> table = [] {
    std::array<float, 4096> t{};
    double z = -4;
    for (std::size_t i = 0; i < t.size(); ++i) {
      const double p = (static_cast<double>(i) + 0.5) / static_cast<double>(t.size());
      for (int step = 0; step < 20; ++step) {  // Newton, from the previous quantile
        const double density = std::exp(-0.5 * z * z) / std::sqrt(2 * std::numbers::pi);
        z += (p - 0.5 * std::erfc(-z / std::numbers::sqrt2)) / density;
      }
      t[i] = static_cast<float>(z);
    }
    return t;
  }();
  return table;
}

enum Class { kElliptical, kEdgeOn, kTight, kLoose, kBarred, kRing, kMerger, kIrregular };

}  // namespace

const std::vector<std::string>& galaxy_class_names() {
  static const std::vector<std::string> names = {"elliptical",   "edge_on_disc",  "tight_spiral",
                                                 "loose_spiral", "barred_spiral", "ring",
                                                 "merger",       "irregular"};
  return names;
}

Image draw_galaxy(int cls, int size, std::uint64_t seed, std::uint64_t index) {
  const auto classes = static_cast<int>(galaxy_class_names().size());
  if (cls < 0 || cls >= classes)
    fail(ErrorCode::kInvalidArgument, "galaxies: expected a class from 0 to {}, found {}",
         classes - 1, cls);
  if (size < 8 || size > 4096)
    fail(ErrorCode::kInvalidArgument, "galaxies: expected a size from 8 to 4096 pixels, found {}",
         size);

  // The scene and the noise have streams of their own, so that a galaxy looks the same at any size.
  Random rng(seed, 0x6A100000U + static_cast<std::uint32_t>(cls), index);
  const int factor = size < 24 ? 4 : size < 56 ? 2 : 1;
  Canvas canvas(size * factor);

  Setting at;
  at.centre = {normal(rng, 0.07), normal(rng, 0.07)};
  at.size = uniform(rng, 0.5, 0.9);
  at.pa = angle(rng);
  switch (static_cast<Class>(cls)) {
    case kElliptical: draw_elliptical(canvas, rng, at); break;
    case kEdgeOn: draw_edge_on(canvas, rng, at); break;
    case kTight: draw_spiral(canvas, rng, at, true); break;
    case kLoose: draw_spiral(canvas, rng, at, false); break;
    case kBarred: draw_barred(canvas, rng, at); break;
    case kRing: draw_ring(canvas, rng, at); break;
    case kMerger: draw_merger(canvas, rng, at); break;
    case kIrregular: draw_irregular(canvas, rng, at); break;
  }

  // Brightness and colour say little about the class: the mean signal over the frame, in units of
  // the sky's noise at 32 pixels, comes from one distribution, and redshift and dust tint the whole
  // galaxy.
  std::vector<float> columns(static_cast<std::size_t>(canvas.n), 0.0F);
  for (const auto& band : canvas.band)
    for (int y = 0; y < canvas.n; ++y)
      for (std::size_t x = 0; x < columns.size(); ++x) columns[x] += band[canvas.offset(y) + x];
  const double light = std::accumulate(columns.begin(), columns.end(), 0.0);
  const double cells = static_cast<double>(canvas.n) * canvas.n;
  const float flux = log_uniform(rng, 1.2, 6);
  const auto scale = static_cast<float>(flux * 3 * cells / light);
  const float tint = std::clamp(normal(rng, 0.1), -0.3F, 0.3F);
  for (std::size_t b = 0; b < 3; ++b) {
    const float gain = scale * std::exp(tint * (1 - static_cast<float>(b)));
    for (float& v : canvas.band[b]) v *= gain;
  }

  // Neighbours and foreground stars, light in the same units.
  const float unit = 4 * flux;  // the galaxy's own light
  const int neighbours = static_cast<int>(rng.below(4));
  for (int i = 0; i < neighbours; ++i) {
    const float r = uniform(rng, 0.6, 1.25);
    const float t = angle(rng);
    Spheroid other;
    other.centre = {r * std::cos(t), r * std::sin(t)};
    other.pa = angle(rng);
    other.q = uniform(rng, 0.35, 1);
    other.n = rng.bernoulli(0.5) ? 1.0F : 2.5F;
    other.re = log_uniform(rng, 0.02, 0.06);
    const float power = std::min(unit * 0.06F, log_uniform(rng, 0.05, 0.5));
    add(canvas, other, power, mix(kOld, kYoung, uniform(rng, -0.2, 1)));
  }
  const int stars = static_cast<int>(rng.below(4));
  for (int i = 0; i < stars; ++i) {
    const Vec p = {uniform(rng, -1, 1), uniform(rng, -1, 1)};
    const float power = log_uniform(rng, 0.04, 1.2);
    const Rgb colour = mix(kOld, kKnot, uniform(rng, -0.3, 1.2));
    if (std::hypot(p.x - at.centre.x, p.y - at.centre.y) > 0.45F)
      add_blob(canvas, p, 0, power, colour);
  }

  // The point-spread function, a double Gaussian as SDSS fits it: a core, and wings of a tenth of
  // the light and 2.5 times the width. The wings are so smooth that the image's own grid does for
  // them.
  const float seeing = uniform(rng, 0.012, 0.022);
  const float fwhm = std::hypot(1.2F, seeing * static_cast<float>(size));
  const float sigma = fwhm / 2.3548F;
  std::array<std::vector<float>, 3> seen;
  for (std::size_t b = 0; b < 3; ++b) {
    seen[b] = blur(canvas.band[b], canvas.n, factor, sigma * static_cast<float>(factor));
    const std::vector<float> wings = blur(seen[b], size, 1, 2.3F * sigma);
    for (std::size_t i = 0; i < wings.size(); ++i) seen[b][i] = 0.9F * seen[b][i] + 0.1F * wings[i];
  }

  // The detector counts electrons of galaxy and sky; both are many, so that Poisson's law is
  // normal. A larger image of the same field is a longer exposure, but each of its pixels gets
  // less light.
  const float sky = uniform(rng, 100, 300);
  const float read_noise = 5;
  const float sky_noise = std::sqrt(sky + read_noise * read_noise);
  const float exposure = std::sqrt(32.0F / static_cast<float>(size));
  const Vec slope = {normal(rng, 0.15), normal(rng, 0.15)};  // what sky subtraction leaves behind
  Random grain(
      seed,
      0x80000000U + (static_cast<std::uint32_t>(cls) << 16) + static_cast<std::uint32_t>(size),
      index);
  const std::array<float, 4096>& quantiles = normal_quantiles();
  Image image(size, size, 3);
  // Surveys show their images differently: how dark the sky is, where the stretch turns from
  // linear to logarithmic, what counts as white, how vivid the colours are. Brightness alone should
  // not give the class away.
  const float level = uniform(rng, 0.6, 3);
  const float soft = log_uniform(rng, 2.5, 12);
  const float white = log_uniform(rng, 40, 250);
  const float vivid = uniform(rng, 0.6, 1.25);
  const float top = 255 / std::asinh(white / soft);
  std::size_t i = 0;
  for (int y = 0; y < size; ++y) {
    std::uint8_t* out = image.row(y);
    for (int x = 0; x < size; ++x, ++i) {
      const float pedestal = level +
                             slope.x * (2 * static_cast<float>(x) / static_cast<float>(size) - 1) +
                             slope.y * (2 * static_cast<float>(y) / static_cast<float>(size) - 1);
      Rgb v;
      for (std::size_t b = 0; b < 3; ++b) {
        const float electrons = exposure * (sky + sky_noise * seen[b][i]);
        const float error =
            std::sqrt(electrons + read_noise * read_noise) * quantiles[grain.next() >> 20];
        v[b] = std::max(0.0F, seen[b][i] + error / (exposure * sky_noise) + pedestal);
      }
      // Lupton et al. (2004): stretch the intensity, keep the colour, and if a band overflows scale
      // all three so that bright cores keep their colour too.
      const float intensity = (v[0] + v[1] + v[2]) / 3 + 1e-6F;
      for (float& band : v) band = std::max(0.0F, intensity + vivid * (band - intensity));
      const float t = intensity / soft;  // asinh t = log(t + sqrt(t^2 + 1))
      float gain = top * std::log(t + std::sqrt(t * t + 1)) / intensity;
      gain = std::min(gain, 255 / (std::max({v[0], v[1], v[2]}) + 1e-6F));
      for (std::size_t b = 0; b < 3; ++b)
        out[3 * x + static_cast<int>(b)] =
            static_cast<std::uint8_t>(std::min(255.0F, gain * v[b] + 0.5F));
    }
  }
  return image;
}

}  // namespace resnet

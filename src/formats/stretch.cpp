#include "formats/stretch.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "core/check.h"

namespace resnet {
namespace {

constexpr std::array<std::string_view, 8> kNames = {"clip",  "high-byte", "10bit",      "12bit",
                                                    "14bit", "range",     "percentile", "asinh"};

}  // namespace

std::string_view name_of(Scale16Bit scale) { return kNames.at(static_cast<std::size_t>(scale)); }

Scale16Bit parse_scale_16bit(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) {
    fail(ErrorCode::kInvalidArgument, "unknown scale of 16-bit images \"{}\"; expected {}", name,
         fmt::join(kNames, ", "));
  }
  return static_cast<Scale16Bit>(found - kNames.begin());
}

namespace image {
namespace {

constexpr double kLowPercentile = 0.25;
constexpr double kHighPercentile = 99.75;
constexpr double kSoftening = 0.1;

/// By linear interpolation between neighbours, as NumPy; reorders the values.
double percentile(std::vector<double>& values, double percent) {
  const double rank = percent / 100 * static_cast<double>(values.size() - 1);
  const auto at = static_cast<std::ptrdiff_t>(rank);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  const double below = values[static_cast<std::size_t>(at)];
  if (at + 1 == static_cast<std::ptrdiff_t>(values.size())) return below;
  const double above = *std::min_element(values.begin() + at + 1, values.end());
  return below + (above - below) * (rank - static_cast<double>(at));
}

/// What each of the 65536 values becomes.
template <class F>
void map_each(std::span<const std::uint16_t> wide, std::span<std::uint8_t> out, const F& byte_of) {
  std::vector<std::uint8_t> table(std::size_t{1} << 16);
  for (std::size_t v = 0; v < table.size(); ++v) table[v] = byte_of(static_cast<double>(v));
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = table[wide[i]];
}

Levels own_levels(std::span<const std::uint16_t> wide, Scale16Bit scale) {
  if (scale == Scale16Bit::kRange) {
    const auto [least, most] = std::ranges::minmax(wide);
    return {static_cast<double>(least), static_cast<double>(most)};
  }
  std::vector<double> values(wide.begin(), wide.end());
  return percentile_levels(values);
}

}  // namespace

Levels percentile_levels(std::vector<double>& values) {
  const double low = percentile(values, kLowPercentile);
  return {low, percentile(values, kHighPercentile)};
}

double asinh_stretch(double y) {
  static const double scale = 1 / std::asinh(1 / kSoftening);
  return std::asinh(y / kSoftening) * scale;
}

std::uint8_t to_byte(double y) {
  return y > 0 ? static_cast<std::uint8_t>(std::min(y, 1.0) * 255 + 0.5) : std::uint8_t{0};
}

bool narrow(std::span<const std::uint16_t> wide, Scale16Bit scale, std::span<std::uint8_t> out) {
  RESNET_CHECK(wide.size() == out.size() && !wide.empty());
  const auto to_levels = [&](const Levels& l, const auto& curve) {
    const double range = l.high - l.low;
    map_each(wide, out, [&](double v) {
      return range > 0 ? to_byte(curve(std::clamp((v - l.low) / range, 0.0, 1.0)))
                       : std::uint8_t{0};
    });
  };
  const auto linear = [](double y) { return y; };
  switch (scale) {
    case Scale16Bit::kClip:
      for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<std::uint8_t>(std::min<std::uint16_t>(wide[i], 255));
      }
      return std::ranges::any_of(wide, [](std::uint16_t v) { return v > 255; });
    case Scale16Bit::kHighByte:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(wide[i] >> 8);
      return false;
    case Scale16Bit::k10Bit: to_levels({0, 1023}, linear); return false;
    case Scale16Bit::k12Bit: to_levels({0, 4095}, linear); return false;
    case Scale16Bit::k14Bit: to_levels({0, 16383}, linear); return false;
    case Scale16Bit::kRange:
    case Scale16Bit::kPercentile: to_levels(own_levels(wide, scale), linear); return false;
    case Scale16Bit::kAsinh: to_levels(own_levels(wide, scale), asinh_stretch); return false;
  }
  return false;
}

}  // namespace image
}  // namespace resnet

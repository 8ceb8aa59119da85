// How 16-bit grey images become 8-bit ones.
#include "formats/stretch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "formats/image.h"
#include "formats/png16.h"
#include "formats/support.h"

namespace resnet {
namespace {

const std::vector<std::uint16_t> kValues = {0, 1, 255, 256, 1000, 2048, 4095, 65535};

Image read(Scale16Bit scale, const std::vector<std::uint16_t>& values = kValues) {
  const std::string file = png16(values, 4);
  ImageOptions options;
  options.scale_16bit = scale;
  return decode_image(std::as_bytes(std::span(file)), "x.png", ColorMode::kGrey, options);
}

std::vector<std::uint8_t> linear(double low, double high,
                                 const std::vector<std::uint16_t>& values) {
  std::vector<std::uint8_t> out;
  for (const double v : values) {
    const double y = std::min(1.0, std::max(0.0, (v - low) / (high - low)));
    out.push_back(static_cast<std::uint8_t>(std::floor(y * 255 + 0.5)));
  }
  return out;
}

TEST(Scale16Bit, FollowsItsFormula) {
  EXPECT_EQ(read(Scale16Bit::kClip).pixels,
            (std::vector<std::uint8_t>{0, 1, 255, 255, 255, 255, 255, 255}));
  EXPECT_EQ(read(Scale16Bit::kHighByte).pixels,
            (std::vector<std::uint8_t>{0, 0, 0, 1, 3, 8, 15, 255}));
  EXPECT_EQ(read(Scale16Bit::k10Bit).pixels, linear(0, 1023, kValues));
  EXPECT_EQ(read(Scale16Bit::k12Bit).pixels, linear(0, 4095, kValues));
  EXPECT_EQ(read(Scale16Bit::k14Bit).pixels, linear(0, 16383, kValues));
  const std::vector<std::uint16_t> inner = {500, 700, 900, 1500};
  EXPECT_EQ(read(Scale16Bit::kRange, inner).pixels, linear(500, 1500, inner));
}

TEST(Scale16Bit, PercentilesLeaveOutAHotPixel) {
  std::vector<std::uint16_t> values(1000);
  std::iota(values.begin(), values.end(), std::uint16_t{2000});
  values.back() = 65535;
  // NumPy: percentile(values, [0.25, 99.75]) with linear interpolation.
  const double low = 2000 + 0.0025 * 999, high = 2000 + 0.9975 * 999;
  EXPECT_EQ(read(Scale16Bit::kPercentile, values).pixels, linear(low, high, values));
  const Image asinh = read(Scale16Bit::kAsinh, values);
  const double y = (2100 - low) / (high - low);
  EXPECT_EQ(asinh.pixels[100], std::lround(std::asinh(y / 0.1) / std::asinh(10.0) * 255));
  EXPECT_EQ(asinh.pixels.back(), 255);
}

TEST(Scale16Bit, SaysWhatWasClipped) {
  EXPECT_TRUE(read(Scale16Bit::kClip).clipped);
  EXPECT_FALSE(read(Scale16Bit::kClip, {0, 255, 3, 4}).clipped);
  for (const auto s : {Scale16Bit::kHighByte, Scale16Bit::k12Bit, Scale16Bit::kRange}) {
    EXPECT_FALSE(read(s).clipped) << name_of(s);
  }
  const std::string file = png16(kValues, 4);
  EXPECT_TRUE(
      decode_image(std::as_bytes(std::span<const char>(file)), "x", ColorMode::kRgb).clipped)
      << "in colour, too";
}

TEST(Scale16Bit, OfOneValueIsBlack) {
  for (const auto s : {Scale16Bit::kRange, Scale16Bit::kPercentile, Scale16Bit::kAsinh}) {
    EXPECT_EQ(read(s, {700, 700, 700, 700}).pixels, std::vector<std::uint8_t>(4, 0)) << name_of(s);
  }
}

TEST(Scale16Bit, HasNames) {
  for (int i = 0; i < 8; ++i) {
    const auto scale = static_cast<Scale16Bit>(i);
    EXPECT_EQ(parse_scale_16bit(name_of(scale)), scale);
  }
  expect_error(ErrorCode::kInvalidArgument, {"\"13bit\"", "12bit", "range"},
               [] { parse_scale_16bit("13bit"); });
}

TEST(Scale16Bit, APartIsScaledAsTheWhole) {
  ImageOptions options;
  options.scale_16bit = Scale16Bit::kRange;
  options.pick = [](int, int, int) { return Rect{0, 0, 2, 1}; };
  const std::string file = png16(kValues, 4);
  const Image part = decode_image(std::as_bytes(std::span(file)), "x", ColorMode::kGrey, options);
  EXPECT_EQ(part.pixels, (std::vector<std::uint8_t>{0, 0}));
}

TEST(Image, IsKnownByItsFirstBytes) {
  using namespace std::string_view_literals;
  const auto begins = [](std::string_view s) { return begins_image(std::as_bytes(std::span(s))); };
  for (const auto s :
       {"\xff\xd8\xff\xe0"sv, "\x89PNG\r\n\x1a\n\0\0\0\r"sv, "RIFF\x24\0\0\0WEBP"sv,
        "SIMPLE  =   "sv, "\x1f\x8b\x08\0"sv, "II*\0\x08\0\0\0"sv, "GIF89a\x40\1\x40\1"sv}) {
    EXPECT_TRUE(begins(s)) << s;
  }
  for (const auto s : {"a.jpg\n"sv, "RIFFLES/1.jpg"sv, "GIF89a.png\nx"sv, "BM.png\nx.png"sv, ""sv,
                       "SIMPLE.fits"sv, "/data/x.png"sv}) {
    EXPECT_FALSE(begins(s)) << s;
  }
}

}  // namespace
}  // namespace resnet

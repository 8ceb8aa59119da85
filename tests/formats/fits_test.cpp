#include <fitsio.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "formats/image.h"
#include "formats/pack.h"
#include "formats/support.h"

namespace resnet {
namespace {

std::string card(const std::string& key, const std::string& value) {
  std::string text = key;
  text.resize(8, ' ');
  text += "= ";
  text += std::string(value.size() < 20 && value[0] != '\'' ? 20 - value.size() : 0, ' ') + value;
  text.resize(80, ' ');
  return text;
}

/// A FITS file of one image; `values` are its elements in file order.
template <class T>
ByteVector fits(int bits, const std::vector<int>& size, const std::vector<T>& values,
                const std::string& more = {}) {
  std::string text = card("SIMPLE", "T") + card("BITPIX", std::to_string(bits)) +
                     card("NAXIS", std::to_string(size.size()));
  for (std::size_t i = 0; i < size.size(); ++i) {
    text += card("NAXIS" + std::to_string(i + 1), std::to_string(size[i]));
  }
  text += more;
  text += "END";
  text.resize((text.size() + 2879) / 2880 * 2880, ' ');
  ByteVector out = bytes_of(text);
  for (const T value : values) {
    std::array<std::byte, sizeof(T)> raw = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
    out.insert(out.end(), raw.rbegin(), raw.rend());
  }
  out.resize((out.size() + 2879) / 2880 * 2880);
  return out;
}

Image decode(const ByteVector& bytes, ColorMode mode = ColorMode::kGrey) {
  return decode_image(bytes, "x.fits", mode);
}

/// What numpy.percentile gives.
double percentile(std::vector<double> values, double percent) {
  std::sort(values.begin(), values.end());
  const double rank = percent / 100 * static_cast<double>(values.size() - 1);
  const auto at = static_cast<std::size_t>(rank);
  const double next = values[std::min(at + 1, values.size() - 1)];
  return values[at] + (next - values[at]) * (rank - static_cast<double>(at));
}

double stretched(double x, double low, double high) {
  return std::asinh(10 * std::clamp((x - low) / (high - low), 0.0, 1.0)) / std::asinh(10.0);
}

std::vector<double> sky(std::size_t count) {  // many small, few large values
  std::vector<double> values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(
        std::exp(static_cast<double>(i * 37 % count) / static_cast<double>(count) * 8));
  }
  return values;
}

/// The image that `values` ought to become, in file order.
std::vector<int> expected(const std::vector<double>& values) {
  const double low = percentile(values, 0.25);
  const double high = percentile(values, 99.75);
  std::vector<int> out;
  for (const double x : values) {
    out.push_back(static_cast<int>(std::floor(stretched(x, low, high) * 255 + 0.5)));
  }
  return out;
}

int at(const Image& image, int x, int y_from_bottom) {
  return image.row(image.height - 1 - y_from_bottom)[x * image.channels];
}

TEST(Fits, StretchesFloatsByAsinh) {
  const std::vector<double> values = sky(40 * 30);
  const Image image = decode(fits<double>(-64, {40, 30}, values));
  ASSERT_EQ(image.width, 40);
  ASSERT_EQ(image.height, 30);
  ASSERT_EQ(image.channels, 1);
  const std::vector<int> want = expected(values);
  EXPECT_EQ(*std::min_element(want.begin(), want.end()), 0);
  EXPECT_EQ(*std::max_element(want.begin(), want.end()), 255);
  for (int y = 0; y < 30; ++y) {
    for (int x = 0; x < 40; ++x) {
      ASSERT_EQ(at(image, x, y), want[static_cast<std::size_t>(y * 40 + x)]) << x << ' ' << y;
    }
  }
  const Image rgb = decode(fits<double>(-64, {40, 30}, values), ColorMode::kRgb);
  EXPECT_EQ(rgb.channels, 3);
  EXPECT_EQ(at(rgb, 7, 9), at(image, 7, 9));
}

TEST(Fits, EveryKindOfElement) {
  std::vector<double> values;
  std::vector<std::uint8_t> u8;
  std::vector<std::int16_t> i16;
  std::vector<std::int16_t> u16;
  std::vector<std::int32_t> i32;
  std::vector<float> f32;
  std::vector<double> scaled;
  for (int i = 0; i < 16 * 16; ++i) {
    const int value = i * 7 % 256;
    values.push_back(value);
    u8.push_back(static_cast<std::uint8_t>(value));
    i16.push_back(static_cast<std::int16_t>(value));
    u16.push_back(static_cast<std::int16_t>(value * 200 - 32768));
    i32.push_back(value * 100'000);
    f32.push_back(static_cast<float>(value));
    scaled.push_back((value - 3.0) / 0.5);
  }
  const std::vector<int> want = expected(values);
  const auto same = [&](const ByteVector& bytes) {
    const Image image = decode(bytes);
    for (int i = 0; i < 256; ++i) {
      ASSERT_EQ(at(image, i % 16, i / 16), want[static_cast<std::size_t>(i)]) << i;
    }
  };
  same(fits(8, {16, 16}, u8));
  same(fits(16, {16, 16}, i16));
  same(fits(16, {16, 16}, u16, card("BZERO", "32768") + card("BSCALE", "1")));
  same(fits(32, {16, 16}, i32));
  same(fits(-32, {16, 16}, f32));
  same(fits(-64, {16, 16, 1, 1}, scaled, card("BZERO", "3.0") + card("BSCALE", "0.5")));
  same(gzip(fits(-32, {16, 16}, f32)));
}

TEST(Fits, ColourKeepsItsRatios) {
  // Red twice as strong as green, no blue.
  const std::vector<double> grey = sky(20 * 20);
  std::vector<double> planes;
  for (const double factor : {2.0, 1.0, 0.0}) {
    for (const double x : grey) planes.push_back(factor * x);
  }
  const Image image = decode(fits<double>(-64, {20, 20, 3}, planes), ColorMode::kRgb);
  const double low = percentile(grey, 0.25);  // the mean of the planes is `grey`
  const double high = percentile(grey, 99.75);
  for (int i = 0; i < 400; ++i) {
    const double x = grey[static_cast<std::size_t>(i)];
    const double level = (x - low) / (high - low);
    const std::uint8_t* rgb = image.row(19 - i / 20) + i % 20 * 3;
    if (level <= 0) {
      ASSERT_EQ(rgb[0] + rgb[1] + rgb[2], 0);
      continue;
    }
    const double scale = stretched(x, low, high) / level / (high - low);
    const double r = (2 * x - low) * scale;
    const double g = (x - low) * scale;
    const double most = std::max(r, 1.0);
    ASSERT_NEAR(rgb[0], r / most * 255, 0.5 + 1e-9);
    ASSERT_NEAR(rgb[1], g / most * 255, 0.5 + 1e-9);
    ASSERT_EQ(rgb[2], 0);
  }
}

TEST(Fits, WhatIsNoNumberIsBlack) {
  std::vector<double> values = sky(400);
  const std::vector<int> plain = expected(values);
  values[5] = std::numeric_limits<double>::quiet_NaN();
  values[6] = std::numeric_limits<double>::infinity();
  values[7] = -std::numeric_limits<double>::infinity();
  std::vector<double> finite = values;
  finite.erase(finite.begin() + 5, finite.begin() + 8);
  const Image image = decode(fits<double>(-64, {20, 20}, values));
  EXPECT_EQ(at(image, 5, 0), 0);
  EXPECT_EQ(at(image, 6, 0), 0);
  EXPECT_EQ(at(image, 7, 0), 0);
  const double low = percentile(finite, 0.25);
  const double high = percentile(finite, 99.75);
  EXPECT_EQ(at(image, 3, 9),
            static_cast<int>(std::floor(stretched(values[183], low, high) * 255 + 0.5)));
  // BLANK marks integers.
  std::vector<std::int16_t> integers(400);
  for (std::size_t i = 0; i < 400; ++i) integers[i] = static_cast<std::int16_t>(i);
  integers[200] = -32768;
  const Image blank = decode(fits(16, {20, 20}, integers, card("BLANK", "-32768")));
  EXPECT_EQ(at(blank, 0, 10), 0);
  EXPECT_GT(at(blank, 1, 10), 0);
  // Images of nothing.
  for (const double value : {std::numeric_limits<double>::quiet_NaN(), 3.0}) {
    const Image flat = decode(fits<double>(-64, {4, 4}, std::vector<double>(16, value)));
    EXPECT_EQ(flat.pixels, std::vector<std::uint8_t>(16, 0));
  }
}

TEST(Fits, CompressedTilesAreRefused) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "x.fits";
  fitsfile* file = nullptr;
  int status = 0;
  long size[2] = {64, 48};
  std::vector<short> values(64 * 48, 7);
  fits_create_file(&file, path.c_str(), &status);
  fits_set_compression_type(file, RICE_1, &status);
  fits_create_img(file, SHORT_IMG, 2, size, &status);
  fits_write_img(file, TSHORT, 1, static_cast<LONGLONG>(values.size()), values.data(), &status);
  fits_close_file(file, &status);
  ASSERT_EQ(status, 0);
  expect_error(ErrorCode::kUnsupported, {"x.fits", "funpack"}, [&] { decode(read_file(path)); });
}

TEST(Fits, RefusesLies) {
  const ByteVector good = fits<float>(-32, {30, 30}, std::vector<float>(900, 1));
  for (std::size_t length = 0; length < good.size(); length += 40) {
    if (length >= 2880 + 3600) break;  // only padding is missing
    const ByteVector part(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length));
    expect_error(ErrorCode::kBadData, {"x.fits"}, [&] { decode(part); });
  }
  expect_error(ErrorCode::kBadData, {"x.fits", "100000"}, [] {
    decode(fits<float>(-32, {100'000, 100'000}, {}));
  });
  expect_error(ErrorCode::kBadData, {"x.fits", "takes"}, [] {
    decode(fits<float>(-32, {60, 60}, std::vector<float>(2000)));
  });
  expect_error(ErrorCode::kUnsupported, {"x.fits", "4 x 4 x 2", "width x height"}, [] {
    decode(fits<float>(-32, {4, 4, 2}, std::vector<float>(32)));
  });
  expect_error(ErrorCode::kBadData, {"x.fits", "holds no image"},
               [] { decode(fits<float>(-32, {}, {})); });
  expect_error(ErrorCode::kBadData, {"x.fits", "no FITS"}, [] { decode(gzip(bytes_of("hello"))); });
}

TEST(Fits, NamesAreNoCommands) {
  // cfitsio would run, fetch or filter by such names; they are for messages only.
  const ByteVector good = fits<float>(-32, {4, 4}, std::vector<float>(16, 1));
  const TemporaryFolder folder;
  const std::string touched = (folder.path() / "touched").string();
  for (const char* name : {"x.fits[2:3,*]", "http://localhost/x.fits", "x.fits[pix X*2]"}) {
    EXPECT_EQ(decode_image(good, name, ColorMode::kGrey).width, 4);
  }
  EXPECT_EQ(decode_image(good, "touch " + touched + " |", ColorMode::kGrey).width, 4);
  EXPECT_FALSE(std::filesystem::exists(touched));
}

TEST(Fits, ExtensionsOfImages) {
  for (const char* name : {"a.fits", "A.FIT", "a.fts", "a.fits.gz", "a.fits.fz", "b.fz"}) {
    EXPECT_TRUE(is_image_path(name)) << name;
  }
  for (const char* name : {"a.gz", "fits", ".fits", "a.tar.gz"}) {
    EXPECT_FALSE(is_image_path(name)) << name;
  }
}

}  // namespace
}  // namespace resnet

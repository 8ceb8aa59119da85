#include "formats/image.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>

#include "formats/jpegs.h"
#include "formats/support.h"

namespace resnet {
namespace {

const TestImage& image(std::string_view name) {
  const auto* it = std::find_if(std::begin(kImages), std::end(kImages),
                                [&](const TestImage& p) { return p.name == name; });
  if (it == std::end(kImages)) throw std::runtime_error(std::string(name));
  return *it;
}

ByteVector file_of(std::string_view name) { return from_hex(image(name).file); }

Image decode(const ByteVector& bytes, ColorMode mode = ColorMode::kRgb,
             const ImageOptions& options = {}) {
  return upright(decode_image(bytes, "x.pic", mode, options));
}

std::vector<std::uint8_t> pixels_of(const char* hex) {
  const ByteVector bytes = from_hex(hex);
  std::vector<std::uint8_t> out(bytes.size());
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

class Images : public testing::TestWithParam<TestImage> {};

TEST_P(Images, EqualPillowToTheBit) {
  const TestImage& p = GetParam();
  const ByteVector file = from_hex(p.file);
  for (const auto& [mode, channels, expected] :
       {std::tuple{ColorMode::kRgb, 3, p.rgb}, std::tuple{ColorMode::kGrey, 1, p.grey}}) {
    const Image image = decode(file, mode);
    EXPECT_EQ(image.width, p.width);
    EXPECT_EQ(image.height, p.height);
    EXPECT_EQ(image.channels, channels);
    EXPECT_EQ(image.pixels, pixels_of(expected));
  }
}

TEST_P(Images, EveryTruncationIsRefused) {
  const ByteVector file = from_hex(GetParam().file);
  for (std::size_t length = 0; length < file.size(); ++length) {
    EXPECT_THROW(decode({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length)}), Error)
        << length << " of " << file.size() << " bytes";
  }
}

TEST_P(Images, DamageIsAnErrorOrAnImageOfTheDeclaredSize) {
  const ByteVector file = from_hex(GetParam().file);
  ImageOptions options;
  options.max_pixels = 1 << 20;
  std::size_t refused = 0;
  for (std::size_t i = 0; i < file.size(); ++i) {
    ByteVector damaged = file;
    damaged[i] ^= std::byte{0xff};
    try {
      const Image image = decode(damaged, ColorMode::kRgb, options);
      EXPECT_EQ(image.pixels.size(), static_cast<std::size_t>(image.width * image.height * 3));
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 0U);
}

INSTANTIATE_TEST_SUITE_P(All, Images, testing::ValuesIn(kImages), [](const auto& test) {
  std::string name = test.param.name;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

TEST(Image, OrientationCanBeLeftAlone) {
  const auto stored = pixels_of(image("exif_1.jpg").rgb);
  for (int o = 1; o <= 8; ++o) {
    const std::string name = "exif_" + std::to_string(o) + ".jpg";
    const Image as_stored = decode_image(file_of(name), name, ColorMode::kGrey);
    EXPECT_EQ(as_stored.orientation, o);
    EXPECT_EQ(decode_image(file_of(name), name, ColorMode::kRgb).pixels, stored) << name;
    if (o > 1) {
      EXPECT_NE(decode(file_of(name)).pixels, stored) << name;
    }
  }
}

TEST(Image, MayBeDecodedSmaller) {
  const auto mean = [](const Image& image) {
    double sum = 0;
    for (const std::uint8_t v : image.pixels) sum += v;
    return sum / static_cast<double>(image.pixels.size());
  };
  ImageOptions options;
  for (const char* name : {"baseline_444.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"}) {
    SCOPED_TRACE(name);
    const Image full = decode(file_of(name));  // 11 x 7
    for (const auto& [shorter, width, height] : {std::array{8, 11, 7},
                                                 {7, 11, 7},
                                                 {5, 11, 7},
                                                 {4, 6, 4},
                                                 {3, 6, 4},
                                                 {2, 3, 2},
                                                 {1, 2, 1}}) {
      options.shorter_side = shorter;
      const Image small = decode(file_of(name), ColorMode::kRgb, options);
      EXPECT_EQ(small.width, width);
      EXPECT_EQ(small.height, height);
      EXPECT_NEAR(mean(small), mean(full), 25);  // means over parts that hang over the border
    }
  }
  options.shorter_side = 2;
  EXPECT_EQ(decode(file_of("rgb_8.png"), ColorMode::kRgb, options).width, 11);
}

// ---------------------------------------------------------------------------------- parts of
// images

struct NamedLayout {
  const char* name;
  JpegLayout layout;
};

const NamedLayout kLayouts[] = {
    {"grey", {.components = 1, .sampling = {{{1, 1}}}}},
    {"grey_2x2", {.components = 1, .sampling = {{{2, 2}}}}},
    {"s444", {.sampling = {{{1, 1}, {1, 1}, {1, 1}}}}},
    {"s422", {.sampling = {{{2, 1}, {1, 1}, {1, 1}}}}},
    {"s440", {.sampling = {{{1, 2}, {1, 1}, {1, 1}}}}},
    {"s420", {}},
    {"s411", {.sampling = {{{4, 1}, {1, 1}, {1, 1}}}}},
    {"s410", {.sampling = {{{4, 2}, {1, 1}, {1, 1}}}}},
    {"s441", {.sampling = {{{1, 4}, {1, 1}, {1, 1}}}}},
    {"uneven", {.sampling = {{{2, 2}, {2, 1}, {1, 2}}}}},
    {"chroma_larger", {.sampling = {{{1, 1}, {2, 2}, {1, 1}}}}},
    {"cmyk", {.components = 4, .sampling = {{{2, 2}, {1, 1}, {1, 1}, {2, 2}}}}},
    {"restarts", {.restart = 3}},
    {"arithmetic", {.arithmetic = true}},
    {"progressive", {.progressive = true}},
};

class Parts : public testing::TestWithParam<NamedLayout> {};

/// Each corner, each side, single pixels, and parts anywhere of every size.
std::vector<Rect> parts_of(int width, int height) {
  std::vector<Rect> parts = {{0, 0, width, height},         {0, 0, 1, 1},
                             {width - 1, 0, 1, 1},          {0, height - 1, 1, 1},
                             {width - 1, height - 1, 1, 1}, {0, height / 2, width, 1},
                             {width / 2, 0, 1, height}};
  std::uint32_t state = 5;
  const auto below = [&](int n) {
    state = state * 1103515245U + 12345U;
    return static_cast<int>((state >> 8) % static_cast<std::uint32_t>(n));
  };
  for (int i = 0; i < 60; ++i) {
    const int w = 1 + below(width);
    const int h = 1 + below(height);
    parts.push_back({below(width - w + 1), below(height - h + 1), w, h});
  }
  return parts;
}

void expect_equal_parts(const ByteVector& file, int shorter_side) {
  ImageOptions options;
  options.shorter_side = shorter_side;
  const Image whole = decode_image(file, "x.jpg", ColorMode::kRgb, options);
  for (const Rect& part : parts_of(whole.width, whole.height)) {
    options.pick = [&](int width, int height, int orientation) {
      EXPECT_EQ(width, whole.width);
      EXPECT_EQ(height, whole.height);
      EXPECT_EQ(orientation, whole.orientation);
      return part;
    };
    const Image image = decode_image(file, "x.jpg", ColorMode::kRgb, options);
    const Image expected = part_of_image(whole, part);
    ASSERT_EQ(image.width, part.width);
    ASSERT_EQ(image.height, part.height);
    ASSERT_EQ(image.orientation, whole.orientation);
    ASSERT_TRUE(image.pixels == expected.pixels)
        << part.width << " x " << part.height << " from " << part.left << ", " << part.top << " of "
        << whole.width << " x " << whole.height;
  }
}

TEST_P(Parts, EqualThoseOfTheWholeToTheBit) {
  for (const auto& [width, height] : {std::pair{150, 101}, {64, 96}, {7, 130}, {131, 5}, {1, 1}}) {
    const ByteVector file = make_jpeg(width, height, GetParam().layout);
    expect_equal_parts(file, 0);
    for (const int denominator : {2, 4, 8}) {  // reduced sizes
      expect_equal_parts(file, std::max(1, std::min(width, height) / denominator));
    }
  }
}

TEST_P(Parts, DamageOutsideIsFoundAsInTheWhole) {
  const ByteVector file = make_jpeg(96, 80, GetParam().layout);
  ImageOptions top;
  top.pick = [](int, int, int) { return Rect{20, 4, 16, 8}; };
  for (std::size_t length = 0; length < file.size(); length += 1 + file.size() / 200) {
    EXPECT_THROW(decode({file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length)},
                        ColorMode::kRgb, top),
                 Error)
        << length;
  }
  const auto can_read = [](const ByteVector& bytes, const ImageOptions& options) {
    try {
      decode(bytes, ColorMode::kRgb, options);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  std::size_t refused = 0;
  for (std::size_t i = file.size() / 4; i < file.size(); i += 7) {
    ByteVector damaged = file;
    damaged[i] = std::byte{0xff};
    const bool whole = can_read(damaged, {});
    EXPECT_EQ(can_read(damaged, top), whole) << i;
    refused += whole ? 0 : 1;
  }
  EXPECT_GT(refused, 0U);
}

INSTANTIATE_TEST_SUITE_P(Jpeg, Parts, testing::ValuesIn(kLayouts),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Image, PartsOfEveryKind) {
  ImageOptions options;
  options.pick = [](int, int, int) { return Rect{2, 1, 6, 3}; };
  for (const TestImage& p : kImages) {
    SCOPED_TRACE(p.name);
    const ByteVector file = from_hex(p.file);
    const Image whole = decode_image(file, "x", ColorMode::kRgb);
    if (whole.width < 8 || whole.height < 4) continue;
    EXPECT_EQ(decode_image(file, "x", ColorMode::kRgb, options).pixels,
              part_of_image(whole, {2, 1, 6, 3}).pixels);
  }
  for (const Rect& outside : {Rect{0, 0, 12, 1}, Rect{-1, 0, 1, 1}, Rect{0, 0, 0, 1},
                              Rect{0, 7, 1, 1}, Rect{1, 0, 2147483647, 1}}) {
    options.pick = [&](int, int, int) { return outside; };
    for (const char* name : {"rgb_8.png", "baseline_420.jpg"}) {
      expect_error(ErrorCode::kInvalidArgument, {"of an image of 11 x 7", "a part inside it"},
                   [&] { decode_image(file_of(name), name, ColorMode::kRgb, options); });
    }
  }
}

TEST(Image, PartsLieWhereTheyAreStored) {
  Image image(5, 3, 1);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = static_cast<std::uint8_t>(i);
  }
  for (int orientation = 0; orientation <= 9; ++orientation) {
    image.orientation = orientation;
    const Image turned = upright(image);
    const Rect part{1, 0, 2, 3};
    const Rect stored = stored_part(part, image.width, image.height, orientation);
    EXPECT_EQ(upright(part_of_image(image, stored)).pixels, part_of_image(turned, part).pixels)
        << orientation;
  }
}

TEST(Image, BrokenExifIsIgnored) {
  const std::string exif("Exif\0\0", 6);
  const ByteVector original = file_of("exif_6.jpg");
  const auto tiff = static_cast<std::size_t>(
      std::search(original.begin(), original.end(), reinterpret_cast<const std::byte*>(exif.data()),
                  reinterpret_cast<const std::byte*>(exif.data()) + exif.size()) -
      original.begin() + 6);
  ASSERT_LT(tiff, original.size());
  const auto stored = pixels_of(image("exif_1.jpg").rgb);
  // The byte order, the magic, a directory beyond the end, the value 0 (the file is big-endian).
  for (const auto& [offset, value] :
       {std::pair{0, 'X'}, std::pair{3, '+'}, std::pair{4, '\xff'}, std::pair{19, '\0'}}) {
    ByteVector broken = original;
    broken[tiff + static_cast<std::size_t>(offset)] = static_cast<std::byte>(value);
    EXPECT_EQ(decode(broken).pixels, stored) << offset;
  }
}

TEST(Image, Grey16KeepsItsHighByteOnRequest) {
  ImageOptions options;
  options.scale_16bit = Scale16Bit::kHighByte;
  const Image clipped = decode(file_of("grey_16.png"), ColorMode::kGrey);
  const Image scaled = decode(file_of("grey_16.png"), ColorMode::kGrey, options);
  EXPECT_GT(std::count(clipped.pixels.begin(), clipped.pixels.end(), 255), 70);
  EXPECT_LT(std::count(scaled.pixels.begin(), scaled.pixels.end(), 255), 10);
}

TEST(Image, NamesWhatItCannotRead) {
  using namespace std::string_view_literals;
  for (const auto& [magic, kind] :
       {std::pair{"GIF89a\1\0\1\0"sv, "GIF"}, std::pair{"BM\x46\0\0\0"sv, "BMP"},
        std::pair{"II*\0\x08\0\0\0"sv, "TIFF"}, std::pair{"MM\0*\0\0\0\x08"sv, "TIFF"},
        std::pair{"\0\0\0\x18"
                  "ftypheic\0\0\0\0"sv,
                  "HEIC"},
        std::pair{"\0\0\0\x18"
                  "ftypavif\0\0\0\0"sv,
                  "AVIF"},
        std::pair{"%PDF-1.4"sv, "PDF"}, std::pair{"<!DOCTYPE html>"sv, "a web page"}}) {
    expect_error(ErrorCode::kUnsupported,
                 {"x.pic: ", kind, " is not supported; convert it to PNG or JPEG"},
                 [&, m = magic] { decode(bytes_of(m)); });
  }
  expect_error(ErrorCode::kBadData, {"x.pic: the file is empty"}, [] { decode({}); });
  expect_error(ErrorCode::kBadData, {"x.pic", "expected a JPEG, PNG, WebP or FITS"},
               [] { decode(bytes_of("hello")); });
}

/// The file with the big-endian 16- or 32-bit sizes at `offset` replaced.
ByteVector with_size(ByteVector file, std::size_t offset, std::size_t width_bytes,
                     std::uint32_t value) {
  for (std::size_t i = 0; i < width_bytes; ++i) {
    file[offset + i] = static_cast<std::byte>(value >> (8 * (width_bytes - 1 - i)));
  }
  return file;
}

std::size_t find_bytes(const ByteVector& file, std::string_view what) {
  const ByteVector needle = bytes_of(what);
  return static_cast<std::size_t>(
      std::search(file.begin(), file.end(), needle.begin(), needle.end()) - file.begin());
}

long peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(Image, LyingSizesAreRefusedBeforeAnythingIsAllocated) {
  const long before = peak_kilobytes();
  const ByteVector jpeg = file_of("baseline_444.jpg");
  const std::size_t frame = find_bytes(jpeg, "\xff\xc0") + 5;  // height, width
  expect_error(ErrorCode::kBadData, {"13000 x 13000 pixels, which its ", "cannot hold"},
               [&] { decode(with_size(with_size(jpeg, frame, 2, 13000), frame + 2, 2, 13000)); });
  expect_error(ErrorCode::kBadData, {"60000 x 60000 pixels, above the limit of 178956970"},
               [&] { decode(with_size(with_size(jpeg, frame, 2, 60000), frame + 2, 2, 60000)); });

  // PNG guards its header with a checksum: a liar has one that fits. 13000 x 13000, 8-bit RGB.
  ByteVector png = file_of("rgb_8.png");
  png = with_size(with_size(png, 16, 4, 13000), 20, 4, 13000);
  std::uint32_t crc = 0xffffffffU;
  for (std::size_t i = 12; i < 29; ++i) {
    crc ^= std::to_integer<std::uint32_t>(png[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
  }
  png = with_size(png, 29, 4, ~crc);
  expect_error(ErrorCode::kBadData, {"13000 x 13000 pixels, which its ", "cannot hold"},
               [&] { decode(png); });

  // Lossless WebP: 14 bits each of width - 1 and height - 1 behind the signature 0x2f.
  ByteVector webp = file_of("lossless.webp");
  const std::size_t size = find_bytes(webp, "VP8L") + 9;
  const std::uint32_t bits = 12999U | 12999U << 14;
  for (std::size_t i = 0; i < 4; ++i) webp[size + i] = static_cast<std::byte>(bits >> (8 * i));
  expect_error(ErrorCode::kBadData, {"13000 x 13000 pixels, which its ", "cannot hold"},
               [&] { decode(webp); });
  EXPECT_LT(peak_kilobytes() - before, 50'000);  // the pixels alone would take 495 MiB
}

TEST(Image, LyingPngChunksAreRefusedBeforeLibpngAllocatesThem) {
  const ByteVector png = file_of("exif_6.png");
  const std::size_t length = find_bytes(png, "eXIf") - 4;
  ASSERT_LT(length, png.size());
  expect_error(ErrorCode::kBadData, {"x.pic", "a chunk declares 1885339648 bytes"},
               [&] { decode(with_size(png, length, 4, 1885339648)); });
}

TEST(Image, BytesBehindTheImageAreIgnored) {
  for (const char* name : {"rgb_8.png", "baseline_420.jpg"}) {
    ByteVector file = file_of(name);
    file.insert(file.end(), 5, std::byte{0xff});
    EXPECT_EQ(decode(file).pixels, pixels_of(image(name).rgb)) << name;
  }
}

TEST(Image, LimitIsTheCallers) {
  ImageOptions options;
  options.max_pixels = 76;  // the image has 11 x 7
  expect_error(ErrorCode::kBadData, {"above the limit of 76"},
               [&] { decode(file_of("lossy.webp"), ColorMode::kRgb, options); });
  options.max_pixels = 77;
  EXPECT_EQ(decode(file_of("lossy.webp"), ColorMode::kRgb, options).width, 11);
}

TEST(Image, ManyScansForFewBytesAreRefused) {
  const ByteVector file = file_of("grey_progressive.jpg");
  const std::size_t first = find_bytes(file, "\xff\xda");
  const std::size_t end = file.size() - 2;
  std::size_t next = first + 2;
  while (!(file[next] == std::byte{0xff} && file[next + 1] != std::byte{0})) ++next;
  ByteVector bomb(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(first));
  for (int i = 0; i < 3000; ++i) {
    bomb.insert(bomb.end(), file.begin() + static_cast<std::ptrdiff_t>(first),
                file.begin() + static_cast<std::ptrdiff_t>(next));
  }
  bomb.insert(bomb.end(), file.begin() + static_cast<std::ptrdiff_t>(end), file.end());
  expect_error(ErrorCode::kBadData, {"too many scans"}, [&] { decode(bomb); });
}

TEST(Image, PathsOfImages) {
  for (const char* name : {"a.jpg", "b/c.JPEG", "d.Png", "e.webp", "f.gif", "g.BMP", "h.tiff"}) {
    EXPECT_TRUE(is_image_path(name)) << name;
  }
  for (const char* name : {"a.txt", "jpg", ".jpg", "b.jpg.part", "c.npz", ""}) {
    EXPECT_FALSE(is_image_path(name)) << name;
  }
}

TEST(Png, WritesWhatItReads) {
  for (const int channels : {1, 3, 4}) {
    Image image(19, 5, channels);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      image.pixels[i] = static_cast<std::uint8_t>(i * 37);
    }
    const ByteVector file = encode_png(image);
    EXPECT_EQ(file, encode_png(image));
    const Image back = decode(file, channels == 1 ? ColorMode::kGrey : ColorMode::kRgb);
    ASSERT_EQ(back.width, 19);
    ASSERT_EQ(back.height, 5);
    for (std::size_t i = 0; i < 19 * 5; ++i) {
      for (int c = 0; c < back.channels; ++c) {
        ASSERT_EQ(back.pixels[i * static_cast<std::size_t>(back.channels) + std::size_t(c)],
                  image.pixels[i * static_cast<std::size_t>(channels) + std::size_t(c)]);
      }
    }
  }
}

TEST(Png, RefusesToWriteNonsense) {
  Image short_of_pixels(4, 4, 3);
  short_of_pixels.pixels.pop_back();
  for (const Image& image : {Image(), Image(4, 4, 2), short_of_pixels}) {
    expect_error(ErrorCode::kInvalidArgument, {"encode_png"}, [&] { encode_png(image); });
  }
}

}  // namespace
}  // namespace resnet

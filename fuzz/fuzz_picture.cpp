#include "formats/picture.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  PictureOptions options;
  options.max_pixels = 1 << 20;  // so that a second holds many pictures
  for (const ColorMode mode : {ColorMode::kRgb, ColorMode::kGrey}) {
    fuzz::expect_no_other_error([&] {
      const Image image = decode_picture(fuzz::bytes_of(data, size), "fuzz", mode, options);
      const auto pixels =
          static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
      fuzz::require(pixels > 0 && pixels <= options.max_pixels);
      fuzz::require(image.channels == (mode == ColorMode::kRgb ? 3 : 1));
      fuzz::require(image.pixels.size() == pixels * static_cast<std::size_t>(image.channels));
    });
  }
  return 0;
}

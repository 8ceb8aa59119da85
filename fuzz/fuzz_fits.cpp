#include "formats/image.h"
#include "fuzz.h"

/// The library forgets memory when a file is damaged.
extern "C" const char* __lsan_default_suppressions() { return "leak:libcfitsio"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  ImageOptions options;
  options.max_pixels = 1 << 16;
  fuzz::expect_no_other_error([&] {
    const Image image = decode_image(fuzz::bytes_of(data, size), "fuzz", ColorMode::kRgb, options);
    const auto pixels =
        static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
    fuzz::require(pixels > 0 && pixels <= options.max_pixels);
    fuzz::require(image.pixels.size() == pixels * 3);
  });
  return 0;
}

#include "resnet/decode.h"

#include "core/check.h"
#include "core/guard.h"
#include "data/datasets.h"
#include "formats/image.h"

namespace resnet {

void check_size(std::uint64_t bytes, const DecodeLimits& limits, const std::string& name) {
  if (bytes <= limits.max_bytes) return;
  fail(ErrorCode::kBadData, "{}: the file has {} bytes; at most {} are allowed", name, bytes,
       limits.max_bytes);
}

Image decode(std::span<const std::byte> bytes, const DecodeOptions& options,
             const std::string& name) try {
  check_size(bytes.size(), options.limits, name);
  Image image =
      decode_image(bytes, name, options.grey ? ColorMode::kGrey : ColorMode::kRgb,
                   {.scale_16bit = options.scale_16bit, .max_pixels = options.limits.max_pixels});
  return options.upright ? upright(std::move(image)) : image;
} catch (...) {
  throw_as_error();
}

Image decode(const EncodedImage& image, const DecodeOptions& options) {
  return decode(image.bytes, options, image.name);
}

}  // namespace resnet

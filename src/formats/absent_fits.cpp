#include "core/absent.h"
#include "formats/image_internal.h"

namespace resnet::image {

Image decode_fits(Bytes /*bytes*/, const std::string& name, const ImageOptions& /*options*/) {
  absent(name, "reads no FITS", "RESNET_FITS");
}

Image decode_fits_gzip(Bytes bytes, const std::string& name, const ImageOptions& options) {
  return decode_fits(bytes, name, options);
}

}  // namespace resnet::image

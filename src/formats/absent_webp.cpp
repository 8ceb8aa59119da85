#include "core/absent.h"
#include "formats/image_internal.h"

namespace resnet::image {

Image decode_webp(Bytes /*bytes*/, const std::string& name, const ImageOptions& /*options*/) {
  absent(name, "reads no WebP", "RESNET_WEBP");
}

}  // namespace resnet::image

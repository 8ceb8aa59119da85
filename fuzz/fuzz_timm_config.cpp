// timm's config.json: refused as bad data, passed over, or plausible numbers.
#include <string_view>

#include "exchange/timm_config.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  using namespace resnet;
  try {
    const auto config =
        parse_timm_config({reinterpret_cast<const char*>(data), size}, "config.json");
    if (config && config->crop_pct) fuzz::require(*config->crop_pct > 0);
    if (config && config->image_size) fuzz::require(*config->image_size > 0);
  } catch (const Error& e) {
    fuzz::require(e.code() == ErrorCode::kBadData);
  }
  return 0;
}

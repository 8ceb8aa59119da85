// What a build without an optional part says where the part is wanted.
#pragma once

#include <string_view>

#include "core/check.h"

namespace resnet {

/// Throws kUnsupported: "scan.fits: this build reads no FITS; configure it with -D RESNET_FITS=ON".
[[noreturn]] inline void absent(std::string_view name, std::string_view what,
                                std::string_view option) {
  fail(ErrorCode::kUnsupported, "{}: this build {}; configure it with -D {}=ON", name, what,
       option);
}

}  // namespace resnet

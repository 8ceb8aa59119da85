// Which exceptions mean "this image cannot be read" and concern nobody else.
#pragma once

#include <string>

#include "core/os_error.h"
#include "resnet/error.h"

namespace resnet {

/// Does what `use_image` does; when the image is to blame, returns false and says why. Other
/// exceptions (no memory, too many open files, a bug of ours) pass through.
template <class UseImage>
bool try_image(std::string& reason, const UseImage& use_image) {
  try {
    use_image();
    return true;
  } catch (const TooManyOpenFiles&) {
    throw;
  } catch (const Error& error) {
    switch (error.code()) {
      case ErrorCode::kBadData:
      case ErrorCode::kUnsupported:
      case ErrorCode::kNotFound:
      case ErrorCode::kIo: reason = error.what(); return false;
      default: throw;
    }
  }
}

/// An error's message without the name in front, for lists that show the name themselves.
inline std::string without_name(const std::string& message, const std::string& name) {
  const std::string prefix = name + ": ";
  return message.rfind(prefix, 0) == 0 ? message.substr(prefix.size()) : message;
}

}  // namespace resnet

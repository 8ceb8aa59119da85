// What the operating system refuses, said so that a user knows what to do.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "resnet/error.h"

namespace resnet {

/// No file is to blame: the process has as many open as it may have. Its code is `kIo`.
class TooManyOpenFiles : public Error {
 public:
  explicit TooManyOpenFiles(const std::string& message) : Error(ErrorCode::kIo, message) {}
};

/// What errno's value means, and what helps: "No space left on device; free some space and run it
/// again".
std::string os_error(int error);

/// "cannot open x: …" as `kIo`, `TooManyOpenFiles`, or `kOutOfMemory`.
[[noreturn]] void fail_os(std::string_view action, const std::filesystem::path& path, int error);

/// Whether a file system that lacks a function says so by this.
bool is_not_supported(int error);

}  // namespace resnet

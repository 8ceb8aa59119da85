// The library's one exception type.
#pragma once

#include <stdexcept>
#include <string>

namespace resnet {

/// What kind of thing went wrong. The command line maps each code to an exit status (docs/CLI.md).
enum class ErrorCode {
  kInvalidArgument,  ///< The caller asked for something that makes no sense (flag, shape, name).
  kNotFound,         ///< A file, folder, class, architecture or weight that should exist does not.
  kBadData,          ///< A file or request exists and is damaged, hostile or of the wrong kind.
  kIo,               ///< The operating system refused (disk full, permission, short write).
  kNumeric,          ///< Training produced NaN or infinity.
  kUnsupported,      ///< Valid, but this build or device cannot do it.
  kInterrupted,      ///< The user asked to stop.
  kInternal,         ///< A broken invariant of ours: a bug worth reporting.
  kOutOfMemory,      ///< The machine has not enough memory for what was asked.
};

/// Every failure that leaves the library is an `Error`. The message is one line that says what was
/// expected, what was found, which file or layer it concerns, and what to do next.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace resnet

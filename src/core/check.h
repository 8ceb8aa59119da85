// Raising errors. `fail` is for everything a user or a file can cause; RESNET_CHECK is for our own
// invariants only, and a message from it is a bug.
#pragma once

#include <fmt/format.h>

#include "resnet/error.h"

namespace resnet {

template <class... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void check_failed(const char* file, int line, const char* condition);

}  // namespace resnet

#define RESNET_CHECK(condition) \
  ((condition) ? (void)0 : ::resnet::check_failed(__FILE__, __LINE__, #condition))

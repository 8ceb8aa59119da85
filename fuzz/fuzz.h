// What the targets share: input may only be accepted or refused with `resnet::Error`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "resnet/error.h"

namespace resnet::fuzz {

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

template <class Action>
void expect_no_other_error(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal || *error.what() == '\0') std::abort();
  }
}

inline void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace resnet::fuzz

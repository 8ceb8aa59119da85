// The stream of random numbers of what has a name.
#pragma once

#include <cstdint>
#include <string_view>

namespace resnet {

/// FNV-1a of the name: the same on every platform, and whatever else there is.
constexpr std::uint64_t stream_of(std::string_view name) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return h;
}

}  // namespace resnet

// Bytes for the tests and the fuzzers' seeds.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace resnet {

using ByteVector = std::vector<std::byte>;

inline ByteVector bytes_of(std::string_view text) {
  const auto* p = reinterpret_cast<const std::byte*>(text.data());
  return {p, p + text.size()};
}

inline ByteVector from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  ByteVector out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<std::byte>(digit(hex[i]) * 16 + digit(hex[i + 1])));
  }
  return out;
}

/// One of the images in images.inc: bytes in hexadecimal.
struct TestImage {
  const char* name;
  int width;
  int height;
  const char* file;
  const char* rgb;
  const char* grey;
};

constexpr TestImage kImages[] = {
#include "formats/images.inc"
};

}  // namespace resnet

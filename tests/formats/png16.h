// 16-bit grey PNG, written plainly.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace resnet {

/// [height, width] of values; deflate without compression.
inline std::string png16(std::span<const std::uint16_t> values, std::uint32_t width) {
  const auto big32 = [](std::uint32_t v) {
    return std::string{static_cast<char>(v >> 24), static_cast<char>(v >> 16),
                       static_cast<char>(v >> 8), static_cast<char>(v)};
  };
  const auto chunk = [&](const std::string& kind, const std::string& data) {
    std::uint32_t crc = 0xffffffffU;
    for (const char c : kind + data) {
      crc ^= static_cast<unsigned char>(c);
      for (int k = 0; k < 8; ++k) crc = (crc >> 1) ^ (0xedb88320U & (0U - (crc & 1U)));
    }
    return big32(static_cast<std::uint32_t>(data.size())) + kind + data + big32(~crc);
  };
  const auto height = static_cast<std::uint32_t>(values.size()) / width;
  std::string rows;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % width == 0) rows += '\0';  // no filter
    rows += static_cast<char>(values[i] >> 8);
    rows += static_cast<char>(values[i]);
  }
  std::uint32_t a = 1, b = 0;
  for (const char c : rows) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  std::string stream = "\x78\x01";
  for (std::size_t at = 0; at < rows.size();) {
    const std::string piece = rows.substr(at, 65535);
    at += piece.size();
    const auto n = static_cast<std::uint16_t>(piece.size());
    const auto m = static_cast<std::uint16_t>(~n);
    stream += static_cast<char>(at == rows.size() ? 1 : 0);
    for (const std::uint16_t v : {n, m}) {
      stream += static_cast<char>(v);
      stream += static_cast<char>(v >> 8);
    }
    stream += piece;
  }
  stream += big32(b << 16 | a);
  using namespace std::string_literals;
  return "\x89PNG\r\n\x1a\n"s + chunk("IHDR", big32(width) + big32(height) + "\x10\0\0\0\0"s) +
         chunk("IDAT", stream) + chunk("IEND", "");
}

}  // namespace resnet

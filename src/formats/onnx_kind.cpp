// What is known of ONNX files without their schema.
#include <algorithm>
#include <span>

#include "core/file.h"
#include "formats/onnx_file.h"

namespace resnet {

std::string shown(std::string_view name) {
  constexpr std::size_t kLongest = 80;
  std::string text(name.substr(0, kLongest));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return text;
}

bool looks_like_onnx(std::string_view start) {
  // Field 1, a varint: 08 and a version of one byte. Then a field of ModelProto with a length.
  if (start.size() < 4 || start[0] != '\x08') return false;
  const auto version = static_cast<unsigned char>(start[1]);
  const auto key = static_cast<unsigned char>(start[2]);
  const int field = key >> 3;
  const int wire = key & 7;
  constexpr int kModelVersion = 5;
  return version >= 1 && version < 0x80 &&
         (wire == 2 ? field >= 2 && field <= 14 : wire == 0 && field == kModelVersion) &&
         !(start.size() > 8 && start[8] == '{');  // a safetensors header of 2 KiB or more
}

bool is_onnx_file(const std::filesystem::path& path) {
  const ByteSource source(path);
  std::string start(static_cast<std::size_t>(std::min<std::uint64_t>(16, source.size())), '\0');
  source.read(0, std::as_writable_bytes(std::span(start)));
  return looks_like_onnx(start);
}

}  // namespace resnet

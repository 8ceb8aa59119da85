#include "formats/weights_file.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "core/file.h"
#include "formats/onnx_file.h"
#include "formats/safetensors.h"

namespace resnet {
namespace {

enum class Read : std::uint8_t { kDescription, kAll };

WeightsFile from_safetensors(const std::filesystem::path& path, Read what) {
  SafetensorsHeader header = read_safetensors_header(path);
  WeightsFile file{"safetensors", {}, std::move(header.metadata), {}};
  for (SafetensorsEntry& e : header.entries) {
    file.entries.push_back({std::move(e.name), e.dtype, std::move(e.shape)});
  }
  if (what == Read::kAll) file.tensors = read_safetensors(path).tensors;
  return file;
}

WeightsFile from_onnx(const std::filesystem::path& path, Read what) {
  OnnxModel model = read_onnx(path);
  WeightsFile file{"ONNX", {}, std::move(model.metadata), {}};
  file.metadata.emplace("producer", model.producer_name + " " + model.producer_version);
  for (auto& [name, tensor] : model.initializers) {
    file.entries.push_back({name, tensor.dtype(), tensor.shape()});
    if (what == Read::kAll) file.tensors.emplace(std::move(name), std::move(tensor));
  }
  return file;
}

/// What the first bytes of a file say of its kind.
struct Kind {
  bool (*matches)(std::string_view start);
  WeightsFile (*read)(const std::filesystem::path&, Read);
};
constexpr std::array kKinds = {
    Kind{[](std::string_view s) { return s.size() > 8 && s[8] == '{'; }, from_safetensors},
    Kind{looks_like_onnx, from_onnx},
};

WeightsFile read(const std::filesystem::path& path, Read what) {
  std::string start(64, '\0');
  {
    const ByteSource source(path);
    start.resize(static_cast<std::size_t>(std::min<std::uint64_t>(start.size(), source.size())));
    source.read(0, std::as_writable_bytes(std::span(start)));
  }
  for (const Kind& kind : kKinds) {
    if (kind.matches(start)) return kind.read(path, what);
  }
  fail(ErrorCode::kBadData, "{}: not a file of weights that is known here (safetensors, ONNX)",
       path.string());
}

}  // namespace

WeightsFile read_weights(const std::filesystem::path& path) { return read(path, Read::kAll); }

WeightsFile describe_weights(const std::filesystem::path& path) {
  return read(path, Read::kDescription);
}

}  // namespace resnet

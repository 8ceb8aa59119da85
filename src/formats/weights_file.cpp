#include "formats/weights_file.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include "core/check.h"
#include "core/file.h"
#include "formats/onnx_file.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"

namespace resnet {
namespace {

WeightsFile from_safetensors(const std::filesystem::path& path, ReadWeights what) {
  SafetensorsHeader header = read_safetensors_header(path);
  WeightsFile file{"safetensors", {}, std::move(header.metadata), {}};
  for (SafetensorsEntry& e : header.entries) {
    file.entries.push_back({std::move(e.name), e.dtype, std::move(e.shape)});
  }
  if (what == ReadWeights::kAll) file.tensors = read_safetensors(path).tensors;
  return file;
}

WeightsFile from_onnx(const std::filesystem::path& path, ReadWeights what) {
  OnnxModel model = read_onnx(path);
  WeightsFile file{"ONNX", {}, std::move(model.metadata), {}};
  file.metadata.emplace("producer", model.producer_name + " " + model.producer_version);
  for (auto& [name, tensor] : model.initializers) {
    file.entries.push_back({name, tensor.dtype(), tensor.shape()});
    if (what == ReadWeights::kAll) file.tensors.emplace(std::move(name), std::move(tensor));
  }
  return file;
}

WeightsFile from_torch_zip(const std::filesystem::path& path, ReadWeights what) {
  return read_torch_zip(ByteSource(path), what);
}

WeightsFile from_torch_legacy(const std::filesystem::path& path, ReadWeights what) {
  return read_torch_legacy(ByteSource(path), what);
}

/// A kind of file that is known by its first bytes and not read.
template <const char* Advice>
WeightsFile refused(const std::filesystem::path& path, ReadWeights) {
  fail(ErrorCode::kUnsupported, "{}: {}", path.string(), Advice);
}

constexpr char kTar[] =
    "a tar archive, as PyTorch wrote before version 0.1.10; unpack it, or save it again with an "
    "old PyTorch";
constexpr char kPickle[] =
    "a pickle that torch.save did not write; in Python, save its weights as safetensors";
constexpr char kHdf5[] = "an HDF5 file, as Keras writes; convert it to safetensors";
constexpr char kGzip[] = "packed with gzip; unpack it first";
constexpr char kLfs[] = "a pointer of Git LFS, not the file itself; fetch that with 'git lfs pull'";
constexpr char kPage[] = "a web page, not a file of weights; check the address it was fetched from";

/// What the first bytes of a file say of its kind. The first match counts.
struct Kind {
  bool (*matches)(std::string_view start);
  WeightsFile (*read)(const std::filesystem::path&, ReadWeights);
};
constexpr std::array kKinds = {
    Kind{[](std::string_view s) { return s.size() > 8 && s[8] == '{'; }, from_safetensors},
    Kind{[](std::string_view s) { return s.starts_with("PK\3\4"); }, from_torch_zip},
    Kind{looks_like_torch_legacy, from_torch_legacy},
    Kind{looks_like_onnx, from_onnx},
    Kind{[](std::string_view s) { return s.size() > 262 && s.substr(257, 5) == "ustar"; },
         refused<kTar>},
    Kind{[](std::string_view s) { return s.starts_with('\x80'); }, refused<kPickle>},
    Kind{[](std::string_view s) { return s.starts_with("\x89HDF\r\n"); }, refused<kHdf5>},
    Kind{[](std::string_view s) { return s.starts_with("\x1f\x8b"); }, refused<kGzip>},
    Kind{[](std::string_view s) { return s.starts_with("version https://git-lfs"); },
         refused<kLfs>},
    Kind{[](std::string_view s) { return s.starts_with("<!") || s.starts_with("<html"); },
         refused<kPage>},
};

WeightsFile read(const std::filesystem::path& path, ReadWeights what) {
  std::string start(512, '\0');
  {
    const ByteSource source(path);
    start.resize(static_cast<std::size_t>(std::min<std::uint64_t>(start.size(), source.size())));
    source.read(0, std::as_writable_bytes(std::span(start)));
  }
  for (const Kind& kind : kKinds) {
    if (kind.matches(start)) return kind.read(path, what);
  }
  fail(ErrorCode::kBadData,
       "{}: not a file of weights that is known here (safetensors, torch.save's, ONNX)",
       path.string());
}

}  // namespace

WeightsFile read_weights(const std::filesystem::path& path) {
  return read(path, ReadWeights::kAll);
}

WeightsFile describe_weights(const std::filesystem::path& path) {
  return read(path, ReadWeights::kDescription);
}

}  // namespace resnet

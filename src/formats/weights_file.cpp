#include "formats/weights_file.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <set>
#include <string_view>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"
#include "formats/archive.h"
#include "formats/onnx_file.h"
#include "formats/safetensors.h"
#include "formats/shard_index.h"
#include "formats/torch_file.h"

namespace resnet {
namespace {

WeightsFile from_safetensors(const std::filesystem::path& path, ReadWeights what) {
  SafetensorsHeader header = read_safetensors_header(path);
  WeightsFile file{.format = "safetensors", .entries = {}, .metadata = std::move(header.metadata)};
  for (SafetensorsEntry& e : header.entries) {
    file.entries.push_back(
        {std::move(e.name), e.dtype, std::move(e.shape), std::move(e.foreign), e.end - e.begin});
  }
  if (what == ReadWeights::kAll) {
    file.tensors = read_safetensors(path, ForeignTensors::kLeaveOut).tensors;
  }
  return file;
}

WeightsFile from_onnx(const std::filesystem::path& path, ReadWeights what) {
  OnnxModel model = read_onnx(path);
  WeightsFile file{.format = "ONNX", .entries = {}, .metadata = std::move(model.metadata)};
  file.metadata.emplace("producer", model.producer_name + " " + model.producer_version);
  for (auto& [name, tensor] : model.initializers) {
    file.entries.push_back({name, tensor.dtype(), tensor.shape(), "", 0});
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
template <const char* kAdvice>
WeightsFile refused(const std::filesystem::path& path, ReadWeights) {
  fail(ErrorCode::kUnsupported, "{}: {}", path.string(), kAdvice);
}

/// The first file of an archive that a person may want, or nothing.
std::string first_file_in(const std::filesystem::path& path) {
  std::string first;
  const auto look = [&](const std::string& name) {
    first = name;
    return ArchiveAction::kStop;
  };
  read_archive(path, look, [](const std::string&, const std::vector<std::byte>&) {});
  return first;
}

WeightsFile refuse_tar(const std::filesystem::path& path, ReadWeights) {
  const std::string first = first_file_in(path);
  constexpr std::array<std::string_view, 4> kOld = {"sys_info", "pickle", "storages", "tensors"};
  if (std::ranges::find(kOld, first.substr(first.rfind('/') + 1)) != kOld.end()) {
    fail(ErrorCode::kUnsupported,
         "{}: a tar archive, as PyTorch wrote before version 0.1.10; save it again with an old "
         "PyTorch",
         path.string());
  }
  fail(ErrorCode::kUnsupported,
       "{}: a tar archive{}; unpack it (tar -xf) and give the file of weights", path.string(),
       first.empty() ? "" : fmt::format(" that holds '{}'", printable(first, 100)));
}

WeightsFile refuse_gzip(const std::filesystem::path& path, ReadWeights what) {
  try {
    if (!first_file_in(path).empty()) return refuse_tar(path, what);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::kUnsupported) throw;
  }
  fail(ErrorCode::kUnsupported, "{}: packed with gzip; unpack it first (gunzip)", path.string());
}

constexpr char kPickle[] =
    "a pickle that torch.save did not write; in Python, save its weights as safetensors";
constexpr char kHdf5[] = "an HDF5 file, as Keras writes; convert it to safetensors";
constexpr char kPacked[] = "packed with bzip2, xz, zstd, 7-Zip or RAR; unpack it first";
constexpr char kEmptyZip[] = "a zip archive without files; fetch or save it again";
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
         refuse_tar},
    Kind{[](std::string_view s) { return s.starts_with('\x80'); }, refused<kPickle>},
    Kind{[](std::string_view s) { return s.starts_with("\x89HDF\r\n"); }, refused<kHdf5>},
    Kind{[](std::string_view s) { return s.starts_with("\x1f\x8b"); }, refuse_gzip},
    Kind{[](std::string_view s) { return s.starts_with("PK\5\6"); }, refused<kEmptyZip>},
    Kind{[](std::string_view s) {
           return s.starts_with("BZh") ||
                  s.starts_with(
                      "\xfd"
                      "7zXZ") ||
                  s.starts_with("\x28\xb5\x2f\xfd") || s.starts_with("7z\xbc\xaf") ||
                  s.starts_with("Rar!");
         },
         refused<kPacked>},
    Kind{[](std::string_view s) { return s.starts_with("version https://git-lfs"); },
         refused<kLfs>},
    Kind{[](std::string_view s) { return s.starts_with("<!") || s.starts_with("<html"); },
         refused<kPage>},
};

WeightsFile read_one(const std::filesystem::path& path, ReadWeights what) {
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

// A tensor that two shards have, or one that is not in the shard that the index names, would be
// taken for another.
WeightsFile from_shards(const std::filesystem::path& index_path, ReadWeights what) {
  const std::string file = index_path.string();
  const ShardIndex index = read_shard_index(index_path);
  WeightsFile all;
  std::set<std::string> seen;
  for (const std::string& shard : index.shards) {
    const std::filesystem::path path = index_path.parent_path() / shard;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
      fail(ErrorCode::kNotFound,
           "{}: expected the {} shards that it names beside it, '{}' is not there; fetch it, too",
           file, index.shards.size(), shard);
    }
    WeightsFile part = read_one(path, what);
    for (WeightsEntry& e : part.entries) {
      const auto found = index.shard_of.find(e.name);
      if (found == index.shard_of.end() || found->second != shard) {
        fail(ErrorCode::kBadData,
             "{}: tensor '{}' is in the shard '{}', where the index does not have it; fetch index "
             "and shards of one version",
             file, printable(e.name, 200), shard);
      }
      if (!seen.insert(e.name).second) {
        fail(ErrorCode::kBadData, "{}: tensor '{}' is twice in the shard '{}'; fetch it again",
             file, printable(e.name, 200), shard);
      }
      all.entries.push_back(std::move(e));
    }
    all.tensors.merge(part.tensors);
    all.metadata.merge(part.metadata);
    all.left_out.merge(part.left_out);
    all.format = std::move(part.format);
  }
  for (const auto& [name, shard] : index.shard_of) {
    if (seen.contains(name)) continue;
    fail(ErrorCode::kBadData,
         "{}: tensor '{}' should be in the shard '{}', which does not have it; fetch index and "
         "shards of one version",
         file, printable(name, 200), shard);
  }
  all.format += fmt::format(", {} shards", index.shards.size());
  return all;
}

WeightsFile read(const std::filesystem::path& path, ReadWeights what) {
  return is_shard_index(path) ? from_shards(path, what) : read_one(path, what);
}

}  // namespace

std::string_view type_name(const WeightsEntry& entry) {
  return entry.foreign.empty() ? name_of(entry.dtype) : std::string_view(entry.foreign);
}

std::filesystem::path find_weights(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    for (const char* name : {"model.safetensors", "model.safetensors.index.json",
                             "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
      if (std::filesystem::exists(path / name, ignored)) return path / name;
    }
    fail(ErrorCode::kNotFound,
         "{}: a folder without a model.safetensors, a pytorch_model.bin, or the .index.json of "
         "either in shards; give a file of weights",
         path.string());
  }
  if (const auto shard = shard_of(path)) {
    const std::filesystem::path index = path.parent_path() / shard->index;
    if (std::filesystem::exists(index, ignored)) return index;
  }
  return path;
}

WeightsFile read_weights(const std::filesystem::path& path) {
  return read(path, ReadWeights::kAll);
}

WeightsFile describe_weights(const std::filesystem::path& path) {
  return read(path, ReadWeights::kDescription);
}

}  // namespace resnet

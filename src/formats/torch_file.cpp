#include "formats/torch_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "formats/pickle.h"
#include "formats/torch_globals.h"
#include "formats/torch_walk.h"
#include "formats/zip.h"

namespace resnet {
namespace {

using Kind = PickleValue::Kind;

constexpr std::uint64_t kMaxDataPickle = 128U << 20;

// ---------------------------------------------------------------------------------------------
// The zip archive: <root>/data.pkl, <root>/data/<key>, <root>/byteorder.

class ZipStorages : public TorchStorages {
 public:
  ZipStorages(const ZipReader& zip, std::string root) : zip_(zip), root_(std::move(root)) {}

  std::optional<std::uint64_t> size(const std::string& key) const override {
    const std::ptrdiff_t entry = zip_.find(root_ + "data/" + key);
    if (entry < 0) return {};
    const ZipReader::Entry& e = zip_.entries()[static_cast<std::size_t>(entry)];
    if (e.stored || e.deflated) return e.size;
    std::byte none{};  // says what is wrong with it
    zip_.read(static_cast<std::size_t>(entry), 0, {&none, 0});
    return {};
  }
  void read(const std::string& key, std::uint64_t offset, std::span<std::byte> out) const override {
    zip_.read(static_cast<std::size_t>(zip_.find(root_ + "data/" + key)), offset, out);
  }

 private:
  const ZipReader& zip_;
  std::string root_;
};

/// The entry of the pickle and the folder that it is in. torch.save makes one folder; archives that
/// were unpacked and packed again may have none, or a few around it.
std::pair<std::ptrdiff_t, std::string> find_pickle(const ZipReader& zip, const ByteSource& source) {
  constexpr std::string_view kName = "data.pkl";
  constexpr auto kWeights = std::to_array<std::string_view>(
      {".pth", ".pt", ".th", ".ckpt", ".bin", ".pkl", ".tar", ".safetensors", ".onnx", ".h5"});
  std::ptrdiff_t data = -1;
  std::string inside;
  std::size_t files = 0;
  for (std::size_t i = 0; i < zip.entries().size(); ++i) {
    const std::string& name = zip.entries()[i].name;
    if (name.ends_with('/') || name.starts_with("__MACOSX/")) continue;
    ++files;
    if (name == kName || name.ends_with("/data.pkl")) {
      if (data >= 0) {
        fail(ErrorCode::kBadData,
             "{}: a zip archive of more than one PyTorch file ('{}', '{}'); give one of them alone",
             source.name(), printable(zip.entries()[static_cast<std::size_t>(data)].name, 100),
             printable(name, 100));
      }
      data = static_cast<std::ptrdiff_t>(i);
    }
    if (inside.empty() && std::ranges::any_of(kWeights, [&](std::string_view ending) {
          return lower(name).ends_with(ending);
        })) {
      inside = name;
    }
  }
  if (data >= 0) {
    const std::string& name = zip.entries()[static_cast<std::size_t>(data)].name;
    return {data, name.substr(0, name.size() - kName.size())};
  }
  if (!inside.empty()) {
    fail(ErrorCode::kUnsupported,
         "{}: a zip archive that holds '{}'{}; unpack it and give that file", source.name(),
         printable(inside, 100),
         files > 1 ? fmt::format(" and {} more files", files - 1) : std::string());
  }
  fail(ErrorCode::kBadData,
       "{}: a zip archive, but none of torch.save: it has no data.pkl; expected a PyTorch file",
       source.name());
}

std::vector<std::byte> read_small(const ZipReader& zip, std::ptrdiff_t entry,
                                  const ByteSource& source) {
  const auto index = static_cast<std::size_t>(entry);
  const ZipReader::Entry& e = zip.entries()[index];
  if (e.size > kMaxDataPickle) {
    fail(ErrorCode::kBadData, "{}: '{}' in it has {} bytes, above the limit of {}", source.name(),
         printable(e.name, 100), e.size, kMaxDataPickle);
  }
  std::vector<std::byte> bytes;
  zip.read(index, 0, bytes);  // says what is wrong with it before memory is taken
  bytes.resize(static_cast<std::size_t>(e.size));
  zip.read(index, 0, bytes);
  return bytes;
}

// ---------------------------------------------------------------------------------------------
// The legacy file: pickles of a magic number, a version, facts about the machine, the object and
// the storages' keys; then, for each key, an int64 count and the elements.

class LegacyStorages : public TorchStorages {
 public:
  struct Place {
    std::uint64_t offset;
    std::uint64_t bytes;
  };
  LegacyStorages(const ByteSource& source, std::map<std::string, Place> places)
      : source_(source), places_(std::move(places)) {}

  std::optional<std::uint64_t> size(const std::string& key) const override {
    const auto it = places_.find(key);
    if (it == places_.end()) return {};
    return it->second.bytes;
  }
  void read(const std::string& key, std::uint64_t offset, std::span<std::byte> out) const override {
    source_.read(places_.at(key).offset + offset, out);
  }

 private:
  const ByteSource& source_;
  std::map<std::string, Place> places_;
};

/// Bytes of one element of each storage, from the values that name one.
std::map<std::string, std::uint64_t> element_sizes(const Pickle& pickle) {
  // Also of those types that are passed over, since their bytes lie between the others.
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> kOthers = {
      {{"torch.ShortStorage", 2},
       {"torch.ComplexFloatStorage", 8},
       {"torch.ComplexDoubleStorage", 16},
       {"torch.QInt8Storage", 1},
       {"torch.QUInt8Storage", 1},
       {"torch.QInt32Storage", 4}}};
  std::map<std::string, std::uint64_t> sizes;
  for (const PickleValue& v : pickle.values) {
    if (v.kind != Kind::kPersistent) continue;
    const PickleValue& id = pickle.at(v.items()[0]);
    if (id.kind != Kind::kTuple || id.items().size() < 3) continue;
    const PickleValue& type = pickle.at(id.items()[1]);
    const PickleValue& key = pickle.at(id.items()[2]);
    if (type.kind != Kind::kGlobal || key.kind != Kind::kText) continue;
    if (const std::optional<DType> dtype = meaning_of(type).dtype) {
      sizes.emplace(key.text(), size_of(*dtype));
    }
    for (const auto& [name, bytes] : kOthers) {
      if (name == type.text()) sizes.emplace(key.text(), bytes);
    }
  }
  return sizes;
}

}  // namespace

bool looks_like_torch_legacy(std::string_view start) {
  // The number as a pickle holds it; protocols differ in what comes before it.
  constexpr std::string_view kMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 13);
  return start.starts_with('\x80') && start.substr(0, 32).find(kMagic) != start.npos;
}

WeightsFile read_torch_zip(const ByteSource& source, ReadWeights what) {
  const ZipReader zip(source);
  const auto [data, root] = find_pickle(zip, source);
  const bool has_code =
      std::any_of(zip.entries().begin(), zip.entries().end(), [&root = root](const auto& e) {
        return e.name.starts_with(root + "code/") || e.name == root + "constants.pkl";
      });
  if (has_code) {
    fail(ErrorCode::kUnsupported,
         "{}: a TorchScript archive, which holds code; in Python, save its weights alone: "
         "torch.save(torch.jit.load(file).state_dict(), 'weights.pth')",
         source.name());
  }
  std::endian order = std::endian::little;
  if (const std::ptrdiff_t entry = zip.find(root + "byteorder"); entry >= 0) {
    const std::vector<std::byte> bytes = read_small(zip, entry, source);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text != "little" && text != "big") {
      fail(ErrorCode::kBadData, "{}: its byte order is '{}', neither little nor big", source.name(),
           printable(text, 40));
    }
    if (text == "big") order = std::endian::big;
  }
  const std::vector<std::byte> program = read_small(zip, data, source);
  const Pickle pickle = read_pickle(ByteSource(program, source.name()), 0, known_torch_globals());
  WeightsFile file =
      read_tensors(pickle, ZipStorages(zip, root), source, zip.unpacked_bytes(), order, what);
  file.format = "PyTorch zip";
  return file;
}

WeightsFile read_torch_legacy(const ByteSource& source, ReadWeights what) {
  const auto damaged = [&](const std::string& why) {
    fail(ErrorCode::kBadData, "{}: no sound PyTorch file: {}; fetch or save it again",
         source.name(), why);
  };
  const Pickle magic = read_pickle(source, 0, {});
  if (const PickleValue& v = magic.at(magic.root);
      v.kind != Kind::kBigInt || v.text() != "0x1950a86a20f9469cfc6c") {
    damaged("it lacks the magic number");
  }
  const Pickle version = read_pickle(source, magic.end, {});
  if (const PickleValue& v = version.at(version.root);
      v.kind != Kind::kInt || v.integer() != 1001) {
    damaged("its version is not 1001");
  }
  const Pickle machine = read_pickle(source, version.end, {});
  std::endian order = std::endian::little;
  if (const PickleValue& facts = machine.at(machine.root); facts.kind == Kind::kDict) {
    for (std::size_t i = 0; i + 1 < facts.items().size(); i += 2) {
      const PickleValue& key = machine.at(facts.items()[i]);
      const PickleValue& value = machine.at(facts.items()[i + 1]);
      if (key.kind == Kind::kText && key.text() == "little_endian" && value.kind == Kind::kBool &&
          value.integer() == 0) {
        order = std::endian::big;
      }
    }
  }
  const Pickle pickle = read_pickle(source, machine.end, known_torch_globals());
  const Pickle keys = read_pickle(source, pickle.end, {});
  if (keys.at(keys.root).kind != Kind::kList) damaged("it has no list of storages");

  const std::map<std::string, std::uint64_t> sizes = element_sizes(pickle);
  std::map<std::string, LegacyStorages::Place> places;
  std::uint64_t position = keys.end;
  for (const PickleRef ref : keys.at(keys.root).items()) {
    const PickleValue& key = keys.at(ref);
    const auto it = key.kind == Kind::kText ? sizes.find(key.text()) : sizes.end();
    if (it == sizes.end()) damaged("a storage belongs to nothing");
    std::uint64_t count = 0;
    source.read(position, std::as_writable_bytes(std::span(&count, 1)));
    position += sizeof(count);
    if (order != std::endian::native) count = __builtin_bswap64(count);
    if (count > (source.size() - position) / it->second) {
      damaged(fmt::format("storage '{}' has {} elements, which the file does not hold",
                          printable(key.text(), 40), count));
    }
    places[key.text()] = {position, count * it->second};
    position += count * it->second;
  }
  if (position != source.size()) damaged("bytes are left after its storages");
  WeightsFile file = read_tensors(pickle, LegacyStorages(source, std::move(places)), source,
                                  source.size(), order, what);
  file.format = "PyTorch legacy";
  return file;
}

}  // namespace resnet

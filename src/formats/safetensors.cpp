#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json.h"

namespace resnet {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian");

constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::size_t kLengthBytes = 8;

struct NamedType {
  std::string_view name;
  DType dtype;
};
// In the order of the library's writer: rising alignment. Larger first in a file keeps all aligned.
constexpr std::array kTypes = {NamedType{"BOOL", DType::kBool}, NamedType{"U8", DType::kU8},
                               NamedType{"I8", DType::kI8},     NamedType{"F16", DType::kF16},
                               NamedType{"BF16", DType::kBF16}, NamedType{"I32", DType::kI32},
                               NamedType{"F32", DType::kF32},   NamedType{"F64", DType::kF64},
                               NamedType{"I64", DType::kI64}};
// Types of the format that the library has no DType for, by the bits of an element. Those of a
// later version of the format have any number.
struct ForeignType {
  std::string_view name;
  std::uint64_t bits;
};
constexpr std::array kForeignTypes = {
    ForeignType{"F4", 4},          ForeignType{"F6_E2M3", 6},     ForeignType{"F6_E3M2", 6},
    ForeignType{"F8_E4M3", 8},     ForeignType{"F8_E5M2", 8},     ForeignType{"F8_E8M0", 8},
    ForeignType{"F8_E4M3FNUZ", 8}, ForeignType{"F8_E5M2FNUZ", 8}, ForeignType{"I16", 16},
    ForeignType{"U16", 16},        ForeignType{"U32", 32},        ForeignType{"U64", 64},
    ForeignType{"C64", 64},        ForeignType{"C128", 128}};
constexpr std::size_t kMaxTypeName = 32;

std::size_t rank_of(DType dtype) {
  const auto it = std::find_if(kTypes.begin(), kTypes.end(),
                               [&](const NamedType& t) { return t.dtype == dtype; });
  RESNET_CHECK(it != kTypes.end());
  return static_cast<std::size_t>(it - kTypes.begin());
}

[[noreturn]] void damaged(const std::string& file, const std::string& what) {
  fail(ErrorCode::kBadData, "{}: not a sound safetensors file: {}; fetch or write it again", file,
       what);
}

/// Takes the header from nlohmann's event parser, which uses no recursion and builds no tree, so
/// neither depth nor duplicates reach memory. The first complaint ends the parse.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader header;
  std::string complaint;

  bool start_object(std::size_t) override {
    switch (where_) {
      case Where::kOutside: where_ = Where::kRoot; return true;
      case Where::kRoot:
        if (key_ == "__metadata__") {
          where_ = Where::kMetadata;
        } else {
          where_ = Where::kEntry;
          entry_ = {};
          entry_.name = key_;
          has_dtype_ = has_shape_ = false;
          offsets_ = 0;
          has_offsets_ = false;
        }
        return true;
      default: return unexpected("an object");
    }
  }

  bool end_object() override {
    switch (where_) {
      case Where::kMetadata: where_ = Where::kRoot; return true;
      case Where::kEntry:
        where_ = Where::kRoot;
        if (!has_dtype_ || !has_shape_ || !has_offsets_) {
          return complain(
              fmt::format("tensor '{}' lacks its dtype, shape or data_offsets", entry_.name));
        }
        header.entries.push_back(std::move(entry_));
        return true;
      default: where_ = Where::kDone; return true;
    }
  }

  bool key(std::string& value) override {
    key_ = std::move(value);
    if (where_ == Where::kRoot && !names_.insert(key_).second) {
      return complain(fmt::format("'{}' appears twice", key_));
    }
    if (where_ == Where::kMetadata && header.metadata.contains(key_)) {
      return complain(fmt::format("metadata '{}' appears twice", key_));
    }
    if (where_ == Where::kEntry) {
      bool* seen = key_ == "dtype"          ? &has_dtype_
                   : key_ == "shape"        ? &has_shape_
                   : key_ == "data_offsets" ? &has_offsets_
                                            : nullptr;
      if (seen == nullptr) {
        return complain(fmt::format("tensor '{}' has the unknown key '{}'", entry_.name, key_));
      }
      if (std::exchange(*seen, true)) {
        return complain(fmt::format("tensor '{}' has '{}' twice", entry_.name, key_));
      }
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (where_ != Where::kEntry || key_ == "dtype") return unexpected("an array");
    where_ = key_ == "shape" ? Where::kShape : Where::kOffsets;
    return true;
  }
  bool end_array() override {
    if (where_ == Where::kOffsets && offsets_ != 2) {
      return complain(fmt::format("tensor '{}' has {} data_offsets, not 2", entry_.name, offsets_));
    }
    where_ = Where::kEntry;
    return true;
  }

  bool string(std::string& value) override {
    if (where_ == Where::kMetadata) {
      header.metadata.emplace(key_, std::move(value));
      return true;
    }
    if (where_ != Where::kEntry || key_ != "dtype") return unexpected("a string");
    const auto it = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](const NamedType& t) { return t.name == value; });
    if (it != kTypes.end()) {
      entry_.dtype = it->dtype;
      return true;
    }
    const bool plain = std::ranges::all_of(
        value, [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
    if (value.empty() || value.size() > kMaxTypeName || !plain) {
      return complain(fmt::format("tensor '{}' has the impossible dtype '{}'", entry_.name,
                                  value.substr(0, kMaxTypeName)));
    }
    entry_.foreign = std::move(value);
    return true;
  }

  bool number_unsigned(number_unsigned_t value) override {
    constexpr std::size_t kMaxRank = 64;
    if (where_ == Where::kShape) {
      if (value > static_cast<std::uint64_t>(INT64_MAX) || entry_.shape.size() == kMaxRank) {
        return complain(fmt::format("tensor '{}' has an impossible shape", entry_.name));
      }
      entry_.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (where_ == Where::kOffsets) {
      (offsets_ == 0 ? entry_.begin : entry_.end) = value;
      ++offsets_;
      return true;
    }
    return unexpected("a number");
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const std::string&) override {
    return unexpected("a number that is no integer");
  }
  bool binary(nlohmann::json::binary_t&) override { return unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return complain(fmt::format("its header is no JSON at byte {}", position));
  }

 private:
  enum class Where : std::uint8_t { kOutside, kRoot, kMetadata, kEntry, kShape, kOffsets, kDone };

  bool complain(std::string text) {
    complaint = std::move(text);
    return false;
  }
  bool unexpected(std::string_view what) {
    return complain(fmt::format("{} is not expected at '{}' in its header", what, key_));
  }

  Where where_ = Where::kOutside;
  std::string key_;
  std::set<std::string> names_;
  SafetensorsEntry entry_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offsets_ = 0;
};

/// `size` times the elements of a shape, or nothing when 63 bits do not hold it.
std::optional<std::uint64_t> product(std::uint64_t size, const Shape& shape) {
  std::uint64_t bytes = size;
  bool zero = false;
  for (const std::int64_t d : shape) {
    if (d == 0) {
      zero = true;
      continue;
    }
    if (bytes > static_cast<std::uint64_t>(INT64_MAX) / static_cast<std::uint64_t>(d)) return {};
    bytes *= static_cast<std::uint64_t>(d);
  }
  return zero ? 0 : bytes;
}

/// Whether a tensor takes as many bytes as its type and shape say, as far as they do.
bool fits(const SafetensorsEntry& e) {
  if (e.end < e.begin) return false;
  const std::uint64_t bytes = e.end - e.begin;
  if (e.foreign.empty()) return product(size_of(e.dtype), e.shape) == bytes;
  const auto* const type = std::ranges::find(kForeignTypes, e.foreign, &ForeignType::name);
  if (type == kForeignTypes.end()) {  // a bit an element at least
    const auto elements = product(1, e.shape);
    return elements && (*elements + 7) / 8 <= bytes;
  }
  const auto bits = product(type->bits, e.shape);
  return bits && (*bits + 7) / 8 == bytes;
}

/// Length of the header, from the first eight bytes of a file of `file_bytes`.
std::uint64_t header_length(std::span<const std::byte> start, std::uint64_t file_bytes,
                            const std::string& file) {
  std::uint64_t length = 0;
  if (start.size() < kLengthBytes) damaged(file, fmt::format("it has only {} bytes", start.size()));
  std::memcpy(&length, start.data(), kLengthBytes);
  if (length > kMaxHeader || length > file_bytes - kLengthBytes) {
    damaged(file,
            fmt::format("it declares a header of {} bytes, the file has {}", length, file_bytes));
  }
  return length;
}

SafetensorsHeader parse_header(std::string_view json, std::uint64_t data_bytes,
                               const std::string& file) {
  if (json.empty() || json.front() != '{') damaged(file, "its header does not begin with '{'");
  HeaderReader reader;
  const bool ok = nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  if (!ok) damaged(file, reader.complaint);

  SafetensorsHeader header = std::move(reader.header);
  header.data_begin = kLengthBytes + json.size();
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  std::uint64_t position = 0;
  for (const SafetensorsEntry& e : header.entries) {
    if (!fits(e)) {
      damaged(file, fmt::format("tensor '{}' of {} {} has the data_offsets [{}, {}]", e.name,
                                e.foreign.empty() ? name_of(e.dtype) : e.foreign,
                                to_string(e.shape), e.begin, e.end));
    }
    if (e.begin != position) {
      damaged(file, fmt::format("tensor '{}' begins at {}, {} {}", e.name, e.begin,
                                e.begin < position ? "inside another that ends at"
                                                   : "which leaves a hole after",
                                position));
    }
    position = e.end;
  }
  if (position != data_bytes) {
    damaged(file,
            fmt::format("its tensors take {} bytes, the file holds {}", position, data_bytes));
  }
  return header;
}

SafetensorsHeader read_header(const ByteSource& source) {
  std::array<std::byte, kLengthBytes> start{};
  const auto available = std::min<std::uint64_t>(kLengthBytes, source.size());
  const std::span found(start.data(), static_cast<std::size_t>(available));
  source.read(0, found);
  const std::uint64_t length = header_length(found, source.size(), source.name());
  std::string json(static_cast<std::size_t>(length), '\0');
  source.read(kLengthBytes, std::as_writable_bytes(std::span(json)));
  return parse_header(json, source.size() - kLengthBytes - length, source.name());
}

Safetensors read_all(const ByteSource& source, const std::shared_ptr<std::byte[]>& mapping,
                     ForeignTensors foreign = ForeignTensors::kRefuse) {
  SafetensorsHeader header = read_header(source);
  if (foreign == ForeignTensors::kRefuse) refuse_foreign(header, source.name());
  Safetensors out;
  for (SafetensorsEntry& e : header.entries) {
    if (!e.foreign.empty()) continue;
    const std::uint64_t begin = header.data_begin + e.begin;
    if (mapping != nullptr && begin % size_of(e.dtype) == 0) {
      out.tensors.emplace(std::move(e.name), Tensor::mapped(e.dtype, std::move(e.shape),
                                                            {mapping, mapping.get() + begin}));
      continue;
    }
    Tensor tensor(e.dtype, std::move(e.shape));
    source.read(begin, {tensor.raw(), tensor.bytes()});
    out.tensors.emplace(std::move(e.name), std::move(tensor));
  }
  out.metadata = std::move(header.metadata);
  return out;
}

/// At least `room` bytes, so many that the data are aligned.
std::string header_text(const std::vector<SafetensorsEntry>& entries,
                        const std::map<std::string, std::string>& metadata, std::size_t room,
                        const std::string& file) {
  Json header = Json::object();
  if (!metadata.empty()) {
    header.add("__metadata__", Json::object());
    for (const auto& [key, text] : metadata) header.members().back().second.add(key, text);
  }
  for (const SafetensorsEntry& e : entries) {
    header.add(e.name, Json::object({{"dtype", kTypes[rank_of(e.dtype)].name},
                                     {"shape", e.shape},
                                     {"data_offsets", Json::array({e.begin, e.end})}}));
  }
  std::string json;
  try {
    json = header.dump();
  } catch (const Error&) {
    fail(ErrorCode::kInvalidArgument,
         "{}: a tensor's name or a metadata string is not UTF-8; rename it", file);
  }
  json.resize((std::max(json.size(), room) + 7) / 8 * 8, ' ');
  if (json.size() > kMaxHeader) {
    fail(ErrorCode::kInvalidArgument, "{}: names and metadata take {} bytes, above the limit of {}",
         file, json.size(), kMaxHeader);
  }
  return json;
}

}  // namespace

SafetensorsHeader read_safetensors_header(const std::filesystem::path& path) {
  return read_header(ByteSource(path));
}

SafetensorsHeader read_safetensors_header(const ByteSource& source) { return read_header(source); }

void refuse_foreign(const SafetensorsHeader& header, const std::string& file) {
  for (const SafetensorsEntry& e : header.entries) {
    if (e.foreign.empty()) continue;
    fail(ErrorCode::kUnsupported,
         "{}: tensor '{}' has the element type {}, which is not supported; convert it to F32", file,
         e.name, e.foreign);
  }
}

Safetensors read_safetensors(const std::filesystem::path& path, ForeignTensors foreign) {
  return read_all(ByteSource(path), nullptr, foreign);
}

Safetensors map_safetensors(const std::filesystem::path& path) {
  const ByteSource source(path);
  return read_all(source, source.map());
}

Safetensors parse_safetensors(std::span<const std::byte> bytes, const std::string& name) {
  return read_all(ByteSource(bytes, name), nullptr);
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  using Item = std::map<std::string, Tensor>::const_pointer;
  std::vector<Item> order;
  for (const auto& item : tensors) {
    if (item.first == "__metadata__") {
      fail(ErrorCode::kInvalidArgument,
           "{}: a tensor may not be called '__metadata__'; that name is the format's own",
           path.string());
    }
    order.push_back(&item);
  }
  std::stable_sort(order.begin(), order.end(), [](Item a, Item b) {
    return rank_of(a->second.dtype()) > rank_of(b->second.dtype());
  });

  std::vector<SafetensorsEntry> entries;
  std::uint64_t position = 0;
  for (const Item item : order) {
    const Tensor& t = item->second;
    entries.push_back({item->first, t.dtype(), t.shape(), position, position + t.bytes()});
    position += t.bytes();
  }
  const std::string json = header_text(entries, metadata, 0, path.string());
  const std::uint64_t length = json.size();
  write_file_atomic(path, [&](const ByteSink& sink) {
    sink(std::as_bytes(std::span(&length, 1)));
    sink(std::as_bytes(std::span(json)));
    for (const Item item : order) sink({item->second.raw(), item->second.bytes()});
  });
}

// The header comes first and says where everything ends: room is left for it.
struct SafetensorsWriter::State {
  static constexpr std::size_t kEntryRoom = 256;
  static constexpr std::size_t kMaxEntries = 32;

  AtomicFile file;
  std::string name;
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsEntry> entries = {};
  std::size_t room = 0;
  std::uint64_t begin = 0;  // of the tensor being written
};

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path,
                                     std::map<std::string, std::string> metadata)
    : state_(new State{AtomicFile(path), path.string(), std::move(metadata)}) {
  State& s = *state_;
  s.room = header_text({}, s.metadata, 0, s.name).size() + State::kMaxEntries * State::kEntryRoom;
  s.file.append(std::vector<std::byte>(kLengthBytes + s.room));
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::append(std::span<const std::byte> bytes) { state_->file.append(bytes); }

std::uint64_t SafetensorsWriter::bytes() const { return state_->file.size(); }

void SafetensorsWriter::end_tensor(const std::string& name, DType dtype, const Shape& shape) {
  State& s = *state_;
  const std::uint64_t end = s.file.size() - kLengthBytes - s.room;
  s.entries.push_back({name, dtype, shape, s.begin, end});
  RESNET_CHECK(s.entries.size() <= State::kMaxEntries && name.size() <= 64 && shape.size() <= 4 &&
               product(size_of(dtype), shape) == end - s.begin);
  s.begin = end;
}

void SafetensorsWriter::commit() {
  State& s = *state_;
  const std::string json = header_text(s.entries, s.metadata, s.room, s.name);
  RESNET_CHECK(json.size() == s.room);
  const std::uint64_t length = s.room;
  s.file.overwrite(0, std::as_bytes(std::span(&length, 1)));
  s.file.overwrite(kLengthBytes, std::as_bytes(std::span(json)));
  s.file.commit();
}

}  // namespace resnet

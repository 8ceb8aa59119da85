#include "formats/zip.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <set>

#include "core/check.h"
#include "core/text.h"

namespace resnet {
namespace {

/// How libzip reads a ByteSource. Errors stay here: exceptions must not pass through C.
struct Access {
  const ByteSource& bytes;
  std::uint64_t position = 0;
  zip_error_t error{};
};

zip_int64_t access(void* user, void* data, zip_uint64_t length, zip_source_cmd_t command) {
  auto& a = *static_cast<Access*>(user);
  const auto refuse = [&](int code) {
    zip_error_set(&a.error, code, 0);
    return zip_int64_t{-1};
  };
  switch (command) {
    case ZIP_SOURCE_OPEN: a.position = 0; return 0;
    case ZIP_SOURCE_READ: {
      const std::uint64_t count = std::min(length, a.bytes.size() - a.position);
      try {
        a.bytes.read(a.position, {static_cast<std::byte*>(data), static_cast<std::size_t>(count)});
      } catch (...) {  // nothing may pass through libzip
        return refuse(ZIP_ER_READ);
      }
      a.position += count;
      return static_cast<zip_int64_t>(count);
    }
    case ZIP_SOURCE_SEEK: {
      const zip_int64_t to =
          zip_source_seek_compute_offset(a.position, a.bytes.size(), data, length, &a.error);
      if (to < 0) return -1;
      a.position = static_cast<std::uint64_t>(to);
      return 0;
    }
    case ZIP_SOURCE_TELL: return static_cast<zip_int64_t>(a.position);
    case ZIP_SOURCE_STAT: {
      auto* status = static_cast<zip_stat_t*>(data);
      zip_stat_init(status);
      status->valid = ZIP_STAT_SIZE;
      status->size = a.bytes.size();
      return sizeof(*status);
    }
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&a.error, data, length);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE: return 0;
    case ZIP_SOURCE_SUPPORTS:
      return zip_source_make_command_bitmap(
          ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
          ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    default: return refuse(ZIP_ER_OPNOTSUPP);
  }
}

[[noreturn]] void damaged(const std::string& file, const std::string& what) {
  fail(ErrorCode::kBadData, "{}: no sound zip archive ({}); it may be cut short, fetch it again",
       file, what);
}

std::uint32_t crc_of(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

struct ZipReader::Archive {
  Access access;
  zip_t* zip = nullptr;

  explicit Archive(const ByteSource& source) : access{source} {
    zip_error_init(&access.error);
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t* s = zip_source_function_create(resnet::access, &access, &error);
    if (s == nullptr) throw std::bad_alloc();
    // Without ZIP_CHECKCONS, which refuses archives that were written as a stream: what is at the
    // start of an entry then lacks the size and the checksum, and the directory has them.
    zip = zip_open_from_source(s, ZIP_RDONLY, &error);
    if (zip == nullptr) {
      zip_source_free(s);
      const std::string why = zip_error_strerror(&error);
      zip_error_fini(&error);
      damaged(source.name(), why);
    }
  }
  ~Archive() {
    zip_discard(zip);
    zip_error_fini(&access.error);
  }
  Archive(const Archive&) = delete;
  Archive& operator=(const Archive&) = delete;
};

ZipReader::ZipReader(const ByteSource& source)
    : source_(source), archive_(std::make_unique<Archive>(source)) {
  // Weights hardly shrink; zeros do, a thousandfold, and so do bombs.
  constexpr std::uint64_t kMaxRatio = 64;
  constexpr std::uint64_t kAlwaysFine = std::uint64_t{1} << 28;
  const std::uint64_t most = std::max(kAlwaysFine, kMaxRatio * source.size());
  std::set<std::string> names;
  const zip_int64_t count = zip_get_num_entries(archive_->zip, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t status;
    const auto index = static_cast<zip_uint64_t>(i);
    if (zip_stat_index(archive_->zip, index, ZIP_FL_ENC_RAW, &status) != 0) {
      damaged(source.name(), "an entry has no directory record");
    }
    if (!names.insert(status.name).second) {
      damaged(source.name(), fmt::format("'{}' is in it twice", printable(status.name, 100)));
    }
    const bool plain = status.encryption_method == ZIP_EM_NONE;
    const bool stored = plain && status.comp_method == ZIP_CM_STORE;
    const bool deflated = plain && status.comp_method == ZIP_CM_DEFLATE;
    if (stored && (status.size != status.comp_size || status.size > source.size())) {
      damaged(source.name(), fmt::format("'{}' in it has {} bytes, the file {}",
                                         printable(status.name, 100), status.size, source.size()));
    }
    if (deflated) {
      if (status.size > most - unpacked_bytes_) {
        fail(ErrorCode::kBadData,
             "{}: '{}' in it is said to unpack to {} bytes, with the others more than the limit of "
             "{}; unpack it with another program and zip it without compression (zip -0)",
             source.name(), printable(status.name, 100), status.size, most);
      }
      unpacked_bytes_ += status.size;
    }
    entries_.push_back({status.name, status.size, stored, deflated, status.crc});
  }
  unpacked_bytes_ = std::max(unpacked_bytes_, source.size());
}

ZipReader::~ZipReader() = default;

std::ptrdiff_t ZipReader::find(const std::string& name) const {
  const zip_int64_t index = zip_name_locate(archive_->zip, name.c_str(), ZIP_FL_ENC_RAW);
  return static_cast<std::ptrdiff_t>(index);
}

void ZipReader::complain(const Entry& entry, std::string_view what) const {
  damaged(source_.name(), fmt::format("'{}' in it {}", printable(entry.name, 100), what));
}

const std::vector<std::byte>& ZipReader::unpack(std::size_t entry) const {
  if (const auto it = unpacked_.find(entry); it != unpacked_.end()) return it->second;
  const Entry& e = entries_.at(entry);
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
      zip_fopen_index(archive_->zip, entry, 0), zip_fclose);
  if (file == nullptr) complain(e, zip_strerror(archive_->zip));
  // The declared size is not trusted: memory grows with what was really unpacked.
  std::vector<std::byte> out;
  std::vector<std::byte> piece(std::size_t{1} << 16);
  while (true) {
    const zip_int64_t got = zip_fread(file.get(), piece.data(), piece.size());
    if (got < 0) complain(e, zip_file_strerror(file.get()));
    if (got == 0) break;
    if (static_cast<std::uint64_t>(got) > e.size - out.size()) {
      complain(e, fmt::format("unpacks to more than the {} bytes it is said to have", e.size));
    }
    out.insert(out.end(), piece.begin(), piece.begin() + got);
  }
  if (out.size() != e.size) {
    complain(e,
             fmt::format("unpacks to {} bytes, not the {} it is said to have", out.size(), e.size));
  }
  if (crc_of(out) != e.crc) complain(e, "does not have its checksum");
  return unpacked_.emplace(entry, std::move(out)).first->second;
}

void ZipReader::read(std::size_t entry, std::uint64_t offset, std::span<std::byte> out) const {
  const Entry& e = entries_.at(entry);
  if (!e.stored && !e.deflated) {
    fail(ErrorCode::kUnsupported,
         "{}: '{}' in it is encrypted, or packed by a method that is not read; unpack it with "
         "another program and zip it without compression (zip -0)",
         source_.name(), printable(e.name, 100));
  }
  if (offset > e.size || out.size() > e.size - offset) complain(e, "is too short");
  if (e.deflated) {
    const auto from =
        std::span(unpack(entry)).subspan(static_cast<std::size_t>(offset), out.size());
    std::copy(from.begin(), from.end(), out.begin());
    return;
  }
  if (out.empty()) return;
  // As compressed data, so that libzip lets us seek and leaves the checksum to us.
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
      zip_fopen_index(archive_->zip, entry, ZIP_FL_COMPRESSED), zip_fclose);
  if (file == nullptr) complain(e, zip_strerror(archive_->zip));
  if (offset > 0 && zip_fseek(file.get(), static_cast<zip_int64_t>(offset), SEEK_SET) != 0) {
    complain(e, zip_file_strerror(file.get()));
  }
  for (std::size_t done = 0; done < out.size();) {
    const zip_int64_t got = zip_fread(file.get(), out.data() + done, out.size() - done);
    if (got <= 0) complain(e, got < 0 ? zip_file_strerror(file.get()) : "is too short");
    done += static_cast<std::size_t>(got);
  }
  if (out.size() == e.size && e.crc != 0 && crc_of(out) != e.crc) {
    complain(e, "does not have its checksum");
  }
}

namespace {

/// Little-endian fields of a record.
class Record {
 public:
  Record& u16(std::uint64_t v) { return put(v, 2); }
  Record& u32(std::uint64_t v) { return put(v, 4); }
  Record& text(std::string_view t) {
    bytes_ += t;
    return *this;
  }
  std::string& bytes() { return bytes_; }

 private:
  Record& put(std::uint64_t v, int count) {
    for (int i = 0; i < count; ++i) bytes_ += static_cast<char>(v >> (8 * i) & 0xff);
    return *this;
  }
  std::string bytes_;
};

constexpr std::uint64_t kAlignment = 64;
constexpr std::size_t kLocalHeader = 30;
constexpr std::size_t kExtraHeader = 4;

}  // namespace

void write_zip(const std::filesystem::path& path, std::span<const ZipContent> files) {
  std::uint64_t most = 22;
  for (const ZipContent& f : files)
    most += 80 + 2 * f.name.size() + 2 * kAlignment + f.bytes.size();
  if (most > UINT32_MAX || files.size() >= UINT16_MAX) {
    fail(ErrorCode::kUnsupported,
         "{}: {} files of {} bytes are more than a plain zip archive holds; write a safetensors "
         "file instead",
         path.string(), files.size(), most);
  }
  write_file_atomic(path, [&](const ByteSink& sink) {
    std::uint64_t position = 0;
    const auto put = [&](std::span<const std::byte> bytes) {
      sink(bytes);
      position += bytes.size();
    };
    Record directory;
    for (const ZipContent& f : files) {
      // Version, flags (UTF-8 names), method, time and date (1980-01-01), checksum, sizes, name.
      Record fields;
      fields.u16(20).u16(0x800).u16(0).u16(0).u16(0x21).u32(crc_of(f.bytes));
      fields.u32(f.bytes.size()).u32(f.bytes.size()).u16(f.name.size());
      directory.text("PK\x01\x02").u16(20).text(fields.bytes()).u16(0).u16(0).u16(0).u16(0).u32(0);
      directory.u32(position).text(f.name);
      // An extra field that readers pass over fills up to the alignment.
      const std::uint64_t end = position + kLocalHeader + f.name.size() + kExtraHeader;
      const std::uint64_t padding = (kAlignment - end % kAlignment) % kAlignment;
      Record local;
      local.text("PK\x03\x04").text(fields.bytes()).u16(kExtraHeader + padding).text(f.name);
      local.text("FB").u16(padding).text(std::string(static_cast<std::size_t>(padding), 'Z'));
      put(std::as_bytes(std::span(local.bytes())));
      put(f.bytes);
    }
    const std::uint64_t begin = position;
    put(std::as_bytes(std::span(directory.bytes())));
    Record end;
    end.text("PK\x05\x06").u16(0).u16(0).u16(files.size()).u16(files.size());
    end.u32(position - begin).u32(begin).u16(0);
    put(std::as_bytes(std::span(end.bytes())));
  });
}

}  // namespace resnet

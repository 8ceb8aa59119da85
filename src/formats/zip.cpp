#include "formats/zip.h"

#include <zip.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <new>

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
      } catch (const Error&) {
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
    zip = zip_open_from_source(s, ZIP_RDONLY | ZIP_CHECKCONS, &error);
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
  const zip_int64_t count = zip_get_num_entries(archive_->zip, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t status;
    const auto index = static_cast<zip_uint64_t>(i);
    if (zip_stat_index(archive_->zip, index, ZIP_FL_ENC_RAW, &status) != 0) {
      damaged(source.name(), "an entry has no directory record");
    }
    const bool stored =
        status.comp_method == ZIP_CM_STORE && status.encryption_method == ZIP_EM_NONE;
    if (stored && (status.size != status.comp_size || status.size > source.size())) {
      damaged(source.name(), fmt::format("'{}' in it has {} bytes, the file {}",
                                         printable(status.name, 100), status.size, source.size()));
    }
    entries_.push_back({status.name, status.size, stored, status.crc});
  }
}

ZipReader::~ZipReader() = default;

std::ptrdiff_t ZipReader::find(const std::string& name) const {
  const zip_int64_t index = zip_name_locate(archive_->zip, name.c_str(), ZIP_FL_ENC_RAW);
  return static_cast<std::ptrdiff_t>(index);
}

void ZipReader::read(std::size_t entry, std::uint64_t offset, std::span<std::byte> out) const {
  const Entry& e = entries_.at(entry);
  const auto complain = [&](std::string_view what) {
    damaged(source_.name(), fmt::format("'{}' in it {}", printable(e.name, 100), what));
  };
  if (!e.stored) complain("is compressed, which torch.save never does");
  if (offset > e.size || out.size() > e.size - offset) complain("is too short");
  if (out.empty()) return;
  // As compressed data, so that libzip lets us seek and leaves the checksum to us.
  const std::unique_ptr<zip_file_t, decltype(&zip_fclose)> file(
      zip_fopen_index(archive_->zip, entry, ZIP_FL_COMPRESSED), zip_fclose);
  if (file == nullptr) complain(zip_strerror(archive_->zip));
  if (offset > 0 && zip_fseek(file.get(), static_cast<zip_int64_t>(offset), SEEK_SET) != 0) {
    complain(zip_file_strerror(file.get()));
  }
  for (std::size_t done = 0; done < out.size();) {
    const zip_int64_t got = zip_fread(file.get(), out.data() + done, out.size() - done);
    if (got <= 0) complain(got < 0 ? zip_file_strerror(file.get()) : "is too short");
    done += static_cast<std::size_t>(got);
  }
  if (out.size() == e.size && e.crc != 0 && crc_of(out) != e.crc) {
    complain("does not have its checksum");
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

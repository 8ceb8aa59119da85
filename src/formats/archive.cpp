#include "formats/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <memory>
#include <string_view>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"

namespace resnet {
namespace {

using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

[[noreturn]] void damaged(archive* a, const std::string& name) {
  const char* why = archive_error_string(a);
  fail(ErrorCode::kBadData, "{}: the archive is damaged or cut short ({}); fetch it again", name,
       why == nullptr ? "no reason given" : why);
}

/// Kinds that people have, not all that libarchive knows: less to attack.
Reader new_reader() {
  Reader reader(archive_read_new(), archive_read_free);
  if (reader == nullptr) throw std::bad_alloc();
  archive* a = reader.get();
  archive_read_support_format_tar(a);
  archive_read_support_format_zip(a);
  archive_read_support_filter_gzip(a);
  archive_read_support_filter_bzip2(a);
  archive_read_support_filter_xz(a);
  archive_read_support_filter_zstd(a);
  return reader;
}

std::vector<std::byte> read_entry(archive* a, const std::string& file, const std::string& name,
                                  std::uint64_t limit) {
  std::vector<std::byte> out;
  // The declared size is not trusted: memory grows with what was really unpacked.
  std::array<std::byte, 1 << 16> piece;
  while (true) {
    const la_ssize_t got = archive_read_data(a, piece.data(), piece.size());
    if (got < 0) damaged(a, name);
    if (got == 0) return out;
    if (static_cast<std::uint64_t>(got) > limit - out.size()) {
      fail(ErrorCode::kBadData, "{}: '{}' in it unpacks to more than the limit of {} bytes", name,
           file, limit);
    }
    out.insert(out.end(), piece.begin(), piece.begin() + got);
  }
}

/// Makes the thread's character set UTF-8 while it lives. In the C locale, which a library may not
/// change, libarchive gives no names but ASCII ones.
class Utf8Names {
 public:
  Utf8Names() : utf8_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{})) {
    if (utf8_ != locale_t{}) before_ = ::uselocale(utf8_);
  }
  ~Utf8Names() {
    if (utf8_ == locale_t{}) return;
    ::uselocale(before_);
    ::freelocale(utf8_);
  }
  Utf8Names(const Utf8Names&) = delete;
  Utf8Names& operator=(const Utf8Names&) = delete;

 private:
  locale_t utf8_;
  locale_t before_{};
};

void read_entries(archive* a, const std::string& name, const ChooseFile& choose,
                  const TakeFile& take, const ArchiveLimits& limits) {
  const Utf8Names names;
  std::uint64_t total = 0;
  for (std::uint64_t entries = 0;; ++entries) {
    archive_entry* entry = nullptr;
    const int status = archive_read_next_header(a, &entry);
    if (status == ARCHIVE_EOF) return;
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) damaged(a, name);
    if (entries >= limits.max_entries) {
      fail(ErrorCode::kBadData, "{}: the archive has more than the limit of {} entries", name,
           limits.max_entries);
    }
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr) {
      continue;
    }
    const char* path = archive_entry_pathname(entry);
    if (path == nullptr) {
      fail(ErrorCode::kBadData, "{}: a file in it has a name that cannot be read; pack it again",
           name);
    }
    const std::string file = path;
    const ArchiveAction action = choose(file);
    if (action == ArchiveAction::kStop) return;
    if (action == ArchiveAction::kSkip) continue;
    if (archive_entry_is_encrypted(entry) != 0) {
      fail(ErrorCode::kUnsupported, "{}: '{}' in it is encrypted; unpack it first", name, file);
    }
    const std::uint64_t limit = std::min(limits.max_file_bytes, limits.max_total_bytes - total);
    std::vector<std::byte> bytes = read_entry(a, file, name, limit);
    total += bytes.size();
    take(file, std::move(bytes));
  }
}

bool ends_with_any(const std::filesystem::path& path, std::span<const std::string_view> endings) {
  const std::string name = lower(path.filename().string());
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) {
    return name.size() > e.size() && name.ends_with(e);
  });
}

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

}  // namespace

void read_archive(const std::filesystem::path& path, const ChooseFile& choose, const TakeFile& take,
                  const ArchiveLimits& limits) {
  if (!std::filesystem::exists(path)) {
    fail(ErrorCode::kNotFound, "{}: there is no such file", path.string());
  }
  const Reader reader = new_reader();
  constexpr std::size_t kBlock = 1 << 18;
  if (archive_read_open_filename(reader.get(), path.c_str(), kBlock) != ARCHIVE_OK) {
    damaged(reader.get(), path.string());
  }
  read_entries(reader.get(), path.string(), choose, take, limits);
}

void read_archive(std::span<const std::byte> bytes, const std::string& name,
                  const ChooseFile& choose, const TakeFile& take, const ArchiveLimits& limits) {
  const Reader reader = new_reader();
  if (archive_read_open_memory(reader.get(), bytes.data(), bytes.size()) != ARCHIVE_OK) {
    damaged(reader.get(), name);
  }
  read_entries(reader.get(), name, choose, take, limits);
}

bool is_archive_path(const std::filesystem::path& path) {
  static constexpr std::array<std::string_view, 10> kEndings = {
      ".tar",    ".tar.gz", ".tgz",     ".tar.bz2", ".tbz2",
      ".tar.xz", ".txz",    ".tar.zst", ".tzst",    ".zip"};
  return ends_with_any(path, kEndings);
}

std::vector<std::byte> gunzip(std::span<const std::byte> bytes, const std::string& name,
                              std::uint64_t max_bytes) {
  const auto damaged_gzip = [&](const char* why) {
    fail(ErrorCode::kBadData, "{}: the gzip file is damaged or cut short ({}); fetch it again",
         name, why);
  };
  if (!is_gzip(bytes)) damaged_gzip("no gzip header");
  z_stream stream{};
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> release(&stream, inflateEnd);

  std::vector<std::byte> out;
  std::array<std::byte, 1 << 16> piece;
  // zlib counts in 32 bits: feed it in pieces too.
  const std::byte* next = bytes.data();
  std::size_t left = bytes.size();
  while (true) {
    if (stream.avail_in == 0 && left > 0) {
      const std::size_t n = std::min<std::size_t>(left, std::size_t{1} << 30);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(next));
      stream.avail_in = static_cast<uInt>(n);
      next += n;
      left -= n;
    }
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    const int status = inflate(&stream, Z_NO_FLUSH);
    const std::size_t got = piece.size() - stream.avail_out;
    if (got > max_bytes - out.size()) {
      fail(ErrorCode::kBadData, "{}: the gzip file unpacks to more than the limit of {} bytes",
           name, max_bytes);
    }
    out.insert(out.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got));
    if (status == Z_STREAM_END) {
      const std::span<const std::byte> rest(reinterpret_cast<const std::byte*>(stream.next_in),
                                            stream.avail_in + left);
      // Another member may follow; anything else after the last one is padding, as gzip(1) has it.
      if (!is_gzip(rest)) return out;
      if (inflateReset(&stream) != Z_OK) damaged_gzip("bad state");
      continue;
    }
    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    const bool starved = stream.avail_in == 0 && left == 0;
    if (status == Z_BUF_ERROR || (status == Z_OK && starved && got == 0)) {
      damaged_gzip("it ends too early");
    }
    if (status != Z_OK) damaged_gzip(stream.msg == nullptr ? "bad data" : stream.msg);
  }
}

std::vector<std::byte> read_maybe_gzip(const std::filesystem::path& path, std::uint64_t max_bytes) {
  std::vector<std::byte> bytes = read_file(path, max_bytes);
  if (!is_gzip(bytes)) return bytes;
  return gunzip(bytes, path.string(), max_bytes);
}

}  // namespace resnet

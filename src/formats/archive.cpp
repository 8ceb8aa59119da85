#include "formats/archive.h"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <memory>

#include "core/check.h"

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

}  // namespace resnet

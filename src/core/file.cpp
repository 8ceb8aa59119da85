#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/descriptor.h"
#include "core/os_error.h"

namespace resnet {
namespace {

/// Where a link that leads nowhere points; empty for what is none.
std::string broken_link(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::read_symlink(path, error);
  return error ? std::string() : target.string();
}

struct OpenFile {
  Descriptor descriptor;
  std::uint64_t size;  // 0 of a pipe
  bool pipe = false;
};

enum class Pipes : std::uint8_t { kRefused, kTaken };

OpenFile open_for_reading(const std::filesystem::path& path, Pipes pipes) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) {
    const int error = errno;
    if (error == ENOENT || error == ELOOP) {
      const std::string target = broken_link(path);
      if (target.empty()) fail(ErrorCode::kNotFound, "{}: no such file", path.string());
      fail(ErrorCode::kNotFound, "{}: a link to {}, which {}; mend or remove it", path.string(),
           target, error == ENOENT ? "is not there" : "leads in a circle");
    }
    fail_os("open", path, error);
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) fail_os("read", path, errno);
  if (S_ISDIR(info.st_mode)) {
    fail(ErrorCode::kBadData, "{}: a folder, not a regular file", path.string());
  }
  const bool pipe = S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode);
  if (pipe && pipes == Pipes::kRefused) {
    fail(ErrorCode::kBadData,
         "{}: a pipe, not a regular file: this has to be read more than once; "
         "write it to a file first",
         path.string());
  }
  if (!pipe && !S_ISREG(info.st_mode)) {
    fail(ErrorCode::kBadData, "{}: not a regular file", path.string());
  }
  return {std::move(fd), pipe ? 0 : static_cast<std::uint64_t>(info.st_size), pipe};
}

std::vector<std::byte> read_pipe(int fd, const std::filesystem::path& path,
                                 std::uint64_t max_bytes) {
  constexpr std::uint64_t kMostOfAPipe = std::uint64_t{1} << 30;  // its length is not known before
  const std::uint64_t most = std::min(max_bytes, kMostOfAPipe);
  std::vector<std::byte> bytes;
  std::vector<std::byte> piece(std::size_t{1} << 16);
  while (true) {
    const ssize_t n = ::read(fd, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_os("read", path, errno);
    if (n == 0) return bytes;
    if (bytes.size() + static_cast<std::uint64_t>(n) > most) {
      fail(ErrorCode::kBadData, "{}: more than the limit of {} bytes from this pipe", path.string(),
           most);
    }
    bytes.insert(bytes.end(), piece.begin(), piece.begin() + n);
  }
}

}  // namespace

ByteSource::ByteSource(const std::filesystem::path& path) : name_(path.string()) {
  OpenFile file = open_for_reading(path, Pipes::kRefused);
  size_ = file.size;
  descriptor_ = file.descriptor.release();
}

ByteSource::ByteSource(std::span<const std::byte> bytes, std::string name)
    : name_(std::move(name)), memory_(bytes), size_(bytes.size()) {}

ByteSource::~ByteSource() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void ByteSource::read(std::uint64_t offset, std::span<std::byte> out) const {
  if (offset > size_ || out.size() > size_ - offset) {
    fail(ErrorCode::kBadData,
         "{}: cut short: {} bytes at {} are past its end at {}; fetch it again", name_, out.size(),
         offset, size_);
  }
  if (descriptor_ < 0) {
    if (!out.empty()) std::memcpy(out.data(), memory_.data() + offset, out.size());
    return;
  }
  while (!out.empty()) {
    const ssize_t n = ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_os("read", name_, errno);
    if (n == 0) fail(ErrorCode::kBadData, "{}: it became shorter while it was read", name_);
    out = out.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

std::shared_ptr<std::byte[]> ByteSource::map() const {
  if (descriptor_ < 0 || size_ == 0) return nullptr;
  const auto bytes = static_cast<std::size_t>(size_);
  void* p = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (p == MAP_FAILED && (is_not_supported(errno) || errno == ENODEV || errno == EACCES)) {
    return nullptr;  // file systems of networks, some
  }
  if (p == MAP_FAILED) fail_os("map", name_, errno);
  return {static_cast<std::byte*>(p), [bytes](std::byte* q) { ::munmap(q, bytes); }};
}

std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const OpenFile file = open_for_reading(path, Pipes::kTaken);
  const Descriptor& fd = file.descriptor;
  if (file.pipe) return read_pipe(fd.get(), path, max_bytes);
  if (file.size > max_bytes) {
    fail(ErrorCode::kBadData, "{}: {} bytes, more than the limit of {} for this kind of file",
         path.string(), file.size, max_bytes);
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.size));
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t n = ::read(fd.get(), bytes.data() + filled, bytes.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_os("read", path, errno);
    if (n == 0) break;  // it shrank while we read
    filled += static_cast<std::size_t>(n);
  }
  bytes.resize(filled);
  return bytes;
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const auto bytes = read_file(path, max_bytes);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_file_atomic(const std::filesystem::path& path,
                       const std::function<void(const ByteSink&)>& write) {
  AtomicFile file(path);
  write([&](std::span<const std::byte> bytes) { file.append(bytes); });
  file.commit();
}

void write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  write_file_atomic(path, [&](const ByteSink& sink) { sink(bytes); });
}

void write_file_atomic(const std::filesystem::path& path, std::string_view text) {
  write_file_atomic(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace resnet

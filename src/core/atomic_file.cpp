#include "core/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <utility>

#include "core/check.h"
#include "core/descriptor.h"
#include "core/os_error.h"
#include "core/random.h"
#include "core/warning.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

constexpr int kMostLinks = 40;  // as Linux
constexpr std::string_view kPrefix = ".resnet-";
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::size_t kRandomLetters = 8;

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_os("write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

/// All of `from`, from its beginning.
void copy(int from, int to, const fs::path& path) {
  std::array<std::byte, 1 << 16> piece;
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(from, piece.data(), piece.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_os("write", path, errno);
    if (n == 0) return;
    write_all(to, std::span(piece).first(static_cast<std::size_t>(n)), path);
    at += n;
  }
}

/// The number of an open descriptor of this process that `link` stands for: /proc/self/fd/1.
std::optional<int> descriptor_of(const fs::path& link) {
  std::error_code error;
  const fs::path folder = fs::canonical(folder_of(link), error);
  if (error || folder != fs::canonical("/proc/self/fd", error) || error) return {};
  const std::string name = link.filename().string();
  int number = -1;
  const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (wrong != std::errc{} || end != name.data() + name.size() || number < 0) return {};
  return number;
}

/// Short, whatever the target is called, and another each time.
std::string temporary_name() {
  static std::atomic<std::uint64_t> count{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  Random random(static_cast<std::uint64_t>(now), static_cast<std::uint64_t>(::getpid()), ++count);
  std::string name(kPrefix);
  for (std::size_t i = 0; i < kRandomLetters; ++i) {
    name += kLetters[random.below(static_cast<std::uint32_t>(kLetters.size()))];
  }
  return name;
}

void warn(const fs::path& path, std::string_view function, int error, std::string_view effect) {
  warn_once("file system",
            fmt::format("{}: the file system has no {} ({}); files are written without it: {}",
                        path.string(), function, os_error(error), effect));
}

}  // namespace

bool is_stream(const fs::path& path) {
  fs::path at = path;
  std::error_code error;
  for (int links = 0; links < kMostLinks && fs::is_symlink(at, error); ++links) {
    if (descriptor_of(at)) return true;
    const fs::path to = fs::read_symlink(at, error);
    if (error) return false;
    at = at.parent_path() / to;
  }
  const fs::file_type type = fs::status(at, error).type();
  return type == fs::file_type::fifo || type == fs::file_type::character ||
         type == fs::file_type::block || type == fs::file_type::socket;
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  find_target();
  Descriptor stream(stream_);  // closed if there is no temporary
  create_temporary();
  stream.release();
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (stream_ >= 0) ::close(stream_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::find_target() {
  target_ = path_;
  for (int links = 0; links < kMostLinks; ++links) {
    struct stat info {};
    if (!target_.has_filename()) fail_os("write", path_, path_.empty() ? ENOENT : EISDIR);
    if (::lstat(target_.c_str(), &info) != 0) {
      if (errno == ENOENT) return;
      fail_os("create", path_, errno);
    }
    if (S_ISREG(info.st_mode)) {
      mode_ = info.st_mode & 0777;
      return;
    }
    if (S_ISDIR(info.st_mode)) fail_os("write", path_, EISDIR);
    if (!S_ISLNK(info.st_mode)) {
      stream_ = ::open(target_.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
      if (stream_ < 0) fail_os("write", path_, errno);
      return;
    }
    // Opened anew, a file behind a descriptor would be written from its beginning.
    if (const auto number = descriptor_of(target_)) {
      stream_ = ::fcntl(*number, F_DUPFD_CLOEXEC, 0);
      if (stream_ < 0) fail_os("write", path_, errno);
      return;
    }
    std::error_code error;
    const fs::path to = fs::read_symlink(target_, error);
    if (error) fail_os("read the link", target_, error.value());
    target_ = target_.parent_path() / to;
  }
  fail_os("write", path_, ELOOP);
}

// Permissions are those of the file that is replaced from the start: nobody else may read a part.
void AtomicFile::create_temporary() {
  std::error_code error;
  const bool named = stream_ < 0;
  const fs::path folder = named ? folder_of(target_) : fs::temp_directory_path(error);
  if (error) fail_os("find the folder for", "temporary files ($TMPDIR)", error.value());
  const mode_t mode = !named ? 0600 : mode_.value_or(0666);
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts && descriptor_ < 0; ++i) {
    temporary_ = (folder / temporary_name()).string();
    descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (descriptor_ < 0 && errno != EEXIST) break;
  }
  if (descriptor_ < 0) {
    const int failed = errno;
    temporary_.clear();
    fail_os("create", named ? target_ : folder / "…", failed);
  }
  if (named) {
    ::flock(descriptor_, LOCK_EX | LOCK_NB);  // tells `remove_leftover` that it is in use
  } else {
    ::unlink(std::exchange(temporary_, {}).c_str());
  }
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  write_all(descriptor_, bytes, path_);
  size_ += bytes.size();
}

void AtomicFile::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  RESNET_CHECK(offset <= size_ && bytes.size() <= size_ - offset);
  if (::lseek(descriptor_, static_cast<off_t>(offset), SEEK_SET) < 0) {
    fail_os("write", path_, errno);
  }
  write_all(descriptor_, bytes, path_);
  if (::lseek(descriptor_, 0, SEEK_END) < 0) fail_os("write", path_, errno);
}

void AtomicFile::commit() {
  if (stream_ >= 0) {
    copy(descriptor_, stream_, path_);
    if (::close(std::exchange(stream_, -1)) != 0) fail_os("write", path_, errno);
    return;
  }
  struct stat info {};
  const bool known = mode_ && ::fstat(descriptor_, &info) == 0;
  if (known && (info.st_mode & 0777) != *mode_ && ::fchmod(descriptor_, *mode_) != 0) {
    warn(path_, "fchmod", errno, "a file that is replaced may get other permissions");
  }
  sync_file(descriptor_, path_);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail_os("write", path_, errno);
  replace_file(temporary_, target_);
  temporary_.clear();
}

void sync_file(int descriptor, const fs::path& path) {
  if (::fsync(descriptor) == 0) return;
  if (!is_not_supported(errno)) fail_os("write", path, errno);
  warn(path, "fsync", errno, "a power cut may leave incomplete ones");
}

void replace_file(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int error = errno;
    // A file that is a mount of its own, as containers have, is busy.
    if (!is_not_supported(error) && error != EBUSY && error != EXDEV) fail_os("write", to, error);
    warn(to, "rename", error, "one that is interrupted stays incomplete");
    const Descriptor source(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
    if (source.get() < 0) fail_os("read", from, errno);
    Descriptor target(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (target.get() < 0) fail_os("write", to, errno);
    try {
      copy(source.get(), target.get(), to);
      sync_file(target.get(), to);
      if (target.close() != 0) fail_os("write", to, errno);
    } catch (...) {
      ::unlink(to.c_str());  // no half of a file
      throw;
    }
    ::unlink(from.c_str());
  }
  const Descriptor folder(::open(folder_of(to).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() >= 0) ::fsync(folder.get());
}

bool remove_leftover(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name.size() != kPrefix.size() + kRandomLetters || !name.starts_with(kPrefix)) return false;
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() >= 0 && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return true;  // another process writes it
  }
  ::unlink(path.c_str());
  return true;
}

}  // namespace resnet

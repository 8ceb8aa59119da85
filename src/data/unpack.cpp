#include "data/unpack.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <span>
#include <string>

#include "core/check.h"
#include "core/os_error.h"
#include "formats/archive.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

constexpr std::uint64_t kMostFiles = 2'000'000;

/// A folder with a name of its own, removed with all that is in it unless it was renamed.
class WorkFolder {
 public:
  explicit WorkFolder(const fs::path& beside) {
    // A short name, whatever the folder's own.
    std::string name = (beside.parent_path() / ".resnet-unpacking-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail_os("create", name, errno);
    path_ = name;
  }
  ~WorkFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// The path inside `top`, or nothing for one that lies elsewhere in the archive. Throws for one
/// that would lead out.
fs::path place_of(const std::string& name, const std::string& top, const fs::path& archive) {
  const fs::path path(name);
  fs::path inside;
  bool first = true, below_top = false;
  for (const fs::path& step : path) {
    if (step == ".." || path.is_absolute() || name.find('\0') != std::string::npos ||
        name.find('\\') != std::string::npos) {
      fail(ErrorCode::kBadData, "{}: '{}' in it leads out of its folder; nothing was unpacked",
           archive.string(), name);
    }
    if (step == "." || step.empty()) continue;
    if (first) {
      below_top = step == top;
      first = false;
    } else {
      inside /= step;
    }
  }
  return below_top ? inside : fs::path();
}

void write_new(const fs::path& path, std::span<const std::byte> bytes) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const int file =
      error ? -1 : ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (file < 0) fail_os("create", path, error ? error.value() : errno);
  int failed = 0;
  while (!bytes.empty() && failed == 0) {
    const ssize_t n = ::write(file, bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) failed = errno;
    if (n > 0) bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  if (::close(file) != 0 && failed == 0) failed = errno;
  if (failed != 0) fail_os("write", path, failed);
}

// Files that get their final name are trusted later on, so they have to be on the disk before.
void sync(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = fd >= 0 && ::syncfs(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!synced && !is_not_supported(error)) fail_os("write", folder, error);
}

}  // namespace

void unpack(const fs::path& archive, const std::string& top, const fs::path& folder,
            std::uint64_t max_bytes, const std::atomic<bool>* stop,
            const std::function<void(std::int64_t)>& progress) {
  const WorkFolder work(folder);
  std::int64_t files = 0;
  const auto choose = [&](const std::string& name) {
    if (stop != nullptr && *stop) {
      fail(ErrorCode::kInterrupted, "stopped while unpacking {}", archive.string());
    }
    return place_of(name, top, archive).empty() ? ArchiveAction::kSkip : ArchiveAction::kTake;
  };
  const auto take = [&](const std::string& name, std::vector<std::byte> bytes) {
    write_new(work.path() / "new" / place_of(name, top, archive), bytes);
    if (progress) progress(++files);
  };
  read_archive(
      archive, choose, take,
      {.max_total_bytes = max_bytes, .max_file_bytes = max_bytes, .max_entries = kMostFiles});
  std::error_code error;
  if (!fs::exists(work.path() / "new", error)) {
    fail(ErrorCode::kBadData, "{}: no files below {}/ in it", archive.string(), top);
  }
  sync(work.path());
  fs::rename(work.path() / "new", folder, error);
  if (error && !fs::exists(folder)) {  // else another process was faster
    fail(ErrorCode::kIo, "cannot create {}: {}", folder.string(), error.message());
  }
}

}  // namespace resnet

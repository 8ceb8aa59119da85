// A file that grows piece by piece and gets its name when it is complete.
#pragma once

#include <sys/types.h>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace resnet {

/// A temporary file in the folder of `path`, which becomes `path` by `commit` (fsync, rename, fsync
/// of the folder) and vanishes otherwise: `path` is always the old file or the complete new one.
///
/// A symbolic link stays one: the file that it leads to is replaced, or made if there is none. A
/// file that is replaced keeps its permissions, a new one gets those of the umask. What is no
/// regular file (a pipe, a device, /dev/stdout) is not replaced: `commit` writes all to it.
/// Where the file system lacks fchmod, fsync or rename, it goes without, and `warn_once` says so.
/// Every member throws `kIo`.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void append(std::span<const std::byte> bytes);
  /// Over bytes that are there.
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes);
  std::uint64_t size() const { return size_; }
  void commit();

 private:
  void find_target();
  void create_temporary();
  void send();

  std::filesystem::path path_;    // as given, for messages
  std::filesystem::path target_;  // the same with links followed
  std::optional<mode_t> mode_;    // of the file that is replaced
  std::string temporary_;         // "" when it has no name
  int descriptor_ = -1;
  int stream_ = -1;  // where the bytes go if `target_` is no regular file
  std::uint64_t size_ = 0;
};

/// What is written there stays no file: a pipe, a device, a descriptor of this process such as
/// /dev/stdout.
bool is_stream(const std::filesystem::path& path);

/// Removes what an `AtomicFile` left of a process that was killed, unless it is in use. False when
/// the file is none of these, by its name.
bool remove_leftover(const std::filesystem::path& path);

// For files that get their name in another way.

/// fsync, or a warning where the file system has none.
void sync_file(int descriptor, const std::filesystem::path& path);
/// `from` becomes `to`, in one step where the file system can do that.
void replace_file(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace resnet

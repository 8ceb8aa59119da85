// Files: bounded reads and writes that survive a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

namespace resnet {

/// The whole file, or all that comes from a pipe, at most 1 GiB. Throws `kNotFound`, `kIo`, or
/// `kBadData` when it is larger than `max_bytes`.
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::uint64_t max_bytes = std::uint64_t{1} << 40);
std::string read_text_file(const std::filesystem::path& path,
                           std::uint64_t max_bytes = std::uint64_t{1} << 26);

/// Bytes read by position: a file, or memory that outlives this. Reading is thread-safe.
class ByteSource {
 public:
  /// Throws `kNotFound`, `kIo`, or `kBadData` when it is no regular file.
  explicit ByteSource(const std::filesystem::path& path);
  /// `name` is for messages.
  ByteSource(std::span<const std::byte> bytes, std::string name);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  std::uint64_t size() const { return size_; }
  const std::string& name() const { return name_; }

  /// A file's bytes without a copy, read-only: they come into memory when they are read first, and
  /// stay the same when the file is replaced by another. Whoever shortens the file itself ends the
  /// program at the next read. Throws `kIo`; null for an empty file, a source in memory, and where
  /// the file system maps none.
  std::shared_ptr<std::byte[]> map() const;

  /// Fills `out`. Throws `kBadData` when the bytes end before it is full, `kIo`.
  void read(std::uint64_t offset, std::span<std::byte> out) const;

 private:
  std::string name_;
  int descriptor_ = -1;
  std::span<const std::byte> memory_;
  std::uint64_t size_ = 0;
};

/// Writes a file that is either the old one or the complete new one, as `AtomicFile` does (`kIo`).
/// `write` receives pieces through the sink it is given, in order.
using ByteSink = std::function<void(std::span<const std::byte>)>;
void write_file_atomic(const std::filesystem::path& path,
                       const std::function<void(const ByteSink&)>& write);
void write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomic(const std::filesystem::path& path, std::string_view text);

}  // namespace resnet

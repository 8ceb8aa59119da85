// Zip archives by position: reading by libzip, of entries that are stored or deflated, and writing
// of files whose contents lie stored and aligned, so that others can map them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace resnet {

class ZipReader {
 public:
  struct Entry {
    std::string name;
    std::uint64_t size = 0;  ///< unpacked; a stored one is no larger than the file
    bool stored = false;     ///< neither compressed nor encrypted
    bool deflated = false;   ///< compressed by the usual method and not encrypted
    std::uint32_t crc = 0;   ///< CRC-32 of the content; some writers leave a stored one's 0
  };

  /// `source` outlives the reader. Throws `kBadData` when the directory is damaged or names twice,
  /// or when the deflated entries are said to unpack to more than the larger of 64 times the file
  /// and 256 MiB.
  explicit ZipReader(const ByteSource& source);
  ~ZipReader();

  const std::vector<Entry>& entries() const { return entries_; }
  /// Index of the entry of that name, or -1.
  std::ptrdiff_t find(const std::string& name) const;

  /// Bytes of the file, or of what its deflated entries unpack to if that is more.
  std::uint64_t unpacked_bytes() const { return unpacked_bytes_; }

  /// Fills `out`. Bytes that are the whole entry are compared with its CRC; a deflated entry is
  /// unpacked as a whole when it is first read, with its size and CRC compared, and kept. Not for
  /// several threads at once. Throws `kBadData`, also when the entry ends before `out` is full, and
  /// `kUnsupported` when it is encrypted or packed by another method.
  void read(std::size_t entry, std::uint64_t offset, std::span<std::byte> out) const;

 private:
  struct Archive;
  const ByteSource& source_;
  std::unique_ptr<Archive> archive_;
  const std::vector<std::byte>& unpack(std::size_t entry) const;
  [[noreturn]] void complain(const Entry& entry, std::string_view what) const;

  std::vector<Entry> entries_;  // in the order of the directory
  std::uint64_t unpacked_bytes_ = 0;
  mutable std::map<std::size_t, std::vector<std::byte>> unpacked_;  // deflated ones, once read
};

/// One file for `write_zip`.
struct ZipContent {
  std::string name;
  std::span<const std::byte> bytes;
};

/// Writes the files in that order, stored, each content at a multiple of 64 bytes; atomically (see
/// core/file.h). Throws `kIo`, or `kUnsupported` when 4 GiB do not hold them.
void write_zip(const std::filesystem::path& path, std::span<const ZipContent> files);

}  // namespace resnet

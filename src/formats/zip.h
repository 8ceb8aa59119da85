// Zip archives by position: reading by libzip, and writing of files whose contents lie stored and
// aligned, so that others can map them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"

namespace resnet {

class ZipReader {
 public:
  struct Entry {
    std::string name;
    std::uint64_t size = 0;  ///< unpacked; a stored one is no larger than the file
    bool stored = false;     ///< neither compressed nor encrypted
    std::uint32_t crc = 0;   ///< CRC-32 of the content; some writers leave it 0
  };

  /// `source` outlives the reader. Throws `kBadData` when the directory is damaged or names twice.
  explicit ZipReader(const ByteSource& source);
  ~ZipReader();

  const std::vector<Entry>& entries() const { return entries_; }
  /// Index of the entry of that name, or -1.
  std::ptrdiff_t find(const std::string& name) const;

  /// Fills `out` from a stored entry. Bytes that are the whole entry are compared with its CRC.
  /// Throws `kBadData`, also when the entry is not stored or ends before `out` is full.
  void read(std::size_t entry, std::uint64_t offset, std::span<std::byte> out) const;

 private:
  struct Archive;
  const ByteSource& source_;
  std::unique_ptr<Archive> archive_;
  std::vector<Entry> entries_;  // by name
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

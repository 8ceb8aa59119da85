// Where the files in a plain tar lie, so that each can be read by itself later. For archives that
// are read once and whole, compressed ones among them, see archive.h.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/file.h"

namespace resnet {

struct TarFile {
  std::string name;          ///< as stored, '/' between folders
  std::uint64_t offset = 0;  ///< of its first byte in the archive
  std::uint64_t size = 0;
};

/// Goes over the headers (V7, ustar, GNU long names and base-256 sizes, PAX path and size), and
/// gives each regular file to `visit`; contents are skipped, not read. Folders, links and devices
/// are passed over. Every file lies wholly inside the archive. Throws `kBadData` (no tar, damaged,
/// cut short), `kUnsupported` (compressed, or GNU's sparse files).
void index_tar(const ByteSource& tar, const std::function<void(const TarFile&)>& visit);

}  // namespace resnet

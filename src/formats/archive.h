// Files out of archives (.tar, .tar.gz, .tar.xz, .zip …, by libarchive) and gzip, into memory, with
// bounds. Nothing is ever written to disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace resnet {

struct ArchiveLimits {
  std::uint64_t max_total_bytes = std::uint64_t{1}
                                  << 36;                  ///< of all files taken together, unpacked
  std::uint64_t max_file_bytes = std::uint64_t{1} << 32;  ///< of one file, unpacked
  std::uint64_t max_entries = 50'000'000;                 ///< of any kind
};

/// What to do with the file of that name (as stored, '/' between folders).
enum class ArchiveAction : std::uint8_t { kSkip, kTake, kStop };

/// Asks `choose` for each regular file in archive order and gives the contents of the taken ones to
/// `take`. Folders, links and devices are passed over. Exceptions of the callbacks pass through.
/// Throws `kNotFound`, `kBadData` (damaged, truncated, no archive, a limit exceeded) or
/// `kUnsupported` (encrypted).
using ChooseFile = std::function<ArchiveAction(const std::string& name)>;
using TakeFile = std::function<void(const std::string& name, std::vector<std::byte> bytes)>;
void read_archive(const std::filesystem::path& path, const ChooseFile& choose, const TakeFile& take,
                  const ArchiveLimits& limits = {});
/// The same from memory; `name` is only for messages.
void read_archive(std::span<const std::byte> archive, const std::string& name,
                  const ChooseFile& choose, const TakeFile& take, const ArchiveLimits& limits = {});

/// By extension alone: tar, tar.gz, tgz, tar.bz2, tar.xz, tar.zst, zip.
bool is_archive_path(const std::filesystem::path& path);

/// Inflates a whole gzip file (all members). Throws `kBadData` when damaged, truncated or larger
/// than `max_bytes`. Memory grows with what was really inflated, never with a declared size.
std::vector<std::byte> gunzip(std::span<const std::byte> bytes, const std::string& name,
                              std::uint64_t max_bytes = std::uint64_t{1} << 34);

/// The whole file, inflated if it is gzip (told by its first bytes).
std::vector<std::byte> read_maybe_gzip(const std::filesystem::path& path,
                                       std::uint64_t max_bytes = std::uint64_t{1} << 34);

}  // namespace resnet

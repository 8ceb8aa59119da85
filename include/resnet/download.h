// Fetching files over HTTP and HTTPS into a cache: resumed where they were cut, verified before
// they get their name.
//
//     const Download file{.url = "https://example.org/a.bin", .sha256 = "9f86d081…", .size =
//     170052171}; fetch(file, cache_folder() / "a.bin", {.progress = show});
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace resnet {

/// What to fetch and how to know that it is the right thing.
struct Download {
  std::string url;  ///< http or https
  /// SHA-256 in hexadecimal digits (0-9, a-f): all 64, or as many leading ones as the publisher
  /// gives (the names of PyTorch's files carry 8). Empty: not verified.
  std::string sha256 = {};
  std::uint64_t size = 0;  ///< In bytes; 0: not known.
  /// More than that is never taken, whatever the server sends. Of no effect where `size` is known.
  std::uint64_t max_size = std::uint64_t{4} << 30;
};

struct DownloadProgress {
  std::uint64_t received = 0;  ///< Bytes on disk, those of earlier calls included.
  std::uint64_t total = 0;     ///< 0: not known.
  double bytes_per_second = 0;
  double eta_seconds = -1;  ///< Below 0: not known.
};

struct DownloadOptions {
  std::filesystem::path cache = {};  ///< Where files are kept; empty: `cache_folder()`.
  bool offline = false;              ///< Take what is in the cache; fail instead of fetching.
  int attempts = 4;                  ///< In a row without a new byte, before giving up.
  double first_pause_seconds = 1;    ///< Between attempts; doubles each time.
  double connect_timeout_seconds = 20;
  double stall_timeout_seconds = 30;        ///< Without a byte, before the connection is cut.
  const std::atomic<bool>* stop = nullptr;  ///< Becomes true: end with `kInterrupted`.
  std::function<void(const DownloadProgress&)> progress = {};  ///< At most ten times a second.
  std::function<void(const std::string&)> warning = {};
};

/// `$RESNET_CACHE`, else `$XDG_CACHE_HOME/resnet`, else `~/.cache/resnet`. Throws `kNotFound` when
/// none of these variables is set.
std::filesystem::path cache_folder();

/// `options.cache`, or the default.
std::filesystem::path cache_folder(const DownloadOptions& options);

/// Makes `destination` the file that `file` describes. One that is there already is verified and
/// kept, or replaced when it is damaged. The bytes go to `destination` + ".part"; a later call
/// continues that one if the server can, and it becomes `destination` once size and checksum are
/// right. Processes that fetch the same file wait for each other. Proxies are those of the
/// environment (`https_proxy`, …); `$RESNET_MIRROR` replaces the scheme and host of every address.
/// Throws `kIo` (no network, no such file there, disk full), `kBadData` (wrong checksum or size;
/// the partial file is removed), `kNotFound` (offline, and not in the cache), `kInterrupted`,
/// `kInvalidArgument` (an address that is neither http nor https, a checksum that is none).
void fetch(const Download& file, const std::filesystem::path& destination,
           const DownloadOptions& options = {});

/// The file's SHA-256 in 64 hexadecimal digits. Throws `kNotFound` or `kIo`.
std::string sha256_of(const std::filesystem::path& path, const std::atomic<bool>* stop = nullptr);

}  // namespace resnet

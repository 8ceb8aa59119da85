// Fetching into a `.part` file that becomes the destination once it is known to be right.
//
// The partial file is its own lock: whoever holds flock() on it may write it. The winner renames
// it, so that one who waited finds that the name no longer is the file that it has locked, and
// looks again. What a resumed request has to know of the server's file (ETag or date) lies beside
// it in `.part.tag`.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <span>
#include <thread>
#include <utility>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/file.h"
#include "core/guard.h"
#include "core/os_error.h"
#include "download/http.h"
#include "resnet/download.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLongestPause = 60;  // seconds, whatever a Retry-After says
constexpr std::size_t kLongestErrorPage = 1 << 18;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string megabytes(std::uint64_t bytes) {
  return fmt::format("{:.1f} MB", static_cast<double>(bytes) / 1e6);
}

// ------------------------------------------------------------------------------------ partial file

/// The partial file, open and locked.
class Part {
 public:
  /// Waits for the lock.
  Part(fs::path path, const DownloadOptions& options) : path_(std::move(path)) {
    bool told = false;
    while (true) {
      file_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
      if (file_ < 0) fail_io("create");
      // Some file systems of networks have no locks: then whoever fetches must be alone.
      while (::flock(file_, LOCK_EX | LOCK_NB) != 0 && !is_not_supported(errno) &&
             errno != ENOLCK) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
          const int error = errno;
          ::close(file_);
          errno = error;
          fail_io("lock");
        }
        if (!told && options.warning) {
          options.warning(
              fmt::format("{}: another process is fetching it; waiting", path_.stem().string()));
        }
        told = true;
        if (options.stop != nullptr && *options.stop) {
          ::close(file_);
          fail(ErrorCode::kInterrupted, "stopped while another process fetches {}",
               path_.stem().string());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
      struct stat ours {
      }, named{};
      if (::fstat(file_, &ours) == 0 && ::stat(path_.c_str(), &named) == 0 &&
          ours.st_ino == named.st_ino && ours.st_dev == named.st_dev) {
        size_ = static_cast<std::uint64_t>(ours.st_size);
        return;
      }
      ::close(file_);  // it was renamed or removed while we waited
    }
  }
  ~Part() {
    if (size_ == 0) discard();  // an empty one helps nobody
    ::close(file_);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  const fs::path& path() const { return path_; }
  fs::path tag_path() const { return path_.string() + ".tag"; }
  std::uint64_t size() const { return size_; }

  void truncate() {
    if (::ftruncate(file_, 0) != 0) fail_io("write");
    size_ = 0;
    std::error_code ignored;
    fs::remove(tag_path(), ignored);
  }
  /// Appends. `left` is how much is still to come, for the message.
  void append(std::span<const char> bytes, std::uint64_t left) {
    while (!bytes.empty()) {
      const ssize_t n = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
        fail(ErrorCode::kIo,
             "cannot write {}: {}; it needs {} more; free some space and run it again, which goes "
             "on from here",
             path_.string(), std::strerror(errno), left > 0 ? megabytes(left) : "some space");
      }
      if (n < 0) fail_io("write");
      bytes = bytes.subspan(static_cast<std::size_t>(n));
      size_ += static_cast<std::uint64_t>(n);
      left -= std::min(left, static_cast<std::uint64_t>(n));
    }
  }
  void discard() {
    if (!std::exchange(named_, false)) return;  // by now the name may be another process's
    std::error_code ignored;
    fs::remove(tag_path(), ignored);
    fs::remove(path_, ignored);
  }
  void become(const fs::path& destination) {
    sync_file(file_, path_);
    replace_file(path_, destination);
    named_ = false;
    std::error_code ignored;
    fs::remove(tag_path(), ignored);
  }

  /// The ETag or date under which the server had the file, if it was this address's.
  std::string tag(const std::string& url) const {
    std::error_code error;
    if (!fs::exists(tag_path(), error)) return "";
    try {
      const std::string text = read_text_file(tag_path(), 1 << 14);
      const std::size_t line = text.find('\n');
      if (line == std::string::npos || text.substr(0, line) != url) return "";
      return text.substr(line + 1);
    } catch (const Error&) {
      return "";
    }
  }
  void set_tag(const std::string& url, const HttpResponse& r) const {
    // A weak ETag does not promise the same bytes.
    const bool strong = !r.etag.empty() && !r.etag.starts_with("W/");
    const std::string tag = strong ? r.etag : r.last_modified;
    if (!tag.empty()) write_file_atomic(tag_path(), url + "\n" + tag);
  }

 private:
  [[noreturn]] void fail_io(const char* action) const { fail_os(action, path_, errno); }

  fs::path path_;
  int file_ = -1;
  std::uint64_t size_ = 0;
  bool named_ = true;  // path_ is this file
};

// -------------------------------------------------------------------------------------- verifying

/// What is wrong with the file's size or checksum, or nothing.
std::string difference(const fs::path& path, const Download& file, const DownloadOptions& options) {
  std::error_code error;
  const std::uint64_t size = fs::file_size(path, error);
  if (!error && file.size != 0 && size != file.size) {
    return fmt::format("it has {} bytes where {} are expected", size, file.size);
  }
  if (file.sha256.empty()) return "";
  const std::string digest = sha256_of(path, options.stop);
  if (digest.starts_with(file.sha256)) return "";
  return fmt::format("its SHA-256 begins with {} where {} is expected",
                     digest.substr(0, std::min<std::size_t>(16, file.sha256.size())),
                     file.sha256.substr(0, 16));
}

// --------------------------------------------------------------------------------------- fetching

/// The address after `$RESNET_MIRROR`.
std::string mirrored(const std::string& url) {
  const char* mirror = std::getenv("RESNET_MIRROR");
  if (mirror == nullptr || *mirror == '\0') return url;
  const std::size_t host = url.find("://");
  const std::size_t path = host == std::string::npos ? host : url.find('/', host + 3);
  std::string prefix = mirror;
  while (prefix.ends_with('/')) prefix.pop_back();
  return path == std::string::npos ? prefix : prefix + url.substr(path);
}

void require_space(const fs::path& folder, std::uint64_t bytes) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) return;  // writing will tell
  const std::uint64_t free = std::uint64_t{info.f_bavail} * info.f_frsize;
  if (bytes <= free) return;
  fail(ErrorCode::kIo,
       "{}: {} are needed and {} are free; free some space, or set RESNET_CACHE to another folder",
       folder.string(), megabytes(bytes), megabytes(free));
}

class Fetch {
 public:
  Fetch(const Download& file, const fs::path& destination, const DownloadOptions& options)
      : file_(file),
        destination_(destination),
        options_(options),
        url_(mirrored(file.url)),
        part_(destination.string() + ".part", options) {}

  /// The file came from elsewhere: the partial one of this object is not needed.
  void abandon() { part_.discard(); }

  void run() {
    const std::uint64_t limit = file_.size > 0 ? file_.size : file_.max_size;
    if (part_.size() > limit) part_.truncate();
    if (file_.size > 0) require_space(folder(), file_.size - part_.size());
    bool resumed = part_.size() > 0;
    while (true) {
      if (file_.size == 0 || part_.size() < file_.size) transfer();
      const std::string wrong = difference(part_.path(), file_, options_);
      if (wrong.empty()) break;
      if (resumed) {  // what lay here may have been of another file
        resumed = false;
        part_.truncate();
        continue;
      }
      part_.discard();
      fail(ErrorCode::kBadData,
           "{} is not the file that was expected: {}; it was removed. Try again later, or fetch it "
           "elsewhere and put it there as {}",
           url_, wrong, destination_.string());
    }
    part_.become(destination_);
  }

 private:
  fs::path folder() const { return destination_.parent_path(); }

  void check_stop() const {
    if (options_.stop == nullptr || !*options_.stop) return;
    fail(ErrorCode::kInterrupted, "stopped with {} of {} fetched; the next time goes on from there",
         megabytes(part_.size()), destination_.filename().string());
  }

  void pause(double seconds) const {
    const auto start = Clock::now();
    while (seconds_since(start) < seconds) {
      check_stop();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }

  [[noreturn]] void give_up(const std::string& why, int attempts) const {
    fail(ErrorCode::kIo,
         "cannot fetch {}: {}{}. Check the network (https_proxy is heeded), or fetch it elsewhere "
         "and put it there as {}{}",
         url_, why, attempts > 1 ? fmt::format(" ({} attempts)", attempts) : "",
         destination_.string(),
         part_.size() > 0 ? fmt::format("; {} are kept to go on from", megabytes(part_.size()))
                          : "");
  }

  // Requests until the whole body has arrived.
  void transfer() {
    double wait = options_.first_pause_seconds;
    for (int attempt = 1;; ++attempt) {
      const std::uint64_t before = part_.size();
      const HttpResult result = request();
      using Outcome = HttpResult::Outcome;
      const HttpResponse& r = result.response;
      check_stop();
      const bool answered = result.outcome == Outcome::kDone || result.outcome == Outcome::kStopped;
      std::string why = result.error;
      bool again = result.outcome == Outcome::kTransient;
      if (answered) {
        if (r.status == 200 || r.status == 206) {
          if (file_.size == 0 || part_.size() >= file_.size) return;
          why = fmt::format("the server ended after {} of {} bytes", part_.size(), file_.size);
          again = true;
        } else if (r.status == 416) {  // our part is as long as its file, or longer
          if (before == 0) give_up("the server refuses (HTTP 416)", attempt);
          if (file_.size == 0 && !file_.sha256.empty() &&
              difference(part_.path(), file_, options_).empty()) {
            return;
          }
          part_.truncate();
          continue;
        } else {
          why = fmt::format("the server answers HTTP {}", r.status);
          again = r.status == 408 || r.status == 429 || r.status >= 500;
        }
      }
      if (!again) give_up(why, attempt);
      if (part_.size() > before) {  // it moves: such attempts do not count
        attempt = 0;
        wait = options_.first_pause_seconds;
      }
      if (attempt >= options_.attempts) give_up(why, attempt);
      if (options_.warning) {
        options_.warning(
            fmt::format("{}: {}; trying again", destination_.filename().string(), why));
      }
      pause(std::min(kLongestPause, std::max(wait, r.retry_after_seconds)));
      wait *= 2;
    }
  }

  HttpResult request() {
    const std::uint64_t from = part_.size();
    HttpRequest request{.url = url_,
                        .from = from,
                        .if_range = from > 0 ? part_.tag(url_) : "",
                        .connect_timeout_seconds = options_.connect_timeout_seconds,
                        .stall_timeout_seconds = options_.stall_timeout_seconds};
    const auto start = Clock::now();
    auto last_report = start;
    std::uint64_t received = 0;
    std::size_t passed_over = 0;
    bool first = true;
    const auto receive = [&](const HttpResponse& r, std::span<const char> bytes) {
      if (r.status != 200 && r.status != 206) {  // an error page
        passed_over += bytes.size();
        return passed_over < kLongestErrorPage;
      }
      if (first) begin(r, from);
      first = false;
      const std::uint64_t limit = file_.size > 0 ? file_.size : file_.max_size;
      if (bytes.size() > limit - part_.size()) {
        part_.discard();
        fail(ErrorCode::kBadData, "{}: the server sends more than the {} bytes that {}; stopped",
             url_, limit, file_.size > 0 ? "the file has" : "are allowed");
      }
      part_.append(bytes, total_ > part_.size() ? total_ - part_.size() : 0);
      received += bytes.size();
      const bool complete = part_.size() == total_;
      if (options_.progress && (seconds_since(last_report) > 0.1 || complete)) {
        last_report = Clock::now();
        const double speed = static_cast<double>(received) / std::max(1e-3, seconds_since(start));
        options_.progress({part_.size(), total_, speed,
                           total_ > 0 ? static_cast<double>(total_ - part_.size()) / speed : -1});
      }
      return true;
    };
    return http_get(request, receive,
                    [this] { return options_.stop == nullptr || !*options_.stop; });
  }

  // The first bytes of a body: is it the rest of what we have, or the whole file?
  void begin(const HttpResponse& r, std::uint64_t from) {
    const bool continues = r.status == 206 && from > 0 && r.range_start == from;
    if (!continues) part_.truncate();
    if (r.status == 206 && !continues) {
      fail(ErrorCode::kIo,
           "cannot fetch {}: the server answers with another part than was asked "
           "for; run it again, which starts over",
           url_);
    }
    total_ = file_.size > 0 ? file_.size : r.length ? *r.length + part_.size() : 0;
    if (r.length && *r.length + part_.size() != total_) {
      const std::uint64_t there = *r.length + part_.size();
      part_.discard();
      fail(ErrorCode::kBadData,
           "{}: the server has a file of {} bytes where {} are expected; it has changed there",
           url_, there, total_);
    }
    if (total_ > 0) require_space(folder(), total_ - part_.size());
    if (!continues) part_.set_tag(url_, r);
  }

  const Download& file_;
  const fs::path& destination_;
  const DownloadOptions& options_;
  std::string url_;
  Part part_;
  std::uint64_t total_ = 0;  // 0: not known
};

// Keeps a good file; true if there is one.
bool keep(const Download& file, const fs::path& destination, const DownloadOptions& options) {
  std::error_code error;
  if (!fs::exists(destination, error)) return false;
  const std::string wrong = difference(destination, file, options);
  if (wrong.empty()) return true;
  if (options.offline) {
    fail(ErrorCode::kBadData, "{} is damaged: {}; remove it and fetch it again",
         destination.string(), wrong);
  }
  if (options.warning) {
    options.warning(
        fmt::format("{} is damaged: {}; fetching it again", destination.string(), wrong));
  }
  return false;
}

}  // namespace

fs::path cache_folder() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value == nullptr ? "" : value);
  };
  if (const fs::path own = variable("RESNET_CACHE"); !own.empty()) return own;
  if (const fs::path xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg / "resnet";
  if (const fs::path home = variable("HOME"); !home.empty()) return home / ".cache" / "resnet";
  fail(ErrorCode::kNotFound, "no folder for what is fetched; set RESNET_CACHE to one");
}

fs::path cache_folder(const DownloadOptions& options) {
  return options.cache.empty() ? cache_folder() : options.cache;
}

void fetch(const Download& file, const fs::path& destination, const DownloadOptions& options) try {
  if (!file.url.starts_with("https://") && !file.url.starts_with("http://")) {
    fail(ErrorCode::kInvalidArgument,
         "{}: expected an address that begins with https:// or http://", file.url);
  }
  if (file.sha256.size() > 64 ||
      file.sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
    fail(ErrorCode::kInvalidArgument,
         "{}: expected up to 64 hexadecimal digits of a SHA-256, got {}", file.url, file.sha256);
  }
  if (keep(file, destination, options)) return;
  if (options.offline) {
    fail(ErrorCode::kNotFound, "{}: not there; fetch {} and put it there", destination.string(),
         mirrored(file.url));
  }
  const fs::path absolute = fs::absolute(destination);
  std::error_code error;
  fs::create_directories(absolute.parent_path(), error);
  if (error) {
    fail(ErrorCode::kIo, "cannot create {}: {}", absolute.parent_path().string(), error.message());
  }
  Fetch work(file, absolute, options);
  // Another process may have fetched it while this one waited.
  if (!keep(file, absolute, {.offline = false, .stop = options.stop})) {
    work.run();
  } else {
    work.abandon();
  }
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

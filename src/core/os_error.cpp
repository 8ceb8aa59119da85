#include "core/os_error.h"

#include <sys/resource.h>

#include <cerrno>
#include <cstring>

#include "core/check.h"

namespace resnet {
namespace {

std::string file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "";
  return fmt::format(" ({} here)", limit.rlim_cur);
}

}  // namespace

std::string os_error(int error) {
  std::string text = std::strerror(error);
  switch (error) {
    case ENOSPC:
    case EDQUOT: return text + "; free some space and run it again";
    case EACCES:
    case EROFS: return text + "; check the permissions of the folder";
    case EMFILE:
      return text + fmt::format("; a process may have only so many{}: allow more with `ulimit -n`",
                                file_limit());
    case ENFILE: return text + "; close other programs, or raise fs.file-max";
    default: return text;
  }
}

void fail_os(std::string_view action, const std::filesystem::path& path, int error) {
  std::string message = fmt::format("cannot {} {}: {}", action, path.string(), os_error(error));
  if (error == EMFILE || error == ENFILE) throw TooManyOpenFiles(message);
  throw Error(error == ENOMEM ? ErrorCode::kOutOfMemory : ErrorCode::kIo, message);
}

bool is_not_supported(int error) {
  return error == EPERM || error == EOPNOTSUPP || error == ENOTSUP || error == EINVAL ||
         error == ENOSYS || error == ENOTTY;
}

}  // namespace resnet

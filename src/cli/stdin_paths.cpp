#include "cli/stdin_paths.h"

#include <system_error>

#include "core/check.h"
#include "core/lines.h"

namespace resnet::cli {
namespace {

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

}  // namespace

bool StdinPaths::next(std::string& path) {
  const std::string name = "standard input";
  while (std::getline(in_, path)) {
    if (first_ && !exists(path)) path = without_mark(path, name);
    first_ = false;
    if (path.find('\0') != std::string::npos) {
      fail(ErrorCode::kBadData,
           "{}: a zero byte; expected one path a line (find without -print0, in UTF-8)", name);
    }
    if (path.ends_with('\r') && !exists(path)) path.pop_back();
    if (!path.empty()) return true;
  }
  return false;
}

}  // namespace resnet::cli

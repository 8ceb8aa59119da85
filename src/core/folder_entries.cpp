#include "core/folder_entries.h"

#include <dirent.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

namespace fs = std::filesystem;

namespace resnet {

FolderEntry::FolderEntry(fs::path path, unsigned char type) : path_(std::move(path)), type_(type) {}

bool FolderEntry::is_symlink() const {
  std::error_code ignored;
  return type_ == DT_UNKNOWN ? fs::is_symlink(path_, ignored) : type_ == DT_LNK;
}

fs::file_status FolderEntry::status(std::error_code& error) const {
  error.clear();
  if (type_ == DT_REG) return fs::file_status(fs::file_type::regular);
  if (type_ == DT_DIR) return fs::file_status(fs::file_type::directory);
  return fs::status(path_, error);
}

std::error_code for_each_entry(const fs::path& folder,
                               const std::function<bool(const FolderEntry&)>& visit) {
  const auto close = [](DIR* open) { ::closedir(open); };
  const std::unique_ptr<DIR, decltype(close)> open(::opendir(folder.c_str()), close);
  if (open == nullptr) return {errno, std::generic_category()};
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(open.get());
    if (entry == nullptr) return {errno, std::generic_category()};
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && !visit({folder / name, entry->d_type})) return {};
  }
}

}  // namespace resnet

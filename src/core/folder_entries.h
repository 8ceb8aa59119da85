// What lies in a folder. std::filesystem::directory_iterator of GCC's library ends the process
// where it finds no memory for the next name.
#pragma once

#include <filesystem>
#include <functional>
#include <system_error>

namespace resnet {

/// As std::filesystem::directory_entry.
class FolderEntry {
 public:
  /// `type`: of dirent.
  FolderEntry(std::filesystem::path path, unsigned char type);
  const std::filesystem::path& path() const { return path_; }
  bool is_symlink() const;
  /// Of what a link leads to.
  std::filesystem::file_status status(std::error_code& error) const;

 private:
  std::filesystem::path path_;
  unsigned char type_;
};

/// Calls `visit` with each but "." and "..", in no order, until it returns false. What the system
/// says against it is returned.
[[nodiscard]] std::error_code for_each_entry(const std::filesystem::path& folder,
                                             const std::function<bool(const FolderEntry&)>& visit);

}  // namespace resnet

// Picture files without labels as a data set, so that a loader decodes them in the background.
#pragma once

#include <filesystem>
#include <vector>

#include "resnet/data.h"

namespace resnet {

class Files final : public Dataset {
 public:
  explicit Files(std::vector<std::filesystem::path> paths) : paths_(std::move(paths)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(paths_.size()); }
  const std::vector<std::string>& class_names() const override { return classes_; }
  int label(std::int64_t) const override { return 0; }
  std::string name(std::int64_t i) const override { return path(i).string(); }
  void read(std::int64_t i, Image& out) const override;
  const std::filesystem::path& path(std::int64_t i) const {
    return paths_[static_cast<std::size_t>(i)];
  }

 private:
  std::vector<std::filesystem::path> paths_;
  std::vector<std::string> classes_{"picture"};
};

/// Every path, folders by the pictures in them (`list_pictures`). Throws kNotFound for a path that
/// does not exist and for a folder without pictures.
std::vector<std::filesystem::path> list_all_pictures(
    const std::vector<std::filesystem::path>& paths);

}  // namespace resnet

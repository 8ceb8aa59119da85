#include "train/files.h"

#include "core/check.h"
#include "data/datasets.h"

namespace resnet {

DatasetPtr picture_files(const std::vector<std::filesystem::path>& paths) {
  std::vector<LabelledFile> files;
  for (const auto& path : paths) {
    const auto found = list_pictures(path);
    if (found.empty()) {
      fail(ErrorCode::kNotFound, "{}: there are no pictures in this folder", path.string());
    }
    for (const auto& file : found) files.push_back({file.string()});
  }
  return make_folder_dataset({}, std::move(files), {"picture"});
}

}  // namespace resnet

#include "train/files.h"

#include "core/check.h"
#include "core/file.h"
#include "formats/picture.h"

namespace resnet {

void Files::read(std::int64_t i, Image& out) const {
  constexpr std::uint64_t kMaxPictureBytes = std::uint64_t{1} << 30;
  out = decode_picture(read_file(path(i), kMaxPictureBytes), name(i), ColorMode::kRgb);
}

std::vector<std::filesystem::path> list_all_pictures(
    const std::vector<std::filesystem::path>& paths) {
  std::vector<std::filesystem::path> files;
  for (const auto& path : paths) {
    const auto found = list_pictures(path);
    if (found.empty()) {
      fail(ErrorCode::kNotFound, "{}: there are no pictures in this folder", path.string());
    }
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

}  // namespace resnet

// Picture files without labels as a data set, so that a loader decodes them in the background.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "resnet/data.h"

namespace resnet {

/// A picture that came another way than as a file.
struct PictureBytes {
  std::string name;
  std::vector<std::byte> bytes;
};

/// The pictures of every path, folders by those in them (`list_pictures`), under one class, and
/// those of `given` behind them. Their names are their paths. A pipe is a picture, and is read
/// here, once. A path that does not exist, a folder that cannot be listed and one without pictures
/// are pictures that cannot be read, in their place; but if there is nothing else, this throws what
/// is wrong with it (kNotFound, kIo).
DatasetPtr picture_files(const std::vector<std::filesystem::path>& paths,
                         std::vector<PictureBytes> given = {});

}  // namespace resnet

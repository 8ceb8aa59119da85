// Image files without labels as a data set, so that a loader decodes them in the background.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "resnet/data.h"

namespace resnet {

/// An image that came another way than as a file.
struct ImageBytes {
  std::string name;
  std::vector<std::byte> bytes;
};

/// The images of every path, folders by those in them (`list_images`), under one class, and
/// those of `given` behind them. Their names are their paths. A pipe is an image, and is read
/// here, once. A path that does not exist, a folder that cannot be listed and one without images
/// are images that cannot be read, in their place; but if there is nothing else, this throws what
/// is wrong with it (kNotFound, kIo).
DatasetPtr image_files(const std::vector<std::filesystem::path>& paths,
                       std::vector<ImageBytes> given = {});

}  // namespace resnet

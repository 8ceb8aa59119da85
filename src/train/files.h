// Picture files without labels as a data set, so that a loader decodes them in the background.
#pragma once

#include <filesystem>
#include <vector>

#include "resnet/data.h"

namespace resnet {

/// The pictures of every path, folders by those in them (`list_pictures`), under one class. Their
/// names are their paths. Throws kNotFound for a path that does not exist and for a folder without
/// pictures.
DatasetPtr picture_files(const std::vector<std::filesystem::path>& paths);

}  // namespace resnet

// Image files without labels as a data set, so that a loader decodes them in the background.
#pragma once

#include <filesystem>
#include <vector>

#include "resnet/data.h"
#include "resnet/decode.h"

namespace resnet {

/// The images of every path, folders by those in them (`list_images`), under one class, and
/// those of `given` behind them. Their names are their paths. A pipe is an image, and is read
/// here, once. A path that does not exist, a folder that cannot be listed and one without images
/// are images that cannot be read, in their place; but if there is nothing else, this throws what
/// is wrong with it (kNotFound, kIo). `limits` hold for all.
DatasetPtr image_files(const std::vector<std::filesystem::path>& paths,
                       std::vector<EncodedImage> given = {}, const DecodeLimits& limits = {});

}  // namespace resnet

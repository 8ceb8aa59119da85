// The model file's inside, for the fuzzer.
#pragma once

#include <filesystem>

#include "formats/safetensors.h"
#include "resnet/model_file.h"

namespace resnet {

/// Makes a model of a file's content after checking all of it; `path` is for messages. Throws like
/// `load_model`.
ModelFile to_model(Safetensors content, const std::filesystem::path& path);

}  // namespace resnet

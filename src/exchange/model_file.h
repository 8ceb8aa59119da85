// The model file's inside, for other formats that carry a model, and for the fuzzer.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "formats/safetensors.h"
#include "resnet/model_file.h"

namespace resnet {

/// Makes a model of a file's content after checking all of it; `path` is for messages. Throws like
/// `load_model`.
ModelFile to_model(Safetensors content, const std::filesystem::path& path);

/// The metadata of a model file (docs/FORMATS.md), after checking that all parts of the model fit
/// together. `path` is for messages. Throws like `save_model`.
std::map<std::string, std::string> to_metadata(const ModelFile& model,
                                               const std::filesystem::path& path);

/// Whether metadata describe a model: they have the key of the format's version.
bool describes_model(const std::map<std::string, std::string>& metadata);
/// Whether it is an int8 one, which has a version of its own.
bool describes_quantized(const std::map<std::string, std::string>& metadata);

/// The metadata of a model file under a key of their own in place of the format's version, for
/// weights that other programs read. Throws like `save_model`.
std::map<std::string, std::string> metadata_for_export(const ModelFile& model,
                                                       const std::filesystem::path& path);
/// The metadata of the model file that was exported so; nothing for others.
std::optional<std::map<std::string, std::string>> metadata_of_export(
    const std::map<std::string, std::string>& metadata);

/// The model that metadata describe, checked, without weights. Throws like `load_model`.
ModelFile from_metadata(const std::map<std::string, std::string>& metadata,
                        const std::filesystem::path& path);

}  // namespace resnet

// The ONNX graph of a model, before it is written.
#pragma once

#include <filesystem>

#include "formats/onnx_file.h"
#include "resnet/weights.h"

namespace resnet {

/// What `export_onnx` writes; `path` is for messages.
OnnxModel to_onnx(const ModelFile& model, const OnnxExportOptions& options,
                  const std::filesystem::path& path);

}  // namespace resnet

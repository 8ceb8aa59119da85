#include "core/guard.h"
#include "exchange/model_file.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "resnet/weights.h"

namespace resnet {
namespace {

// What PyTorch's state_dict() of the network holds: load_state_dict(strict=True) also wants the
// number of batches behind every running average, which nothing here depends on.
std::map<std::string, Tensor> state_dict(const ModelFile& model) {
  refuse_quantized(model, "exported as weights alone (only as ONNX)");
  constexpr std::string_view kMean = "running_mean";
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, tensor] : model.weights) {
    tensors[name] = tensor.cast(DType::kF32);
    if (!name.ends_with(kMean)) continue;
    const std::string layer = name.substr(0, name.size() - kMean.size());
    tensors[layer + "num_batches_tracked"] = Tensor::zeros(DType::kI64, {});
  }
  return tensors;
}

}  // namespace

void export_safetensors(const std::filesystem::path& path, const ModelFile& model) try {
  auto metadata = metadata_for_export(model, path);
  metadata["format"] = "pt";
  write_safetensors(path, state_dict(model), metadata);
} catch (...) {
  throw_as_error();
}

void export_torch(const std::filesystem::path& path, const ModelFile& model) try {
  write_torch_file(path, state_dict(model), metadata_for_export(model, path));
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

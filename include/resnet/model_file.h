// The model file: one .safetensors file that holds a trained network and everything needed to use
// it, so that training, evaluation and serving cannot disagree about classes or preprocessing.
//
//     ModelFile model = load_model("runs/flowers");            // a file or a run's folder
//     Session session(inference_graph(model, 1), to_variables(model));
//
// Weights lie under torchvision's names: Python reads the file with `safetensors` and, for the
// architectures that torchvision has, load_state_dict takes it as it is. The keys of the metadata
// are described in docs/FORMATS.md.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/data.h"
#include "resnet/models.h"
#include "resnet/quantized_graph.h"
#include "resnet/tensor.h"
#include "resnet/variables.h"

namespace resnet {

/// A plain value; as thread-safe as its tensors.
struct ModelFile {
  ModelConfig config;
  std::vector<std::string> class_names;  ///< config.classes of them, in the order of the logits
  Preprocessing preprocessing;
  /// Where the model comes from, in free text: "data", "epochs", "top1", "version", "date", …
  std::map<std::string, std::string> provenance;
  /// Parameters and running statistics: exactly those of `inference_graph(model, 1)`; f32, on
  /// integers i8.
  std::map<std::string, Tensor> weights;
  /// Of the images it was trained on; none in files of programs that did not measure them.
  ImageProfile training_images = {};
  /// Of an int8 network (`quantize_model`); empty for others.
  Quantization quantization = {};
};

/// The network for predictions: `inference_graph(config, batch)`, in int8 if the model is. Another
/// side of the images than the model's own may be given.
Graph inference_graph(const ModelFile& model, std::int64_t batch, std::int64_t image_size = 0);

/// Throws kUnsupported, saying what cannot be done, for an int8 network.
void refuse_quantized(const ModelFile& model, std::string_view what);

/// Writes the file atomically: afterwards there is the old file or the complete new one.
/// Throws kInvalidArgument when the parts do not fit together (a missing tensor, a wrong shape, a
/// number of class names other than config.classes), kIo when it cannot be written.
void save_model(const std::filesystem::path& path, const ModelFile& model);

/// Reads a file, or `model.safetensors` in a run's folder. Everything is checked before a tensor is
/// read: the architecture is known, every tensor is there with its shape and no other, classes and
/// preprocessing make sense. f16, bf16 and f64 weights become f32; PyTorch's num_batches_tracked is
/// ignored. Throws kNotFound, kIo, kBadData (damaged, or not a model file), kUnsupported (a newer
/// version of the format).
ModelFile load_model(const std::filesystem::path& path);

/// The same with weights that are read-only parts of the mapped file (`Tensor::mapped`): nothing is
/// read before somebody needs it, and a compiled network that has weights in its kernels' own
/// layout gives their memory back. For using a model, not for changing it. The file may be
/// replaced, as save_model does, but must not be shortened.
ModelFile map_model(const std::filesystem::path& path);

/// The same without reading the weights, which stay empty.
ModelFile load_model_description(const std::filesystem::path& path);

/// What no network can have: the tensors that hold NaN, infinity or a negative variance, with
/// counts; "" when there are none. A prediction may look sound in spite of them, since a ReLU makes
/// 0 of NaN.
std::string broken_weights(const ModelFile& model);
/// Throws kBadData, naming the file and the tensors, when there are some.
void check_weights(const ModelFile& model, const std::filesystem::path& path);

/// The weights of `model` as variables of a program; the tensors are shared, not copied.
std::shared_ptr<Variables> to_variables(const ModelFile& model);

/// Copies of those variables that a network of this configuration stores; others (optimizer state)
/// are left out. Throws kNotFound naming a missing one.
std::map<std::string, Tensor> from_variables(const Variables& variables, const ModelConfig& config);

}  // namespace resnet

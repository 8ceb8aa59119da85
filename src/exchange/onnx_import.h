// Which of our networks an ONNX graph is, and the weights that it has for it.
//
// Names mean nothing in an exported graph (`onnx::Conv_193`), and batch norms are mostly folded
// into the convolutions before them. So the graphs themselves are compared: both are brought to the
// same few kinds of layers, and are the same when every layer has the same attributes, the same
// shape of weights and the same layers before it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "formats/onnx_file.h"
#include "resnet/models.h"
#include "resnet/tensor.h"
#include "resnet/weights.h"

namespace resnet {

struct OnnxMatch {
  ModelConfig config;                     ///< with classes, channels and image size of the graph
  std::map<std::string, Tensor> weights;  ///< those of `inference_graph(config, 1)`, f32
  /// {weight of the network, layer of the graph}, in no special order.
  std::vector<std::pair<std::string, std::string>> layers;
  int folded = 0;  ///< batch norms that were part of a convolution
};

/// Finds the weights. `known.architecture` may be empty: then it is looked for among the registry's
/// names and all CIFAR networks, with every shortcut and both places of a bottleneck's stride. With
/// an architecture, the shortcut is looked for when it is kDefault and the default does not fit.
/// `known.image_size` matters when the graph leaves it open; 0: the usual one of the network.
///
/// A convolution with a folded batch norm gets γ = 1, β = its bias, mean = 0 and var = 1 − eps,
/// which computes the same to less than half a unit in the last place of the factor γ / sqrt(var +
/// eps). `file` is for messages. Throws kBadData when no network fits, with the first difference,
/// and kUnsupported naming the node for an operation that no network here has.
OnnxMatch match_onnx(const OnnxModel& model, const std::string& file, const ModelConfig& known);

/// `import_model` of an ONNX file: our own metadata say what the network is, or else the options.
ImportedModel import_onnx(const std::filesystem::path& path, const ImportOptions& options);

}  // namespace resnet

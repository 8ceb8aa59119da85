// Weights from elsewhere, and to elsewhere: what PyTorch, torchvision, timm and others saved
// becomes a model file, and a model becomes what they load.
//
//     ImportedModel m = import_model("resnet50.pth");   // what the file does not say is deduced
//     save_model("resnet50.safetensors", m.model);
//     std::puts(to_string(m.report).c_str());           // what went where, what was assumed
//
// docs/FORMATS.md has the names that are understood. A tensor is used only when its place is
// certain; otherwise the import fails and says which networks would fit.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "resnet/data.h"
#include "resnet/model_file.h"
#include "resnet/models.h"
#include "resnet/tensor.h"

namespace resnet {

/// What the file does not say, or says wrongly. Everything may stay as it is.
struct ImportOptions {
  /// "": what the file or a `config.json` of timm beside it says, else the one network that fits.
  std::string architecture = {};
  std::optional<Shortcut> shortcut = {};  ///< Unset: the one that fits.
  int layers_per_skip = 0;                ///< As in ModelConfig.
  bool stride_on_first_1x1 = false;       ///< Changes no shape, so it has to be known.
  /// The layer after which the network was cut, as in ModelConfig; needs `architecture`.
  std::string splice = {};

  /// Preprocessing. Unset: the file's own, else that of a `config.json` of timm, else what is usual
  /// for networks of this kind (the report says so).
  std::optional<int> image_size = {};
  std::optional<int> resize = {};  ///< Shorter side before the crop; 0: images are not resized.
  std::optional<Interpolation> interpolation = {};
  std::optional<std::array<float, 3>> mean = {};
  std::optional<std::array<float, 3>> std = {};

  std::vector<std::string> class_names = {};  ///< Empty: the file's own, else "class 0", …

  /// {OLD, NEW}: wherever the components OLD ("trunk.stem") stand in a name, they become NEW (""
  /// drops them). Applied in order, before anything else.
  std::vector<std::pair<std::string, std::string>> renames = {};
  /// Use the tensors below this path of keys only: "ema.module". "": found by itself.
  std::string prefix = {};
  /// Leave out what lies below these components ("rotation_head").
  std::vector<std::string> ignore = {};
  /// Where a file holds weights and their average ("state_dict_ema", "model_ema"), take the
  /// average, as timm does; the published accuracy is usually its.
  bool prefer_average = true;
  /// A network without its last layer gets one of zeros with as many outputs as there are class
  /// names (or 1): for transfer, which replaces it. Else it is an error.
  bool allow_missing_head = false;
  /// Take weights with NaN, infinity or negative variances, with a note; else they are an error.
  bool allow_broken = false;
};

/// Where each tensor of a file went.
struct MatchReport {
  struct Match {
    std::string file;  ///< name in the file
    std::string ours;
  };
  struct WrongShape {
    std::string file, ours;
    Shape found, expected;
  };
  std::string format = {};                ///< of the file: "safetensors", "PyTorch zip", …
  bool by_graph = false;                  ///< ONNX: the graphs were compared, names do not matter
  bool structural = false;                ///< names said nothing; matched by order and shape
  std::vector<Match> matched = {};        ///< in the order of the network
  std::vector<std::string> missing = {};  ///< of the network, without a counterpart in the file
  std::vector<std::string> unexpected =
      {};  ///< of the file, weights without a place in the network
  std::vector<std::string> ignored =
      {};  ///< of the file, known not to matter: counters, optimizers
  std::vector<WrongShape> wrong_shape = {};
  std::vector<std::string> notes = {};  ///< what was deduced or assumed, a sentence each
};

/// A few lines when all is well and names matched; every match when `all`, or when matched by
/// structure.
std::string to_string(const MatchReport& report, bool all = false);

struct ImportedModel {
  ModelFile model;
  MatchReport report;
};

/// Reads weights of any kind (safetensors, PyTorch, ONNX, a model file of ours, a folder with one
/// of them as `model.safetensors`, or an index of shards) and finds each tensor's place: by its
/// name, or, when no name means anything, by order and shape, provided that this leaves no choice.
/// f16, bf16 and f64 become f32. Throws what reading throws, kBadData when the tensors do not fit
/// (naming what is missing, unexpected or of another shape, and the networks that would fit) or
/// leave a choice, and kInvalidArgument for options that make no sense. A network with one output
/// gets two classes, as a sigmoid has.
ImportedModel import_model(const std::filesystem::path& path, const ImportOptions& options = {});

/// Networks whose parameters have exactly these shapes in some order, with the number of classes
/// and channels that they imply; plain networks, which have the shapes of residual ones, are left
/// out.
std::vector<ModelConfig> fitting_architectures(const std::vector<Shape>& shapes);

/// The weights [m, c, kh, kw] of a first convolution for images of another number of channels, as
/// timm does it: for one channel the sum over all; for more, channels are repeated in a cycle and
/// scaled by c / channels, so that a grey image gives what it gave. f32.
Tensor adapt_input_channels(const Tensor& weights, std::int64_t channels);

// Each writes its file atomically and throws kIo when it cannot be written.

/// Weights under torchvision's names with PyTorch's num_batches_tracked (0). Metadata say what the
/// network is, so that `import_model` reads back what was written.
void export_safetensors(const std::filesystem::path& path, const ModelFile& model);
/// The same as a PyTorch checkpoint: `load_state_dict(torch.load(path, weights_only=True))`.
void export_torch(const std::filesystem::path& path, const ModelFile& model);

/// How a network is written as an ONNX graph.
struct OnnxExportOptions {
  bool probabilities = true;     ///< A second output, "probabilities": the softmax of the logits.
  bool fold_batch_norm = false;  ///< Into the convolutions. Runtimes do that when they load.
  bool any_size = false;         ///< Symbolic height and width: images of any size.
};
/// The network as an ONNX model (opset 17): input "image" [batch, channels, h, w] of normalised
/// pixels with a symbolic batch, outputs "logits" [batch, classes] and "probabilities". Weights
/// keep their names. Metadata are those of the model file: they say the preprocessing and the class
/// names. An int8 network has QuantizeLinear and DequantizeLinear around them
/// (docs/FORMATS.md). Throws kInvalidArgument when the parts of the model do not fit together,
/// kUnsupported for an int8 layer's bias that 32 bits do not hold.
void export_onnx(const std::filesystem::path& path, const ModelFile& model,
                 const OnnxExportOptions& options = {});

}  // namespace resnet

// The networks: plain functions that add layers to a graph, and a registry of their names.
//
//   resnet{18,34,50,101,152,200}
//       He et al. 2016a ("Deep Residual Learning"), torchvision's names of parameters
//   resnet{18,34,50,101,152,200}d
//       He et al. 2019 ("Bag of Tricks"), with a deep stem and pooled shortcuts; timm's names
//   resnet{18,34,50,101,152,200}v2
//       He et al. 2016b ("Identity Mappings in Deep Residual Networks")
//   resnet{6n+2}, resnet{6n+2}v2
//       their networks for 32x32 images, basic blocks: 20, 32, 44, 56, 110, 1202, …
//   resnet{9n+2}, resnet{9n+2}v2
//       the same with bottlenecks: 164, 1001, …
//   plain…
//       any of these without its skips: plain20, plain34, plain56v2
//
// A number that is both 6n+2 and 9n+2 means basic blocks, except 164; "-basic" and "-bottleneck"
// choose: resnet110-bottleneck. The six numbers of the first row mean its networks; "-cifar" behind
// them means the others: resnet50-cifar.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/graph.h"
#include "resnet/variables.h"

namespace resnet {

/// Shortcuts of He et al. 2016 ("Deep Residual Learning", section 4.1).
enum class Shortcut : std::uint8_t {
  kDefault,  ///< the architecture's own: A for v1 CIFAR networks of basic blocks, B for the others
  kA,        ///< identity; where shapes change, subsample and pad with zero channels
  kB,        ///< identity; where shapes change, a 1x1 projection
  kC,        ///< a projection everywhere
  kNone,     ///< no skips: the plain network
};

/// "default", "A", "B", "C", "none".
std::string_view name_of(Shortcut shortcut);
/// Throws kInvalidArgument for another name, listing these.
Shortcut parse_shortcut(std::string_view name);

/// Which network, and the choices that change its shape. Stored in the model file.
struct ModelConfig {
  std::string architecture = "resnet18";
  std::int64_t classes = 1000;
  std::int64_t channels = 3;      ///< of the images
  std::int64_t image_size = 224;  ///< side of the square input that summaries and files assume
  Shortcut shortcut = Shortcut::kDefault;
  /// Layers a skip jumps over; 0: the block's own number. Basic blocks (own: 2) may have any number
  /// that divides the layers of every stage, so that the depth stays; bottlenecks have 3.
  int layers_per_skip = 0;
  bool stride_on_first_1x1 = false;  ///< bottlenecks: the paper's stride; false: v1.5, torchvision
  /// Strided windows are padded as TensorFlow's "same" does: as little as gives ceil(size / stride)
  /// outputs, the odd zero at the end. false: kernel - 1, as PyTorch's networks are.
  bool same_padding = false;
  bool zero_gamma = false;  ///< v1: start the last γ of each block at 0 (Goyal et al. 2017)
  double dropout = 0;       ///< before the last linear layer
  /// The layer after which the network is cut, by a name that `find_layer` knows: "layer2",
  /// "layer3.1", "bn1". The head reads its output, averaged over the image. "": the whole
  /// network.
  std::string splice = {};
  /// The head: 0: one linear layer "fc"; otherwise "fc.0" with that many units, ReLU, dropout, and
  /// "fc.3", numbered as in torch.nn.Sequential(Linear, ReLU, Dropout, Linear).
  std::int64_t head_hidden = 0;
  bool operator==(const ModelConfig&) const = default;
};

/// Adds the network to `graph` and returns the logits [n, classes]. `image` is [n, channels, h, w].
/// Throws kInvalidArgument for an unknown architecture, naming the nearest known one, and for
/// settings that the architecture cannot have.
Value build_model(Graph& graph, const ModelConfig& config, Value image);

/// The same without the head: what it reads, [n, features].
Value build_features(Graph& graph, const ModelConfig& config, Value image);

/// The head alone: features [n, k] -> logits [n, classes].
Value build_head(Graph& graph, const ModelConfig& config, Value features);

/// Whether a parameter or layer of that name belongs to the head ("fc.weight", "fc.0.bias").
bool is_head(std::string_view name);

/// Fills every parameter of `graph` that `variables` lacks, as its Init says. Each tensor is a
/// function of (seed, its name) alone.
void initialise(const Graph& graph, Variables& variables, std::uint64_t seed);

/// The same as a whole graph: input "image", outputs "logits" and "probabilities".
Graph inference_graph(const ModelConfig& config, std::int64_t batch);

/// Every fixed name of the registry, sorted; families such as resnet{6n+2} are listed by example.
std::vector<std::string> architectures();
/// Whether `build_model` knows the architecture.
bool is_architecture(std::string_view name);
/// Throws kInvalidArgument, with the nearest name, unless `build_model` knows the architecture.
void check_architecture(std::string_view name);
/// The image size a network was designed for: 32 for CIFAR networks, 224 for the others.
std::int64_t default_image_size(std::string_view architecture);

/// One layer of a summary: an operation of the forward pass.
struct LayerSummary {
  std::string name;
  std::string op;
  Shape output;                    ///< for a batch of one
  std::int64_t parameters = 0;     ///< no running statistics; shared ones count where first used
  std::int64_t multiply_adds = 0;  ///< of convolutions and linear layers
  DType dtype = DType::kF32;       ///< of the output
  std::int64_t bytes = 0;          ///< of the parameters
};
/// Layers in order, for a batch of one: what the outputs "logits" and "probabilities" depend on,
/// or, in a graph that has neither, all of the forward pass. What a training step adds is left out.
std::vector<LayerSummary> summarise(const Graph& graph);

}  // namespace resnet

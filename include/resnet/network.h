// A network that says of itself what its parts are, and the families that networks come from.
//
// The function that builds a network opens a part before it adds the part's layers. Freezing, rates
// by stage, cutting, embedding and quantising go by these parts; names of layers are free.
//
//   Network build(Graph& g, const ModelConfig& config, Value image) {
//     NetworkParts parts(g);
//     Value x;
//     {
//       const auto stem = parts.stage("stem");
//       x = g.relu(g.conv2d("entry", image, {.filters = 16}));
//     }
//     {
//       const auto body = parts.stage("body");
//       x = g.relu(g.add(x, g.conv2d("loop", x, {.filters = 16})));
//     }
//     const Value features = g.global_avg_pool(x);
//     const auto head = parts.head("classifier");
//     return parts.finish(features, g.linear("classifier", features, config.classes));
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/models.h"

namespace resnet {

/// Layers that belong together, in the order in which they were added. Values of the network's
/// graph.
struct NetworkPart {
  std::string name = {};               ///< by which users may call it: "layer2"
  std::vector<Value> layers = {};      ///< of the forward pass; the last one is the output
  std::vector<Value> parameters = {};  ///< running statistics included
  Value output() const { return layers.empty() ? Value{} : layers.back(); }
};

/// A loss beside the network's own, of other logits [n, classes] (Szegedy et al. 2015, section 5).
/// It is added, times the weight, in training.
struct AuxiliaryLoss {
  Value logits;
  double weight = 1;
};

/// What a network consists of. Values of the graph that it was built in.
struct Network {
  Value features = {};  ///< what the head reads, [n, k]
  Value logits = {};    ///< [n, classes]
  std::vector<AuxiliaryLoss> auxiliary = {};
  std::vector<NetworkPart> stages = {};  ///< in order, the stem first; each has at least a layer
  NetworkPart tail = {};  ///< between the last stage and the head; trained when that stage is
  NetworkPart head = {};  ///< what another task replaces; auxiliary layers are part of it
};

/// Notes which part is open while a network is built. What is added while none is open belongs to
/// the stage before it; in front of the first stage, to that; behind the last one, to the tail.
/// Parts are ranges of the graph: `graph` must outlive this and be added to only.
class NetworkParts {
 public:
  /// Open until the end of its life.
  class Open {
   public:
    Open(const Open&) = delete;
    Open& operator=(const Open&) = delete;
    ~Open();

   private:
    friend class NetworkParts;
    Open(NetworkParts& parts, std::size_t mark) : parts_(parts), mark_(mark) {}
    NetworkParts& parts_;
    std::size_t mark_;
  };

  /// What is in the graph by now is part of `before`, or of nothing. With `before` the parts of a
  /// network are continued: its head and auxiliary losses are replaced.
  explicit NetworkParts(const Graph& graph, Network before = {});
  /// Throws kInvalidArgument when another part is open or has that name. Open it with {} around
  /// its layers; a stage without layers is none.
  [[nodiscard]] Open stage(std::string name);
  [[nodiscard]] Open head(std::string name);
  /// Layers of a loss beside the network's own. Add them in Mode::kTraining only: models that
  /// predict have none. A network that is cut leaves them out.
  [[nodiscard]] Open auxiliary();
  /// `logits` [n, classes] are those that `auxiliary()` was opened for.
  void add_loss(Value logits, double weight);
  /// Throws kInvalidArgument when there is no head, or a part is still open other than the head.
  Network finish(Value features, Value logits) const;

 private:
  enum class Kind : std::uint8_t { kStage, kHead, kAuxiliary };
  struct Mark {
    Kind kind = Kind::kStage;
    std::string name;
    std::size_t begin = 0, end = 0;  // of nodes; end 0: open
  };
  Open open(Kind kind, std::string name);

  const Graph& graph_;
  Network before_;
  std::size_t first_;
  std::vector<Mark> marks_;
  std::vector<AuxiliaryLoss> losses_;
};

/// The networks that one function builds. Its functions are called from any thread.
struct Family {
  /// Names for lists and for suggestions; a family of endlessly many gives its well-known ones.
  std::vector<std::string> names;
  /// Side of the images that the network of this name was designed for; 0: not of this family.
  std::function<std::int64_t(std::string_view name)> image_size;
  /// Adds the network with its head. The architecture is of this family; classes, channels and the
  /// numbers of the head have been checked. `add_head` adds the head that most networks have.
  std::function<Network(Graph& graph, const ModelConfig& config, Value image)> build;
};

/// Makes networks of a family known by their names: to `train`, model files and all else. A program
/// that reads model files of such a network registers its family first. Thread-safe. Throws
/// kInvalidArgument when one of `names` is known already or the family does not know it itself.
void register_family(Family family);

/// Adds the network to `graph`, cut as `config.splice` says: the head of a network that is cut is
/// `add_head`'s. `image` is [n, channels, h, w]. Throws what `build_model` throws.
Network build_network(Graph& graph, const ModelConfig& config, Value image);

/// The head "fc" as ModelConfig::head_hidden and dropout say: features [n, k] -> logits. Ends the
/// description.
Network add_head(Graph& graph, NetworkParts& parts, const ModelConfig& config, Value features);

/// `inference_graph` with its description.
struct DescribedGraph {
  Graph graph;
  Network network;
};
DescribedGraph describe_network(const ModelConfig& config, std::int64_t batch,
                                Mode mode = Mode::kInference);

/// Copies what the logits and the auxiliary losses depend on, with `known` and `frozen` as for
/// `copy_subgraph`, and returns the copy's description. Parts that were not copied are empty,
/// stages without layers are left out.
Network copy_network(Graph& to, const Graph& from, const Network& network,
                     std::map<Value, Value> known = {}, Value frozen = {});

/// The output of a stage, or else of what `find_layer` finds by that name.
Value find_layer(const Graph& graph, const Network& network, std::string_view name);

/// The number, from 0, of the stage to which a layer or parameter belongs; that of the last one for
/// the tail; nothing for the head.
std::optional<std::size_t> stage_of(const Network& network, Value v);

/// The names of the head's parameters.
std::vector<std::string> head_parameters(const Graph& graph, const Network& network);

}  // namespace resnet

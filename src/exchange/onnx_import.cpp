#include "exchange/onnx_import.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <deque>
#include <optional>
#include <set>

#include "core/check.h"
#include "exchange/import.h"
#include "exchange/model_file.h"
#include "exchange/onnx_export.h"
#include "exchange/onnx_net.h"
#include "exchange/onnx_reader.h"

namespace resnet {
namespace {

using namespace onnx_net;
using onnx_net::describe;

bool is_commutative(const std::string& op) { return op == "add" || op == "mul"; }

// Gives equal numbers to layers of any net that compute the same but for the values of weights.
class Numbering {
 public:
  std::vector<int> number(const Net& net) {
    std::vector<int> numbers;
    for (const Layer& layer : net.layers) {
      Ints inputs;
      for (const int i : layer.inputs) inputs.push_back(numbers[static_cast<std::size_t>(i)]);
      if (is_commutative(layer.op)) std::ranges::sort(inputs);
      const auto fresh = static_cast<int>(known_.size());
      numbers.push_back(
          known_.try_emplace({layer.op, {layer.attributes, layer.weight_shape, inputs}}, fresh)
              .first->second);
    }
    return numbers;
  }

 private:
  std::map<std::pair<std::string, std::vector<Ints>>, int> known_;
};

// ---------------------------------------------------------------------------------- our networks

Net net_of(const ModelConfig& config) {
  const Graph graph = inference_graph(config, 1);
  const Value logits = graph.outputs().at(0).second;
  std::map<Value, int> readers;
  for (std::int32_t id = 0; id <= logits.node; ++id) {
    for (const Value v : graph.nodes()[static_cast<std::size_t>(id)].inputs) ++readers[v];
  }
  Net net;
  std::map<Value, int> layer_of;
  for (std::int32_t id = 0; id <= logits.node; ++id) {
    const Value value{id, 0};
    const Node& node = graph.node(value);
    if (node.op == Op::kParameter) continue;
    Layer layer{.op = std::string(name_of(node.op)), .name = node.name};
    for (const Value v : node.inputs) {
      if (const auto known = layer_of.find(v); known != layer_of.end()) {
        layer.inputs.push_back(known->second);
      }
    }
    const auto parameter = [&](std::size_t i) { return graph.node(node.inputs.at(i)).name; };
    switch (node.op) {
      case Op::kInput: layer.c = graph.shape(value).at(1); break;
      case Op::kConv2d: {
        const auto& a = std::get<ConvAttributes>(node.attributes);
        layer.op = "conv";
        layer.attributes = {a.stride_h,  a.stride_w,   a.pad_top,    a.pad_left, a.pad_bottom,
                            a.pad_right, a.dilation_h, a.dilation_w, a.groups};
        layer.weight_shape = graph.shape(node.inputs[1]);
        layer.parameters.weight = parameter(1);
        if (a.bias) layer.parameters.bias = parameter(2);
        break;
      }
      case Op::kNormalize: {
        const Parameters norm{.weight = {},
                              .bias = {},
                              .gamma = parameter(1),
                              .beta = parameter(2),
                              .mean = parameter(3),
                              .var = parameter(4),
                              .eps = std::get<NormAttributes>(node.attributes).eps};
        Layer& before = net.at(layer.inputs.at(0));
        if (before.op == "conv" && readers[node.inputs[0]] == 1) {
          Parameters both = norm;
          both.weight = before.parameters.weight;
          both.bias = before.parameters.bias;
          before.parameters = both;
          layer_of[value] = layer.inputs[0];
          continue;
        }
        layer.op = "norm";
        layer.parameters = norm;
        break;
      }
      case Op::kMaxPool:
      case Op::kAvgPool: {
        const auto& a = std::get<PoolAttributes>(node.attributes);
        layer.op = node.op == Op::kMaxPool ? "max_pool" : "avg_pool";
        layer.attributes = {a.kernel_h, a.kernel_w, a.stride_h,   a.stride_w,
                            a.pad_top,  a.pad_left, a.pad_bottom, a.pad_right};
        if (node.op == Op::kAvgPool) {
          const bool padded = a.pad_top + a.pad_left + a.pad_bottom + a.pad_right != 0;
          layer.attributes.push_back(a.count_padding || !padded ? 1 : 0);
        }
        break;
      }
      case Op::kLinear:
        layer.op = "linear";
        layer.weight_shape = graph.shape(node.inputs[1]);
        layer.parameters.weight = parameter(1);
        if (node.inputs.size() > 2) layer.parameters.bias = parameter(2);
        break;
      case Op::kPadShortcut: {
        const auto& a = std::get<PadShortcutAttributes>(node.attributes);
        const std::int64_t channels = graph.shape(node.inputs[0]).at(1);
        if (a.stride != 1) {
          layer.inputs = {net.add({.op = "subsample",
                                   .name = node.name,
                                   .attributes = {a.stride, a.stride},
                                   .inputs = layer.inputs})};
        }
        layer.op = "pad_channels";
        layer.attributes = {a.front, a.out_channels - a.front - channels};
        break;
      }
      case Op::kGlobalAvgPool: layer.op = "global_pool"; break;
      // No foreign graph has these: there is nothing to match.
      case Op::kFill: layer.op = "constant"; break;
      case Op::kScale: layer.op = "scale"; break;
      case Op::kRelu:
      case Op::kSigmoid:
      case Op::kAdd:
      case Op::kMul: break;
      default:
        fail(ErrorCode::kUnsupported, "layer {}: {} cannot be read from ONNX", node.name,
             name_of(node.op));
    }
    layer_of[value] = net.add(std::move(layer));
  }
  net.logits = layer_of.at(logits);
  return net;
}

// --------------------------------------------------------------------------------------- matching

// Layers of two nets whose logits have the same number, from the end: pairs of equal numbers.
std::vector<std::pair<int, int>> pairs_of(const Net& ours, const std::vector<int>& our_numbers,
                                          const Net& theirs,
                                          const std::vector<int>& their_numbers) {
  std::map<int, int> weights_of;  // layers with weights have one counterpart
  std::set<std::pair<int, int>> seen;
  std::vector<std::pair<int, int>> pairs;
  std::deque<std::pair<int, int>> waiting{{ours.logits, theirs.logits}};
  while (!waiting.empty()) {
    const auto [a, b] = waiting.front();
    waiting.pop_front();
    if (!seen.insert({a, b}).second) continue;
    const Parameters& parameters = ours.at(a).parameters;
    const bool weighted = !parameters.weight.empty() || !parameters.gamma.empty();
    // What we compute once they may compute twice, but not with weights that may differ.
    if (weighted && weights_of.try_emplace(a, b).first->second != b) return {};
    pairs.emplace_back(a, b);
    const auto& x = ours.at(a).inputs;
    auto y = theirs.at(b).inputs;
    const auto number = [](const std::vector<int>& of, int i) {
      return of[static_cast<std::size_t>(i)];
    };
    if (is_commutative(ours.at(a).op) && number(our_numbers, x[0]) != number(their_numbers, y[0])) {
      std::swap(y[0], y[1]);
    }
    for (std::size_t i = 0; i < x.size(); ++i) waiting.emplace_back(x[i], y[i]);
  }
  return pairs;
}

std::string describe(const Layer& layer) {
  std::string text = fmt::format("{} '{}'", layer.op, shown(layer.name));
  if (!layer.weight_shape.empty()) text += " with weights " + to_string(layer.weight_shape);
  if (!layer.attributes.empty()) text += fmt::format(" ({})", fmt::join(layer.attributes, ", "));
  return text;
}

bool alike(const Layer& x, const Layer& y) {
  return x.op == y.op && x.attributes == y.attributes && x.weight_shape == y.weight_shape &&
         x.inputs.size() == y.inputs.size();
}

// The first layers, from the end, that differ themselves and not only in what is before them.
std::string first_difference(const Net& ours, const std::vector<int>& our_numbers,
                             const Net& theirs, const std::vector<int>& their_numbers) {
  int a = ours.logits, b = theirs.logits;
  for (;;) {
    const Layer& x = ours.at(a);
    const Layer& y = theirs.at(b);
    if (!alike(x, y) || x.inputs.empty()) {
      return fmt::format("{} was expected, found {}", describe(x), describe(y));
    }
    std::vector<int> mine = x.inputs, other = y.inputs;
    for (std::size_t i = 0; i < mine.size(); ++i) {  // leave out what agrees, in either order
      const int number = our_numbers[static_cast<std::size_t>(mine[i])];
      const auto same = std::ranges::find_if(
          other, [&](int j) { return their_numbers[static_cast<std::size_t>(j)] == number; });
      if (same == other.end()) continue;
      other.erase(same);
      mine.erase(mine.begin() + static_cast<std::ptrdiff_t>(i--));
    }
    if (mine.empty()) return fmt::format("{} computes its weights twice", describe(y));
    a = mine[0];
    b = other[0];
    for (const int i : mine) {  // rather two that are alike, since what is before them differs
      for (const int j : other) {
        if (alike(ours.at(i), theirs.at(j))) {
          a = i;
          b = j;
        }
      }
    }
  }
}

// Moves the weights of one layer of the file to one of ours.
class Assignment {
 public:
  Assignment(const OnnxReader& reader, const std::string& file, OnnxMatch& match)
      : reader_(reader), file_(file), match_(match) {}

  void assign(const Layer& ours, const Layer& theirs) {
    const Parameters& to = ours.parameters;
    const Parameters& from = theirs.parameters;
    if (!to.weight.empty()) {
      const Tensor weight = values(from.weight);
      put(to.weight, from.transposed ? permuted(weight, {1, 0}) : weight, theirs);
    }
    const std::int64_t m = theirs.weight_shape.empty() ? theirs.c : theirs.weight_shape[0];
    Tensor bias = Tensor::zeros(DType::kF32, {m});
    if (!from.bias.empty()) bias = values(from.bias).reshaped({m});
    if (!to.bias.empty()) {
      put(to.bias, bias, theirs);
    } else if (to.gamma.empty() && nonzero(bias)) {
      no_place(ours, theirs, "a bias");
    }
    if (to.gamma.empty()) {
      if (!from.gamma.empty()) no_place(ours, theirs, "a batch norm");
      return;
    }
    if (from.gamma.empty()) {  // it was folded into the convolution
      put(to.gamma, Tensor::full({m}, 1), theirs);
      put(to.beta, bias, theirs);
      put(to.mean, Tensor::zeros(DType::kF32, {m}), theirs);
      put(to.var, Tensor::full({m}, static_cast<float>(1 - to.eps)), theirs);
      ++match_.folded;
      return;
    }
    // γ (x + bias − mean) / sqrt(var + eps) + β with our eps.
    const auto vector = [&](const std::string& name, float otherwise) {
      return name.empty() ? Tensor::full({m}, otherwise) : values(name).reshaped({m}).clone();
    };
    Tensor gamma = vector(from.gamma, 1), beta = vector(from.beta, 0), mean = vector(from.mean, 0),
           var = vector(from.var, 1);
    if (to.bias.empty() && !from.bias.empty()) {
      for (std::size_t i = 0; i < mean.as<float>().size(); ++i) {
        mean.as<float>()[i] -= bias.as<float>()[i];
      }
    }
    if (from.eps != to.eps) {
      for (std::size_t i = 0; i < var.as<float>().size(); ++i) {
        float& v = var.as<float>()[i];
        const double sum = v + from.eps;
        v = static_cast<float>(v + (from.eps - to.eps));
        if (v >= 0) continue;
        v = 0;  // with so small a variance the factor is changed instead
        float& g = gamma.as<float>()[i];
        g = static_cast<float>(g * std::sqrt(to.eps / sum));
      }
    }
    put(to.gamma, gamma, theirs);
    put(to.beta, beta, theirs);
    put(to.mean, mean, theirs);
    put(to.var, var, theirs);
  }

 private:
  Tensor values(const std::string& name) const { return reader_.constant(name).cast(DType::kF32); }

  void put(const std::string& name, Tensor tensor, const Layer& theirs) {
    match_.weights[name] = std::move(tensor);
    match_.layers.emplace_back(name, theirs.name);
  }
  static bool nonzero(const Tensor& tensor) {
    return std::ranges::any_of(tensor.as<float>(), [](float x) { return x != 0; });
  }
  [[noreturn]] void no_place(const Layer& ours, const Layer& theirs, std::string_view what) const {
    fail(ErrorCode::kBadData, "{}: {} has {}, for which {} of {} has no place", file_,
         describe(theirs), what, describe(ours), match_.config.architecture);
  }

  const OnnxReader& reader_;
  const std::string& file_;
  OnnxMatch& match_;
};

// As TensorFlow's "same" does with a stride where the size of the image is even.
bool pads_more_at_the_end(const Net& net) {
  return std::ranges::any_of(net.layers, [](const Layer& layer) {
    const std::size_t pads = layer.op == "conv" ? 2 : 4;  // where they are among the attributes
    const Ints& a = layer.attributes;
    return (layer.op == "conv" || layer.op == "max_pool") &&
           (a[pads] < a[pads + 2] || a[pads + 1] < a[pads + 3]);
  });
}

int count_3x3(const Net& net) {
  return static_cast<int>(std::ranges::count_if(net.layers, [](const Layer& layer) {
    return layer.op == "conv" && layer.weight_shape[2] == 3 && layer.weight_shape[3] == 3;
  }));
}

// Names that may have this many 3x3 convolutions: all fixed ones, and the CIFAR networks with that
// many, which have 6n + 1 in basic blocks and 3n + 1 in bottlenecks. Short names come first.
std::vector<std::string> candidates(int convolutions) {
  std::vector<std::string> names = architectures();
  std::stable_partition(names.begin(), names.end(),
                        [](const std::string& n) { return n.starts_with("resnet"); });
  constexpr int kMostLayers = 9999;
  for (const auto& [block, layers] : {std::pair{6, 6}, std::pair{3, 9}}) {
    const int n = (convolutions - 1) / block;
    if (n < 1 || (convolutions - 1) % block != 0 || layers * n + 2 > kMostLayers) continue;
    for (const char* prefix : {"resnet", "plain"}) {
      for (const char* version : {"", "v2"}) {
        for (const char* suffix :
             {"", "-basic", "-bottleneck", "-cifar", "-cifar-basic", "-cifar-bottleneck"}) {
          const std::string name = fmt::format("{}{}{}{}", prefix, layers * n + 2, version, suffix);
          if (is_architecture(name) && std::ranges::find(names, name) == names.end())
            names.push_back(name);
        }
      }
    }
  }
  return names;
}

std::string text_of(const ModelConfig& c) {
  std::string result = c.architecture;
  if (c.shortcut != Shortcut::kDefault)
    result += fmt::format(" with shortcuts {}", name_of(c.shortcut));
  if (c.stride_on_first_1x1) result += " with the stride on the first 1x1 convolution";
  if (c.same_padding) result += " with TensorFlow's padding";
  return result;
}

class Matcher {
 public:
  Matcher(const OnnxModel& model, const std::string& file)
      : file_(file),
        reader_(model, file),
        theirs_(reader_.run()),
        numbers_(numbering_.number(theirs_)) {}

  OnnxMatch run(const ModelConfig& known) {
    const Layer& image = theirs_.layers.front();
    if (image.h != image.w) {
      fail(ErrorCode::kUnsupported, "{}: its images have {} rows and {} columns, expected a square",
           file_, image.h, image.w);
    }
    ModelConfig config = known;
    config.classes = theirs_.at(theirs_.logits).c;
    config.channels = image.c;
    if (!known.architecture.empty()) {
      if (auto match = try_variants(config)) return *match;
      const auto fitting =
          search({.classes = config.classes, .channels = config.channels, .image_size = 0});
      fail(
          ErrorCode::kBadData, "{}: its graph is not that of {}: {}; {}", file_, known.architecture,
          difference_,
          fitting ? "it is that of " + text_of(fitting->config) : "no network here has this graph");
    }
    if (auto match = search(config)) return *match;
    fail(ErrorCode::kBadData,
         "{}: no network here has this graph, which has {} convolutions and {} classes; name the "
         "architecture that comes nearest to see the first difference",
         file_, std::ranges::count(theirs_.layers, "conv", &Layer::op), config.classes);
  }

 private:
  std::optional<OnnxMatch> search(ModelConfig config) {
    const int wanted = count_3x3(theirs_);
    for (const std::string& name : candidates(wanted)) {
      config.architecture = name;
      ModelConfig small = config;  // of which it is certain that it can be built
      small.shortcut = Shortcut::kDefault;
      small.layers_per_skip = 0;
      small.image_size = default_image_size(name);
      if (count_3x3(net_of(small)) != wanted) continue;
      if (auto match = try_variants(config)) return match;
    }
    return std::nullopt;
  }

  // The shortcut, the place of the stride and the padding leave no trace but the graph itself.
  std::optional<OnnxMatch> try_variants(ModelConfig config) {
    const Layer& image = theirs_.layers.front();
    config.same_padding = config.same_padding || pads_more_at_the_end(theirs_);
    if (image.h != 0) config.image_size = image.h;
    if (config.image_size == 0) config.image_size = default_image_size(config.architecture);
    std::vector<Shortcut> shortcuts{config.shortcut};
    if (config.shortcut == Shortcut::kDefault && !config.architecture.starts_with("plain")) {
      shortcuts = {Shortcut::kDefault, Shortcut::kA, Shortcut::kB, Shortcut::kC};
    }
    for (const bool first : {config.stride_on_first_1x1, !config.stride_on_first_1x1}) {
      for (const Shortcut shortcut : shortcuts) {
        ModelConfig variant = config;
        variant.shortcut = shortcut;
        variant.stride_on_first_1x1 = first;
        if (auto match = try_config(variant)) return match;
      }
    }
    return std::nullopt;
  }

  std::optional<OnnxMatch> try_config(const ModelConfig& config) {
    Net ours;
    try {
      ours = net_of(config);
    } catch (const Error& e) {  // settings that this network cannot have
      if (difference_.empty()) difference_ = e.what();
      return std::nullopt;
    }
    const std::vector<int> numbers = numbering_.number(ours);
    if (numbers[static_cast<std::size_t>(ours.logits)] !=
        numbers_[static_cast<std::size_t>(theirs_.logits)]) {
      if (difference_.empty()) difference_ = first_difference(ours, numbers, theirs_, numbers_);
      return std::nullopt;
    }
    const auto pairs = pairs_of(ours, numbers, theirs_, numbers_);
    if (pairs.empty()) {
      fail(ErrorCode::kBadData,
           "{}: it has several weights where {} has one, so which to take is not certain", file_,
           config.architecture);
    }
    OnnxMatch match{.config = config, .weights = {}, .layers = {}};
    Assignment assignment(reader_, file_, match);
    for (const auto& [a, b] : pairs) assignment.assign(ours.at(a), theirs_.at(b));
    return match;
  }

  const std::string& file_;
  OnnxReader reader_;
  Net theirs_;
  Numbering numbering_;
  std::vector<int> numbers_;
  std::string difference_;  // of the first configuration that was tried
};

// -------------------------------------------------------------------- our int8 networks

bool same_tensor(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::ranges::equal(std::span(a.raw(), a.bytes()), std::span(b.raw(), b.bytes()));
}

bool same_attributes(const OnnxNode& a, const OnnxNode& b) {
  return std::ranges::equal(a.attributes, b.attributes, [](const auto& x, const auto& y) {
    if (x.first != y.first || x.second.index() != y.second.index()) return false;
    return std::visit(
        [&]<class T>(const T& value) {
          if constexpr (std::is_same_v<T, Tensor>) {
            return same_tensor(value, std::get<Tensor>(y.second));
          } else {
            return value == std::get<T>(y.second);
          }
        },
        x.second);
  });
}

// What differs first between a file's graph and the one that its model is exported as; empty: they
// are the same.
std::string difference(const OnnxModel& file, const OnnxModel& exported) {
  for (std::size_t i = 0; i < std::max(file.nodes.size(), exported.nodes.size()); ++i) {
    if (i == exported.nodes.size()) return describe(file.nodes[i]) + " is one too many";
    const OnnxNode& b = exported.nodes[i];
    if (i == file.nodes.size()) return describe(b) + " is missing";
    const OnnxNode& a = file.nodes[i];
    if (a.op != b.op || a.domain != b.domain || a.inputs != b.inputs || a.outputs != b.outputs ||
        !same_attributes(a, b)) {
      return fmt::format("{} differs from {}", describe(a), describe(b));
    }
  }
  std::map<std::string_view, const Tensor*> constants;
  for (const auto& [name, tensor] : file.initializers) constants[name] = &tensor;
  for (const auto& [name, tensor] : exported.initializers) {
    const auto found = constants.find(name);
    if (found == constants.end() || !same_tensor(*found->second, tensor)) {
      return fmt::format("the constant '{}' differs", name);
    }
  }
  return {};
}

// An int8 network that we exported: the constants of its graph are the tensors of its model
// file. That the graph is the one we write for them is what says that it computes the same.
ImportedModel import_quantized(const OnnxModel& onnx, const std::filesystem::path& path) {
  ImportedModel result{{}, {.format = "ONNX", .by_graph = true}};
  Safetensors content{.tensors = {}, .metadata = onnx.metadata};
  for (const auto& [name, tensor] : onnx.initializers) {
    if (name.ends_with("zero_point") || name.starts_with("zero_point.") ||
        name.starts_with("constant") || name.ends_with(".bias_scale")) {
      continue;  // follow from the others
    }
    const bool scale = name.ends_with(".output_scale") && tensor.size() == 1;
    const Tensor stored = tensor.dtype() == DType::kI32 ? tensor.cast(DType::kF32) : tensor;
    content.tensors[name] = scale ? stored.reshaped({1}) : stored;
    result.report.matched.push_back({name, name});
  }
  result.model = to_model(std::move(content), path);
  const bool probabilities = onnx.outputs.size() > 1;
  const std::string what =
      difference(onnx, to_onnx(result.model, {.probabilities = probabilities}, path));
  if (!what.empty()) {
    fail(ErrorCode::kUnsupported,
         "{}: an int8 network that is not as it was exported: {}; use the model file "
         "that it was exported from",
         path.string(), what);
  }
  return result;
}

}  // namespace

OnnxMatch match_onnx(const OnnxModel& model, const std::string& file, const ModelConfig& known) {
  return Matcher(model, file).run(known);
}

ImportedModel import_onnx(const std::filesystem::path& path, const ImportOptions& options) {
  const OnnxModel onnx = read_onnx(path);
  const std::string file = path.string();
  if (describes_quantized(onnx.metadata)) {
    ImportedModel result = import_quantized(onnx, path);
    change_by_options(result, path, options);
    return result;
  }
  ImportedModel result{{}, {.format = "ONNX", .by_graph = true}};
  const auto report = [&](const OnnxMatch& match) {
    for (const auto& [weight, layer] : match.layers)
      result.report.matched.push_back({layer, weight});
    if (match.folded > 0) {
      result.report.notes.push_back(fmt::format(
          "{} batch norms were folded into convolutions; they became γ = 1, var = 1 − eps",
          match.folded));
    }
  };
  if (describes_model(onnx.metadata)) {
    result.model = from_metadata(onnx.metadata, path);
    const ModelConfig& said = result.model.config;
    const OnnxMatch match = match_onnx(onnx, file, said);
    if (match.config.shortcut != said.shortcut ||
        match.config.stride_on_first_1x1 != said.stride_on_first_1x1 ||
        match.config.same_padding != said.same_padding) {
      fail(ErrorCode::kBadData, "{}: its graph is that of {}, its metadata say {}; export it again",
           file, text_of(match.config), text_of(said));
    }
    report(match);
    result.model.weights = match.weights;
    change_by_options(result, path, options);
    return result;
  }
  OnnxMatch match = match_onnx(onnx, file,
                               {.architecture = options.architecture,
                                .image_size = options.image_size.value_or(0),
                                .shortcut = options.shortcut.value_or(Shortcut::kDefault),
                                .layers_per_skip = options.layers_per_skip,
                                .stride_on_first_1x1 = options.stride_on_first_1x1});
  result.report.notes.push_back("its graph is that of " + text_of(match.config));
  report(match);
  ImportOptions with_size = options;
  if (!options.image_size) with_size.image_size = static_cast<int>(match.config.image_size);
  result.model = finish_import(match.config, std::move(match.weights), path, with_size,
                               read_timm_config(path.parent_path() / "config.json"), result.report);
  return result;
}

}  // namespace resnet

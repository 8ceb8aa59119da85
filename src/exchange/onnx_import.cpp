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
#include "graph/ops.h"

namespace resnet {
namespace {

using Ints = std::vector<std::int64_t>;

// ------------------------------------------------------- the common form: layers of a few kinds

// Names of a layer's tensors: parameters of ours, constants of the other graph.
struct Parameters {
  std::string weight, bias;
  std::string gamma, beta, mean, var;  // of a batch norm, alone or right after a convolution
  double eps = 0;
  bool transposed = false;  // the matrix of a linear layer is [k, m] there
};

struct Layer {
  std::string op;  // "conv", "norm", "relu", …
  std::string name;
  Ints attributes = {};          // all that tells it from another of its kind
  Shape weight_shape = {};       // of a convolution or a linear layer
  std::vector<int> inputs = {};  // layers before it
  Parameters parameters = {};
  std::int64_t c = 0, h = 0, w = 0;  // of its output; 0: not known
};

struct Net {
  std::vector<Layer> layers;  // the first is the input
  int logits = -1;

  int add(Layer layer) {
    layers.push_back(std::move(layer));
    return static_cast<int>(layers.size()) - 1;
  }
  const Layer& at(int i) const { return layers[static_cast<std::size_t>(i)]; }
  Layer& at(int i) { return layers[static_cast<std::size_t>(i)]; }
};

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
      case Op::kFill: layer.op = "constant"; break;  // no foreign graph has one: nothing to match
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

// -------------------------------------------------------------------------------- the other graph

std::string describe(const OnnxNode& node) {
  const std::string domain = node.domain.empty() ? "" : shown(node.domain) + ".";
  return fmt::format(
      "{}{} '{}'", domain, shown(node.op),
      shown(node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name));
}

template <class T>
T attribute(const OnnxNode& node, const char* name, T otherwise) {
  const auto found = node.attributes.find(name);
  if (found == node.attributes.end()) return otherwise;
  const T* value = std::get_if<T>(&found->second);
  return value == nullptr ? otherwise : *value;
}

Ints to_ints(const Tensor& tensor) {
  const Tensor wide = tensor.cast(DType::kI64);
  const auto values = wide.as<std::int64_t>();
  return {values.begin(), values.end()};
}

Tensor transposed(const Tensor& matrix) {  // [a, b] -> [b, a]
  const Tensor in = matrix.cast(DType::kF32);
  const auto rows = static_cast<std::size_t>(in.dim(0)),
             columns = static_cast<std::size_t>(in.dim(1));
  Tensor out(DType::kF32, {in.dim(1), in.dim(0)});
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      out.as<float>()[j * rows + i] = in.as<float>()[i * columns + j];
    }
  }
  return out;
}

// Of windows, channels and sides of pictures: no product of a few overflows below it.
constexpr std::int64_t kMostExtent = 1 << 20;

class OnnxReader {
 public:
  OnnxReader(const OnnxModel& model, const std::string& file) : model_(model), file_(file) {
    constexpr std::int64_t kOldest = 7;  // broadcasting and batch norm as they still are
    if (model.opset < kOldest) {
      fail(ErrorCode::kUnsupported,
           "{}: it uses ONNX's operations of version {}, {} and later are "
           "read; export it again",
           file, model.opset, kOldest);
    }
    for (const auto& [name, tensor] : model.initializers) {
      constants_[name] = tensor;
      // Exporters compute small things with constants; more than the weights take is no export.
      budget_ += 2 * tensor.bytes();
    }
    for (const OnnxNode& node : model.nodes) {
      for (const std::string& name : node.inputs) ++readers_[name];
    }
    for (const OnnxValue& output : model.outputs) ++readers_[output.name];
  }

  Net run() {
    add_input();
    for (const OnnxNode& node : model_.nodes) {
      if (node.outputs.empty()) continue;
      if (node.op == "QuantizeLinear" || node.op == "DequantizeLinear" ||
          node.op.starts_with("QLinear") || node.op.ends_with("Integer")) {
        fail(ErrorCode::kUnsupported,
             "{}: {}: a network on integers that was not made here; export it with real numbers "
             "and make it one with `resnet quantize`",
             file_, describe(node));
      }
      const bool constant = std::ranges::all_of(node.inputs, [&](const std::string& name) {
        return name.empty() || constants_.contains(name);
      });
      if (constant ? fold(node) : add(node)) continue;
      // Such a node does no harm when the logits do not depend on its values: shapes, for example.
      // Otherwise the first of its kind is to blame.
      const OnnxNode* cause = &node;
      for (const std::string& name : node.inputs) {
        if (const auto before = unread_.find(name); before != unread_.end()) cause = before->second;
      }
      for (const std::string& name : node.outputs) unread_[name] = cause;
    }
    net_.logits = find_logits();
    return std::move(net_);
  }

  const Tensor& constant(const std::string& name) const { return constants_.at(name); }

 private:
  struct Data {
    int layer = -1;
    bool shared = false;  // something else reads the same values
  };

  [[noreturn]] void unsupported(const OnnxNode& node, std::string_view what) const {
    fail(ErrorCode::kUnsupported,
         "{}: {}: {}; export the network as PyTorch does, without other operations around it",
         file_, describe(node), what);
  }
  [[noreturn]] void bad(const OnnxNode& node, std::string_view what) const {
    fail(ErrorCode::kBadData, "{}: {}: {}; export the network again", file_, describe(node), what);
  }

  void add_input() {
    const OnnxValue* image = nullptr;
    for (const OnnxValue& input : model_.inputs) {
      if (constants_.contains(input.name)) continue;
      if (image != nullptr || input.shape.size() != 4 || !is_floating(input.dtype)) {
        fail(ErrorCode::kUnsupported,
             "{}: expected one input of pictures [batch, channels, height, width], found '{}' with "
             "{} "
             "dimensions; export the network alone",
             file_, shown(input.name), input.shape.size());
      }
      image = &input;
    }
    if (image == nullptr) {
      fail(ErrorCode::kBadData, "{}: the graph has no input; export the network again", file_);
    }
    const auto size = [&](std::size_t i) {
      const std::int64_t d = image->shape[i].size;
      if (d > kMostExtent) {
        fail(ErrorCode::kBadData, "{}: its input '{}' has a side of {}, above the limit of {}",
             file_, shown(image->name), d, kMostExtent);
      }
      return std::max<std::int64_t>(0, d);
    };
    const int layer =
        net_.add({.op = "input", .name = image->name, .c = size(1), .h = size(2), .w = size(3)});
    data_[image->name] = {layer, readers_[image->name] > 1};
  }

  int find_logits() {
    const auto named = std::ranges::find(model_.outputs, "logits", &OnnxValue::name);
    if (model_.outputs.empty()) {
      fail(ErrorCode::kBadData, "{}: the graph has no output; export the network again", file_);
    }
    const std::string& name =
        named == model_.outputs.end() ? model_.outputs.front().name : named->name;
    int layer = data_of(name, nullptr).layer;
    if (net_.at(layer).op == "softmax") layer = net_.at(layer).inputs[0];
    if (net_.at(layer).op != "linear") {
      fail(ErrorCode::kUnsupported,
           "{}: its output '{}' comes from {} '{}', expected a linear layer that gives the logits",
           file_, shown(name), net_.at(layer).op, shown(net_.at(layer).name));
    }
    return layer;
  }

  // The layer whose output has this name; names the node that stands in the way.
  const Data& data_of(const std::string& name, const OnnxNode* reader) const {
    if (const auto found = data_.find(name); found != data_.end()) return found->second;
    if (const auto node = unread_.find(name); node != unread_.end()) {
      unsupported(*node->second, "no network here has this operation in this place");
    }
    if (reader != nullptr) bad(*reader, fmt::format("'{}' is no data of the graph", shown(name)));
    fail(ErrorCode::kBadData, "{}: its output '{}' depends on no input", file_, shown(name));
  }
  const Data& data(const OnnxNode& node, std::size_t i) const {
    if (i >= node.inputs.size()) bad(node, "an input is missing");
    return data_of(node.inputs[i], &node);
  }

  bool has(const OnnxNode& node, std::size_t i) const {
    return i < node.inputs.size() && !node.inputs[i].empty();
  }
  // A constant input, under its name.
  const std::string& constant_name(const OnnxNode& node, std::size_t i) const {
    if (!has(node, i)) bad(node, "an input is missing");
    if (!constants_.contains(node.inputs[i])) {
      unsupported(node, fmt::format("'{}' should be a constant", shown(node.inputs[i])));
    }
    return node.inputs[i];
  }
  const Tensor& constant(const OnnxNode& node, std::size_t i) const {
    return constants_.at(constant_name(node, i));
  }
  // A list that newer operations take as an input and older ones as an attribute.
  std::optional<Ints> list(const OnnxNode& node, std::size_t input, const char* name) const {
    if (has(node, input)) return small(node, constant(node, input));
    const auto found = node.attributes.find(name);
    if (found == node.attributes.end()) return std::nullopt;
    return attribute(node, name, Ints{});
  }
  // The values of a list of axes, sizes or pads.
  Ints small(const OnnxNode& node, const Tensor& tensor) const {
    constexpr std::int64_t kMost = 64;
    if (tensor.size() > kMost || is_floating(tensor.dtype())) {
      bad(node, "a short list of whole numbers was expected");
    }
    return to_ints(tensor);
  }
  // Two or four numbers of a window.
  Ints window(const OnnxNode& node, const char* name, std::size_t count, std::int64_t least,
              std::int64_t otherwise) const {
    const Ints values = attribute(node, name, Ints(count, otherwise));
    const auto fits = [&](std::int64_t v) { return v >= least && v <= kMostExtent; };
    if (values.size() != count || !std::ranges::all_of(values, fits)) {
      bad(node, fmt::format("{} should be {} numbers from {} to 2^20", name, count, least));
    }
    return values;
  }

  // A vector of the layer's channels.
  std::string vector(const OnnxNode& node, std::size_t i, std::int64_t size) {
    const std::string& name = constant_name(node, i);
    const Tensor& tensor = constants_.at(name);
    if (tensor.size() != size || !is_floating(tensor.dtype())) {
      bad(node, fmt::format("'{}' {} should have {} values", shown(name), to_string(tensor.shape()),
                            size));
    }
    return name;
  }

  bool set(const OnnxNode& node, int layer, bool shared = false) {
    data_[node.outputs[0]] = {layer, shared || readers_[node.outputs[0]] > 1};
    return true;
  }
  // The node changes nothing.
  bool pass(const OnnxNode& node) {
    const Data from = data(node, 0);
    return set(node, from.layer, from.shared);
  }
  // A layer with the same number of channels as the one before it.
  bool simple(const OnnxNode& node, const char* op) {
    const int before = data(node, 0).layer;
    const Layer& x = net_.at(before);
    return set(node, net_.add({.op = op,
                               .name = name_of_layer(node),
                               .inputs = {before},
                               .c = x.c,
                               .h = x.h,
                               .w = x.w}));
  }
  std::string name_of_layer(const OnnxNode& node) const {
    return node.name.empty() ? node.outputs[0] : node.name;
  }

  // Adds the layer of a node that has data; false for one that no network here has.
  bool add(const OnnxNode& node) {
    if (!node.domain.empty()) return false;
    const std::string& op = node.op;
    if (op == "Conv") return add_conv(node);
    if (op == "BatchNormalization") return add_norm(node);
    if (op == "Relu") return simple(node, "relu");
    if (op == "Sigmoid") return simple(node, "sigmoid");
    if (op == "Softmax" || op == "LogSoftmax") return simple(node, "softmax");
    if (op == "Add" || op == "Sum" || op == "Mul") return add_pair(node);
    if (op == "MaxPool" || op == "AveragePool") return add_pool(node);
    if (op == "GlobalAveragePool") return add_global_pool(node);
    if (op == "ReduceMean") {
      const std::optional<Ints> axes = list(node, 1, "axes");
      return axes && (*axes == Ints{2, 3} || *axes == Ints{-2, -1} || *axes == Ints{-1, -2}) &&
             add_global_pool(node);
    }
    if (op == "Flatten" || op == "Reshape" || op == "Squeeze") {
      const auto from = data_.find(node.inputs.empty() ? "" : node.inputs[0]);
      if (from == data_.end()) return false;
      // Of one value a channel all shapes are alike; the linear layer checks their number.
      const Layer& x = net_.at(from->second.layer);
      return x.h == 1 && x.w == 1 && pass(node);
    }
    if (op == "Gemm" || op == "MatMul") return add_linear(node);
    if (op == "Identity") return pass_if_data(node);
    if (op == "Dropout") {
      const bool training = has(node, 2) && constants_.contains(node.inputs[2]) &&
                            small(node, constant(node, 2)) != Ints{0};
      return !training && pass_if_data(node);
    }
    if (op == "Cast") {
      const auto to = attribute(node, "to", std::int64_t{0});
      const bool floating = to == 1 || to == 10 || to == 11 || to == 16;
      return floating && pass_if_data(node);
    }
    if (op == "Slice") return add_slice(node);
    if (op == "Pad") return add_pad(node);
    return false;
  }

  // Identity and the like may also stand among shapes, which have no layer.
  bool pass_if_data(const OnnxNode& node) {
    return !node.inputs.empty() && data_.contains(node.inputs[0]) && pass(node);
  }

  // Output size of a window; unknown when the input's is.
  std::int64_t slide(const OnnxNode& node, std::int64_t size, std::int64_t pad, std::int64_t kernel,
                     std::int64_t stride, std::int64_t dilation) const {
    if (size == 0) return 0;
    if (size + pad < dilation * (kernel - 1) + 1) {
      bad(node, "the window does not fit its input");
    }
    return window_output(size, pad, kernel, stride, dilation);
  }

  Ints padding(const OnnxNode& node) const {
    const std::string mode = attribute(node, "auto_pad", std::string("NOTSET"));
    if (mode != "NOTSET" && mode != "VALID") {
      unsupported(node, "padding that depends on the size of the picture (auto_pad)");
    }
    return mode == "VALID" ? Ints(4, 0) : window(node, "pads", 4, 0, 0);
  }

  bool add_conv(const OnnxNode& node) {
    const int before = data(node, 0).layer;
    const Tensor& weight = constant(node, 1);
    const Shape& s = weight.shape();
    const std::int64_t groups = attribute(node, "group", std::int64_t{1});
    if (s.size() != 4 || weight.empty() || !is_floating(weight.dtype()) || groups < 1 ||
        groups > kMostExtent || std::ranges::max(s) > kMostExtent) {
      unsupported(node, "its weights are not those of a convolution over pictures");
    }
    Layer& x = net_.at(before);
    if (x.op == "input" && x.c == 0) x.c = s[1];
    if (s[1] * groups != x.c) {
      bad(node, fmt::format("weights {} do not fit {} channels", to_string(s), x.c));
    }
    const Ints strides = window(node, "strides", 2, 1, 1),
               dilations = window(node, "dilations", 2, 1, 1);
    const Ints pads = padding(node);
    Layer layer{.op = "conv",
                .name = name_of_layer(node),
                .attributes = {strides[0], strides[1], pads[0], pads[1], pads[2], pads[3],
                               dilations[0], dilations[1], groups},
                .weight_shape = s,
                .inputs = {before},
                .c = s[0]};
    layer.h = slide(node, x.h, pads[0] + pads[2], s[2], strides[0], dilations[0]);
    layer.w = slide(node, x.w, pads[1] + pads[3], s[3], strides[1], dilations[1]);
    layer.parameters.weight = node.inputs[1];
    if (has(node, 2)) layer.parameters.bias = vector(node, 2, s[0]);
    return set(node, net_.add(std::move(layer)));
  }

  bool add_norm(const OnnxNode& node) {
    if (attribute(node, "training_mode", std::int64_t{0}) != 0) {
      unsupported(node, "it was exported in training mode; call .eval() before exporting");
    }
    const Data before = data(node, 0);
    const std::int64_t c = net_.at(before.layer).c;
    Parameters p;
    p.gamma = vector(node, 1, c);
    p.beta = vector(node, 2, c);
    p.mean = vector(node, 3, c);
    p.var = vector(node, 4, c);
    p.eps = attribute(node, "epsilon", 1e-5F);
    // 1e-5 is stored as a float; the nearest short decimal is what was meant.
    p.eps = std::stod(fmt::format("{}", static_cast<float>(p.eps)));
    Layer& x = net_.at(before.layer);
    if (x.op == "conv" && !before.shared && x.parameters.gamma.empty()) {
      p.weight = x.parameters.weight;
      p.bias = x.parameters.bias;
      x.parameters = p;
      return set(node, before.layer);
    }
    if (!simple(node, "norm")) return false;
    net_.layers.back().parameters = p;
    return true;
  }

  bool add_pair(const OnnxNode& node) {
    if (node.inputs.size() != 2) return false;
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
      if (!constants_.contains(node.inputs[i]) || node.op == "Mul") continue;
      // The bias of a linear layer that was written as a product and a sum.
      const auto from = data_.find(node.inputs[1 - i]);
      if (from == data_.end() || from->second.shared) return false;
      Layer& x = net_.at(from->second.layer);
      if (x.op != "linear" || !x.parameters.bias.empty()) return false;
      x.parameters.bias = vector(node, i, x.c);
      return set(node, from->second.layer);
    }
    const auto a = data_.find(node.inputs[0]), b = data_.find(node.inputs[1]);
    if (a == data_.end() || b == data_.end()) return false;
    const Layer& x = net_.at(a->second.layer);
    const Layer& y = net_.at(b->second.layer);
    if (x.c != y.c || x.h != y.h || x.w != y.w) return false;  // broadcast
    return set(node, net_.add({.op = node.op == "Mul" ? "mul" : "add",
                               .name = name_of_layer(node),
                               .inputs = {a->second.layer, b->second.layer},
                               .c = x.c,
                               .h = x.h,
                               .w = x.w}));
  }

  bool add_pool(const OnnxNode& node) {
    const int before = data(node, 0).layer;
    const Layer& x = net_.at(before);
    const Ints kernel = window(node, "kernel_shape", 2, 1, 0),
               strides = window(node, "strides", 2, 1, 1);
    const Ints pads = padding(node);
    if (window(node, "dilations", 2, 1, 1) != Ints{1, 1}) unsupported(node, "dilated pooling");
    Layer layer{.op = node.op == "MaxPool" ? "max_pool" : "avg_pool",
                .name = name_of_layer(node),
                .attributes = {kernel[0], kernel[1], strides[0], strides[1], pads[0], pads[1],
                               pads[2], pads[3]},
                .inputs = {before},
                .c = x.c};
    const auto pad_h = pads[0] + pads[2], pad_w = pads[1] + pads[3];
    layer.h = slide(node, x.h, pad_h, kernel[0], strides[0], 1);
    layer.w = slide(node, x.w, pad_w, kernel[1], strides[1], 1);
    if (attribute(node, "ceil_mode", std::int64_t{0}) != 0) {
      // The same as rounding down when there is nothing to round.
      const bool exact = x.h != 0 && x.w != 0 && (x.h + pad_h - kernel[0]) % strides[0] == 0 &&
                         (x.w + pad_w - kernel[1]) % strides[1] == 0;
      if (!exact) unsupported(node, "its output's size is rounded up (ceil_mode)");
    }
    if (layer.op == "avg_pool") {
      const bool padded = pad_h + pad_w != 0;
      if (!padded && kernel == Ints{x.h, x.w}) return add_global_pool(node);
      if (!padded && kernel == Ints{1, 1}) return subsample(node, strides);
      const bool counted = attribute(node, "count_include_pad", std::int64_t{0}) != 0;
      layer.attributes.push_back(counted || !padded ? 1 : 0);
    }
    return set(node, net_.add(std::move(layer)));
  }

  bool add_global_pool(const OnnxNode& node) {
    if (!simple(node, "global_pool")) return false;
    net_.layers.back().h = net_.layers.back().w = 1;
    return true;
  }

  bool add_linear(const OnnxNode& node) {
    const bool gemm = node.op == "Gemm";
    const int before = data(node, 0).layer;
    if (!has(node, 1) || !constants_.contains(node.inputs[1])) return false;
    const Tensor& matrix = constants_.at(node.inputs[1]);
    if (gemm && (attribute(node, "alpha", 1.0F) != 1 || attribute(node, "beta", 1.0F) != 1 ||
                 attribute(node, "transA", std::int64_t{0}) != 0)) {
      unsupported(node, "a linear layer with factors or a transposed input");
    }
    if (matrix.shape().size() != 2 || !is_floating(matrix.dtype())) {
      unsupported(node, "its weights are not a matrix");
    }
    const bool transposed = !gemm || attribute(node, "transB", std::int64_t{0}) == 0;
    const Layer& x = net_.at(before);
    Shape shape = matrix.shape();  // [m, k]
    if (transposed) std::swap(shape[0], shape[1]);
    if (x.h != 1 || x.w != 1 || shape[1] != x.c || shape[0] == 0) {
      bad(node, fmt::format("weights {} do not fit {} features", to_string(shape), x.c));
    }
    Layer layer{.op = "linear",
                .name = name_of_layer(node),
                .weight_shape = shape,
                .inputs = {before},
                .c = shape[0],
                .h = 1,
                .w = 1};
    layer.parameters.weight = node.inputs[1];
    layer.parameters.transposed = transposed;
    if (gemm && has(node, 2)) layer.parameters.bias = vector(node, 2, shape[0]);
    return set(node, net_.add(std::move(layer)));
  }

  // Every stride-th row and column, from the first.
  bool subsample(const OnnxNode& node, Ints strides) {
    int before = data(node, 0).layer;
    const Layer x = net_.at(before);
    if (x.op == "subsample") {  // PyTorch slices rows and columns one after the other
      before = x.inputs[0];
      for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
        if (__builtin_mul_overflow(strides[i], x.attributes[i], &strides[i])) return false;
      }
    }
    const auto out = [](std::int64_t size, std::int64_t stride) {
      return (size + stride - 1) / stride;
    };
    const Ints own{strides[0] / (x.op == "subsample" ? x.attributes[0] : 1),
                   strides[1] / (x.op == "subsample" ? x.attributes[1] : 1)};
    return set(node, net_.add({.op = "subsample",
                               .name = name_of_layer(node),
                               .attributes = strides,
                               .inputs = {before},
                               .c = x.c,
                               .h = out(x.h, own[0]),
                               .w = out(x.w, own[1])}));
  }

  bool add_slice(const OnnxNode& node) {
    if (node.inputs.empty() || !data_.contains(node.inputs[0])) return false;
    const Data from = data(node, 0);
    const std::optional<Ints> starts = list(node, 1, "starts"), ends = list(node, 2, "ends");
    if (!starts || !ends || starts->size() != ends->size()) bad(node, "starts and ends differ");
    Ints axes = list(node, 3, "axes").value_or(Ints{});
    if (axes.empty()) {
      for (std::size_t i = 0; i < starts->size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
    }
    const Ints steps = has(node, 4) ? small(node, constant(node, 4)) : Ints(starts->size(), 1);
    if (axes.size() != starts->size() || steps.size() != starts->size()) {
      bad(node, "axes and steps differ in number from starts");
    }
    const Layer& x = net_.at(from.layer);
    const Ints sizes{0, x.c, x.h, x.w};  // 0: not known
    Ints strides{1, 1};
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::int64_t axis = axes[i] < 0 ? axes[i] + 4 : axes[i];
      if (axis < 0 || axis > 3) bad(node, "no such axis");
      const std::int64_t size = sizes[static_cast<std::size_t>(axis)];
      const bool whole = (*starts)[i] == 0 && (*ends)[i] >= (size == 0 ? INT_MAX : size);
      if (!whole || steps[i] < 1 || steps[i] > kMostExtent || (axis < 2 && steps[i] != 1))
        return false;
      if (axis >= 2) strides[static_cast<std::size_t>(axis - 2)] = steps[i];
    }
    return strides == Ints{1, 1} ? pass(node) : subsample(node, strides);
  }

  // Zero channels before and after.
  bool add_pad(const OnnxNode& node) {
    const Data from = data(node, 0);
    const std::optional<Ints> pads = list(node, 1, "pads");
    double value = attribute(node, "value", 0.0F);
    if (has(node, 2)) {
      if (constant(node, 2).size() != 1) bad(node, "the value to pad with is no number");
      const Tensor number = constant(node, 2).cast(DType::kF64);
      value = number.as<double>()[0];
    }
    Ints axes{0, 1, 2, 3};
    if (has(node, 3)) axes = small(node, constant(node, 3));
    if (!pads || pads->size() != 2 * axes.size()) bad(node, "two pads an axis were expected");
    if (value != 0 || attribute(node, "mode", std::string("constant")) != "constant") return false;
    Layer layer = net_.at(from.layer);
    layer = {.op = "pad_channels",
             .name = name_of_layer(node),
             .attributes = {0, 0},
             .inputs = {from.layer},
             .c = layer.c,
             .h = layer.h,
             .w = layer.w};
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::int64_t before = (*pads)[i], after = (*pads)[i + axes.size()];
      if (before == 0 && after == 0) continue;
      if ((axes[i] != 1 && axes[i] != -3) || before < 0 || after < 0 || before > kMostExtent ||
          after > kMostExtent) {
        return false;
      }
      layer.attributes = {before, after};
      layer.c += before + after;
    }
    if (layer.attributes == Ints{0, 0}) return pass(node);
    return set(node, net_.add(std::move(layer)));
  }

  // ---- constants that the exporter left to be computed

  bool fold(const OnnxNode& node) {
    if (!node.domain.empty()) return false;
    const std::optional<Tensor> result = folded(node);
    if (!result) return false;
    if (result->bytes() > budget_) {
      fail(ErrorCode::kBadData,
           "{}: {}: its constants take more memory than its weights; export the "
           "network again",
           file_, describe(node));
    }
    if (node.op != "Identity") budget_ -= result->bytes();
    constants_[node.outputs[0]] = *result;
    return true;
  }

  // What PyTorch's exporters use: for biases that are equal, and for the pads of F.pad.
  std::optional<Tensor> folded(const OnnxNode& node) const {
    const std::string& op = node.op;
    if (op == "Constant") {
      const auto value = node.attributes.find("value");
      if (value != node.attributes.end() && std::holds_alternative<Tensor>(value->second)) {
        return std::get<Tensor>(value->second);
      }
      const auto ints = attribute(node, "value_ints", Ints{});
      if (!ints.empty()) return Tensor::from<std::int64_t>({std::ssize(ints)}, std::span(ints));
      if (node.attributes.contains("value_int")) {
        const std::int64_t i = attribute(node, "value_int", std::int64_t{0});
        return Tensor::from<std::int64_t>({}, std::span(&i, 1));
      }
      if (node.attributes.contains("value_float")) {
        return Tensor::full({}, attribute(node, "value_float", 0.0F));
      }
      return std::nullopt;
    }
    if (node.inputs.empty() || node.inputs[0].empty()) return std::nullopt;
    const Tensor& x = constants_.at(node.inputs[0]);
    if (op == "Identity") return x;
    if (op == "Transpose" && x.shape().size() == 2 && is_floating(x.dtype()) &&
        x.bytes() <= budget_) {
      return transposed(x);
    }
    // The rest is done with lists of whole numbers.
    constexpr std::int64_t kMost = 4096;
    if (x.size() > kMost || (x.dtype() != DType::kI64 && x.dtype() != DType::kI32)) {
      return std::nullopt;
    }
    const Ints values = to_ints(x);
    const auto ints = [](Shape shape, const Ints& v) {
      return Tensor::from<std::int64_t>(std::move(shape), std::span(v));
    };
    if (op == "Cast") {
      const auto to = attribute(node, "to", std::int64_t{0});
      return to == 6 || to == 7 ? std::optional(ints(x.shape(), values)) : std::nullopt;
    }
    if (op == "ConstantOfShape") {
      const Tensor fill = attribute(node, "value", Tensor::zeros(DType::kF32, {1}));
      if (values.size() != 1 || values[0] < 0 || values[0] > kMost || fill.size() != 1 ||
          is_floating(fill.dtype())) {
        return std::nullopt;
      }
      return ints({values[0]}, Ints(static_cast<std::size_t>(values[0]), to_ints(fill)[0]));
    }
    if (op == "Concat") {
      Ints all;
      for (const std::string& name : node.inputs) {
        if (name.empty() || constants_.at(name).shape().size() != 1 ||
            constants_.at(name).size() > kMost || all.size() > static_cast<std::size_t>(kMost) ||
            is_floating(constants_.at(name).dtype())) {
          return std::nullopt;
        }
        const Ints more = to_ints(constants_.at(name));
        all.insert(all.end(), more.begin(), more.end());
      }
      return ints({std::ssize(all)}, all);
    }
    if (op == "Reshape" && has(node, 1) && constants_.at(node.inputs[1]).size() <= 4) {
      Ints shape = to_ints(constants_.at(node.inputs[1]));
      std::int64_t rest = x.size();
      std::int64_t* open = nullptr;
      for (std::int64_t& d : shape) {
        if (d == -1 && open == nullptr) {
          open = &d;
        } else if (d < 1 || rest % d != 0) {
          return std::nullopt;
        } else {
          rest /= d;
        }
      }
      if (open != nullptr) *open = rest;
      if ((open == nullptr && rest != 1) || x.empty()) return std::nullopt;
      return ints(shape, values);
    }
    if (op == "Transpose" && x.shape().size() == 2 &&
        attribute(node, "perm", Ints{1, 0}) == Ints{1, 0}) {
      const auto rows = static_cast<std::size_t>(x.dim(0)),
                 columns = static_cast<std::size_t>(x.dim(1));
      Ints out;
      for (std::size_t j = 0; j < columns; ++j) {
        for (std::size_t i = 0; i < rows; ++i) out.push_back(values[i * columns + j]);
      }
      return ints({x.dim(1), x.dim(0)}, out);
    }
    if (op == "Slice" && !x.shape().empty() && has(node, 4)) {
      // Rows in reverse, as the exporter turns PyTorch's order of pads around.
      const auto is = [&](std::size_t i, std::int64_t value) {
        return has(node, i) && constants_.at(node.inputs[i]).size() == 1 &&
               to_ints(constants_.at(node.inputs[i])) == Ints{value};
      };
      if (!is(1, -1) || !has(node, 2) || !is(3, 0) || !is(4, -1)) return std::nullopt;
      const Tensor& end = constants_.at(node.inputs[2]);
      if (end.size() != 1 || to_ints(end)[0] > -INT_MAX) return std::nullopt;
      const auto rows = static_cast<std::size_t>(x.dim(0));
      const std::size_t row = rows == 0 ? 0 : values.size() / rows;
      Ints out;
      for (std::size_t i = rows; i-- > 0;) {
        out.insert(out.end(), values.begin() + static_cast<std::ptrdiff_t>(i * row),
                   values.begin() + static_cast<std::ptrdiff_t>((i + 1) * row));
      }
      return ints(x.shape(), out);
    }
    return std::nullopt;
  }

  const OnnxModel& model_;
  const std::string& file_;
  Net net_;
  std::map<std::string, Tensor> constants_;
  std::map<std::string, Data> data_;               // by the name of the value
  std::map<std::string, const OnnxNode*> unread_;  // by the name of the value
  std::map<std::string, int> readers_;
  std::size_t budget_ = 1 << 20;
};

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
      put(to.weight, from.transposed ? transposed(weight) : weight, theirs);
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
    put(to.gamma, values(from.gamma).reshaped({m}), theirs);
    put(to.beta, values(from.beta).reshaped({m}), theirs);
    // (x + bias − mean) / sqrt(var + eps) with our eps.
    Tensor mean = values(from.mean).reshaped({m}).clone(),
           var = values(from.var).reshaped({m}).clone();
    if (to.bias.empty() && !from.bias.empty()) {
      for (std::size_t i = 0; i < mean.as<float>().size(); ++i) {
        mean.as<float>()[i] -= bias.as<float>()[i];
      }
    }
    if (from.eps != to.eps) {
      for (float& v : var.as<float>()) v = static_cast<float>(v + (from.eps - to.eps));
    }
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
      fail(ErrorCode::kUnsupported,
           "{}: its pictures have {} rows and {} columns, expected a square", file_, image.h,
           image.w);
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

  // The shortcut and the place of the stride leave no trace but the graph itself.
  std::optional<OnnxMatch> try_variants(ModelConfig config) {
    const Layer& image = theirs_.layers.front();
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

// -------------------------------------------------------------------- our networks on integers

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

// A network on integers that we exported: the constants of its graph are the tensors of its model
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
         "{}: a network on 8-bit integers that is not as it was exported: {}; use the model file "
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
        match.config.stride_on_first_1x1 != said.stride_on_first_1x1) {
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

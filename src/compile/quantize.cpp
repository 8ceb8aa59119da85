// From a graph of real numbers to one of 8-bit integers with given scales.
#include <algorithm>
#include <set>

#include "compile/passes.h"
#include "core/check.h"
#include "resnet/quantized_graph.h"

namespace resnet {
namespace {

bool keeps_scale(Op op) { return op == Op::kMaxPool || op == Op::kPadShortcut; }

class Quantizer {
 public:
  Quantizer(const Graph& inference, const Quantization& quantization)
      : from_(fold_graph(inference)), q_(quantization), readers_(from_.nodes().size()) {
    for (std::int32_t id = 0; id < std::ssize(from_.nodes()); ++id) {
      for (const Value v : from_.nodes()[static_cast<std::size_t>(id)].inputs) {
        readers_[static_cast<std::size_t>(v.node)].push_back(id);
      }
    }
  }

  Graph run() {
    build();
    for (const auto& [name, scale] : q_.activations) {
      if (!used_.contains(name)) {
        fail(ErrorCode::kInvalidArgument, "there is a scale of '{}', which nothing reads",
             name.substr(0, kShown));
      }
    }
    verify(to_);
    return std::move(to_);
  }
  std::set<std::string> needed() {
    build();
    return used_;
  }

 private:
  static constexpr std::size_t kShown = 80;  // characters of a name that may come from a file

  void build() {
    for (const auto& entry : q_.weights) {
      const std::string& layer = entry.first;
      const bool known = std::ranges::any_of(from_.nodes(), [&](const Node& n) {
        return (n.op == Op::kConv2d || n.op == Op::kLinear) && n.name == layer;
      });
      if (!known) {
        fail(ErrorCode::kInvalidArgument, "there are scales of weights of '{}', which is no layer",
             layer.substr(0, kShown));
      }
    }
    for (std::int32_t id = 0; id < std::ssize(from_.nodes()); ++id) add(id);
    for (const auto& [name, v] : from_.outputs()) to_.mark_output(name, real(v));
  }

  bool on_integers(const Node& n) const { return q_.weights.contains(n.name); }

  /// Somebody reads `v` as integers if it can be had so.
  bool wanted_as_integers(Value v) const {
    return std::ranges::any_of(readers_[static_cast<std::size_t>(v.node)], [&](std::int32_t id) {
      const Node& n = from_.nodes()[static_cast<std::size_t>(id)];
      if (keeps_scale(n.op)) return wanted_as_integers({id, 0});
      return n.op == Op::kGlobalAvgPool || (n.op == Op::kConv2d && on_integers(n));
    });
  }

  bool is_unsigned(Value v) const {
    const Node& n = from_.node(v);
    switch (n.op) {
      case Op::kRelu:
      case Op::kSigmoid: return true;
      case Op::kConv2d: return std::get<ConvAttributes>(n.attributes).relu;
      case Op::kNormalize: return std::get<NormAttributes>(n.attributes).relu;
      case Op::kMaxPool:
      case Op::kAvgPool:
      case Op::kGlobalAvgPool:
      case Op::kPadShortcut: return is_unsigned(n.inputs[0]);
      default: return false;
    }
  }
  DType type_of(Value v) const { return is_unsigned(v) ? DType::kU8 : DType::kI8; }

  float scale_of(Value v) {
    const Node& n = from_.node(v);
    if (keeps_scale(n.op)) return scale_of(n.inputs[0]);
    const auto found = q_.activations.find(n.name);
    if (found == q_.activations.end()) {
      fail(ErrorCode::kInvalidArgument, "the scale of the activation '{}' is missing", n.name);
    }
    used_.insert(n.name);
    return found->second;
  }

  Value real(Value v) {
    const auto found = real_.find(v);
    if (found != real_.end()) return found->second;
    return real_[v] = dequantize(to_, integers_.at(v));
  }
  Value integers(Value v) {
    const auto found = integers_.find(v);
    if (found != integers_.end()) return found->second;
    return integers_[v] = to_.append(Op::kQuantize, from_.node(v).name, {real(v)},
                                     QuantizeAttributes{.scale = scale_of(v), .dtype = type_of(v)});
  }

  /// A parameter of the old graph; folded ones become parameters under the layer's name.
  Value parameter(Value v, DType dtype = DType::kF32) {
    const Node& n = from_.node(v);
    const bool weights = n.op == Op::kFoldWeights;
    const std::string name = weights                 ? n.name + ".weight"
                             : n.op == Op::kFoldBias ? n.name + ".bias"
                                                     : n.name;
    if (const Value there = to_.find(name)) return there;
    return to_.parameter(name, from_.shape(v), {.role = Role::kBuffer}, dtype);
  }

  QuantizedAttributes attributes_of(const Node& n) {
    QuantizedAttributes a;
    a.x_scale = scale_of(n.inputs[0]);
    a.x_dtype = type_of(n.inputs[0]);
    a.w_scales = q_.weights.at(n.name);
    return a;
  }
  Value bias_of(const Node& n, std::int64_t filters) {
    if (const Value there = to_.find(n.name + ".bias")) return there;
    return to_.parameter(n.name + ".bias", {filters}, {.role = Role::kBuffer});
  }

  void quantized_conv(std::int32_t id, const Node& n) {
    const Value y{id, 0};
    QuantizedAttributes a = attributes_of(n);
    a.conv = std::get<ConvAttributes>(n.attributes);
    a.conv.bias = false;  // there always is one
    const bool as_integers = wanted_as_integers(y);
    a.dtype = as_integers ? type_of(y) : DType::kF32;
    if (as_integers) a.y_scale = scale_of(y);
    // The image is quantised by the layer that reads it.
    const Value x = n.inputs[0];
    const bool image = from_.node(x).op == Op::kInput;
    std::vector<Value> in{image ? real(x) : integers(x), parameter(n.inputs[1], DType::kI8),
                          bias_of(n, from_.shape(y)[1])};
    if (a.conv.residual) {
      const Value residual = n.inputs.back();
      if (as_integers) a.residual_scale = scale_of(residual);
      in.push_back(as_integers ? integers(residual) : real(residual));
    }
    const Value result = to_.append(Op::kQuantizedConv2d, n.name, std::move(in), std::move(a));
    (as_integers ? integers_ : real_)[y] = result;
  }

  void add(std::int32_t id) {
    const Node& n = from_.nodes()[static_cast<std::size_t>(id)];
    const Value y{id, 0};
    switch (n.op) {
      case Op::kInput: real_[y] = to_.input(n.name, n.outputs[0].shape, n.outputs[0].dtype); return;
      case Op::kParameter:
      case Op::kFoldWeights:
      case Op::kFoldBias: return;  // with what reads them
      case Op::kConv2d:
        if (on_integers(n)) return quantized_conv(id, n);
        break;
      case Op::kLinear:
        if (on_integers(n)) {
          QuantizedAttributes a = attributes_of(n);
          a.dtype = DType::kF32;
          real_[y] = to_.append(Op::kQuantizedLinear, n.name,
                                {real(n.inputs[0]), parameter(n.inputs[1], DType::kI8),
                                 bias_of(n, from_.shape(y)[1])},
                                std::move(a));
          return;
        }
        break;
      case Op::kMaxPool:
      case Op::kPadShortcut:
        if (wanted_as_integers(y)) {
          integers_[y] = to_.append(n.op, n.name, {integers(n.inputs[0])}, n.attributes);
          return;
        }
        break;
      case Op::kGlobalAvgPool:
        if (integers_.contains(n.inputs[0])) {
          real_[y] = to_.append(n.op, n.name, {integers(n.inputs[0])},
                                QuantizeAttributes{.scale = scale_of(n.inputs[0])});
          return;
        }
        break;
      default: break;
    }
    std::vector<Value> in;
    for (const Value v : n.inputs) {
      const Op op = from_.node(v).op;
      const bool variable = op == Op::kParameter || op == Op::kFoldWeights || op == Op::kFoldBias;
      in.push_back(variable ? parameter(v) : real(v));
    }
    const Value result = to_.append(n.op, n.name, std::move(in), n.attributes);
    for (std::int32_t i = 0; i < std::ssize(n.outputs); ++i) real_[{id, i}] = {result.node, i};
  }

  const Graph from_;
  const Quantization& q_;
  std::vector<std::vector<std::int32_t>> readers_;
  Graph to_{Mode::kInference};
  std::map<Value, Value> real_, integers_;  // values of `from_` as they are in `to_`
  std::set<std::string> used_;
};

float scale_in(const Graph& graph, Value v) {
  const Node& n = graph.node(v);
  if (const auto* a = std::get_if<QuantizeAttributes>(&n.attributes)) return a->scale;
  if (const auto* a = std::get_if<QuantizedAttributes>(&n.attributes)) return a->y_scale;
  if (keeps_scale(n.op)) return scale_in(graph, n.inputs[0]);
  fail(ErrorCode::kInvalidArgument, "layer {}: its integers have no scale", n.name);
}

}  // namespace

Graph fold_graph(const Graph& inference) {
  RESNET_CHECK(inference.mode() == Mode::kInference);
  return fold_batch_norm(fuse(inference));
}

std::vector<Value> scaled_activations(const Graph& folded) {
  std::vector<Value> result;
  for (std::int32_t id = 0; id < std::ssize(folded.nodes()); ++id) {
    switch (folded.nodes()[static_cast<std::size_t>(id)].op) {
      case Op::kParameter:
      case Op::kFill:
      case Op::kFoldWeights:
      case Op::kFoldBias:
      case Op::kLinear:
      case Op::kSoftmax: break;
      default: result.push_back({id, 0});
    }
  }
  return result;
}

Graph quantize_graph(const Graph& inference, const Quantization& quantization) {
  return Quantizer(inference, quantization).run();
}

void drop_unread_scales(const Graph& inference, Quantization& quantization) {
  const std::set<std::string> needed = Quantizer(inference, quantization).needed();
  std::erase_if(quantization.activations,
                [&](const auto& entry) { return !needed.contains(entry.first); });
}

Value dequantize(Graph& graph, Value v) {
  if (graph.type(v).dtype == DType::kF32) return v;
  const float scale = scale_in(graph, v);
  return graph.append(Op::kDequantize, graph.node(v).name, {v}, QuantizeAttributes{.scale = scale});
}

}  // namespace resnet

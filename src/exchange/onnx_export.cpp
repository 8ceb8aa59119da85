// Our inference graph, node by node, as an ONNX graph.
#include "exchange/onnx_export.h"

#include <cmath>
#include <map>
#include <set>

#include "core/check.h"
#include "core/guard.h"
#include "exchange/model_file.h"
#include "resnet/weights.h"

namespace resnet {
namespace {

using Ints = std::vector<std::int64_t>;

class Exporter {
 public:
  Exporter(const Graph& graph, const ModelFile& model, const OnnxExportOptions& options)
      : graph_(graph), model_(model), options_(options), needed_(graph.nodes().size()) {
    for (const auto& [name, value] : graph_.outputs()) {
      if (name == "logits" || options_.probabilities) outputs_[value] = name;
    }
  }

  OnnxModel run() {
    mark_needed();
    for (std::size_t id = 0; id < graph_.nodes().size(); ++id) {
      if (needed_[id] == 0) continue;
      const Value value{static_cast<std::int32_t>(id), 0};
      const Node& node = graph_.nodes()[id];
      if (node.op == Op::kParameter) continue;  // written where it is read
      if (node.op == Op::kInput) {
        add_input(value);
      } else if (const Value norm = norm_to_fold(value)) {
        names_[norm] = add_folded(value, norm);
      } else if (!names_.contains(value)) {
        const std::string y = add(value);
        names_[value] = is_integer(value) ? rounded(value, y, graph_.type(value).dtype) : y;
      }
    }
    for (const auto& [value, name] : outputs_) {
      out_.outputs.push_back({name, DType::kF32, {batch(), {graph_.shape(value).at(1)}}});
    }
    return std::move(out_);
  }

 private:
  static OnnxDimension batch() { return {-1, "batch"}; }

  // How many needed nodes read each node, outputs counted too.
  void mark_needed() {
    for (const auto& [value, name] : outputs_) ++needed_[static_cast<std::size_t>(value.node)];
    for (std::size_t id = graph_.nodes().size(); id-- > 0;) {
      if (needed_[id] == 0) continue;
      for (const Value v : graph_.nodes()[id].inputs) {
        ++needed_[static_cast<std::size_t>(v.node)];
        if (graph_.node(v).op == Op::kConv2d) reader_[v] = {static_cast<std::int32_t>(id), 0};
      }
    }
  }

  // The batch norm that alone reads this convolution.
  Value norm_to_fold(Value conv) const {
    const auto reader = reader_.find(conv);
    // In int8 nothing is left to fold: what could be was when the model was quantised.
    const bool folds = options_.fold_batch_norm && model_.quantization.empty() &&
                       graph_.node(conv).op == Op::kConv2d &&
                       needed_[static_cast<std::size_t>(conv.node)] == 1 &&
                       reader != reader_.end() && graph_.node(reader->second).op == Op::kNormalize;
    return folds ? reader->second : Value{};
  }

  void add_input(Value value) {
    const Node& node = graph_.node(value);
    const Shape& s = node.outputs[0].shape;  // [n, c, h, w]
    RESNET_CHECK(s.size() == 4);
    const auto side = [&](std::size_t i, const char* symbol) {
      return options_.any_size ? OnnxDimension{-1, symbol} : OnnxDimension{s[i], ""};
    };
    out_.inputs.push_back(
        {node.name, DType::kF32, {batch(), {s[1]}, side(2, "height"), side(3, "width")}});
    names_[value] = unique(node.name);
  }

  // Appends what an op becomes, and returns the name of its value.
  using Emit = std::string (*)(Exporter&, Value, const Node&);

  static const std::map<Op, Emit>& table() {
    static const std::map<Op, Emit> kTable{
        {Op::kConv2d, conv2d},
        {Op::kNormalize, normalize},
        {Op::kQuantize, same},  // rounded by who calls
        {Op::kDequantize, same},
        {Op::kQuantizedConv2d, quantized_conv2d},
        {Op::kQuantizedLinear, quantized_linear},
        {Op::kRelu,
         [](Exporter& e, Value v, const Node& n) { return e.emit(v, "Relu", e.inputs(n)); }},
        {Op::kSigmoid,
         [](Exporter& e, Value v, const Node& n) { return e.emit(v, "Sigmoid", e.inputs(n)); }},
        {Op::kAdd,
         [](Exporter& e, Value v, const Node& n) { return e.emit(v, "Add", e.inputs(n)); }},
        {Op::kMul,
         [](Exporter& e, Value v, const Node& n) { return e.emit(v, "Mul", e.inputs(n)); }},
        {Op::kScale, scale},
        {Op::kFill, fill},
        {Op::kMaxPool,
         [](Exporter& e, Value v, const Node& n) {
           return e.emit(v, "MaxPool", e.inputs(n), pool_attributes(n));
         }},
        {Op::kAvgPool, avg_pool},
        {Op::kGlobalAvgPool, global_avg_pool},
        {Op::kLinear, linear},
        {Op::kReshape, flatten},
        {Op::kDropout, same},
        {Op::kPadShortcut, pad_shortcut},
        {Op::kConcat, [](Exporter& e, Value v,
                         const Node& n) { return e.emit(v, "Concat", e.inputs(n), axis(1)); }},
        {Op::kSliceChannels, slice_channels},
        {Op::kSoftmax, [](Exporter& e, Value v,
                          const Node& n) { return e.emit(v, "Softmax", e.inputs(n), axis(1)); }},
    };
    return kTable;
  }

  std::string add(Value value) {
    const Node& node = graph_.node(value);
    const auto found = table().find(node.op);
    if (found == table().end()) {
      fail(ErrorCode::kUnsupported, "layer {}: {} cannot be exported to ONNX", node.name,
           name_of(node.op));
    }
    return found->second(*this, value, node);
  }

  static std::map<std::string, OnnxAttribute> axis(std::int64_t number) {
    return {{"axis", number}};
  }

  static std::string same(Exporter& e, Value, const Node& n) { return e.names_.at(n.inputs[0]); }

  static std::string conv2d(Exporter& e, Value v, const Node& n) {
    const auto& a = attributes<ConvAttributes>(n);
    return e.with_residual(v, "Conv", e.inputs(n), conv_attributes(a), a.residual, a.relu);
  }

  static std::string normalize(Exporter& e, Value v, const Node& n) {
    const auto& a = attributes<NormAttributes>(n);
    return e.with_residual(v, "BatchNormalization", e.inputs(n),
                           {{"epsilon", static_cast<float>(a.eps)}}, a.residual, a.relu);
  }

  static std::string quantized_conv2d(Exporter& e, Value v, const Node& n) {
    const auto& a = attributes<QuantizedAttributes>(n);
    return e.with_residual(v, "Conv", e.quantized_inputs(n), conv_attributes(a.conv),
                           a.conv.residual, a.conv.relu);
  }

  static std::string quantized_linear(Exporter& e, Value v, const Node& n) {
    return e.emit(v, "Gemm", e.quantized_inputs(n), {{"transB", std::int64_t{1}}});
  }

  // A number for every element: Mul broadcasts one, whatever the batch.
  static std::string scale(Exporter& e, Value v, const Node& n) {
    return e.emit(v, "Mul",
                  {e.names_.at(n.inputs[0]), e.scalar(attributes<ScaleAttributes>(n).factor)});
  }
  static std::string fill(Exporter& e, Value v, const Node& n) {
    return e.names_[v] = e.scalar(attributes<FillAttributes>(n).value);
  }

  static std::string avg_pool(Exporter& e, Value v, const Node& n) {
    auto pool = pool_attributes(n);
    pool["count_include_pad"] = std::int64_t{attributes<PoolAttributes>(n).count_padding ? 1 : 0};
    return e.emit(v, "AveragePool", e.inputs(n), pool);
  }

  static std::string global_avg_pool(Exporter& e, Value v, const Node& n) {
    const std::string pooled = e.step(n.name, "GlobalAveragePool", e.inputs(n));
    return e.emit(v, "Flatten", {pooled}, axis(1));
  }

  static std::string linear(Exporter& e, Value v, const Node& n) {
    return e.emit(v, "Gemm", e.inputs(n), {{"transB", std::int64_t{1}}});
  }

  // Of an inference graph only `flatten`; other shapes would hold the batch as a number.
  static std::string flatten(Exporter& e, Value v, const Node& n) {
    RESNET_CHECK(n.outputs[0].shape.size() == 2);
    return e.emit(v, "Flatten", e.inputs(n), axis(1));
  }

  static std::string slice_channels(Exporter& e, Value v, const Node& n) {
    const auto& a = attributes<SliceAttributes>(n);
    return e.emit(
        v, "Slice",
        {e.names_.at(n.inputs[0]), e.constant({a.begin}), e.constant({a.end}), e.constant({1})});
  }

  // What the compiler fuses into a convolution or a batch norm: the last input added, ReLU.
  std::string with_residual(Value value, const char* op, std::vector<std::string> inputs,
                            std::map<std::string, OnnxAttribute> attributes, bool residual,
                            bool relu) {
    std::string other;
    if (residual) {
      other = inputs.back();
      inputs.pop_back();
    }
    const std::string& layer = graph_.node(value).name;
    std::string y = emit(value, op, std::move(inputs), std::move(attributes));
    if (residual) y = step(layer, "Add", {y, other});
    if (relu) y = step(layer, "Relu", {y});
    return y;
  }

  // ---- integers: real numbers between QuantizeLinear and DequantizeLinear, as ONNX writes them

  bool is_integer(Value value) const {
    const Op op = graph_.node(value).op;
    return op != Op::kFill && !is_floating(graph_.type(value).dtype);
  }

  // `x`, real, as it is after it was rounded to `v`'s integers: the scale is that of the
  // activation.
  std::string rounded(Value v, const std::string& x, DType dtype) {
    Value root = v;
    const auto& scales = model_.quantization.activations;
    while (!scales.contains(graph_.node(root).name)) {  // max pools keep that of what they read
      RESNET_CHECK(!graph_.node(root).inputs.empty());
      root = graph_.node(root).inputs[0];
    }
    const std::string scale = graph_.node(root).name + ".output_scale";
    shared(scale, Tensor::full({}, scales.at(graph_.node(root).name)));
    const std::string zero = dtype == DType::kU8 ? "zero_point.u8" : "zero_point.i8";
    shared(zero, Tensor::zeros(dtype, {}));
    const std::string& layer = graph_.node(v).name;
    const std::string q = step(layer, "QuantizeLinear", {x, scale, zero});
    return step(layer, "DequantizeLinear", {q, scale, zero});
  }

  // Data, weights and bias [, residual] of an int8 layer, as real numbers.
  std::vector<std::string> quantized_inputs(const Node& node) {
    const auto& a = attributes<QuantizedAttributes>(node);
    const Value x = node.inputs[0];
    std::vector<std::string> result{names_.at(x)};
    if (is_floating(graph_.type(x).dtype)) result[0] = rounded(x, result[0], a.x_dtype);
    const Tensor w_scales = Tensor::from<float>({std::ssize(a.w_scales)}, std::span(a.w_scales));
    result.push_back(constants_of(node.inputs[1], weights_of(node.inputs[1]), w_scales));
    Tensor scales = w_scales.clone();
    for (float& s : scales.as<float>()) s *= a.x_scale;
    result.push_back(constants_of(node.inputs[2], whole(node), scales));
    if (a.conv.residual) result.push_back(names_.at(node.inputs[3]));
    return result;
  }

  // Integers of a file with one scale a filter, made real where they are read.
  std::string constants_of(Value parameter, const Tensor& integers, const Tensor& scales) {
    const std::string& name = graph_.node(parameter).name;
    out_.initializers.emplace_back(name, integers);
    out_.initializers.emplace_back(name + "_scale", scales);
    out_.initializers.emplace_back(name + "_zero_point",
                                   Tensor::zeros(integers.dtype(), scales.shape()));
    return step(name, "DequantizeLinear", {name, name + "_scale", name + "_zero_point"},
                {{"axis", std::int64_t{0}}});
  }

  // The bias, which runtimes add to their sums: in units of the sums, to the nearest of them.
  Tensor whole(const Node& node) const {
    const Tensor bias = weights_of(node.inputs[2]);
    Tensor result(DType::kI32, bias.shape());
    for (std::size_t i = 0; i < result.as<std::int32_t>().size(); ++i) {
      const double b = bias.as<float>()[i];
      if (!(std::abs(b) < 0x1p31)) {
        fail(ErrorCode::kUnsupported,
             "layer {}: ONNX keeps biases as 32-bit integers, but that of filter {} is {} units of "
             "the sums; quantise the model again",
             node.name, i, b);
      }
      result.as<std::int32_t>()[i] = static_cast<std::int32_t>(std::nearbyint(b));
    }
    return result;
  }

  // A constant that several operations read.
  void shared(const std::string& name, const Tensor& tensor) {
    if (taken_.insert(name).second) out_.initializers.emplace_back(name, tensor);
  }

  // y[n, front + c, h, w] = x[n, c, s h, s w], zero in the other channels.
  static std::string pad_shortcut(Exporter& e, Value v, const Node& n) {
    const auto& a = attributes<PadShortcutAttributes>(n);
    const std::int64_t channels = e.graph_.shape(n.inputs[0]).at(1);
    std::string x = e.names_.at(n.inputs[0]);
    if (a.stride != 1) {
      x = e.step(n.name, "Slice",
                 {x, e.constant({0, 0}), e.constant({INT64_MAX, INT64_MAX}), e.constant({2, 3}),
                  e.constant({a.stride, a.stride})});
    }
    const Ints pads{0, a.front, 0, 0, 0, a.out_channels - a.front - channels, 0, 0};
    return e.emit(v, "Pad", {x, e.constant(pads)}, {{"mode", std::string("constant")}});
  }

  // y = γ (conv(x) − mean) / sqrt(var + eps) + β, in double, as a convolution with a bias.
  std::string add_folded(Value conv, Value norm) {
    const Node& c = graph_.node(conv);
    const Node& n = graph_.node(norm);
    RESNET_CHECK(!attributes<ConvAttributes>(c).bias);
    RESNET_CHECK(!attributes<NormAttributes>(n).relu && !attributes<NormAttributes>(n).residual);
    const auto vector = [&](std::size_t i) { return weights_of(n.inputs[i]).cast(DType::kF64); };
    const Tensor gamma = vector(1), beta = vector(2), mean = vector(3), var = vector(4);
    const double eps = attributes<NormAttributes>(n).eps;
    Tensor w = weights_of(c.inputs[1]).cast(DType::kF32).clone();
    Tensor bias(DType::kF32, beta.shape());
    const auto filters = static_cast<std::size_t>(w.dim(0));
    const std::size_t each = w.as<float>().size() / filters;
    for (std::size_t m = 0; m < filters; ++m) {
      const double scale = gamma.as<double>()[m] / std::sqrt(var.as<double>()[m] + eps);
      for (float& x : w.as<float>().subspan(m * each, each)) x = static_cast<float>(x * scale);
      bias.as<float>()[m] = static_cast<float>(beta.as<double>()[m] - mean.as<double>()[m] * scale);
    }
    const std::string weight_name = graph_.node(c.inputs[1]).name;
    const std::string bias_name = c.name + ".bias";
    out_.initializers.emplace_back(weight_name, std::move(w));
    out_.initializers.emplace_back(bias_name, std::move(bias));
    return emit(norm, "Conv", {names_.at(c.inputs[0]), weight_name, bias_name},
                conv_attributes(attributes<ConvAttributes>(c)), c.name);
  }

  template <class T>
  static const T& attributes(const Node& node) {
    return std::get<T>(node.attributes);
  }

  static std::map<std::string, OnnxAttribute> conv_attributes(const ConvAttributes& a) {
    return {{"strides", Ints{a.stride_h, a.stride_w}},
            {"pads", Ints{a.pad_top, a.pad_left, a.pad_bottom, a.pad_right}},
            {"dilations", Ints{a.dilation_h, a.dilation_w}},
            {"group", a.groups}};
  }

  static std::map<std::string, OnnxAttribute> pool_attributes(const Node& node) {
    const auto& a = attributes<PoolAttributes>(node);
    return {{"kernel_shape", Ints{a.kernel_h, a.kernel_w}},
            {"strides", Ints{a.stride_h, a.stride_w}},
            {"pads", Ints{a.pad_top, a.pad_left, a.pad_bottom, a.pad_right}}};
  }

  const Tensor& weights_of(Value parameter) const {
    return model_.weights.at(graph_.node(parameter).name);
  }

  // Names of a node's inputs; parameters become initializers.
  std::vector<std::string> inputs(const Node& node) {
    std::vector<std::string> result;
    for (const Value v : node.inputs) {
      if (graph_.node(v).op == Op::kParameter && names_.emplace(v, graph_.node(v).name).second) {
        out_.initializers.emplace_back(graph_.node(v).name, weights_of(v).cast(DType::kF32));
      }
      result.push_back(names_.at(v));
    }
    return result;
  }

  std::string constant(const Ints& values) {
    const std::string name = unique("constant");
    out_.initializers.emplace_back(
        name, Tensor::from<std::int64_t>({std::ssize(values)}, std::span(values)));
    return name;
  }

  std::string scalar(double number) {
    const auto value = static_cast<float>(number);
    const std::string name = unique("constant");
    out_.initializers.emplace_back(name, Tensor::from<float>({1}, std::span(&value, 1)));
    return name;
  }

  // The operation that gives `value`, under its layer's name or another.
  std::string emit(Value value, const char* op, std::vector<std::string> inputs,
                   std::map<std::string, OnnxAttribute> attributes = {}, std::string layer = {}) {
    const std::string name = unique(layer.empty() ? graph_.node(value).name : layer);
    const auto output = outputs_.find(value);
    const std::string result = output == outputs_.end() ? name : output->second;
    out_.nodes.push_back({.op = op,
                          .name = name,
                          .inputs = std::move(inputs),
                          .outputs = {result},
                          .attributes = std::move(attributes)});
    return result;
  }

  // An operation inside a layer.
  std::string step(const std::string& layer, const char* op, std::vector<std::string> inputs,
                   std::map<std::string, OnnxAttribute> attributes = {}) {
    const std::string name = unique(layer + "." + op);
    out_.nodes.push_back({.op = op,
                          .name = name,
                          .inputs = std::move(inputs),
                          .outputs = {name},
                          .attributes = std::move(attributes)});
    return name;
  }

  // Layers may share a name, as the ReLUs of a block do; parameters and outputs have theirs.
  std::string unique(const std::string& name) {
    std::string result = name;
    for (int i = 1; !taken_.insert(result).second; ++i) result = fmt::format("{}_{}", name, i);
    return result;
  }

  const Graph& graph_;
  const ModelFile& model_;
  const OnnxExportOptions& options_;
  std::vector<int> needed_;
  std::map<Value, Value> reader_;         // the last reader of a convolution
  std::map<Value, std::string> outputs_;  // of the whole graph
  std::map<Value, std::string> names_;
  std::set<std::string> taken_{"logits", "probabilities"};
  OnnxModel out_;
};

}  // namespace

OnnxModel to_onnx(const ModelFile& model, const OnnxExportOptions& options,
                  const std::filesystem::path& path) {
  auto metadata = to_metadata(model, path);
  metadata.erase("format");  // of the tensors in a safetensors file
  const Graph graph = inference_graph(model, 1);
  OnnxModel onnx = Exporter(graph, model, options).run();
  onnx.producer_name = "resnet.cpp";
  onnx.producer_version = RESNET_VERSION;
  onnx.graph_name = model.config.architecture;
  onnx.metadata = std::move(metadata);
  return onnx;
}

void export_onnx(const std::filesystem::path& path, const ModelFile& model,
                 const OnnxExportOptions& options) try {
  write_onnx(path, to_onnx(model, options, path));
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

#include "resnet/graph.h"

#include <algorithm>

#include "core/check.h"
#include "core/stream.h"
#include "graph/ops.h"

namespace resnet {
namespace {

struct Pad {
  std::int64_t begin, end;
};

Pad resolve_padding(Padding mode, std::int64_t pad, std::int64_t size, std::int64_t kernel,
                    std::int64_t stride, std::int64_t dilation) {
  const std::int64_t extent = dilation * (kernel - 1);
  std::int64_t total = 2 * pad;
  if (mode == Padding::kFixed) total = extent;
  if (mode == Padding::kSame) {
    const std::int64_t out = (size + stride - 1) / stride;
    total = std::max<std::int64_t>(0, (out - 1) * stride + extent + 1 - size);
  }
  return {total / 2, total - total / 2};
}

// Some node has this value: `find` and updates return others.
bool exists(const Graph& g, Value v) {
  return v.node >= 0 && v.node < std::ssize(g.nodes()) && v.output >= 0 &&
         v.output < std::ssize(g.node(v).outputs);
}

void expect_value(const Graph& g, std::string_view name, Value v) {
  if (!exists(g, v)) {
    fail(ErrorCode::kInvalidArgument, "{}: there is no value {}.{} to read", name, v.node,
         v.output);
  }
}

// Sizes and attributes come from files too. Below these bounds no product of a few overflows.
constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 20;

void expect_size(std::string_view name, const Shape& s) {
  std::int64_t count = 1;
  bool fits = true;
  for (const std::int64_t d : s) {
    fits = fits && d > 0 && !__builtin_mul_overflow(count, d, &count) && count <= kMaxElements;
  }
  if (!fits) {
    fail(ErrorCode::kInvalidArgument, "{}: shape {} must have between 1 and 2^40 elements", name,
         to_string(s));
  }
}

template <class Options>
void expect_extents(const std::string& name, const Options& o) {
  const auto good = [](std::int64_t v, std::int64_t least) {
    return v >= least && v <= kMaxExtent;
  };
  if (!good(o.kernel, 1) || !good(o.stride, 1) || !good(o.pad, 0)) {
    fail(ErrorCode::kInvalidArgument,
         "layer {}: kernel {} and stride {} must be at least 1, padding {} at least 0, all at most "
         "2^20",
         name, o.kernel, o.stride, o.pad);
  }
}

const Shape& expect_4d(const Graph& g, const std::string& name, Value x) {
  expect_value(g, name, x);
  const Shape& s = g.shape(x);
  if (s.size() != 4) {
    fail(ErrorCode::kInvalidArgument, "layer {}: needs data [n, c, h, w], got {}", name,
         to_string(s));
  }
  return s;
}

}  // namespace

std::string Graph::scoped(std::string_view what) const {
  return scope_.empty() ? std::string(what) : fmt::format("{}.{}", scope_, what);
}

Value Graph::append(Op op, std::string name, std::vector<Value> inputs, Attributes attributes) {
  return append(Node{.op = op,
                     .name = std::move(name),
                     .inputs = std::move(inputs),
                     .attributes = std::move(attributes)});
}

Value Graph::append(Node node) {
  std::vector<TensorType> types;
  types.reserve(node.inputs.size());
  for (const Value v : node.inputs) {
    RESNET_CHECK(exists(*this, v));
    types.push_back(type(v));
  }
  node.outputs = infer({node.name, node.op, types, node.attributes});
  for (const TensorType& t : node.outputs) expect_size(node.name, t.shape);
  nodes_.push_back(std::move(node));
  return {static_cast<std::int32_t>(nodes_.size()) - 1, 0};
}

Value Graph::input(std::string name, Shape shape, DType dtype) {
  if (find(name)) fail(ErrorCode::kInvalidArgument, "two inputs are called {}", name);
  expect_size(name, shape);
  const Value v = append(Op::kInput, std::move(name), {});
  sources_[nodes_.back().name] = v.node;
  nodes_.back().outputs = {{dtype, std::move(shape)}};
  return v;
}

Value Graph::parameter(std::string name, Shape shape, const ParameterAttributes& attributes,
                       DType dtype) {
  if (find(name)) {
    fail(ErrorCode::kInvalidArgument, "two parameters are called {}; give each layer its own name",
         name);
  }
  expect_size(name, shape);
  const Value v = append(Op::kParameter, std::move(name), {}, attributes);
  sources_[nodes_.back().name] = v.node;
  nodes_.back().outputs = {{dtype, std::move(shape)}};
  return v;
}

Value Graph::find(std::string_view name) const {
  const auto found = sources_.find(std::string(name));
  return found == sources_.end() ? Value{} : Value{found->second, 0};
}

std::vector<Value> Graph::parameters() const {
  std::vector<Value> result;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].op == Op::kParameter) result.push_back({static_cast<std::int32_t>(i), 0});
  }
  return result;
}

std::vector<Value> Graph::trainable() const {
  std::vector<Value> result = parameters();
  std::erase_if(result, [&](Value v) {
    const Role role = std::get<ParameterAttributes>(node(v).attributes).role;
    return role == Role::kBuffer || role == Role::kOptimizer;
  });
  return result;
}

Value Graph::conv2d(const std::string& name, Value x, const ConvOptions& o) {
  const Shape& s = expect_4d(*this, name, x);
  expect_extents(name, o);
  if (o.filters <= 0 || o.filters > kMaxExtent || o.groups <= 0 || s[1] % o.groups != 0 ||
      o.dilation <= 0 || o.dilation > kMaxExtent) {
    fail(ErrorCode::kInvalidArgument,
         "layer {}: {} filters of size {} in {} group(s) with dilation {} do not fit data {}", name,
         o.filters, o.kernel, o.groups, o.dilation, to_string(s));
  }
  if (o.pad != 0 && o.padding != Padding::kExplicit) {
    fail(ErrorCode::kInvalidArgument,
         "layer {}: pad = {} counts with Padding::kExplicit only; set .padding too", name, o.pad);
  }
  const Pad h = resolve_padding(o.padding, o.pad, s[2], o.kernel, o.stride, o.dilation);
  const Pad w = resolve_padding(o.padding, o.pad, s[3], o.kernel, o.stride, o.dilation);
  ConvAttributes a{.stride_h = o.stride,
                   .stride_w = o.stride,
                   .pad_top = h.begin,
                   .pad_left = w.begin,
                   .pad_bottom = h.end,
                   .pad_right = w.end,
                   .dilation_h = o.dilation,
                   .dilation_w = o.dilation,
                   .groups = o.groups,
                   .bias = o.bias};
  const Shape weight{o.filters, s[1] / o.groups, o.kernel, o.kernel};
  const std::int64_t window = o.kernel * o.kernel;
  const std::int64_t fan_in = weight[1] * window;
  std::vector<Value> inputs{
      x, parameter(name + ".weight", weight,
                   {.role = o.frozen ? Role::kBuffer : Role::kWeight,
                    .init = o.init,
                    .fan = o.init == Init::kDirac ? fan_in : o.filters * window})};
  if (o.bias) {
    inputs.push_back(parameter(name + ".bias", {o.filters},
                               {.role = Role::kBias, .init = Init::kLinearUniform, .fan = fan_in}));
  }
  return append(Op::kConv2d, name, std::move(inputs), a);
}

Value Graph::batch_norm(const std::string& name, Value x, const NormOptions& o) {
  const Shape s = expect_4d(*this, name, x);
  const Shape c{s[1]};
  const Init gamma_init = o.zero_gamma ? Init::kZeros : Init::kOnes;
  const Value gamma =
      parameter(name + ".weight", c, {.role = Role::kNormScale, .init = gamma_init});
  const Value beta = parameter(name + ".bias", c, {.role = Role::kNormShift, .init = Init::kZeros});
  const Value mean =
      parameter(name + ".running_mean", c, {.role = Role::kBuffer, .init = Init::kZeros});
  const Value var =
      parameter(name + ".running_var", c, {.role = Role::kBuffer, .init = Init::kOnes});
  const NormAttributes a{.eps = o.eps};
  if (mode_ == Mode::kInference || o.frozen) {
    return append(Op::kNormalize, name, {x, gamma, beta, mean, var}, a);
  }
  const Value y = append(Op::kBatchNorm, name, {x, gamma, beta}, a);
  // The running variance is the unbiased one, as in torch.nn.BatchNorm2d.
  const auto m = static_cast<double>(s[0] * s[2] * s[3]);
  append(Op::kRunningAverage, name + ".running_mean", {mean, {y.node, 1}},
         UpdateAttributes{.momentum = o.momentum});
  append(Op::kRunningAverage, name + ".running_var", {var, {y.node, 2}},
         UpdateAttributes{.momentum = o.momentum, .scale = m / (m - 1)});
  return y;
}

Value Graph::linear(const std::string& name, Value x, std::int64_t features, bool bias) {
  expect_value(*this, name, x);
  const Shape& s = shape(x);
  if (s.size() != 2 || features <= 0) {
    fail(ErrorCode::kInvalidArgument,
         "layer {}: needs data [n, k] and at least one feature, got {} and {}; flatten or pool "
         "first",
         name, to_string(s), features);
  }
  const std::int64_t k = s[1];
  std::vector<Value> inputs{
      x, parameter(name + ".weight", {features, k},
                   {.role = Role::kWeight, .init = Init::kLinearUniform, .fan = k})};
  if (bias) {
    inputs.push_back(parameter(name + ".bias", {features},
                               {.role = Role::kBias, .init = Init::kLinearUniform, .fan = k}));
  }
  return append(Op::kLinear, name, std::move(inputs));
}

Value Graph::relu(Value x) { return append(Op::kRelu, scoped("relu"), {x}); }
Value Graph::sigmoid(Value x) { return append(Op::kSigmoid, scoped("sigmoid"), {x}); }
Value Graph::add(Value a, Value b) { return append(Op::kAdd, scoped("add"), {a, b}); }
Value Graph::mul(Value a, Value b) { return append(Op::kMul, scoped("mul"), {a, b}); }

Value Graph::scale(Value x, double factor) {
  return append(Op::kScale, scoped("scale"), {x}, ScaleAttributes{.factor = factor});
}

namespace {

PoolAttributes pool_attributes(const Shape& s, const PoolOptions& o) {
  const Pad h = resolve_padding(o.padding, o.pad, s[2], o.kernel, o.stride, 1);
  const Pad w = resolve_padding(o.padding, o.pad, s[3], o.kernel, o.stride, 1);
  return {.kernel_h = o.kernel,
          .kernel_w = o.kernel,
          .stride_h = o.stride,
          .stride_w = o.stride,
          .pad_top = h.begin,
          .pad_left = w.begin,
          .pad_bottom = h.end,
          .pad_right = w.end,
          .count_padding = o.count_padding};
}

}  // namespace

Value Graph::max_pool(Value x, const PoolOptions& o) {
  const std::string name = scoped("maxpool");
  expect_extents(name, o);
  return append(Op::kMaxPool, name, {x}, pool_attributes(expect_4d(*this, name, x), o));
}

Value Graph::avg_pool(Value x, const PoolOptions& o) {
  const std::string name = scoped("avgpool");
  expect_extents(name, o);
  return append(Op::kAvgPool, name, {x}, pool_attributes(expect_4d(*this, name, x), o));
}

Value Graph::global_avg_pool(Value x) { return append(Op::kGlobalAvgPool, scoped("avgpool"), {x}); }

Value Graph::flatten(Value x) {
  expect_value(*this, "flatten", x);
  const Shape& s = shape(x);
  if (s.empty()) fail(ErrorCode::kInvalidArgument, "cannot flatten a scalar");
  const std::int64_t rest = element_count(Shape(s.begin() + 1, s.end()));
  return append(Op::kReshape, scoped("flatten"), {x}, ShapeAttributes{{s[0], rest}});
}

Value Graph::dropout(Value x, double p) {
  if (mode_ == Mode::kInference || p == 0) return x;
  // The stream follows from the name, so that masks stay when other layers come or go; where
  // several have one name, also from how many of them came before.
  const std::string name = scoped("dropout");
  const auto before = std::ranges::count_if(
      nodes_, [&](const Node& n) { return n.op == Op::kDropout && n.name == name; });
  const std::uint64_t stream =
      stream_of(before == 0 ? name : fmt::format("{}#{}", name, before + 1));
  return append(Op::kDropout, name, {x}, DropoutAttributes{.p = p, .stream = stream});
}

Value Graph::pad_shortcut(Value x, std::int64_t out_channels, std::int64_t stride) {
  const std::string name = scoped("shortcut");
  const Shape& s = expect_4d(*this, name, x);
  return append(
      Op::kPadShortcut, name, {x},
      PadShortcutAttributes{
          .stride = stride, .out_channels = out_channels, .front = (out_channels - s[1]) / 2});
}

Value Graph::concat(std::span<const Value> xs) {
  if (xs.empty()) fail(ErrorCode::kInvalidArgument, "concat needs at least one input");
  return append(Op::kConcat, scoped("concat"), {xs.begin(), xs.end()});
}

Value Graph::softmax(Value x) { return append(Op::kSoftmax, scoped("softmax"), {x}); }

Value Graph::softmax_cross_entropy(Value logits, Value targets, double label_smoothing,
                                   Value class_weights) {
  std::vector<Value> inputs{logits, targets};
  if (class_weights) inputs.push_back(class_weights);
  return append(Op::kSoftmaxCrossEntropy, "loss", std::move(inputs),
                LossAttributes{.label_smoothing = label_smoothing});
}

void Graph::mark_output(std::string name, Value v) {
  expect_value(*this, name, v);
  for (const auto& [other, value] : outputs_) {
    if (other == name) fail(ErrorCode::kInvalidArgument, "two outputs are called {}", name);
  }
  outputs_.emplace_back(std::move(name), v);
}

}  // namespace resnet

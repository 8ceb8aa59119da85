#include "support/op_cases.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <stdexcept>

#include "backends/reference/reference.h"
#include "compile/passes.h"
#include "core/random.h"
#include "support/executor.h"

namespace resnet::test {
namespace {

// --- Building the table.

/// One case under construction; `done` puts it into the table.
class Case {
 public:
  Case(std::vector<OpCase>& table, std::string name) : table_(table) { c_.name = std::move(name); }

  Graph& graph() { return c_.graph; }
  Value input(const std::string& name, Shape shape, Source source = {}) {
    c_.sources[name] = source;
    const DType dtype = source.domain == Source::kUnsigned8 ? DType::kU8
                        : source.domain == Source::kSigned8 ? DType::kI8
                                                            : DType::kF32;
    return graph().input(name, std::move(shape), dtype);
  }
  Value parameter(const std::string& name, Shape shape, Source source = {}) {
    c_.sources[name] = source;
    const DType dtype = source.domain == Source::kWeight8 ? DType::kI8 : DType::kF32;
    return graph().parameter(name, std::move(shape), {}, dtype);
  }
  Value op(Op op, std::vector<Value> inputs, Attributes attributes = {}) {
    return graph().append(op, std::string(name_of(op)), std::move(inputs), std::move(attributes));
  }
  void zeros_expected() { c_.zeros_expected = true; }

  void done() { table_.push_back(std::move(c_)); }
  /// With the gradients of sum(y * direction) by `wrt`.
  void done(Value y, std::vector<Value> wrt) {
    const std::int64_t size = element_count(graph().shape(y));
    const Value row = op(Op::kReshape, {y}, ShapeAttributes{{1, size}});
    c_.loss = op(Op::kLinear, {row, input("direction", {1, size})});
    c_.wrt = std::move(wrt);
    c_.gradients = gradients(graph(), c_.loss, c_.wrt);
    done();
  }
  /// Parameters that a layer function created, by their roles.
  void fill_parameters() {
    for (const Value v : graph().parameters()) {
      const Node& node = graph().node(v);
      if (c_.sources.contains(node.name)) continue;
      Source s;
      if (std::get<ParameterAttributes>(node.attributes).role == Role::kNormScale) {
        s.domain = Source::kNonZero;
      } else if (node.name.ends_with("running_var")) {
        s.domain = Source::kPositive;
      }
      c_.sources[node.name] = s;
    }
  }

 private:
  std::vector<OpCase>& table_;
  OpCase c_;
};

using Table = std::vector<OpCase>;

ConvAttributes pad(std::int64_t all) {
  return {.pad_top = all, .pad_left = all, .pad_bottom = all, .pad_right = all};
}

ConvAttributes strided(std::int64_t stride, std::int64_t padding) {
  ConvAttributes a = pad(padding);
  a.stride_h = a.stride_w = stride;
  return a;
}

void conv(Table& t, const std::string& name, const Shape& x_shape, const Shape& w_shape,
          ConvAttributes a) {
  Case c(t, "conv_" + name);
  const Value x = c.input("x", x_shape);
  const Value w = c.parameter("w", w_shape);
  std::vector<Value> inputs{x, w}, wrt{x, w};
  if (a.bias) {
    inputs.push_back(c.parameter("bias", {w_shape[0]}));
    wrt.push_back(inputs.back());
  }
  const bool fused = a.relu || a.residual;  // inference only
  if (a.residual) {
    ConvAttributes plain = a;
    plain.residual = plain.relu = false;
    Graph shapes = c.graph();
    const Value y = shapes.append(Op::kConv2d, "shape", inputs, plain);
    inputs.push_back(c.input("residual", shapes.shape(y)));
  }
  const Value y = c.op(Op::kConv2d, inputs, a);
  if (fused) {
    c.done();
  } else {
    c.done(y, wrt);
  }
}

void convolutions(Table& t) {
  conv(t, "3x3", {2, 16, 8, 8}, {16, 16, 3, 3}, pad(1));
  conv(t, "3x3_batch1", {1, 16, 9, 9}, {32, 16, 3, 3}, pad(1));
  conv(t, "3x3_odd_5x7", {2, 16, 5, 7}, {16, 16, 3, 3}, pad(1));
  conv(t, "3x3_stride2", {2, 16, 8, 8}, {32, 16, 3, 3}, strided(2, 1));
  conv(t, "3x3_stride2_odd", {3, 16, 7, 9}, {16, 16, 3, 3}, strided(2, 1));
  conv(t, "3x3_no_padding", {2, 8, 6, 6}, {8, 8, 3, 3}, {});
  conv(t, "3x3_wide_padding", {1, 4, 5, 5}, {4, 4, 3, 3}, pad(2));
  conv(t, "3x3_channels_3_5", {2, 3, 6, 6}, {5, 3, 3, 3}, pad(1));
  conv(t, "3x3_channels_12_17", {2, 12, 6, 5}, {17, 12, 3, 3}, pad(1));
  conv(t, "3x3_channels_17_12", {2, 17, 6, 5}, {12, 17, 3, 3}, pad(1));
  conv(t, "3x3_channels_5_64", {1, 5, 7, 7}, {64, 5, 3, 3}, pad(1));
  conv(t, "3x3_channels_64", {1, 64, 7, 7}, {64, 64, 3, 3}, pad(1));
  conv(t, "3x3_channels_32_14x14", {1, 32, 14, 14}, {32, 32, 3, 3}, pad(1));
  conv(t, "3x3_one_channel", {2, 1, 6, 6}, {1, 1, 3, 3}, pad(1));
  conv(t, "3x3_batch17", {17, 16, 4, 4}, {16, 16, 3, 3}, pad(1));
  conv(t, "1x1", {2, 16, 6, 6}, {32, 16, 1, 1}, {});
  conv(t, "1x1_odd_channels", {2, 17, 5, 5}, {12, 17, 1, 1}, {});
  conv(t, "1x1_stride2", {2, 32, 8, 8}, {64, 32, 1, 1}, strided(2, 0));
  conv(t, "1x1_stride2_odd", {2, 16, 7, 5}, {17, 16, 1, 1}, strided(2, 0));
  conv(t, "1x1_batch1", {1, 64, 7, 7}, {96, 64, 1, 1}, {});
  conv(t, "1x1_batch1_stride2_odd", {1, 32, 9, 7}, {32, 32, 1, 1}, strided(2, 0));
  conv(t, "1x1_fused", {1, 32, 10, 9}, {64, 32, 1, 1},
       {.bias = true, .residual = true, .relu = true});
  conv(t, "1x1_one_pixel", {3, 16, 1, 1}, {16, 16, 1, 1}, {});
  conv(t, "1x1_padded", {1, 3, 4, 4}, {5, 3, 1, 1}, pad(0 + 1));
  conv(t, "5x5", {1, 3, 9, 9}, {5, 3, 5, 5}, pad(2));
  conv(t, "7x7_stem", {1, 3, 18, 20}, {64, 3, 7, 7}, strided(2, 3));
  conv(t, "3x3_stem", {2, 3, 12, 12}, {16, 3, 3, 3}, pad(1));
  conv(t, "11x11_stride4", {1, 3, 23, 23}, {8, 3, 11, 11}, strided(4, 2));
  conv(t, "4x4_stride4_patches", {2, 3, 8, 8}, {16, 3, 4, 4}, strided(4, 0));
  conv(t, "kernel_is_image", {2, 5, 4, 4}, {7, 5, 4, 4}, {});
  conv(t, "1x3", {2, 4, 5, 6}, {6, 4, 1, 3}, {.pad_left = 1, .pad_right = 1});
  conv(t, "3x1", {2, 4, 5, 6}, {6, 4, 3, 1}, {.pad_top = 1, .pad_bottom = 1});
  conv(t, "3x2_strides_2_1", {2, 4, 7, 6}, {6, 4, 3, 2},
       {.stride_h = 2, .pad_top = 1, .pad_bottom = 1});
  conv(
      t, "fixed_4x4_stride2", {2, 3, 9, 9}, {4, 3, 4, 4},
      {.stride_h = 2, .stride_w = 2, .pad_top = 1, .pad_left = 1, .pad_bottom = 2, .pad_right = 2});
  conv(t, "same_stride2_even", {2, 16, 8, 8}, {16, 16, 3, 3},
       {.stride_h = 2, .stride_w = 2, .pad_bottom = 1, .pad_right = 1});
  conv(t, "asymmetric", {1, 4, 6, 6}, {4, 4, 3, 3},
       {.pad_top = 2, .pad_left = 0, .pad_bottom = 0, .pad_right = 1});
  for (const bool bias : {false, true}) {
    const std::string end = bias ? "_bias" : "";
    ConvAttributes a = pad(1);
    a.bias = bias;
    a.groups = 2;
    conv(t, "groups2" + end, {2, 8, 6, 6}, {8, 4, 3, 3}, a);
    a.groups = 32;
    conv(t, "groups32" + end, {1, 64, 5, 5}, {64, 2, 3, 3}, a);
    a.groups = 16;
    conv(t, "depthwise" + end, {2, 16, 6, 6}, {16, 1, 3, 3}, a);
    a.groups = 5;
    conv(t, "depthwise_twice" + end, {2, 5, 6, 6}, {10, 1, 3, 3}, a);
  }
  ConvAttributes grouped = strided(2, 1);
  grouped.groups = 4;
  conv(t, "groups4_stride2", {2, 16, 7, 7}, {32, 4, 3, 3}, grouped);
  grouped.groups = 17;
  conv(t, "depthwise_stride2_odd", {1, 17, 7, 5}, {17, 1, 3, 3}, grouped);
  ConvAttributes dilated = pad(2);
  dilated.dilation_h = dilated.dilation_w = 2;
  conv(t, "dilation2", {2, 16, 7, 7}, {16, 16, 3, 3}, dilated);
  dilated = strided(2, 3);
  dilated.dilation_h = dilated.dilation_w = 3;
  conv(t, "dilation3_stride2", {1, 5, 9, 9}, {6, 5, 3, 3}, dilated);
  dilated = pad(2);
  dilated.dilation_h = 2;
  conv(t, "dilation_2_1", {1, 4, 6, 6}, {4, 4, 3, 3}, dilated);

  ConvAttributes a = pad(1);
  a.bias = true;
  conv(t, "bias", {2, 16, 6, 6}, {16, 16, 3, 3}, a);
  a.stride_h = a.stride_w = 2;
  conv(t, "bias_stride2_odd", {2, 3, 7, 7}, {5, 3, 3, 3}, a);
  // What passes make of inference.
  for (const bool bias : {false, true}) {
    const std::string end = bias ? "_bias" : "";
    a = pad(1);
    a.bias = bias;
    a.relu = true;
    conv(t, "relu" + end, {2, 16, 6, 6}, {16, 16, 3, 3}, a);
    a.residual = true;
    conv(t, "residual_relu" + end, {2, 16, 6, 6}, {16, 16, 3, 3}, a);
    conv(t, "residual_relu_odd" + end, {1, 12, 5, 7}, {17, 12, 3, 3}, a);
    a.relu = false;
    conv(t, "residual" + end, {2, 16, 6, 6}, {16, 16, 3, 3}, a);
    a = {};
    a.bias = bias;
    a.relu = a.residual = true;
    conv(t, "1x1_residual_relu" + end, {2, 16, 4, 4}, {64, 16, 1, 1}, a);
  }
}

struct NormCase {
  bool relu = false, residual = false, batch = true;
  Source x = {};
  Source gamma = {Source::kNonZero};
  double eps = 1e-5;
  bool zeros_expected = false;
};

void norm(Table& t, const std::string& name, const Shape& shape, const NormCase& o) {
  Case c(t, (o.batch ? "batch_norm_" : "normalize_") + name);
  const Shape channels{shape[1]};
  const NormAttributes a{.eps = o.eps, .relu = o.relu, .residual = o.residual};
  const Value x = c.input("x", shape, o.x);
  std::vector<Value> inputs{x, c.parameter("gamma", channels, o.gamma),
                            c.parameter("beta", channels)};
  std::vector<Value> wrt = inputs;
  if (!o.batch) {
    inputs.push_back(c.parameter("mean", channels));
    inputs.push_back(c.parameter("var", channels, {Source::kPositive}));
  }
  if (o.residual) {
    inputs.push_back(c.input("residual", shape));
    wrt.push_back(inputs.back());
  }
  if (o.zeros_expected) c.zeros_expected();
  c.done(c.op(o.batch ? Op::kBatchNorm : Op::kNormalize, inputs, a), wrt);
}

/// Mean and variance of a batch as values of the network, alone and beside y.
void norm_statistics(Table& t, const std::string& name, const Shape& shape, std::int32_t output,
                     bool beside_y) {
  const Shape channels{shape[1]};
  Case c(t, "batch_norm_statistics_" + name);
  if (output != 0) c.zeros_expected();  // what stands for the other one's gradient
  const Value x = c.input("x", shape);
  const Value gamma = c.parameter("gamma", channels, {Source::kNonZero});
  const Value beta = c.parameter("beta", channels);
  const Value y = c.op(Op::kBatchNorm, {x, gamma, beta}, NormAttributes{.relu = beside_y});
  std::vector<Value> parts;
  if (output != 2) parts.push_back({y.node, 1});
  if (output != 1) parts.push_back({y.node, 2});
  Value sum = parts[0];
  for (std::size_t i = 1; i < parts.size(); ++i) sum = c.op(Op::kMul, {sum, parts[i]});
  std::vector<Value> wrt{x};
  if (beside_y) {
    const Value mean = c.op(Op::kGlobalAvgPool, {y});  // of a batch of 1
    sum = c.op(Op::kAdd, {sum, c.op(Op::kReshape, {mean}, ShapeAttributes{channels})});
    wrt.push_back(gamma);
  }
  c.done(sum, wrt);
}

/// The gradient of a norm whose dy is a sum that is not computed apart.
void norm_two_gradients(Table& t, const std::string& name, bool batch, bool relu, bool residual) {
  const Shape shape{2, 17, 5, 4}, channels{17};
  Case c(t, (batch ? "batch_norm_two_gradients" : "normalize_two_gradients") + name);
  NormAttributes a{.relu = relu, .residual = residual};
  const Value x = c.input("x", shape);
  const Value gamma = c.parameter("gamma", channels, {Source::kNonZero});
  const Value beta = c.parameter("beta", channels);
  std::vector<Value> forward{x, gamma, beta};
  Value mean, var;
  if (!batch) {
    mean = c.parameter("mean", channels);
    var = c.parameter("var", channels, {Source::kPositive});
    forward.insert(forward.end(), {mean, var});
  }
  if (residual) forward.push_back(c.input("residual", shape));
  const Value y = c.op(batch ? Op::kBatchNorm : Op::kNormalize, forward, a);
  if (batch) {
    mean = {y.node, 1};
    var = {y.node, 2};
  }
  std::vector<Value> backward{
      c.input("dy", shape), c.input("dy2", shape), x, gamma, beta, mean, var};
  if (relu && residual) backward.push_back(y);
  a.second_gradient = true;
  c.op(batch ? Op::kBatchNormBackward : Op::kNormalizeBackward, backward, a);
  c.done();
}

void norms(Table& t) {
  for (const bool batch : {true, false}) {
    const auto at = [&](bool relu, bool residual) {
      return NormCase{.relu = relu, .residual = residual, .batch = batch};
    };
    norm(t, "plain", {2, 16, 6, 6}, at(false, false));
    norm(t, "relu", {2, 16, 6, 6}, at(true, false));
    norm(t, "residual", {2, 16, 6, 6}, at(false, true));
    norm(t, "residual_relu", {2, 16, 6, 6}, at(true, true));
    norm(t, "batch1_odd", {1, 3, 5, 7}, at(false, false));
    norm(t, "relu_channels17", {3, 17, 5, 3}, at(true, false));
    norm(t, "residual_relu_channels5", {2, 5, 7, 3}, at(true, true));
    norm(t, "residual_relu_channels64", {2, 64, 4, 4}, at(true, true));
    norm(t, "relu_one_pixel", {8, 12, 1, 1}, at(true, false));
    NormCase o = at(true, false);
    o.eps = 1e-3;
    norm(t, "large_eps", {2, 16, 4, 4}, o);
    o = at(false, false);
    o.x = {Source::kOffset, 50};
    norm(t, "large_mean", {2, 16, 5, 5}, o);
    o = at(true, true);
    o.gamma = {Source::kConstant, 0};
    o.zeros_expected = true;  // dx
    norm(t, "zero_gamma", {2, 16, 4, 4}, o);
    norm_two_gradients(t, "", batch, false, false);
    norm_two_gradients(t, "_relu", batch, true, false);
    norm_two_gradients(t, "_residual", batch, false, true);
    norm_two_gradients(t, "_residual_relu", batch, true, true);
  }
  norm(t, "many_values", {8, 3, 16, 16}, {.relu = true});
  norm_statistics(t, "mean", {2, 5, 3, 4}, 1, false);
  norm_statistics(t, "var", {3, 17, 4, 3}, 2, false);
  norm_statistics(t, "both", {2, 3, 5, 5}, 0, false);
  norm_statistics(t, "beside_y", {1, 4, 5, 3}, 0, true);
}

PoolAttributes window(std::int64_t kernel, std::int64_t stride, std::int64_t padding = 0,
                      bool count_padding = true) {
  return {.kernel_h = kernel,
          .kernel_w = kernel,
          .stride_h = stride,
          .stride_w = stride,
          .pad_top = padding,
          .pad_left = padding,
          .pad_bottom = padding,
          .pad_right = padding,
          .count_padding = count_padding};
}

void pool(Table& t, Op op, const std::string& name, const Shape& shape, const PoolAttributes& a) {
  Case c(t, (op == Op::kMaxPool ? "max_pool_" : "avg_pool_") + name);
  // One element of a large window receives all of its gradient.
  const bool gaps = a.stride_h >= a.kernel_h && a.kernel_h * a.kernel_w >= 9;
  if (op == Op::kMaxPool && (gaps || name == "whole_image")) c.zeros_expected();
  const Value x = c.input("x", shape);
  c.done(c.op(op, {x}, a), {x});
}

void pools(Table& t) {
  for (const Op op : {Op::kMaxPool, Op::kAvgPool}) {
    pool(t, op, "2x2", {2, 16, 6, 6}, window(2, 2));
    pool(t, op, "2x2_odd", {2, 16, 7, 5}, window(2, 2));
    pool(t, op, "3x3_stride2_padded", {2, 16, 8, 8}, window(3, 2, 1));
    pool(t, op, "3x3_stride2_padded_odd", {1, 17, 9, 7}, window(3, 2, 1));
    pool(t, op, "3x3_stride2", {2, 5, 8, 7}, window(3, 2));
    pool(t, op, "3x3_stride1_padded", {2, 3, 5, 5}, window(3, 1, 1));
    pool(t, op, "3x3_stride3_gaps", {1, 16, 8, 8}, window(3, 3));
    pool(t, op, "5x5_padded", {1, 12, 7, 7}, window(5, 2, 2));
    pool(t, op, "1x1_stride2", {1, 4, 5, 5}, window(1, 2));
    pool(t, op, "same_3x3_stride2_even", {2, 16, 6, 6},
         {.kernel_h = 3, .kernel_w = 3, .pad_bottom = 1, .pad_right = 1});
    pool(t, op, "2x3_asymmetric", {2, 4, 5, 7},
         {.kernel_h = 2, .kernel_w = 3, .stride_h = 1, .stride_w = 3, .pad_top = 1, .pad_left = 2});
    pool(t, op, "whole_image", {2, 16, 4, 4}, window(4, 1));
  }
  pool(t, Op::kAvgPool, "2x2_padded_uncounted", {2, 16, 6, 6}, window(2, 2, 1, false));
  pool(t, Op::kAvgPool, "3x3_stride2_uncounted", {1, 17, 7, 7}, window(3, 2, 1, false));
  for (const Shape& shape :
       {Shape{2, 16, 7, 7}, Shape{1, 17, 3, 5}, Shape{3, 64, 4, 4}, Shape{2, 5, 1, 1}}) {
    Case c(t, "global_avg_pool_" + std::to_string(shape[1]) + "_" + std::to_string(shape[2]) + "x" +
                  std::to_string(shape[3]));
    const Value x = c.input("x", shape);
    c.done(c.op(Op::kGlobalAvgPool, {x}), {x});
  }
}

void elementwise(Table& t) {
  for (const Shape& shape : {Shape{2, 16, 4, 4}, Shape{2, 5, 3, 7}, Shape{3, 10}}) {
    const std::string end = std::to_string(shape[1]) + (shape.size() == 2 ? "_2d" : "");
    for (const Op op : {Op::kRelu, Op::kSigmoid}) {
      Case c(t, std::string(name_of(op)) + "_" + end);
      const Value x = c.input("x", shape);
      c.done(c.op(op, {x}), {x});
    }
    for (const Op op : {Op::kAdd, Op::kMul}) {
      Case c(t, std::string(name_of(op)) + "_" + end);
      const Value a = c.input("a", shape), b = c.input("b", shape);
      c.done(c.op(op, {a, b}), {a, b});
      Case same(t, std::string(name_of(op)) + "_itself_" + end);
      const Value x = same.input("x", shape);
      same.done(same.op(op, {x, x}), {x});
    }
    Case ninth(t, "scale_" + end);
    const Value plain = ninth.input("x", shape);
    ninth.done(ninth.op(Op::kScale, {plain}, ScaleAttributes{.factor = 1.0 / 9}), {plain});
    for (const int percent : {10, 50, 85}) {
      Case c(t, "dropout_" + std::to_string(percent) + "_" + end);
      const Value x = c.input("x", shape);
      c.done(c.op(Op::kDropout, {x}, DropoutAttributes{.p = percent / 100.0, .stream = 7}), {x});
    }
  }
  Case wide(t, "sigmoid_wide");
  const Value x = wide.input("x", {4, 33}, {Source::kWide});
  wide.done(wide.op(Op::kSigmoid, {x}), {x});
  Case fill(t, "fill");
  fill.op(Op::kFill, {}, FillAttributes{.value = 0.1, .shape = {3, 5}});
  fill.done();
}

void linears(Table& t) {
  const auto linear = [&](const std::string& name, std::int64_t n, std::int64_t k, std::int64_t m,
                          bool bias) {
    Case c(t, "linear_" + name);
    std::vector<Value> in{c.input("x", {n, k}), c.parameter("w", {m, k})};
    if (bias) in.push_back(c.parameter("bias", {m}));
    c.done(c.op(Op::kLinear, in), in);
  };
  linear("plain", 4, 16, 8, false);
  linear("bias", 4, 16, 8, true);
  linear("batch1", 1, 64, 10, true);
  linear("odd", 3, 17, 5, true);
  linear("one_feature", 5, 12, 1, true);
  linear("one_input", 5, 1, 7, false);
  linear("deep", 2, 512, 10, true);
}

struct LossCase {
  double smoothing = 0;
  bool soft = false, weighted = false;
  Source logits = {};
  Source weights = {Source::kPositive};
};

void losses(Table& t) {
  const auto loss = [&](const std::string& name, std::int64_t n, std::int64_t classes,
                        const LossCase& o) {
    Case c(t, "cross_entropy_" + name);
    const Value logits = c.input("logits", {n, classes}, o.logits);
    std::vector<Value> in{logits, c.input("targets", {n, classes},
                                          {o.soft ? Source::kProbabilities : Source::kOneHot})};
    if (o.weighted) in.push_back(c.input("weights", {classes}, o.weights));
    if (o.weights.domain == Source::kConstant) c.zeros_expected();
    c.done(c.op(Op::kSoftmaxCrossEntropy, in, LossAttributes{o.smoothing}), {logits});
  };
  loss("hard", 4, 10, {});
  loss("batch1", 1, 3, {});
  loss("two_classes", 5, 2, {});
  loss("classes1000", 2, 1000, {});
  loss("wide", 4, 10, {.logits = {Source::kWide}});
  loss("wide_smoothing", 4, 10, {.smoothing = 0.1, .logits = {Source::kWide}});
  loss("offset", 4, 10, {.logits = {Source::kOffset, 1000}});
  loss("smoothing", 4, 10, {.smoothing = 0.1});
  loss("soft", 4, 7, {.soft = true});
  loss("soft_smoothing", 4, 7, {.smoothing = 0.2, .soft = true});
  loss("weighted", 4, 5, {.weighted = true});
  loss("weighted_smoothing", 4, 5, {.smoothing = 0.1, .weighted = true});
  loss("weighted_soft_smoothing", 4, 5, {.smoothing = 0.1, .soft = true, .weighted = true});
  const Source none{Source::kConstant, 0};
  loss("weightless", 4, 5, {.weighted = true, .weights = none});
  loss("weightless_batch1", 1, 3, {.weighted = true, .weights = none});
  loss("weightless_soft_smoothing", 4, 5,
       {.smoothing = 0.1, .soft = true, .weighted = true, .weights = none});
  for (const auto& [name, source] :
       {std::pair{"plain", Source{}}, std::pair{"wide", Source{Source::kWide}}}) {
    Case c(t, std::string("softmax_") + name);
    c.op(Op::kSoftmax, {c.input("x", {3, 11}, source)});
    c.done();
  }
}

void shapes(Table& t) {
  const auto shortcut = [&](const std::string& name, const Shape& shape,
                            const PadShortcutAttributes& a, bool zeros = false) {
    Case c(t, "pad_shortcut_" + name);
    if (zeros) c.zeros_expected();
    const Value x = c.input("x", shape);
    c.done(c.op(Op::kPadShortcut, {x}, a), {x});
  };
  shortcut("stride2", {2, 16, 8, 8}, {.stride = 2, .out_channels = 32, .front = 8});
  shortcut("stride2_odd", {2, 5, 7, 5}, {.stride = 2, .out_channels = 12, .front = 3});
  shortcut("stride1", {2, 16, 4, 4}, {.stride = 1, .out_channels = 20, .front = 2});
  shortcut("channels_only_after", {1, 3, 5, 5}, {.stride = 1, .out_channels = 8, .front = 0});
  shortcut("stride3", {1, 4, 7, 7}, {.stride = 3, .out_channels = 4, .front = 0});

  const auto concat = [&](const std::string& name, const std::vector<Shape>& parts) {
    Case c(t, "concat_" + name);
    std::vector<Value> in;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      in.push_back(c.input("x" + std::to_string(i), parts[i]));
    }
    c.done(c.op(Op::kConcat, in), in);
  };
  concat("two", {{2, 16, 4, 4}, {2, 16, 4, 4}});
  concat("uneven", {{2, 16, 3, 5}, {2, 12, 3, 5}, {2, 1, 3, 5}});
  concat("one", {{2, 5, 3, 3}});
  concat("dense", {{1, 24, 4, 4}, {1, 12, 4, 4}, {1, 12, 4, 4}, {1, 12, 4, 4}});
  concat("two_d", {{3, 4}, {3, 7}});

  for (const auto& [begin, end] : {std::pair{0, 16}, std::pair{5, 12}, std::pair{16, 33}}) {
    Case c(t, "slice_channels_" + std::to_string(begin) + "_" + std::to_string(end));
    c.op(Op::kSliceChannels, {c.input("x", {2, 33, 3, 4})}, SliceAttributes{begin, end});
    c.done();
  }
  for (const std::int64_t channels : {16, 5}) {
    Case c(t, "reshape_" + std::to_string(channels));
    const Value x = c.input("x", {2, channels, 3, 4});
    c.done(c.op(Op::kReshape, {x}, ShapeAttributes{{2, channels * 12}}), {x});
  }
  Case c(t, "channel_sum_2d");
  c.op(Op::kChannelSum, {c.input("x", {9, 13})});
  c.done();
}

/// An optimizer's update of a tensor with `states` state tensors.
void optimizer(Table& t, Op op, const std::string& name, int states, const UpdateAttributes& a,
               std::optional<Source> scale = {}, Source gradient = {}, Source weight = {},
               double step = 1) {
  Case c(t, std::string(name_of(op)) + "_" + name);
  const Shape shape{5, 3, 3, 3};
  std::vector<Value> in{c.parameter("w", shape, weight)};
  for (int i = 0; i < states; ++i) {
    in.push_back(c.parameter("state" + std::to_string(i), shape,
                             op == Op::kAdamW && i == 1 ? Source{Source::kPositive} : Source{}));
  }
  in.push_back(c.input("gradient", shape, gradient));
  in.push_back(c.input("lr", {1}, {Source::kConstant, 0.1F}));
  if (op == Op::kAdamW) in.push_back(c.input("step", {1}, {Source::kConstant, step}));
  if (scale) in.push_back(c.input("scale", {1}, *scale));
  c.op(op, in, a);
  c.done();
}

void updates(Table& t) {
  const Source half{Source::kConstant, 0.5}, zero{Source::kConstant, 0}, nan{Source::kOneNan};
  const auto sgd = [&](const std::string& name, const UpdateAttributes& a,
                       std::optional<Source> scale = {}, Source gradient = {}) {
    optimizer(t, Op::kSgd, name, 1, a, scale, gradient);
  };
  sgd("plain", {});
  sgd("decay", {.weight_decay = 1e-2});
  sgd("momentum", {.momentum = 0.9});
  sgd("momentum_decay", {.momentum = 0.9, .weight_decay = 1e-2});
  sgd("nesterov_decay", {.momentum = 0.9, .nesterov = true, .weight_decay = 1e-2});
  sgd("scaled", {.momentum = 0.9, .weight_decay = 1e-2}, half);
  sgd("scale_0_nan", {.momentum = 0.9, .weight_decay = 1e-2}, zero, nan);

  const auto adamw = [&](const std::string& name, const UpdateAttributes& a, double step,
                         std::optional<Source> scale = {}, Source gradient = {}) {
    optimizer(t, Op::kAdamW, name, 2, a, scale, gradient, {}, step);
  };
  adamw("step1", {}, 1);
  adamw("step2_decay", {.weight_decay = 0.05}, 2);
  adamw("step100", {.weight_decay = 0.05, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-6}, 100);
  adamw("scaled", {.weight_decay = 0.05}, 10, half);
  adamw("scale_0_nan", {.weight_decay = 0.05}, 10, zero, nan);

  const auto lars = [&](const std::string& name, const UpdateAttributes& a,
                        std::optional<Source> scale = {}, Source gradient = {},
                        Source weight = {}) {
    optimizer(t, Op::kLars, name, 1, a, scale, gradient, weight);
  };
  lars("plain", {.trust = 0.02});
  lars("momentum_decay", {.momentum = 0.9, .weight_decay = 1e-2, .trust = 0.02});
  lars("no_trust", {.momentum = 0.9, .weight_decay = 1e-2, .trust = 0});
  lars("zero_weights", {.momentum = 0.9, .trust = 0.02}, {}, {}, zero);
  lars("zero_gradient", {.momentum = 0.9, .weight_decay = 1e-2, .trust = 0.02}, {}, zero);
  lars("scaled", {.momentum = 0.9, .weight_decay = 1e-2, .trust = 0.02}, half);
  lars("scale_0_nan", {.momentum = 0.9, .weight_decay = 1e-2, .trust = 0.02}, zero, nan);

  const auto two = [&](Op op, const std::string& name, const UpdateAttributes& a) {
    Case c(t, std::string(name_of(op)) + "_" + name);
    const Value variable = c.parameter("variable", {3, 11});
    c.op(op, {variable, c.input("value", {3, 11})}, a);
    c.done();
  };
  two(Op::kRunningAverage, "plain", {.momentum = 0.1});
  two(Op::kRunningAverage, "unbiased", {.momentum = 0.1, .scale = 8.0 / 7});
  two(Op::kAccumulate, "plain", {});
  two(Op::kAccumulate, "quarter", {.scale = 0.25});
  Case clear(t, "clear");
  clear.op(Op::kClear, {clear.parameter("variable", {3, 11}, nan)});
  clear.zeros_expected();
  clear.done();
}

void helpers(Table& t) {
  const auto clip = [&](const std::string& name, double max_norm, int count, Source first = {}) {
    Case c(t, "clip_scale_" + name);
    std::vector<Value> in;
    for (int i = 0; i < count; ++i) {
      in.push_back(c.input("gradient" + std::to_string(i), {3, 7 + i}, i == 0 ? first : Source{}));
    }
    c.op(Op::kClipScale, in, ClipAttributes{.max_norm = max_norm});
    if (first.domain == Source::kOneNan) c.zeros_expected();
    c.done();
  };
  clip("one", 0.5, 1);
  clip("three", 1, 3);
  clip("unclipped", 1000, 2);
  clip("zero_gradient", 1, 1, {Source::kConstant, 0});
  clip("nan", 1, 2, {Source::kOneNan});

  const Source positive{Source::kPositive};
  for (const Shape& w : {Shape{16, 8, 3, 3}, Shape{17, 3, 1, 1}, Shape{8, 1, 3, 3}}) {
    Case c(t, "fold_weights_" + std::to_string(w[0]));
    c.op(Op::kFoldWeights,
         {c.parameter("w", w), c.parameter("gamma", {w[0]}), c.parameter("var", {w[0]}, positive)},
         NormAttributes{});
    c.done();
  }
  for (const bool bias : {false, true}) {
    Case c(t, std::string("fold_bias") + (bias ? "_bias" : ""));
    std::vector<Value> in{c.parameter("gamma", {17}), c.parameter("beta", {17}),
                          c.parameter("mean", {17}), c.parameter("var", {17}, positive)};
    if (bias) in.push_back(c.parameter("bias", {17}));
    c.op(Op::kFoldBias, in, NormAttributes{});
    c.done();
  }
}

// --- 8-bit integers.

struct QuantizedCase {
  Source x = {Source::kUnsigned8};  ///< kReal: quantised by the layer
  Source residual = {Source::kUnsigned8};
  DType dtype = DType::kU8;
};

/// Scales that differ from filter to filter and make results of a few dozen steps.
QuantizedAttributes scales(std::int64_t filters, std::int64_t products, const QuantizedCase& o) {
  QuantizedAttributes a;
  a.x_scale = 0.011F, a.residual_scale = 0.031F, a.y_scale = 0.07F;
  a.dtype = o.dtype;
  if (o.x.domain == Source::kSigned8) a.x_dtype = DType::kI8;
  if (o.x.domain == Source::kReal) a.x_scale = 0.0078F, a.x_dtype = DType::kI8;
  const float typical = 1 / std::sqrt(static_cast<float>(products)) / 32;
  for (std::int64_t m = 0; m < filters; ++m) {
    a.w_scales.push_back(typical * (0.5F + static_cast<float>(m % 7) / 7));
  }
  return a;
}

void quantized_conv(Table& t, const std::string& name, const Shape& x_shape, const Shape& w_shape,
                    ConvAttributes conv, const QuantizedCase& o = {}) {
  Case c(t, "quantized_conv_" + name);
  QuantizedAttributes a = scales(w_shape[0], element_count(w_shape) / w_shape[0], o);
  a.conv = conv;
  std::vector<Value> in{c.input("x", x_shape, o.x), c.parameter("w", w_shape, {Source::kWeight8}),
                        c.parameter("bias", {w_shape[0]}, {Source::kWide})};
  if (conv.residual) {
    QuantizedAttributes plain = a;
    plain.conv.residual = false;
    Graph shapes = c.graph();
    const Value y = shapes.append(Op::kQuantizedConv2d, "shape", in, plain);
    in.push_back(c.input("residual", shapes.shape(y), o.residual));
  }
  c.op(Op::kQuantizedConv2d, in, a);
  c.done();
}

void quantized(Table& t) {
  const Source real{}, u8{Source::kUnsigned8}, s8{Source::kSigned8};
  ConvAttributes relu = pad(1), sum = pad(1), stride2 = strided(2, 1), one = {};
  relu.relu = sum.relu = stride2.relu = one.relu = true;
  sum.residual = true;
  quantized_conv(t, "3x3", {2, 16, 8, 8}, {16, 16, 3, 3}, relu);
  quantized_conv(t, "3x3_batch1_odd", {1, 16, 5, 7}, {32, 16, 3, 3}, relu);
  quantized_conv(t, "3x3_channels_17_12", {2, 17, 6, 5}, {12, 17, 3, 3}, relu);
  quantized_conv(t, "3x3_channels_64", {2, 64, 9, 9}, {64, 64, 3, 3}, relu);
  quantized_conv(t, "3x3_stride2", {2, 64, 8, 8}, {128, 64, 3, 3}, stride2);
  quantized_conv(t, "3x3_signed", {2, 16, 8, 8}, {16, 16, 3, 3}, pad(1), {.x = s8});
  quantized_conv(t, "3x3_to_signed", {2, 64, 6, 6}, {16, 64, 3, 3}, pad(1), {.dtype = DType::kI8});
  quantized_conv(t, "3x3_to_f32", {2, 16, 6, 6}, {17, 16, 3, 3}, pad(1), {.dtype = DType::kF32});
  quantized_conv(t, "3x3_signed_to_f32", {2, 12, 6, 6}, {16, 12, 3, 3}, relu,
                 {.x = s8, .dtype = DType::kF32});
  quantized_conv(t, "residual", {2, 16, 6, 6}, {16, 16, 3, 3}, sum);
  quantized_conv(t, "residual_odd", {1, 12, 5, 7}, {17, 12, 3, 3}, sum);
  quantized_conv(t, "residual_signed", {2, 64, 6, 6}, {64, 64, 3, 3}, sum, {.residual = s8});
  quantized_conv(t, "residual_f32", {2, 16, 6, 6}, {16, 16, 3, 3}, sum,
                 {.residual = real, .dtype = DType::kF32});
  quantized_conv(t, "1x1", {2, 64, 6, 6}, {32, 64, 1, 1}, one);
  quantized_conv(t, "1x1_stride2", {2, 64, 7, 7}, {128, 64, 1, 1}, strided(2, 0),
                 {.dtype = DType::kI8});
  one.residual = true;
  quantized_conv(t, "1x1_residual", {2, 16, 4, 4}, {64, 16, 1, 1}, one);
  quantized_conv(t, "1x1_residual_signed", {2, 64, 5, 7}, {128, 64, 1, 1}, one, {.residual = s8});
  quantized_conv(t, "1x1_residual_few_pixels", {1, 192, 3, 5}, {64, 192, 1, 1}, one);
  one.residual = false;
  quantized_conv(t, "1x1_signed", {1, 128, 7, 11}, {64, 128, 1, 1}, one, {.x = s8});
  quantized_conv(t, "1x1_stride2_odd", {3, 128, 7, 11}, {64, 128, 1, 1}, strided(2, 0));
  quantized_conv(t, "1x1_many_filters", {1, 64, 3, 3}, {256, 64, 1, 1}, {}, {.dtype = DType::kI8});
  ConvAttributes grouped = relu;
  grouped.groups = 4;
  quantized_conv(t, "groups4", {2, 16, 7, 7}, {32, 4, 3, 3}, grouped);
  // First layers: they quantise the image themselves.
  ConvAttributes stem = strided(2, 3);
  stem.relu = true;
  quantized_conv(t, "7x7_stem", {2, 3, 18, 20}, {64, 3, 7, 7}, stem, {.x = real});
  quantized_conv(t, "7x7_stem_odd", {1, 3, 19, 37}, {64, 3, 7, 7}, stem, {.x = real});
  quantized_conv(t, "7x7_stem_48", {1, 3, 22, 70}, {48, 3, 7, 7}, stem, {.x = real});
  quantized_conv(t, "7x7_stem_128", {1, 2, 22, 70}, {128, 2, 7, 7}, stem, {.x = real});
  quantized_conv(t, "7x7_stem_to_f32", {1, 3, 16, 16}, {20, 3, 7, 7}, stem,
                 {.x = real, .dtype = DType::kF32});
  quantized_conv(t, "3x3_stem", {2, 3, 12, 12}, {16, 3, 3, 3}, relu, {.x = real});
  quantized_conv(t, "3x3_stem_grey", {2, 1, 12, 12}, {16, 1, 3, 3}, relu, {.x = real});
  quantized_conv(t, "3x3_stem_stride2", {2, 3, 13, 12}, {32, 3, 3, 3}, stride2, {.x = real});

  for (const Source& x : {real, u8}) {
    const bool f32 = x.domain == Source::kReal;
    Case c(t, std::string("quantized_linear") + (f32 ? "_f32" : ""));
    const QuantizedAttributes a = scales(10, 37, {.x = x, .dtype = DType::kF32});
    c.op(Op::kQuantizedLinear,
         {c.input("x", {3, 37}, x), c.parameter("w", {10, 37}, {Source::kWeight8}),
          c.parameter("bias", {10}, {Source::kWide})},
         a);
    c.done();
  }
  for (const DType dtype : {DType::kU8, DType::kI8}) {
    const bool is_signed = dtype == DType::kI8;
    const std::string end = is_signed ? "_signed" : "";
    const Source source = is_signed ? s8 : u8;
    for (const Shape& shape : {Shape{2, 17, 5, 7}, Shape{3, 37}}) {
      Case c(t, "quantize" + end + (shape.size() == 2 ? "_matrix" : ""));
      c.op(Op::kQuantize, {c.input("x", shape, {Source::kWide})},
           QuantizeAttributes{.scale = 0.13F, .dtype = dtype});
      c.done();
      Case d(t, "dequantize" + end + (shape.size() == 2 ? "_matrix" : ""));
      d.op(Op::kDequantize, {d.input("x", shape, source)}, QuantizeAttributes{.scale = 0.13F});
      d.done();
    }
    Case blocked(t, "quantize_blocked" + end);  // of a value that lies as f32 kernels want it
    const Value x = blocked.op(Op::kRelu, {blocked.input("x", {2, 17, 5, 7}, {Source::kWide})});
    blocked.op(Op::kQuantize, {x}, QuantizeAttributes{.scale = 0.13F, .dtype = dtype});
    blocked.done();
    Case p(t, "integer_max_pool" + end);
    PoolAttributes pool{.kernel_h = 3, .kernel_w = 3};
    pool.pad_top = pool.pad_left = pool.pad_bottom = pool.pad_right = 1;
    p.op(Op::kMaxPool, {p.input("x", {2, 17, 9, 8}, source)}, pool);
    p.done();
    Case g(t, "integer_global_avg_pool" + end);
    g.op(Op::kGlobalAvgPool, {g.input("x", {2, 77, 3, 5}, source)},
         QuantizeAttributes{.scale = 0.13F});
    g.done();
    Case s(t, "integer_pad_shortcut" + end);
    s.op(Op::kPadShortcut, {s.input("x", {2, 16, 7, 5}, source)},
         PadShortcutAttributes{.stride = 2, .out_channels = 33, .front = 8});
    s.done();
  }
}

// --- Networks: blocks of every family, ending in a loss.

void finish_classifier(Case& c, Value features, std::vector<Value> wrt = {}) {
  Graph& g = c.graph();
  const Value logits = g.linear("fc", g.global_avg_pool(features), 5);
  const std::int64_t n = g.shape(logits)[0];
  const Value targets = c.input("targets", {n, 5}, {Source::kProbabilities});
  const Value loss = g.softmax_cross_entropy(logits, targets, 0.1);
  c.fill_parameters();
  for (const Value v : g.trainable()) wrt.push_back(v);
  c.done(loss, wrt);
}

void networks(Table& t) {
  const ConvOptions c3{.filters = 6, .kernel = 3, .padding = Padding::kFixed};
  const ConvOptions c3s2{.filters = 10, .kernel = 3, .stride = 2, .padding = Padding::kFixed};
  {
    Case c(t, "network_basic_block");
    Graph& g = c.graph();
    const Value x = c.input("x", {2, 6, 6, 6});
    Value y = g.relu(g.batch_norm("bn1", g.conv2d("conv1", x, c3)));
    y = g.batch_norm("bn2", g.conv2d("conv2", y, c3));
    finish_classifier(c, g.relu(g.add(y, x)), {x});
  }
  {
    Case c(t, "network_projection");
    Graph& g = c.graph();
    const Value x = c.input("x", {2, 3, 6, 6});
    Value y = g.relu(g.batch_norm("bn1", g.conv2d("conv1", x, c3s2)));
    y = g.batch_norm("bn2", g.conv2d("conv2", y, {.filters = 10, .kernel = 1}));
    const Value skip =
        g.batch_norm("bn3", g.conv2d("projection", x, {.filters = 10, .kernel = 1, .stride = 2}));
    finish_classifier(c, g.relu(g.add(y, skip)), {x});
  }
  {
    Case c(t, "network_option_a");
    Graph& g = c.graph();
    const Value x = c.input("x", {2, 6, 6, 6});
    const Value y = g.batch_norm("bn1", g.conv2d("conv1", x, c3s2));
    finish_classifier(c, g.relu(g.add(y, g.pad_shortcut(x, 10, 2))), {x});
  }
  {
    Case c(t, "network_preactivation");
    Graph& g = c.graph();
    const Value x = c.input("x", {2, 6, 6, 6});
    const Value a = g.relu(g.batch_norm("bn1", x));  // read by the convolution and the projection
    Value y = g.conv2d("conv1", a, c3s2);
    y = g.conv2d("conv2", g.relu(g.batch_norm("bn2", y)), {.filters = 10, .kernel = 1});
    const Value skip = g.conv2d("projection", a, {.filters = 10, .kernel = 1, .stride = 2});
    finish_classifier(c, g.add(y, skip), {x});
  }
  {
    Case c(t, "network_two_blocks");
    Graph& g = c.graph();
    Value x = c.input("x", {2, 3, 8, 8});
    x = g.relu(g.batch_norm("stem_bn", g.conv2d("stem", x, c3)));
    for (const std::string block : {"a", "b"}) {
      Value y = g.relu(g.batch_norm(block + ".bn1", g.conv2d(block + ".conv1", x, c3)));
      y = g.batch_norm(block + ".bn2", g.conv2d(block + ".conv2", y, c3));
      x = g.relu(g.add(y, x));
    }
    finish_classifier(c, x);
  }
  {
    Case c(t, "network_stem_pool");
    Graph& g = c.graph();
    const Value x = c.input("x", {1, 3, 14, 14});
    Value y = g.conv2d("conv1", x, {.filters = 4, .kernel = 7, .stride = 2});
    y = g.relu(g.batch_norm("bn1", y));
    finish_classifier(c, g.max_pool(y, {.kernel = 3, .stride = 2, .pad = 1}), {x});
  }
  {
    Case c(t, "network_highway");
    Graph& g = c.graph();
    const Value x = c.input("x", {2, 5, 4, 4});
    const ConvOptions same{.filters = 5, .kernel = 3, .padding = Padding::kFixed, .bias = true};
    const Value gate = g.sigmoid(g.conv2d("gate", x, same));
    const Value h = g.relu(g.conv2d("transform", x, same));
    finish_classifier(c, g.add(g.mul(gate, h), g.mul(gate, x)), {x});
  }
  {
    Case c(t, "network_dense");
    Graph& g = c.graph();
    Value x = c.input("x", {2, 5, 6, 6});
    const Value first = x;
    for (const std::string layer : {"l1", "l2"}) {
      const Value a = g.relu(g.batch_norm(layer + ".bn", x));
      const Value parts[] = {x, g.conv2d(layer + ".conv", a, {.filters = 3, .kernel = 3})};
      x = g.concat(parts);
    }
    finish_classifier(c, g.avg_pool(x, {.kernel = 2, .stride = 2}), {first});
  }
  {
    Case c(t, "network_frozen_norm");
    Graph& g = c.graph();
    const Value x = c.input("x", {2, 3, 5, 5});
    const Value y = g.batch_norm("bn1", g.conv2d("conv1", x, c3), {.frozen = true});
    finish_classifier(c, g.dropout(g.relu(y), 0.3), {x});
  }
  {
    Case c(t, "network_plain_head");
    Graph& g = c.graph();
    const Value x = c.input("x", {3, 3, 6, 6});
    Value y = g.max_pool(g.relu(g.conv2d("conv1", x, c3)), {.kernel = 2, .stride = 2});
    y = g.relu(g.linear("fc1", g.flatten(y), 12));
    y = g.linear("fc2", g.dropout(y, 0.5), 5);
    const Value targets = c.input("targets", {3, 5}, {Source::kOneHot});
    const Value loss =
        g.softmax_cross_entropy(y, targets, 0, c.input("weights", {5}, {Source::kPositive}));
    c.fill_parameters();
    std::vector<Value> wrt = g.trainable();
    wrt.push_back(x);
    c.done(loss, wrt);
  }
}

// --- Filling the sources.

double draw(Random& rng, const Source& s, Numbers numbers) {
  if (s.domain == Source::kConstant) return s.value;
  if (s.domain == Source::kUnsigned8) return rng.below(256);
  if (s.domain == Source::kSigned8) return rng.below(256) - 128.0;
  if (s.domain == Source::kWeight8) return rng.below(127) - 63.0;
  if (numbers == Numbers::kIntegers) {
    switch (s.domain) {
      case Source::kNonZero: return (rng.below(2) == 0 ? -1.0 : 1.0) * (1 + rng.below(2));
      case Source::kPositive: return 1 + rng.below(3);
      case Source::kOffset: return std::round(s.value) + rng.below(7) - 3.0;
      case Source::kWide: return rng.below(61) - 30.0;
      default: return rng.below(7) - 3.0;
    }
  }
  switch (s.domain) {
    case Source::kNonZero: return (rng.below(2) == 0 ? -1 : 1) * rng.uniform(0.5, 2);
    case Source::kPositive: return rng.uniform(0.5, 2);
    case Source::kOffset: return s.value + rng.uniform(-1, 1);
    case Source::kWide: return rng.uniform(-30, 30);
    default: return rng.uniform(-1, 1);
  }
}

Tensor draw(Random& rng, const Shape& shape, const Source& s, Numbers numbers) {
  Tensor t(DType::kF64, shape);
  auto v = t.as<double>();
  const bool rows = s.domain == Source::kOneHot || s.domain == Source::kProbabilities;
  const std::size_t c = rows ? static_cast<std::size_t>(shape.back()) : 1;
  const bool one_hot = s.domain == Source::kOneHot || (rows && numbers == Numbers::kIntegers);
  for (std::size_t i = 0; rows && i < v.size(); i += c) {
    const std::size_t label = rng.below(static_cast<std::uint32_t>(c));
    double sum = 0;
    for (std::size_t k = 0; k < c; ++k) {
      v[i + k] = one_hot ? static_cast<double>(k == label) : rng.uniform(0.05, 1);
      sum += v[i + k];
    }
    for (std::size_t k = 0; k < c; ++k) v[i + k] /= sum;
  }
  for (double& e : v) {
    if (!rows) e = draw(rng, s, numbers);
    e = static_cast<float>(e);
  }
  if (s.domain == Source::kOneNan) v[v.size() / 2] = std::nan("");
  return t;
}

/// The smallest distance of a window's two largest elements, and of a ReLU's input from 0.
double kink_distance(Target& reference, const Graph& graph, const Executor& run, Numbers numbers) {
  double distance = 1e300;
  const auto away_from_zero = [&](const Tensor& t) {
    for (const double v : t.as<double>()) distance = std::min(distance, std::abs(v));
  };
  for (const Node& node : graph.nodes()) {
    const auto* norm = std::get_if<NormAttributes>(&node.attributes);
    if (node.op == Op::kBatchNorm || node.op == Op::kNormalize) {
      if (!norm->relu || (norm->residual && numbers == Numbers::kIntegers)) continue;
      std::vector<Tensor> in;
      for (const Value v : node.inputs) in.push_back(run.value(v));
      Node without = node;
      std::get<NormAttributes>(without.attributes).relu = false;
      away_from_zero(run_node(reference, graph, without, in)[0]);
    }
    // In bf16 ties are common, but what is compared is exact: every device sees the same ones.
    const bool bf16 = !node.outputs.empty() && node.outputs[0].dtype == DType::kBF16;
    if (numbers == Numbers::kIntegers || bf16) continue;
    if (node.op == Op::kRelu) away_from_zero(run.value(node.inputs[0]));
    if (node.op == Op::kMaxPool && node.outputs.size() == 2) {
      // Zeros that a ReLU made may tie: they stay zero.
      const bool after_relu = graph.node(node.inputs[0]).op == Op::kRelu;
      const auto& a = std::get<PoolAttributes>(node.attributes);
      const Tensor x = run.value(node.inputs[0]);
      const Shape &s = x.shape(), &o = node.outputs[0].shape;
      const auto v = x.as<double>();
      for (std::int64_t plane = 0; plane < s[0] * s[1]; ++plane) {
        for (std::int64_t out = 0; out < o[2] * o[3]; ++out) {
          double best = -1e300, second = -1e300;
          for (std::int64_t k = 0; k < a.kernel_h * a.kernel_w; ++k) {
            const std::int64_t h = out / o[3] * a.stride_h - a.pad_top + k / a.kernel_w;
            const std::int64_t w = out % o[3] * a.stride_w - a.pad_left + k % a.kernel_w;
            if (h < 0 || h >= s[2] || w < 0 || w >= s[3]) continue;
            const double e = v[static_cast<std::size_t>((plane * s[2] + h) * s[3] + w)];
            second = std::max(second, std::min(best, e));
            best = std::max(best, e);
          }
          if (!(after_relu && best == 0)) distance = std::min(distance, best - second);
        }
      }
    }
  }
  return distance;
}

std::vector<OpCase> checked(std::vector<OpCase> table) {
  std::set<std::string> seen;
  for (const OpCase& c : table) {
    if (!seen.insert(c.name).second) throw std::logic_error("two cases are called " + c.name);
    verify(c.graph);
  }
  return table;
}

}  // namespace

const std::vector<OpCase>& op_cases() {
  static const std::vector<OpCase> cases = [] {
    Table t;
    convolutions(t);
    norms(t);
    pools(t);
    elementwise(t);
    linears(t);
    losses(t);
    shapes(t);
    updates(t);
    helpers(t);
    quantized(t);
    return checked(std::move(t));
  }();
  return cases;
}

const std::vector<OpCase>& network_cases() {
  static const std::vector<OpCase> cases = [] {
    Table t;
    networks(t);
    return checked(std::move(t));
  }();
  return cases;
}

// Gradients of weights alone, of sizes at which kernels work in pieces: too many places for the
// finite differences of the other tables.
void weight_gradients(Table& t) {
  const auto add = [&](const std::string& name, const Shape& x, const Shape& w, ConvAttributes a) {
    Graph shapes(Mode::kTraining);
    const Value y =
        shapes.append(Op::kConv2d, "y", {shapes.input("x", x), shapes.input("w", w)}, a);
    Case c(t, "conv_weights_" + name);
    a.weight_shape = w;
    c.op(Op::kConv2dBackwardWeights, {c.input("x", x), c.input("dy", shapes.shape(y))}, a);
    c.done();
  };
  add("3x3_many_places", {2, 16, 96, 100}, {16, 16, 3, 3}, pad(1));
  add("3x3_stride2_channels_40_24", {3, 40, 33, 29}, {24, 40, 3, 3}, strided(2, 1));
  add("5x5_channels_32_48", {2, 32, 17, 19}, {48, 32, 5, 5}, pad(2));
  add("3x3_channels_17_80", {2, 17, 9, 7}, {80, 17, 3, 3}, {.pad_top = 1, .pad_right = 2});
  add("1x1_stride2_many_places", {2, 64, 57, 55}, {32, 64, 1, 1}, strided(2, 0));
}

const std::vector<OpCase>& bf16_cases() {
  static const std::vector<OpCase> cases = [] {
    Table t, large;
    weight_gradients(large);
    const auto reference = make_reference_target();
    for (const auto* table :
         std::initializer_list<const Table*>{&op_cases(), &network_cases(), &large}) {
      for (const OpCase& c : *table) {
        OpCase low;
        low.name = c.name;
        low.graph = lower_precision(c.graph, DType::kBF16, *reference);
        if (to_string(low.graph) == to_string(c.graph)) continue;
        low.sources = c.sources;
        low.zeros_expected = c.zeros_expected;
        t.push_back(std::move(low));
      }
    }
    return checked(std::move(t));
  }();
  return cases;
}

std::map<std::string, Tensor> make_sources(const OpCase& c, Numbers numbers, double distance,
                                           std::uint64_t seed) {
  const auto reference = make_reference_target();
  for (std::uint64_t attempt = 0; attempt < 2000; ++attempt) {
    std::map<std::string, Tensor> values;
    std::uint64_t index = 0;
    for (const auto& [name, source] : c.sources) {
      Random rng(seed, attempt, index++);
      values[name] = draw(rng, c.graph.shape(c.graph.find(name)), source, numbers);
    }
    if (distance == 0) return values;
    Executor run(*reference, c.graph);
    run.run(values);
    if (kink_distance(*reference, c.graph, run, numbers) >= distance) return values;
  }
  throw std::runtime_error(c.name + ": no numbers keep away from the kinks; make the case smaller");
}

double forward_cost(const OpCase& c) {
  double cost = 0;
  for (const Node& node : c.graph.nodes()) {
    if (node.outputs.empty()) continue;
    double per_output = 1;
    if (node.op == Op::kConv2d || node.op == Op::kLinear) {
      const Shape& w = c.graph.shape(node.inputs[1]);
      per_output = static_cast<double>(element_count(w) / w[0]);
    }
    cost += per_output * static_cast<double>(element_count(node.outputs[0].shape));
    if (c.loss && &node == &c.graph.node(c.loss)) break;
  }
  return cost;
}

std::vector<std::string> names(const std::vector<OpCase>& cases) {
  std::vector<std::string> result;
  for (const OpCase& c : cases) result.push_back(c.name);
  return result;
}

}  // namespace resnet::test

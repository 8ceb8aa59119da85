#include "graph/ops.h"

#include <array>

#include "core/check.h"

namespace resnet {
namespace {

using Types = std::vector<TensorType>;

[[noreturn]] void bad(const RuleInput& r, const std::string& what) {
  fail(ErrorCode::kInvalidArgument, "layer {} ({}): {}", r.layer, name_of(r.op), what);
}

// Of strides and the like: below it no sum or product in these rules overflows. Padding may be
// twice what Graph::conv2d takes.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 21;

// Far from the ends of f32, so that quotients and products of a few scales stay finite.
constexpr float kMinScale = 0x1p-40F, kMaxScale = 0x1p40F;
// Products of 8-bit integers whose sums fit 32 bits: each is at most 255 * 128.
constexpr std::int64_t kMaxExactProducts = 65536;

void expect(const RuleInput& r, bool condition, const std::string& what) {
  if (!condition) bad(r, what);
}

void expect_rank(const RuleInput& r, std::size_t input, std::size_t rank) {
  expect(r, r.shape(input).size() == rank,
         fmt::format("input {} must have {} dimensions, it has shape {}", input, rank,
                     to_string(r.shape(input))));
}

void expect_shape(const RuleInput& r, std::size_t input, const Shape& shape) {
  expect(r, r.shape(input) == shape,
         fmt::format("input {} must have shape {}, it has {}", input, to_string(shape),
                     to_string(r.shape(input))));
}

bool is_integer(DType dtype) { return dtype == DType::kU8 || dtype == DType::kI8; }

void expect_scale(const RuleInput& r, float scale) {
  expect(r, scale >= kMinScale && scale <= kMaxScale,
         fmt::format("scales must be between 2^-40 and 2^40, one is {}", scale));
}

// Another shape in the type of input 0.
Types like(const RuleInput& r, Shape shape) { return {{r.inputs[0].dtype, std::move(shape)}}; }
Types f32(Shape shape) { return {{DType::kF32, std::move(shape)}}; }

// The same type as input 0.
Types same(const RuleInput& r) { return {r.inputs[0]}; }

// An input of the same type as input 0, in a shape.
void expect_type(const RuleInput& r, std::size_t input, const Shape& shape) {
  expect_shape(r, input, shape);
  expect(r, r.inputs[input].dtype == r.inputs[0].dtype,
         fmt::format("input {} must be of {}, it is of {}", input, name_of(r.inputs[0].dtype),
                     name_of(r.inputs[input].dtype)));
}

// All inputs have one type; so has the output.
Types elementwise(const RuleInput& r) {
  for (std::size_t i = 1; i < r.inputs.size(); ++i) expect_type(r, i, r.shape(0));
  return same(r);
}

Types no_outputs(const RuleInput&) { return {}; }

Types source(const RuleInput&) { return {}; }  // inputs and parameters carry their own type

Shape conv_output(const RuleInput& r, const Shape& x, const Shape& w, const ConvAttributes& a) {
  expect(r, x.size() == 4 && w.size() == 4,
         fmt::format("needs 4-D data and weights, got {} and {}", to_string(x), to_string(w)));
  expect(r,
         a.stride_h > 0 && a.stride_w > 0 && a.dilation_h > 0 && a.dilation_w > 0 && a.groups > 0 &&
             a.pad_top >= 0 && a.pad_left >= 0 && a.pad_bottom >= 0 && a.pad_right >= 0,
         "strides, dilations and groups must be positive, padding not negative");
  for (const std::int64_t v : {a.stride_h, a.stride_w, a.dilation_h, a.dilation_w, a.groups,
                               a.pad_top, a.pad_left, a.pad_bottom, a.pad_right}) {
    expect(r, v <= kMaxExtent, "strides, dilations, groups and padding must be at most 2^21");
  }
  expect(r, x[1] == w[1] * a.groups,
         fmt::format("data {} has {} channels, weights {} with {} group(s) want {}", to_string(x),
                     x[1], to_string(w), a.groups, w[1] * a.groups));
  expect(r, w[0] % a.groups == 0,
         fmt::format("{} filters cannot be split into {} groups", w[0], a.groups));
  const Shape y{x[0], w[0],
                window_output(x[2], a.pad_top + a.pad_bottom, w[2], a.stride_h, a.dilation_h),
                window_output(x[3], a.pad_left + a.pad_right, w[3], a.stride_w, a.dilation_w)};
  const bool fits = x[2] + a.pad_top + a.pad_bottom >= a.dilation_h * (w[2] - 1) + 1 &&
                    x[3] + a.pad_left + a.pad_right >= a.dilation_w * (w[3] - 1) + 1;
  expect(r, fits,
         fmt::format("the image {} is smaller than the kernel {}; use a larger image "
                     "size or a network with fewer strides",
                     to_string(x), to_string(w)));
  return y;
}

Types conv2d(const RuleInput& r) {
  const auto& a = r.as<ConvAttributes>();
  const Shape y = conv_output(r, r.shape(0), r.shape(1), a);
  const std::size_t expected = 2U + (a.bias ? 1 : 0) + (a.residual ? 1 : 0);
  expect(r, r.inputs.size() == expected, fmt::format("expected {} inputs", expected));
  if (a.bias) expect_shape(r, 2, {y[1]});
  if (a.residual) expect_type(r, r.inputs.size() - 1, y);
  return like(r, y);
}

Types conv2d_backward_data(const RuleInput& r) {
  const auto& a = r.as<ConvAttributes>();
  expect_shape(r, 0, conv_output(r, a.input_shape, r.shape(1), a));
  return like(r, a.input_shape);
}

Types conv2d_backward_weights(const RuleInput& r) {
  const auto& a = r.as<ConvAttributes>();
  expect_type(r, 1, conv_output(r, r.shape(0), a.weight_shape, a));
  return f32(a.weight_shape);
}

// [n, c] or [n, c, h, w]: what channels are.
void expect_channels_of(const RuleInput& r) {
  const std::size_t rank = r.shape(0).size();
  expect(r, rank == 2 || rank == 4,
         fmt::format("needs data [n, c] or [n, c, h, w], got {}", to_string(r.shape(0))));
}

Types channel_sum(const RuleInput& r) {
  expect_channels_of(r);
  return f32({r.shape(0)[1]});
}

void expect_channels(const RuleInput& r, std::size_t first, std::size_t last, std::int64_t c) {
  for (std::size_t i = first; i < last; ++i) expect_shape(r, i, {c});
}

Types batch_norm(const RuleInput& r) {
  const auto& a = r.as<NormAttributes>();
  expect_rank(r, 0, 4);
  expect(r, r.inputs.size() == (a.residual ? 4U : 3U), "wrong number of inputs");
  const std::int64_t c = r.shape(0)[1];
  expect_channels(r, 1, 3, c);
  if (a.residual) expect_type(r, 3, r.shape(0));
  expect(r, r.shape(0)[0] * r.shape(0)[2] * r.shape(0)[3] > 1,
         "batch statistics need more than one value per channel; use a larger batch or image");
  return {r.inputs[0], {DType::kF32, {c}}, {DType::kF32, {c}}};
}

Types normalize(const RuleInput& r) {
  const auto& a = r.as<NormAttributes>();
  expect_rank(r, 0, 4);
  expect(r, r.inputs.size() == (a.residual ? 6U : 5U), "wrong number of inputs");
  expect_channels(r, 1, 5, r.shape(0)[1]);
  if (a.residual) expect_type(r, 5, r.shape(0));
  return same(r);
}

// dy [, dy2], x, gamma, beta, mean, var [, y] -> dx, dgamma, dbeta [, dresidual]
Types norm_backward(const RuleInput& r) {
  const auto& a = r.as<NormAttributes>();
  const std::size_t x = a.second_gradient ? 2 : 1;
  const bool needs_y = a.relu && a.residual;
  expect(r, r.inputs.size() == x + 5 + (needs_y ? 1 : 0), "wrong number of inputs");
  expect_rank(r, 0, 4);
  for (std::size_t i = 1; i <= x; ++i) expect_type(r, i, r.shape(0));
  const std::int64_t c = r.shape(0)[1];
  expect_channels(r, x + 1, x + 5, c);
  if (needs_y) expect_type(r, x + 5, r.shape(0));
  Types out{r.inputs[0], {DType::kF32, {c}}, {DType::kF32, {c}}};
  if (a.residual) out.push_back(r.inputs[0]);
  return out;
}

Shape pool_output(const RuleInput& r, const Shape& x, const PoolAttributes& a) {
  expect(r, x.size() == 4, fmt::format("needs 4-D data, got {}", to_string(x)));
  expect(r, a.kernel_h > 0 && a.kernel_w > 0 && a.stride_h > 0 && a.stride_w > 0,
         "kernel and stride must be positive");
  expect(r, a.kernel_h < 256 && a.kernel_w < 256 && a.kernel_h * a.kernel_w < 256,
         "windows of 256 or more elements are not supported");
  expect(r,
         a.pad_top >= 0 && a.pad_left >= 0 && a.pad_bottom >= 0 && a.pad_right >= 0 &&
             a.pad_top < a.kernel_h && a.pad_bottom < a.kernel_h && a.pad_left < a.kernel_w &&
             a.pad_right < a.kernel_w,
         "padding must be smaller than the kernel");
  expect(r,
         x[2] + a.pad_top + a.pad_bottom >= a.kernel_h &&
             x[3] + a.pad_left + a.pad_right >= a.kernel_w,
         fmt::format("the image {} is smaller than the window; use a larger image size",
                     to_string(x)));
  return {x[0], x[1], window_output(x[2], a.pad_top + a.pad_bottom, a.kernel_h, a.stride_h),
          window_output(x[3], a.pad_left + a.pad_right, a.kernel_w, a.stride_w)};
}

Types max_pool(const RuleInput& r) {
  const Shape y = pool_output(r, r.shape(0), r.as<PoolAttributes>());
  // Nothing is differentiated through integers: no positions.
  if (is_integer(r.inputs[0].dtype)) return like(r, y);
  return {{r.inputs[0].dtype, y}, {DType::kU8, y}};
}

Types avg_pool(const RuleInput& r) {
  return like(r, pool_output(r, r.shape(0), r.as<PoolAttributes>()));
}

Types pool_backward(const RuleInput& r) {
  const auto& a = r.as<PoolAttributes>();
  const Shape y = pool_output(r, a.input_shape, a);
  for (std::size_t i = 0; i < r.inputs.size(); ++i) expect_shape(r, i, y);
  return like(r, a.input_shape);
}

Types global_avg_pool(const RuleInput& r) {
  expect_rank(r, 0, 4);
  if (is_integer(r.inputs[0].dtype)) expect_scale(r, r.as<QuantizeAttributes>().scale);
  return f32({r.shape(0)[0], r.shape(0)[1]});
}

Types global_avg_pool_backward(const RuleInput& r) {
  const auto& a = r.as<ShapeAttributes>();
  const Shape& x = a.shape;
  expect(r, x.size() == 4, "needs the shape of 4-D data");
  expect_shape(r, 0, {x[0], x[1]});
  return {{a.dtype, x}};
}

Types linear(const RuleInput& r) {
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  const Shape &x = r.shape(0), &w = r.shape(1);
  expect(r, x[1] == w[1], fmt::format("data has {} features, weights want {}", x[1], w[1]));
  if (r.inputs.size() == 3) expect_shape(r, 2, {w[0]});
  return f32({x[0], w[0]});
}

Types linear_backward_data(const RuleInput& r) {  // dy [n, m], w [m, k] -> dx [n, k]
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  expect(r, r.shape(0)[1] == r.shape(1)[0], "gradient and weights disagree");
  return f32({r.shape(0)[0], r.shape(1)[1]});
}

Types linear_backward_weights(const RuleInput& r) {  // x [n, k], dy [n, m] -> dw [m, k]
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  expect(r, r.shape(0)[0] == r.shape(1)[0], "data and gradient disagree");
  return f32({r.shape(1)[1], r.shape(0)[1]});
}

Types cast(const RuleInput& r) {
  const DType to = r.as<CastAttributes>().dtype;
  expect(r, is_floating(r.inputs[0].dtype) && is_floating(to),
         fmt::format("cannot convert {} to {}", name_of(r.inputs[0].dtype), name_of(to)));
  return {{to, r.shape(0)}};
}

Types reshape(const RuleInput& r) {
  const Shape& s = r.as<ShapeAttributes>().shape;
  expect(r, element_count(s) == element_count(r.shape(0)),
         fmt::format("cannot reshape {} to {}", to_string(r.shape(0)), to_string(s)));
  return {{r.inputs[0].dtype, s}};
}

Types dropout(const RuleInput& r) {
  const double p = r.as<DropoutAttributes>().p;
  expect(r, p >= 0 && p < 1, fmt::format("the probability must be in [0, 1), it is {}", p));
  return same(r);
}

Shape shortcut_output(const RuleInput& r, const Shape& x, const PadShortcutAttributes& a) {
  expect(r, x.size() == 4, "needs 4-D data");
  expect(r, a.stride > 0 && a.front >= 0 && a.front + x[1] <= a.out_channels,
         fmt::format("cannot pad {} channels to {}", x[1], a.out_channels));
  return {x[0], a.out_channels, (x[2] + a.stride - 1) / a.stride, (x[3] + a.stride - 1) / a.stride};
}

Types pad_shortcut(const RuleInput& r) {
  return like(r, shortcut_output(r, r.shape(0), r.as<PadShortcutAttributes>()));
}

Types pad_shortcut_backward(const RuleInput& r) {
  const auto& a = r.as<PadShortcutAttributes>();
  expect_shape(r, 0, shortcut_output(r, a.input_shape, a));
  return like(r, a.input_shape);
}

Types concat(const RuleInput& r) {
  Shape y = r.shape(0);
  expect_channels_of(r);
  for (std::size_t i = 1; i < r.inputs.size(); ++i) {
    Shape expected = r.shape(0);
    expected[1] = r.shape(i).size() >= 2 ? r.shape(i)[1] : 0;
    expect_type(r, i, expected);
    y[1] += expected[1];
  }
  return like(r, y);
}

Types slice_channels(const RuleInput& r) {
  const auto& a = r.as<SliceAttributes>();
  Shape y = r.shape(0);
  expect_channels_of(r);
  expect(r, a.begin >= 0 && a.begin < a.end && a.end <= y[1], "bad channel range");
  y[1] = a.end - a.begin;
  return like(r, y);
}

Types quantize(const RuleInput& r) {
  const auto& a = r.as<QuantizeAttributes>();
  expect_scale(r, a.scale);
  expect(r, is_integer(a.dtype) && r.inputs[0].dtype == DType::kF32,
         "makes 8-bit integers of f32 only");
  return {{a.dtype, r.shape(0)}};
}

Types dequantize(const RuleInput& r) {
  expect_scale(r, r.as<QuantizeAttributes>().scale);
  expect(r, is_integer(r.inputs[0].dtype), "needs 8-bit integers");
  return f32(r.shape(0));
}

// What convolutions and linear layers have in common; `filters` outputs.
Types quantized_layer(const RuleInput& r, Shape y, std::int64_t filters) {
  const auto& a = r.as<QuantizedAttributes>();
  expect(r, r.inputs[1].dtype == DType::kI8, "needs weights of i8");
  expect(r, r.inputs[0].dtype == DType::kF32 || is_integer(r.inputs[0].dtype),
         "needs data of u8, i8 or f32");
  expect(r, is_integer(a.x_dtype) && (is_integer(a.dtype) || a.dtype == DType::kF32),
         "data becomes u8 or i8, results u8, i8 or f32");
  expect(r, std::ssize(a.w_scales) == filters,
         fmt::format("has {} scales of weights for {} filters", a.w_scales.size(), filters));
  expect_scale(r, a.x_scale);
  expect_scale(r, a.y_scale);
  expect_scale(r, a.residual_scale);
  for (const float scale : a.w_scales) expect_scale(r, scale);
  expect_shape(r, 2, {filters});
  expect(r, element_count(r.shape(1)) / filters <= kMaxExactProducts,
         fmt::format("has more than {} weights a filter", kMaxExactProducts));
  return {{a.dtype, std::move(y)}};
}

Types quantized_conv2d(const RuleInput& r) {
  const auto& a = r.as<QuantizedAttributes>();
  Shape y = conv_output(r, r.shape(0), r.shape(1), a.conv);
  expect(r, r.inputs.size() == (a.conv.residual ? 4U : 3U), "wrong number of inputs");
  if (a.conv.residual) {
    expect_shape(r, 3, y);
    const DType residual = r.inputs[3].dtype;
    expect(r, is_integer(residual) == is_integer(a.dtype) && residual != DType::kI32,
           "integers take a residual of integers, f32 one of f32");
  }
  return quantized_layer(r, std::move(y), r.shape(1)[0]);
}

Types quantized_linear(const RuleInput& r) {
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  const Shape &x = r.shape(0), &w = r.shape(1);
  expect(r, x[1] == w[1], fmt::format("data has {} features, weights want {}", x[1], w[1]));
  const auto& a = r.as<QuantizedAttributes>();
  expect(r, a.dtype == DType::kF32 && a.conv == ConvAttributes{}, "linear layers make f32");
  return quantized_layer(r, {x[0], w[0]}, w[0]);
}

Types softmax(const RuleInput& r) {
  expect_rank(r, 0, 2);
  return same(r);
}

Types softmax_cross_entropy(const RuleInput& r) {
  expect_rank(r, 0, 2);
  expect_shape(r, 1, r.shape(0));
  if (r.inputs.size() == 3) expect_shape(r, 2, {r.shape(0)[1]});
  const double e = r.as<LossAttributes>().label_smoothing;
  expect(r, e >= 0 && e < 1, fmt::format("label smoothing must be in [0, 1), it is {}", e));
  return {{DType::kF32, {1}}, r.inputs[0]};
}

Types softmax_cross_entropy_backward(const RuleInput& r) {
  expect_shape(r, 0, {1});
  expect_rank(r, 1, 2);
  expect_shape(r, 2, r.shape(1));
  if (r.inputs.size() == 4) expect_shape(r, 3, {r.shape(1)[1]});
  return {r.inputs[1]};
}

// Variables and the gradient have one shape; learning rate, step and scale are [1].
template <std::size_t kState>
Types update(const RuleInput& r) {
  for (std::size_t i = 1; i <= kState; ++i) expect_shape(r, i, r.shape(0));
  for (std::size_t i = kState + 1; i < r.inputs.size(); ++i) expect_shape(r, i, {1});
  return {};
}

Types accumulate(const RuleInput& r) {
  expect_shape(r, 1, r.shape(0));
  return {};
}

Types clip_scale(const RuleInput&) { return f32({1}); }

Types fill(const RuleInput& r) { return f32(r.as<FillAttributes>().shape); }

Types fold_weights(const RuleInput& r) {
  expect_rank(r, 0, 4);
  expect_channels(r, 1, 3, r.shape(0)[0]);
  return same(r);
}

Types fold_bias(const RuleInput& r) {
  for (std::size_t i = 1; i < r.inputs.size(); ++i) expect_shape(r, i, r.shape(0));
  return same(r);
}

// In the order of the enum; a test checks it.
constexpr std::array kOps = {
    OpInfo{Op::kInput, "input", OpKind::kSource, 0, 0, 0, source},
    OpInfo{Op::kParameter, "parameter", OpKind::kSource, 0, 0, 0, source},
    OpInfo{Op::kFill, "fill", OpKind::kSource, 0, 0, 0, fill},
    OpInfo{Op::kConv2d, "conv2d", OpKind::kForward, 2, 4, 0, conv2d},
    OpInfo{Op::kBatchNorm, "batch_norm", OpKind::kForward, 3, 4, 0, batch_norm},
    OpInfo{Op::kNormalize, "normalize", OpKind::kForward, 5, 6, 0, normalize},
    OpInfo{Op::kRelu, "relu", OpKind::kForward, 1, 1, 0, same},
    OpInfo{Op::kSigmoid, "sigmoid", OpKind::kForward, 1, 1, 0, same},
    OpInfo{Op::kAdd, "add", OpKind::kForward, 2, 2, 0, elementwise},
    OpInfo{Op::kMul, "mul", OpKind::kForward, 2, 2, 0, elementwise},
    OpInfo{Op::kMaxPool, "max_pool", OpKind::kForward, 1, 1, 0, max_pool},
    OpInfo{Op::kAvgPool, "avg_pool", OpKind::kForward, 1, 1, 0, avg_pool},
    OpInfo{Op::kGlobalAvgPool, "global_avg_pool", OpKind::kForward, 1, 1, 0, global_avg_pool},
    OpInfo{Op::kLinear, "linear", OpKind::kForward, 2, 3, 0, linear},
    OpInfo{Op::kCast, "cast", OpKind::kForward, 1, 1, 0, cast},
    OpInfo{Op::kReshape, "reshape", OpKind::kForward, 1, 1, 0, reshape},
    OpInfo{Op::kDropout, "dropout", OpKind::kForward, 1, 1, 0, dropout},
    OpInfo{Op::kPadShortcut, "pad_shortcut", OpKind::kForward, 1, 1, 0, pad_shortcut},
    OpInfo{Op::kConcat, "concat", OpKind::kForward, 1, -1, 0, concat},
    OpInfo{Op::kSliceChannels, "slice_channels", OpKind::kForward, 1, 1, 0, slice_channels},
    OpInfo{Op::kQuantize, "quantize", OpKind::kForward, 1, 1, 0, quantize},
    OpInfo{Op::kDequantize, "dequantize", OpKind::kForward, 1, 1, 0, dequantize},
    OpInfo{Op::kQuantizedConv2d, "quantized_conv2d", OpKind::kForward, 3, 4, 0, quantized_conv2d},
    OpInfo{Op::kQuantizedLinear, "quantized_linear", OpKind::kForward, 3, 3, 0, quantized_linear},
    OpInfo{Op::kSoftmax, "softmax", OpKind::kForward, 1, 1, 0, softmax},
    OpInfo{Op::kSoftmaxCrossEntropy, "softmax_cross_entropy", OpKind::kForward, 2, 3, 0,
           softmax_cross_entropy},
    OpInfo{Op::kConv2dBackwardData, "conv2d_backward_data", OpKind::kBackward, 2, 2, 0,
           conv2d_backward_data},
    OpInfo{Op::kConv2dBackwardWeights, "conv2d_backward_weights", OpKind::kBackward, 2, 2, 0,
           conv2d_backward_weights},
    OpInfo{Op::kChannelSum, "channel_sum", OpKind::kBackward, 1, 1, 0, channel_sum},
    OpInfo{Op::kBatchNormBackward, "batch_norm_backward", OpKind::kBackward, 6, 8, 0,
           norm_backward},
    OpInfo{Op::kNormalizeBackward, "normalize_backward", OpKind::kBackward, 6, 8, 0, norm_backward},
    OpInfo{Op::kReluBackward, "relu_backward", OpKind::kBackward, 2, 2, 0, elementwise},
    OpInfo{Op::kSigmoidBackward, "sigmoid_backward", OpKind::kBackward, 2, 2, 0, elementwise},
    OpInfo{Op::kMaxPoolBackward, "max_pool_backward", OpKind::kBackward, 2, 2, 0, pool_backward},
    OpInfo{Op::kAvgPoolBackward, "avg_pool_backward", OpKind::kBackward, 1, 1, 0, pool_backward},
    OpInfo{Op::kGlobalAvgPoolBackward, "global_avg_pool_backward", OpKind::kBackward, 1, 1, 0,
           global_avg_pool_backward},
    OpInfo{Op::kLinearBackwardData, "linear_backward_data", OpKind::kBackward, 2, 2, 0,
           linear_backward_data},
    OpInfo{Op::kLinearBackwardWeights, "linear_backward_weights", OpKind::kBackward, 2, 2, 0,
           linear_backward_weights},
    OpInfo{Op::kPadShortcutBackward, "pad_shortcut_backward", OpKind::kBackward, 1, 1, 0,
           pad_shortcut_backward},
    OpInfo{Op::kSoftmaxCrossEntropyBackward, "softmax_cross_entropy_backward", OpKind::kBackward, 3,
           4, 0, softmax_cross_entropy_backward},
    OpInfo{Op::kAccumulate, "accumulate", OpKind::kUpdate, 2, 2, 1, accumulate},
    OpInfo{Op::kRunningAverage, "running_average", OpKind::kUpdate, 2, 2, 1, accumulate},
    OpInfo{Op::kSgd, "sgd", OpKind::kUpdate, 4, 5, 2, update<2>},
    OpInfo{Op::kAdamW, "adamw", OpKind::kUpdate, 6, 7, 3, update<3>},
    OpInfo{Op::kLars, "lars", OpKind::kUpdate, 4, 5, 2, update<2>},
    OpInfo{Op::kClear, "clear", OpKind::kUpdate, 1, 1, 1, no_outputs},
    OpInfo{Op::kClipScale, "clip_scale", OpKind::kHelper, 1, -1, 0, clip_scale},
    OpInfo{Op::kFoldWeights, "fold_weights", OpKind::kHelper, 3, 3, 0, fold_weights},
    OpInfo{Op::kFoldBias, "fold_bias", OpKind::kHelper, 4, 5, 0, fold_bias},
};

}  // namespace

void RuleInput::wrong_attributes() const {
  fail(ErrorCode::kInternal, "layer {} ({}): attributes of the wrong kind", layer, name_of(op));
}

bool takes_bf16(Op op) {
  switch (op) {
    case Op::kConv2d:
    case Op::kBatchNorm:
    case Op::kNormalize:
    case Op::kRelu:
    case Op::kAdd:
    case Op::kMaxPool:
    case Op::kAvgPool:
    case Op::kGlobalAvgPool:
    case Op::kDropout:
    case Op::kPadShortcut:
    case Op::kConcat:
    case Op::kSliceChannels:
    case Op::kConv2dBackwardData:
    case Op::kConv2dBackwardWeights:
    case Op::kChannelSum:
    case Op::kBatchNormBackward:
    case Op::kNormalizeBackward:
    case Op::kReluBackward:
    case Op::kMaxPoolBackward:
    case Op::kAvgPoolBackward:
    case Op::kGlobalAvgPoolBackward:
    case Op::kPadShortcutBackward: return true;
    default: return false;
  }
}

std::vector<TensorType> infer(const RuleInput& r) {
  const OpInfo& info = op_info(r.op);
  const auto count = static_cast<int>(r.inputs.size());
  RESNET_CHECK(count >= info.min_inputs && (info.max_inputs < 0 || count <= info.max_inputs));
  for (std::size_t i = 0; i < r.inputs.size(); ++i) {
    if (r.inputs[i].dtype != DType::kBF16 || r.op == Op::kCast) continue;
    expect(r, takes_bf16(r.op) && r.shape(i).size() == 4,
           fmt::format("input {} is of bf16; cast it first", i));
  }
  for (std::size_t i = 0; i < r.inputs.size(); ++i) {
    if (!is_integer(r.inputs[i].dtype)) continue;
    const bool fits = r.op == Op::kDequantize || r.op == Op::kQuantizedConv2d ||
                      r.op == Op::kQuantizedLinear || r.op == Op::kMaxPool ||
                      r.op == Op::kGlobalAvgPool || r.op == Op::kPadShortcut ||
                      (r.op == Op::kMaxPoolBackward && i == 1);
    expect(r, fits,
           fmt::format("input {} is of {}; dequantise it first", i, name_of(r.inputs[i].dtype)));
  }
  return info.infer(r);
}

const OpInfo& op_info(Op op) { return kOps.at(static_cast<std::size_t>(op)); }

std::string_view name_of(Op op) { return op_info(op).name; }

bool is_layer(const Node& node) {
  return op_info(node.op).kind == OpKind::kForward && !node.name.ends_with(".grad");
}

int updated_inputs(Op op) { return op_info(op).updated_inputs; }

}  // namespace resnet

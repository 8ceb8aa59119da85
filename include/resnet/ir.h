// The raw form of graphs: nodes, what they compute, and with which attributes.
//
// Passes, backends and tests work on it. It is wider than what networks are built of (derivatives,
// updates, what passes fuse, int8), and it grows and changes with the passes: a program that builds
// networks by the member functions of Graph (graph.h) does not depend on it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

/// What one node computes; the order means nothing. The op table (src/graph/ops.h) has each op's
/// kind and rules. All 4-D values are logically [n, c, h, w].
enum class Op : std::uint16_t {
  // Sources.
  kInput,      ///< () -> value set by the host before each run
  kParameter,  ///< () -> variable that lives across runs: weight, running statistic, momentum
  kFill,       ///< () -> constant, FillAttributes
  // Forward. Inputs in brackets are optional.
  kConv2d,               ///< x, w [, bias] [, residual] -> y, ConvAttributes
  kBatchNorm,            ///< x, gamma, beta [, residual] -> y, mean, var (biased), NormAttributes
  kNormalize,            ///< x, gamma, beta, mean, var [, residual] -> y, NormAttributes
  kRelu,                 ///< x -> max(x, 0)
  kSigmoid,              ///< x -> 1 / (1 + e^-x)
  kAdd,                  ///< a, b -> a + b
  kMul,                  ///< a, b -> a * b, elementwise
  kScale,                ///< x -> x * factor, ScaleAttributes
  kMaxPool,              ///< x -> y, position of the maximum in its window (u8), PoolAttributes
  kAvgPool,              ///< x -> y, PoolAttributes
  kGlobalAvgPool,        ///< x [n, c, h, w] -> [n, c]
  kLinear,               ///< x [n, k], w [m, k] [, bias [m]] -> [n, m]
  kCast,                 ///< x -> x rounded to another type, CastAttributes
  kReshape,              ///< x -> same elements in row-major order, ShapeAttributes
  kDropout,              ///< x -> x * mask / (1 - p), DropoutAttributes; its own gradient
  kPadShortcut,          ///< x -> x at stride s, zero channels around it, PadShortcutAttributes
  kConcat,               ///< x0, x1, ... -> joined along channels
  kSliceChannels,        ///< x -> channels [begin, end), SliceAttributes
  kQuantize,             ///< x f32 -> integers, QuantizeAttributes
  kDequantize,           ///< integers -> f32, QuantizeAttributes
  kQuantizedConv2d,      ///< x, w i8, bias [, residual] -> y, QuantizedAttributes
  kQuantizedLinear,      ///< x [n, k], w i8 [m, k], bias [m] -> [n, m] f32, QuantizedAttributes
  kSoftmax,              ///< x [n, c] -> probabilities over c
  kSoftmaxCrossEntropy,  ///< logits [n, c], targets [n, c] [, class weights [c]] -> loss [1], p
  // Backward.
  kConv2dBackwardData,     ///< dy, w -> dx, ConvAttributes (with input_shape)
  kConv2dBackwardWeights,  ///< x, dy -> dw, ConvAttributes (with weight_shape)
  kChannelSum,             ///< dy [n, c, ...] -> [c]: the gradient of a bias
  kBatchNormBackward,      ///< dy [, dy2], x, gamma, beta, mean, var [, y] -> dx, dgamma, dbeta
                           ///<   [, dresidual], NormAttributes
  kNormalizeBackward,      ///< the same with constant mean and var
  kReluBackward,           ///< dy, y -> dx
  kSigmoidBackward,        ///< dy, y -> dx
  kMaxPoolBackward,        ///< dy, position -> dx, PoolAttributes (with input_shape)
  kAvgPoolBackward,        ///< dy -> dx, PoolAttributes (with input_shape)
  kGlobalAvgPoolBackward,  ///< dy [n, c] -> dx, ShapeAttributes
  kLinearBackwardData,     ///< dy, w -> dx
  kLinearBackwardWeights,  ///< x, dy -> dw
  kPadShortcutBackward,    ///< dy -> dx, PadShortcutAttributes (with input_shape)
  kSoftmaxCrossEntropyBackward,  ///< dloss [1], p, targets [, class weights] -> dlogits
  // Updates: they write their first input(s), which are parameters, and return nothing.
  kAccumulate,      ///< variable, value: variable += scale * value, UpdateAttributes
  kRunningAverage,  ///< variable, value: variable = (1-m) variable + m * scale * value
  kSgd,             ///< w, velocity, gradient, lr [, gradient scale], UpdateAttributes
  kAdamW,           ///< w, first moment, second moment, gradient, lr, step [, gradient scale]
  kLars,            ///< w, velocity, gradient, lr [, gradient scale]
  kClear,           ///< variable: variable = 0
  // Helpers of training and of compilation.
  kClipScale,    ///< gradients... -> [1]: min(1, max_norm / global norm), ClipAttributes
  kFoldWeights,  ///< w, gamma, var -> w * gamma / sqrt(var + eps) per filter, NormAttributes
  kFoldBias,     ///< gamma, beta, mean, var [, bias] -> bias of the folded convolution
};

struct ConvAttributes {
  std::int64_t stride_h = 1, stride_w = 1;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  std::int64_t dilation_h = 1, dilation_w = 1;
  std::int64_t groups = 1;
  bool bias = false;        ///< the node has a bias input
  bool residual = false;    ///< the node's last input is added to the result
  bool relu = false;        ///< ReLU after everything else
  Shape input_shape = {};   ///< of x, for the gradient of the data
  Shape weight_shape = {};  ///< of w, for the gradient of the weights
  bool operator==(const ConvAttributes&) const = default;
};

struct PoolAttributes {
  std::int64_t kernel_h = 2, kernel_w = 2;
  std::int64_t stride_h = 2, stride_w = 2;
  std::int64_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  bool count_padding = true;  ///< average: divide by the window's size, padding included
  Shape input_shape = {};
  bool operator==(const PoolAttributes&) const = default;
};

struct NormAttributes {
  double eps = 1e-5;
  bool relu = false;             ///< y = relu(normalised [+ residual])
  bool residual = false;         ///< the node has (had) a residual input
  bool second_gradient = false;  ///< backward: dy is the sum of the first two inputs
  bool operator==(const NormAttributes&) const = default;
};

struct DropoutAttributes {
  double p = 0.5;            ///< probability that an element becomes zero
  std::uint64_t stream = 0;  ///< masks are a function of (seed, step, stream, element)
  bool operator==(const DropoutAttributes&) const = default;
};

/// Shortcut option A of He et al. 2016: subsample, then add zero channels before and after.
struct PadShortcutAttributes {
  std::int64_t stride = 1;
  std::int64_t out_channels = 0;
  std::int64_t front = 0;  ///< zero channels before the copied ones
  Shape input_shape = {};
  bool operator==(const PadShortcutAttributes&) const = default;
};

struct CastAttributes {
  DType dtype = DType::kF32;
  bool operator==(const CastAttributes&) const = default;
};

struct ShapeAttributes {
  Shape shape = {};
  DType dtype = DType::kF32;  ///< of the result, where the input does not tell: pooling's gradient
  bool operator==(const ShapeAttributes&) const = default;
};

struct SliceAttributes {
  std::int64_t begin = 0, end = 0;
  bool operator==(const SliceAttributes&) const = default;
};

struct FillAttributes {
  double value = 0;
  Shape shape = {};
  bool operator==(const FillAttributes&) const = default;
};

struct ScaleAttributes {
  double factor = 1;
  bool operator==(const ScaleAttributes&) const = default;
};

struct ClipAttributes {
  double max_norm = 1;
  bool operator==(const ClipAttributes&) const = default;
};

/// An integer q stands for the real number scale * q; zero stands for zero. Of kQuantize,
/// q = round(x / scale) to the nearest, ties to even, saturated to `dtype`; of kDequantize and of
/// kGlobalAvgPool over integers, the scale of x.
struct QuantizeAttributes {
  float scale = 1;
  DType dtype = DType::kU8;  ///< kU8, kI8: of the result of kQuantize
  bool operator==(const QuantizeAttributes&) const = default;
};

/// An int8 convolution or linear layer (Jacob et al., CVPR 2018), with exact sums:
///   real y = x_scale w_scales[m] (sum of x w + bias[m]) + residual_scale residual, then ReLU.
/// Data that is f32 is quantised by x_scale first.
struct QuantizedAttributes {
  ConvAttributes conv;  ///< of a convolution; there is always a bias
  float x_scale = 1;
  DType x_dtype = DType::kU8;   ///< what f32 data is quantised to
  std::vector<float> w_scales;  ///< one for each filter
  float residual_scale = 1;     ///< of a residual of integers
  DType dtype = DType::kU8;  ///< of y: kU8, kI8: round(real y / y_scale), saturated; kF32: real y
  float y_scale = 1;
  bool operator==(const QuantizedAttributes&) const = default;
};

struct LossAttributes {
  double label_smoothing = 0;
  bool operator==(const LossAttributes&) const = default;
};

/// Settings of an update; each op uses those its formula in docs/NUMERICS.md names.
struct UpdateAttributes {
  double momentum = 0;  ///< SGD, LARS: of the velocity; running average: weight of the new value
  double scale = 1;     ///< running average, accumulate: factor of the value
  bool nesterov = false;
  double weight_decay = 0;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;  ///< AdamW
  double trust = 0.001;                           ///< LARS: trust coefficient, 0 turns it off
  bool operator==(const UpdateAttributes&) const = default;
};

/// How a parameter is filled before training.
enum class Init : std::uint8_t {
  kZeros,
  kOnes,
  kHeNormal,       ///< normal, variance 2 / fan_out (He et al. 2015; torchvision's choice)
  kLinearUniform,  ///< uniform in ±1/sqrt(fan_in) (torch.nn.Linear's default)
  kConstant,       ///< ParameterAttributes::value
  kDirac,      ///< of a convolution: filter i passes channel i on; those beyond the channels are
               ///< uniform in ±1/sqrt(fan_in) (torch.nn.init.dirac_)
  kWhitening,  ///< decorrelates the patches of the training images; `train` fills it in, until
               ///< then as kHeNormal
};

/// What a parameter is for: decides weight decay and whether it is trained or stored.
enum class Role : std::uint8_t {
  kWeight,  ///< of a convolution or a linear layer; decayed
  kBias,
  kNormScale,  ///< gamma
  kNormShift,  ///< beta
  kBuffer,     ///< running statistics, frozen weights: stored in the model file, not trained
  kOptimizer,  ///< momentum and the like: stored in checkpoints only
};

struct ParameterAttributes {
  Role role = Role::kWeight;
  Init init = Init::kZeros;
  std::int64_t fan = 1;  ///< fan_out for kHeNormal, fan_in for kLinearUniform
  double value = 0;      ///< for kConstant
  bool operator==(const ParameterAttributes&) const = default;
};

/// Of an op that a program registered (custom_op.h): settings by name.
using CustomAttribute = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>>;
struct CustomAttributes {
  std::map<std::string, CustomAttribute> values;
  bool operator==(const CustomAttributes&) const = default;
};

using Attributes =
    std::variant<std::monostate, ConvAttributes, PoolAttributes, NormAttributes, DropoutAttributes,
                 PadShortcutAttributes, CastAttributes, ShapeAttributes, SliceAttributes,
                 FillAttributes, LossAttributes, UpdateAttributes, ParameterAttributes,
                 QuantizeAttributes, QuantizedAttributes, ScaleAttributes, ClipAttributes,
                 CustomAttributes>;

struct TensorType {
  DType dtype = DType::kF32;
  Shape shape = {};
  bool operator==(const TensorType&) const = default;
};

/// One output of one node.
struct Value {
  std::int32_t node = -1;
  std::int32_t output = 0;
  explicit operator bool() const { return node >= 0; }
  auto operator<=>(const Value&) const = default;
};

struct Node {
  Op op = Op::kInput;
  std::string name;  ///< of an input or parameter, or of the layer; backward nodes end in ".grad"
  std::vector<Value> inputs = {};
  Attributes attributes = {};
  std::vector<TensorType> outputs = {};
  bool derivative = false;  ///< appended by `gradients`, whatever its op
};

/// "conv2d", "batch_norm_backward", …
std::string_view name_of(Op op);
/// How many leading inputs the op overwrites; 0 for all but updates.
int updated_inputs(Op op);

}  // namespace resnet

#include "backends/reference/reference.h"

#include <algorithm>
#include <cmath>

#include "backends/reference/kernels.h"

namespace resnet {
namespace {

using namespace reference;  // NOLINT: the kernels' names are the ops'

/// The kernel of each op; sources have none.
MakeCompute find_kernel(Op op) {
  switch (op) {
    case Op::kInput:
    case Op::kParameter: return nullptr;
    case Op::kFill: return fill;
    case Op::kConv2d: return conv2d;
    case Op::kBatchNorm: return batch_norm;
    case Op::kNormalize: return normalize;
    case Op::kRelu: return relu;
    case Op::kSigmoid: return sigmoid;
    case Op::kAdd: return add;
    case Op::kMul: return mul;
    case Op::kMaxPool: return max_pool;
    case Op::kAvgPool: return avg_pool;
    case Op::kGlobalAvgPool: return global_avg_pool;
    case Op::kLinear: return linear;
    case Op::kCast:  // what is written is rounded
    case Op::kReshape: return reshape;
    case Op::kDropout: return dropout;
    case Op::kPadShortcut: return pad_shortcut;
    case Op::kConcat: return concat;
    case Op::kSliceChannels: return slice_channels;
    case Op::kQuantize: return quantize;
    case Op::kDequantize: return dequantize;
    case Op::kQuantizedConv2d: return quantized_conv2d;
    case Op::kQuantizedLinear: return quantized_linear;
    case Op::kSoftmax: return softmax;
    case Op::kSoftmaxCrossEntropy: return softmax_cross_entropy;
    case Op::kConv2dBackwardData: return conv2d_backward_data;
    case Op::kConv2dBackwardWeights: return conv2d_backward_weights;
    case Op::kChannelSum: return channel_sum;
    case Op::kBatchNormBackward: return batch_norm_backward;
    case Op::kNormalizeBackward: return normalize_backward;
    case Op::kReluBackward: return relu_backward;
    case Op::kSigmoidBackward: return sigmoid_backward;
    case Op::kMaxPoolBackward: return max_pool_backward;
    case Op::kAvgPoolBackward: return avg_pool_backward;
    case Op::kGlobalAvgPoolBackward: return global_avg_pool_backward;
    case Op::kLinearBackwardData: return linear_backward_data;
    case Op::kLinearBackwardWeights: return linear_backward_weights;
    case Op::kPadShortcutBackward: return pad_shortcut_backward;
    case Op::kSoftmaxCrossEntropyBackward: return softmax_cross_entropy_backward;
    case Op::kAccumulate: return accumulate;
    case Op::kRunningAverage: return running_average;
    case Op::kSgd: return sgd;
    case Op::kAdamW: return adamw;
    case Op::kLars: return lars;
    case Op::kClear: return clear;
    case Op::kClipScale: return clip_scale;
    case Op::kFoldWeights: return fold_weights;
    case Op::kFoldBias: return fold_bias;
  }
  return nullptr;
}

/// Of ops that take integers as well as f32.
MakeCompute find_integer_kernel(Op op) {
  switch (op) {
    case Op::kMaxPool: return integer_max_pool;
    case Op::kGlobalAvgPool: return integer_global_avg_pool;
    case Op::kPadShortcut: return integer_pad_shortcut;
    default: return find_kernel(op);
  }
}

/// Rounded to bfloat16, to nearest even, with f32's range.
double round_to_bf16(double v) {
  if (v == 0 || !std::isfinite(v)) return v;
  int exponent = 0;
  std::frexp(v, &exponent);
  const int quantum = std::max(exponent - 8, -133);
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(v, -quantum)), quantum);
  return std::abs(rounded) < 0x1p128 ? rounded : std::copysign(HUGE_VAL, v);
}

/// Values of bf16 are f64 as all others, rounded as they are written. A convolution of bf16 reads
/// its weights rounded.
class ReferenceKernel final : public Kernel {
 public:
  ReferenceKernel(Compute compute, const Graph& graph, const Node& node)
      : compute_(std::move(compute)) {
    const bool reads_weights = node.op == Op::kConv2d || node.op == Op::kConv2dBackwardData;
    if (reads_weights && graph.type(node.inputs[0]).dtype == DType::kBF16) {
      weights_ = element_count(graph.shape(node.inputs[1]));
    }
    for (const TensorType& t : node.outputs) {
      rounded_.push_back(t.dtype == DType::kBF16 ? element_count(t.shape) : 0);
    }
  }
  void run(const KernelArgs& args) const override {
    std::vector<void*> in(args.in.begin(), args.in.end());
    std::vector<double> weights(static_cast<std::size_t>(weights_));
    if (weights_ > 0) {
      const double* w = input(args, 1);
      std::transform(w, w + weights_, weights.begin(), round_to_bf16);
      in[1] = weights.data();
    }
    compute_({in, args.out, args.scratch, args.context});
    for (std::size_t i = 0; i < rounded_.size(); ++i) {
      double* y = output(args, i);
      std::transform(y, y + rounded_[i], y, round_to_bf16);
    }
  }

 private:
  Compute compute_;
  std::int64_t weights_ = 0;           // elements; 0: not rounded
  std::vector<std::int64_t> rounded_;  // elements of each output that are rounded: all or none
};

class ReferenceTarget final : public Target {
 public:
  std::string_view name() const override { return "reference"; }

  DType storage(DType dtype) const override { return computes(dtype) ? DType::kF64 : dtype; }

  bool computes(DType dtype) const override {
    return dtype == DType::kF32 || dtype == DType::kBF16;
  }

  std::size_t bytes(const TensorType& type, Layout) const override {
    return static_cast<std::size_t>(element_count(type.shape)) * size_of(storage(type.dtype));
  }

  KernelChoice choose(const Graph& graph, const Node& node, std::span<const Layout>) override {
    const bool integers = !node.inputs.empty() && !is_floating(graph.type(node.inputs[0]).dtype);
    const MakeCompute make = integers ? find_integer_kernel(node.op) : find_kernel(node.op);
    if (make == nullptr) {
      fail(ErrorCode::kUnsupported, "layer {}: {} is not computed", node.name, name_of(node.op));
    }
    Site site{node, {}, {}, {}};
    for (const Value v : node.inputs) {
      site.inputs.push_back(graph.shape(v));
      site.dtypes.push_back(graph.type(v).dtype);
    }
    for (const TensorType& t : node.outputs) site.outputs.push_back(t.shape);
    return {.kernel = std::make_unique<ReferenceKernel>(make(site), graph, node),
            .name = "reference",
            .inputs = std::vector<Layout>(node.inputs.size()),
            .outputs = std::vector<Layout>(node.outputs.size()),
            .scratch_bytes = 0,
            .in_place = std::vector<int>(node.outputs.size(), -1)};
  }

  KernelChoice reorder(const TensorType&, Layout, Layout) override {
    fail(ErrorCode::kInternal, "the reference device has one layout, nothing can be reordered");
  }

  std::string describe(Layout) const override { return "plain"; }
};

}  // namespace

std::unique_ptr<Target> make_reference_target() { return std::make_unique<ReferenceTarget>(); }

}  // namespace resnet

#include "backends/reference/reference.h"

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

class ReferenceKernel final : public Kernel {
 public:
  explicit ReferenceKernel(Compute compute) : compute_(std::move(compute)) {}
  void run(const KernelArgs& args) override { compute_(args); }

 private:
  Compute compute_;
};

class ReferenceTarget final : public Target {
 public:
  std::string_view name() const override { return "reference"; }

  DType storage(DType dtype) const override { return dtype == DType::kF32 ? DType::kF64 : dtype; }

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
    return {.kernel = std::make_unique<ReferenceKernel>(make(site)),
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

#include "backends/reference/reference.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "backends/reference/kernels.h"
#include "graph/ops.h"

namespace resnet {
namespace {

using reference::Compute;
using reference::input;
using reference::KernelRow;
using reference::output;
using reference::Site;

using Table = std::map<Op, KernelRow>;

// Sources have no kernels.
const Table& table() {
  static const Table kTable = [] {
    Table all;
    for (const auto& rows :
         {reference::elementwise_kernels(), reference::conv_kernels(), reference::norm_kernels(),
          reference::pool_kernels(), reference::linear_kernels(), reference::shape_kernels(),
          reference::quantized_kernels(), reference::loss_kernels(), reference::update_kernels()}) {
      for (const KernelRow& row : rows) RESNET_CHECK(all.emplace(row.op, row).second);
    }
    return all;
  }();
  return kTable;
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

  bool supports(Op op, std::size_t i, const TensorType& type) const override {
    const auto row = table().find(op);
    if (row == table().end()) return op_info(op).custom != nullptr && takes::f32(i, type);
    return row->second.takes(i, type);
  }

  std::size_t bytes(const TensorType& type, Layout) const override {
    return static_cast<std::size_t>(element_count(type.shape)) * size_of(storage(type.dtype));
  }

  KernelChoice choose(const Graph& graph, const Node& node, std::span<const Layout>) override {
    const auto row = table().find(node.op);
    const OpDefinition* custom = op_info(node.op).custom;
    if (row == table().end() && custom == nullptr) {
      fail(ErrorCode::kUnsupported, "layer {}: {} is not computed", node.name, name_of(node.op));
    }
    Site site{node, {}, {}, {}};
    for (const Value v : node.inputs) {
      site.inputs.push_back(graph.shape(v));
      site.dtypes.push_back(graph.type(v).dtype);
    }
    for (const TensorType& t : node.outputs) site.outputs.push_back(t.shape);
    Compute compute = custom != nullptr ? reference::custom(site, *custom)
                      : row->second.integers != nullptr && !is_floating(site.dtypes.at(0))
                          ? row->second.integers(site)
                          : row->second.make(site);
    return {.kernel = std::make_unique<ReferenceKernel>(std::move(compute), graph, node),
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

// Int8 ops, by oneDNN and a few loops of our own. Their 4-D values lie channels last
// (nhwc), which is what its fastest integer kernels want, from the first layer to the last.
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/quantized_pointwise.h"
#include "backends/cpu/quantized_stem.h"
#include "core/check.h"

namespace resnet {
namespace {

using dnnl::memory;
using From = DnnlKernel::From;

memory::desc channels_last(const NodeView& v, const TensorType& type) {
  const memory::dims dims(type.shape.begin(), type.shape.end());
  return {dims, v.target.describe_memory(type, kPlainLayout).data_type(), memory::format_tag::nhwc};
}

// Where integers lie: 4-D ones channels last, matrices plain.
Layout layout_of(const NodeView& v, const TensorType& type) {
  return type.shape.size() == 4 ? v.target.intern(channels_last(v, type)) : kPlainLayout;
}

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

template <class Pd>
KernelChoice choice_of(const NodeView& v, const Pd& pd, std::unique_ptr<DnnlKernel> kernel) {
  kernel->bind(DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc(), From::kScratch);
  KernelChoice choice;
  choice.kernel = std::move(kernel);
  choice.name = pd.impl_info_str();
  choice.scratch_bytes = pd.scratchpad_desc().get_size();
  choice.inputs.resize(v.node.inputs.size(), kPlainLayout);
  choice.outputs.resize(v.node.outputs.size(), kPlainLayout);
  return choice;
}

// y = scale * x in another type and layout, rounded to nearest even where that is of integers.
struct Conversion {
  dnnl::reorder::primitive_desc pd;
  memory::desc x, y;

  Conversion(const NodeView& v, memory::desc from, memory::desc to, float scale)
      : x(std::move(from)), y(std::move(to)) {
    dnnl::primitive_attr attr = attributes();
    attr.set_output_scales(0, {scale});
    pd = dnnl::reorder::primitive_desc(v.target.engine(), x, v.target.engine(), y, attr);
  }
  std::unique_ptr<DnnlKernel> kernel(const NodeView& v) const {
    auto k = std::make_unique<DnnlKernel>(v.target, dnnl::reorder(pd));
    k->bind(DNNL_ARG_FROM, x, From::kIn, 0);
    k->bind(DNNL_ARG_TO, y, From::kOut, 0);
    return k;
  }
};

KernelChoice make_conversion(const NodeView& v) {
  const auto& a = v.attributes<QuantizeAttributes>();
  const bool quantize = v.node.op == Op::kQuantize;
  const Layout x = quantize ? v.have[0] : layout_of(v, v.in(0));
  const Layout y = quantize                    ? layout_of(v, v.out())
                   : v.out_shape().size() == 4 ? kBlockedLayout
                                               : kPlainLayout;
  const Conversion c(v, v.target.describe_memory(v.in(0), x), v.target.describe_memory(v.out(), y),
                     quantize ? 1.0F / a.scale : a.scale);
  KernelChoice choice = choice_of(v, c.pd, c.kernel(v));
  choice.inputs[0] = x;
  choice.outputs[0] = y;
  return choice;
}

// A layer whose data is quantised first, into the front of its scratch memory.
class QuantizedFirst final : public Kernel {
 public:
  QuantizedFirst(std::unique_ptr<Kernel> quantize, std::unique_ptr<Kernel> layer, std::size_t bytes)
      : quantize_(std::move(quantize)), layer_(std::move(layer)), bytes_(bytes) {}
  void run(const KernelArgs& args) const override {
    void* x = args.scratch;
    void* rest = static_cast<std::byte*>(args.scratch) + bytes_;
    const auto* state = static_cast<const State*>(args.state);
    const auto of = [&](auto State::*part) {
      return state == nullptr ? nullptr : (state->*part).get();
    };
    quantize_->run({args.in.subspan(0, 1), {&x, 1}, rest, args.context, of(&State::quantize)});
    void* in[4] = {x};
    std::copy(args.in.begin() + 1, args.in.end(), in + 1);
    layer_->run({{in, args.in.size()}, args.out, rest, args.context, of(&State::layer)});
  }
  std::unique_ptr<KernelState> make_state() const override {
    auto state = std::make_unique<State>();
    state->quantize = quantize_->make_state();
    state->layer = layer_->make_state();
    return state;
  }

 private:
  struct State final : KernelState {
    std::unique_ptr<KernelState> quantize, layer;
  };
  std::unique_ptr<Kernel> quantize_, layer_;
  std::size_t bytes_;
};

// Makes of an int8 layer one that takes its data as it comes, in f32.
void quantize_first(const NodeView& v, const memory::desc& x, KernelChoice& choice) {
  const auto& a = v.attributes<QuantizedAttributes>();
  const Conversion c(v, v.target.describe_memory(v.in(0), v.have[0]), x, 1.0F / a.x_scale);
  auto kernel = c.kernel(v);
  kernel->bind(DNNL_ARG_SCRATCHPAD, c.pd.scratchpad_desc(), From::kScratch);
  const std::size_t bytes = (x.get_size() + 63) / 64 * 64;
  choice.scratch_bytes = bytes + std::max(choice.scratch_bytes, c.pd.scratchpad_desc().get_size());
  choice.kernel =
      std::make_unique<QuantizedFirst>(std::move(kernel), std::move(choice.kernel), bytes);
  choice.inputs[0] = v.have[0];
}

TensorType integers_of(const NodeView& v) {
  const bool real = v.in(0).dtype == DType::kF32;
  return {real ? v.attributes<QuantizedAttributes>().x_dtype : v.in(0).dtype, v.in_shape(0)};
}

// What a sum of products is multiplied by, for each filter.
std::vector<float> multipliers(const QuantizedAttributes& a) {
  std::vector<float> result;
  const double unit = a.dtype == DType::kF32 ? 1 : static_cast<double>(a.y_scale);
  for (const float w : a.w_scales) result.push_back(static_cast<float>(w * (a.x_scale / unit)));
  return result;
}

// The first layer, from the image on, by a kernel of our own.
class Stem final : public Kernel {
 public:
  Stem(const stem::Problem& problem, std::vector<float> multipliers, int threads)
      : problem_(problem), multipliers_(std::move(multipliers)), threads_(threads) {}
  void run(const KernelArgs& args) const override {
    stem::run(problem_, static_cast<const float*>(args.in[0]),
              static_cast<const std::int8_t*>(args.in[1]), static_cast<const float*>(args.in[2]),
              multipliers_.data(), static_cast<std::uint8_t*>(args.out[0]), args.scratch, threads_);
  }

 private:
  stem::Problem problem_;
  std::vector<float> multipliers_;
  int threads_;
};

std::optional<KernelChoice> make_stem(const NodeView& v) {
  const auto& q = v.attributes<QuantizedAttributes>();
  const Shape &x = v.in_shape(0), &w = v.in_shape(1), &y = v.out_shape();
  ConvAttributes expected;
  expected.stride_h = expected.stride_w = 2;
  expected.pad_top = expected.pad_left = expected.pad_bottom = expected.pad_right = 3;
  expected.relu = q.conv.relu;
  if (v.in(0).dtype != DType::kF32 || q.dtype != DType::kU8 || q.conv != expected || w[2] != 7 ||
      w[3] != 7) {
    return std::nullopt;
  }
  const stem::Problem p{.images = x[0],
                        .channels = x[1],
                        .height = x[2],
                        .width = x[3],
                        .filters = w[0],
                        .out_height = y[2],
                        .out_width = y[3],
                        .x_inverse = 1.0F / q.x_scale,
                        .x_signed = q.x_dtype == DType::kI8};
  if (!stem::usable(p)) return std::nullopt;
  const int threads = omp_get_max_threads();
  KernelChoice choice;
  choice.kernel = std::make_unique<Stem>(p, multipliers(q), threads);
  choice.name = "own:amx_int8";
  choice.inputs.resize(3, kPlainLayout);
  choice.outputs = {layout_of(v, v.out())};
  choice.scratch_bytes = static_cast<std::size_t>(stem::scratch_bytes(p, threads));
  return choice;
}

class Pointwise final : public Kernel {
 public:
  Pointwise(const pointwise::Problem& problem, std::vector<float> multipliers, int threads)
      : problem_(problem), multipliers_(std::move(multipliers)), threads_(threads) {}
  void run(const KernelArgs& args) const override {
    const void* residual = problem_.residual ? args.in[3] : nullptr;
    pointwise::run(problem_, static_cast<const std::uint8_t*>(args.in[0]),
                   static_cast<const std::int8_t*>(args.in[1]),
                   static_cast<const float*>(args.in[2]), multipliers_,
                   static_cast<const std::uint8_t*>(residual),
                   static_cast<std::uint8_t*>(args.out[0]), args.scratch, threads_);
  }

 private:
  pointwise::Problem problem_;
  std::vector<float> multipliers_;
  int threads_;
};

std::optional<KernelChoice> make_pointwise(const NodeView& v) {
  const auto& q = v.attributes<QuantizedAttributes>();
  const Shape &x = v.in_shape(0), &w = v.in_shape(1), &y = v.out_shape();
  ConvAttributes expected;
  expected.stride_h = expected.stride_w = q.conv.stride_h;
  expected.relu = q.conv.relu;
  expected.residual = q.conv.residual;
  const auto integers = [](DType d) { return d == DType::kU8 || d == DType::kI8; };
  // What saturates to u8 needs no ReLU.
  if (!integers(v.in(0).dtype) || !integers(q.dtype) || (q.conv.relu && q.dtype == DType::kI8) ||
      q.conv != expected || w[2] != 1 || w[3] != 1) {
    return std::nullopt;
  }
  const pointwise::Problem p{.images = x[0],
                             .channels = x[1],
                             .height = x[2],
                             .width = x[3],
                             .filters = w[0],
                             .out_height = y[2],
                             .out_width = y[3],
                             .stride = q.conv.stride_h,
                             .x_signed = v.in(0).dtype == DType::kI8,
                             .y_signed = q.dtype == DType::kI8,
                             .residual = q.conv.residual,
                             .residual_signed = q.conv.residual && v.in(3).dtype == DType::kI8,
                             .residual_scale = q.residual_scale / q.y_scale};
  if (!pointwise::usable(p)) return std::nullopt;
  const int threads = omp_get_max_threads();
  const memory::desc weights({w[0], w[1], 1, 1}, memory::data_type::s8,
                             memory::format_tag::OIhw16i16o4i);
  KernelChoice choice;
  choice.kernel = std::make_unique<Pointwise>(p, multipliers(q), threads);
  choice.name = "own:amx_int8_1x1";
  choice.inputs = {layout_of(v, v.in(0)), v.target.intern(weights), kPlainLayout};
  choice.outputs = {layout_of(v, v.out())};
  choice.scratch_bytes = static_cast<std::size_t>(pointwise::scratch_bytes(p, threads));
  if (p.residual) {
    choice.inputs.push_back(layout_of(v, v.in(3)));
    choice.in_place = {3};
  }
  return choice;
}

// Of a layer on x, weights and bias; the weights lie as the primitive wants them.
template <class Layer>
KernelChoice layer_choice(const NodeView& v, const typename Layer::primitive_desc& pd) {
  auto kernel = std::make_unique<DnnlKernel>(v.target, Layer(pd));
  kernel->bind(DNNL_ARG_SRC, pd.src_desc(), From::kIn, 0);
  kernel->bind(DNNL_ARG_WEIGHTS, pd.weights_desc(), From::kIn, 1);
  kernel->bind(DNNL_ARG_BIAS, pd.bias_desc(), From::kIn, 2);
  kernel->bind(DNNL_ARG_DST, pd.dst_desc(), From::kOut, 0);
  KernelChoice choice = choice_of(v, pd, std::move(kernel));
  choice.inputs[1] = v.target.intern(pd.weights_desc());
  return choice;
}

KernelChoice make_quantized_conv(const NodeView& v) {
  if (auto own = make_stem(v)) return std::move(*own);
  if (auto own = make_pointwise(v)) return std::move(*own);
  const auto& q = v.attributes<QuantizedAttributes>();
  const ConvAttributes& a = q.conv;
  const memory::desc x = channels_last(v, integers_of(v)), y = channels_last(v, v.out());
  const Shape& w = v.in_shape(1);
  memory::dims dims(w.begin(), w.end());
  if (a.groups > 1) dims = {a.groups, w[0] / a.groups, w[1], w[2], w[3]};
  const memory::desc weights(dims, memory::data_type::s8, memory::format_tag::any);
  const memory::desc bias({w[0]}, memory::data_type::f32, memory::format_tag::a);
  dnnl::primitive_attr attr = attributes();
  attr.set_output_scales(2, multipliers(q));
  dnnl::post_ops ops;
  if (a.residual) {
    const float scale = q.dtype == DType::kF32 ? 1 : q.residual_scale / q.y_scale;
    ops.append_sum(scale, 0, channels_last(v, v.in(3)).data_type());
  }
  if (a.relu) ops.append_eltwise(1.0F, dnnl::algorithm::eltwise_relu, 0.0F, 0.0F);
  attr.set_post_ops(ops);
  const dnnl::convolution_forward::primitive_desc pd({dnnl::prop_kind::forward_inference,
                                                      dnnl::algorithm::convolution_direct,
                                                      x,
                                                      weights,
                                                      bias,
                                                      y,
                                                      {a.stride_h, a.stride_w},
                                                      {a.dilation_h - 1, a.dilation_w - 1},
                                                      {a.pad_top, a.pad_left},
                                                      {a.pad_bottom, a.pad_right}},
                                                     attr, v.target.engine());
  KernelChoice choice = layer_choice<dnnl::convolution_forward>(v, pd);
  choice.inputs[0] = v.target.intern(x);
  choice.outputs[0] = v.target.intern(y);
  if (a.residual) {
    choice.inputs[3] = v.target.intern(channels_last(v, v.in(3)));
    choice.in_place = {3};
    choice.kernel = with_residual(std::move(choice.kernel), 3, y.get_size());
  }
  if (v.in(0).dtype == DType::kF32) quantize_first(v, x, choice);
  return choice;
}

KernelChoice make_quantized_linear(const NodeView& v) {
  const auto& q = v.attributes<QuantizedAttributes>();
  const memory::desc x = v.target.describe_memory(integers_of(v), kPlainLayout);
  const memory::desc y = v.target.describe_memory(v.out(), kPlainLayout);
  const Shape& w = v.in_shape(1);
  const memory::desc weights({w[0], w[1]}, memory::data_type::s8, memory::format_tag::any);
  const memory::desc bias({w[0]}, memory::data_type::f32, memory::format_tag::a);
  dnnl::primitive_attr attr = attributes();
  attr.set_output_scales(2, multipliers(q));
  const dnnl::inner_product_forward::primitive_desc pd(
      {dnnl::prop_kind::forward_inference, x, weights, bias, y}, attr, v.target.engine());
  KernelChoice choice = layer_choice<dnnl::inner_product_forward>(v, pd);
  if (v.in(0).dtype == DType::kF32) quantize_first(v, x, choice);
  return choice;
}

KernelChoice make_integer_max_pool(const NodeView& v) {
  const auto& a = v.attributes<PoolAttributes>();
  const memory::desc x = channels_last(v, v.in(0)), y = channels_last(v, v.out());
  const dnnl::pooling_forward::primitive_desc pd({dnnl::prop_kind::forward_inference,
                                                  dnnl::algorithm::pooling_max,
                                                  x,
                                                  y,
                                                  {a.stride_h, a.stride_w},
                                                  {a.kernel_h, a.kernel_w},
                                                  {a.pad_top, a.pad_left},
                                                  {a.pad_bottom, a.pad_right}},
                                                 attributes(), v.target.engine());
  auto kernel = std::make_unique<DnnlKernel>(v.target, dnnl::pooling_forward(pd));
  kernel->bind(DNNL_ARG_SRC, x, From::kIn, 0);
  kernel->bind(DNNL_ARG_DST, y, From::kOut, 0);
  KernelChoice choice = choice_of(v, pd, std::move(kernel));
  choice.inputs[0] = v.target.intern(x);
  choice.outputs[0] = v.target.intern(y);
  return choice;
}

// A kernel of our own whose operands lie as integers do.
KernelChoice own_integer_kernel(const NodeView& v, std::unique_ptr<Kernel> kernel) {
  KernelChoice choice{std::move(kernel), "own", {layout_of(v, v.in(0))}, {}, 0, {}};
  choice.outputs = {layout_of(v, v.out())};
  return choice;
}

// [n, h, w, c] -> [n, c]
template <class T>
class IntegerGlobalAvgPool final : public Kernel {
 public:
  IntegerGlobalAvgPool(const Shape& x, float scale)
      : n_(x[0]),
        c_(x[1]),
        pixels_(x[2] * x[3]),
        scale_(static_cast<float>(static_cast<double>(scale) / static_cast<double>(pixels_))) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const T*>(args.in[0]);
    auto* y = static_cast<float*>(args.out[0]);
    constexpr std::int64_t kChannels = 64;     // at a time: their sums stay in registers
    constexpr std::int64_t kPixels = 1 << 22;  // so many bytes of 255 fit in 32 bits
    const std::int64_t groups = (c_ + kChannels - 1) / kChannels;
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < n_ * groups; ++i) {
      const std::int64_t n = i / groups, first = i % groups * kChannels;
      const std::int64_t count = std::min(kChannels, c_ - first);
      std::int64_t totals[kChannels] = {};
      for (std::int64_t begin = 0; begin < pixels_; begin += kPixels) {
        std::int32_t sums[kChannels] = {};
        for (std::int64_t p = begin; p < std::min(pixels_, begin + kPixels); ++p) {
          const T* pixel = x + (n * pixels_ + p) * c_ + first;
          for (std::int64_t c = 0; c < count; ++c) sums[c] += pixel[c];
        }
        for (std::int64_t c = 0; c < count; ++c) totals[c] += sums[c];
      }
      for (std::int64_t c = 0; c < count; ++c) {
        y[n * c_ + first + c] = static_cast<float>(totals[c]) * scale_;
      }
    }
  }

 private:
  std::int64_t n_, c_, pixels_;
  float scale_;
};

// Every stride-th pixel, with zero channels before and after its own. Bytes, whatever their sign.
class IntegerPadShortcut final : public Kernel {
 public:
  IntegerPadShortcut(const Shape& x, const Shape& y, const PadShortcutAttributes& a)
      : x_(x), y_(y), stride_(a.stride), front_(a.front) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const std::byte*>(args.in[0]);
    auto* y = static_cast<std::byte*>(args.out[0]);
    std::memset(y, 0, static_cast<std::size_t>(element_count(y_)));
    for (std::int64_t n = 0; n < y_[0]; ++n) {
      for (std::int64_t h = 0; h < y_[2]; ++h) {
        for (std::int64_t w = 0; w < y_[3]; ++w) {
          std::memcpy(y + ((n * y_[2] + h) * y_[3] + w) * y_[1] + front_,
                      x + ((n * x_[2] + h * stride_) * x_[3] + w * stride_) * x_[1],
                      static_cast<std::size_t>(x_[1]));
        }
      }
    }
  }

 private:
  Shape x_, y_;
  std::int64_t stride_, front_;
};

}  // namespace

KernelChoice make_quantized(const NodeView& v) {
  const bool is_signed = v.in(0).dtype == DType::kI8;
  switch (v.node.op) {
    case Op::kQuantize:
    case Op::kDequantize: return make_conversion(v);
    case Op::kQuantizedConv2d: return make_quantized_conv(v);
    case Op::kQuantizedLinear: return make_quantized_linear(v);
    case Op::kMaxPool: return make_integer_max_pool(v);
    case Op::kGlobalAvgPool: {
      const float scale = v.attributes<QuantizeAttributes>().scale;
      if (is_signed) {
        return own_integer_kernel(
            v, std::make_unique<IntegerGlobalAvgPool<std::int8_t>>(v.in_shape(0), scale));
      }
      return own_integer_kernel(
          v, std::make_unique<IntegerGlobalAvgPool<std::uint8_t>>(v.in_shape(0), scale));
    }
    default: break;
  }
  RESNET_CHECK(v.node.op == Op::kPadShortcut);
  return own_integer_kernel(
      v, std::make_unique<IntegerPadShortcut>(v.in_shape(0), v.out_shape(),
                                              v.attributes<PadShortcutAttributes>()));
}

std::span<const CpuKernelRow> quantized_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kQuantize, make_quantized, takes::f32},
      {Op::kDequantize, make_quantized, takes::integers},
      {Op::kQuantizedConv2d, make_quantized, takes::integers},
      {Op::kQuantizedLinear, make_quantized, takes::integers},
  };
  return kRows;
}

}  // namespace resnet

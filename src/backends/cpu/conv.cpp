// Convolutions by oneDNN, or by our own Winograd kernels (winograd.cpp). What is ours here besides
// is the choice among them (measured in bench/, docs/PERFORMANCE.md).
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <optional>

#include "backends/cpu/amx.h"
#include "backends/cpu/cpu_target.h"
#include "core/check.h"

namespace resnet {
namespace {

using dnnl::memory;
using Forward = dnnl::convolution_forward;
using BackwardData = dnnl::convolution_backward_data;
using BackwardWeights = dnnl::convolution_backward_weights;
using From = DnnlKernel::From;

class WithResidual final : public Kernel {
 public:
  WithResidual(std::unique_ptr<Kernel> conv, std::size_t residual, std::size_t bytes)
      : conv_(std::move(conv)), residual_(residual), bytes_(bytes) {}
  void run(const KernelArgs& args) const override {
    if (args.in[residual_] != args.out[0]) std::memcpy(args.out[0], args.in[residual_], bytes_);
    conv_->run(args);
  }
  std::unique_ptr<KernelState> make_state() const override { return conv_->make_state(); }

 private:
  std::unique_ptr<Kernel> conv_;
  std::size_t residual_;
  std::size_t bytes_;
};

// Logical shapes and attributes of one convolution, whichever direction is computed.
struct Problem {
  Op op;
  Shape x, w, y;
  ConvAttributes a;
  DType dtype = DType::kF32;  // of x and y

  memory::dims strides() const { return {a.stride_h, a.stride_w}; }
  memory::dims dilates() const { return {a.dilation_h - 1, a.dilation_w - 1}; }
  memory::dims pad_begin() const { return {a.pad_top, a.pad_left}; }
  memory::dims pad_end() const { return {a.pad_bottom, a.pad_right}; }
  // The network's weights are f32. A convolution of bf16 reads them rounded: the change of layout
  // in front of it converts. Their gradient comes out as f32.
  memory::desc weights() const { return weights(dtype); }
  memory::desc weights(DType as) const {
    memory::dims dims(w.begin(), w.end());
    if (a.groups > 1) dims = {a.groups, w[0] / a.groups, w[1], w[2], w[3]};
    return {dims, data_type(as), memory::format_tag::any};
  }
};

Problem problem_of(const NodeView& v) {
  Problem p{v.node.op, {}, {}, {}, v.attributes<ConvAttributes>(), v.in(0).dtype};
  switch (v.node.op) {
    case Op::kConv2d: p.x = v.in_shape(0), p.w = v.in_shape(1), p.y = v.out_shape(); break;
    case Op::kConv2dBackwardData:
      p.x = p.a.input_shape, p.w = v.in_shape(1), p.y = v.in_shape(0);
      break;
    default: p.x = v.in_shape(0), p.w = p.a.weight_shape, p.y = v.in_shape(1);
  }
  return p;
}

// The choices of one oneDNN primitive.
struct DnnlConv {
  dnnl::algorithm algorithm;
  Layout x, y;
};

// The descriptors of one oneDNN primitive in one direction.
struct Attempt {
  CpuTarget& target;
  const Problem& p;
  memory::desc x, y;
  dnnl::algorithm algorithm;
  dnnl::primitive_attr attr;

  Attempt(CpuTarget& t, const Problem& problem, const DnnlConv& c)
      : target(t),
        p(problem),
        x(t.describe_memory({problem.dtype, problem.x}, c.x)),
        y(t.describe_memory({problem.dtype, problem.y}, c.y)),
        algorithm(c.algorithm) {
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  }

  Forward::primitive_desc forward(dnnl::prop_kind kind, bool fused) const {
    dnnl::primitive_attr a = attr;
    if (fused && (p.a.residual || p.a.relu)) {
      dnnl::post_ops ops;
      if (p.a.residual) ops.append_sum(1.0F);
      if (p.a.relu) ops.append_eltwise(1.0F, dnnl::algorithm::eltwise_relu, 0.0F, 0.0F);
      a.set_post_ops(ops);
    }
    if (fused && p.a.bias) {
      const memory::desc bias({p.y[1]}, memory::data_type::f32, memory::format_tag::a);
      return {{kind, algorithm, x, p.weights(), bias, y, p.strides(), p.dilates(), p.pad_begin(),
               p.pad_end()},
              a,
              target.engine()};
    }
    return {
        {kind, algorithm, x, p.weights(), y, p.strides(), p.dilates(), p.pad_begin(), p.pad_end()},
        a,
        target.engine()};
  }
};

template <class Pd>
KernelChoice finish(const NodeView& v, const Pd& pd, std::unique_ptr<DnnlKernel> kernel) {
  const memory::desc scratch = pd.scratchpad_desc();
  kernel->bind(DNNL_ARG_SCRATCHPAD, scratch, From::kScratch);
  KernelChoice choice;
  choice.kernel = std::move(kernel);
  choice.name = pd.impl_info_str();
  choice.scratch_bytes = scratch.get_size();
  choice.inputs.resize(v.node.inputs.size());
  choice.outputs.resize(1);
  return choice;
}

KernelChoice forward(const NodeView& v, const Attempt& t, const DnnlConv& c) {
  // Folded weights do not change from run to run: Winograd may have them transformed once.
  const bool fixed =
      v.graph.mode() == Mode::kInference || v.graph.node(v.node.inputs[1]).op == Op::kFoldWeights;
  const auto kind = fixed ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
  const auto pd = t.forward(kind, true);
  auto kernel = std::make_unique<DnnlKernel>(v.target, Forward(pd));
  kernel->bind(DNNL_ARG_SRC, pd.src_desc(), From::kIn, 0);
  kernel->bind(DNNL_ARG_WEIGHTS, pd.weights_desc(), From::kIn, 1);
  if (t.p.a.bias) kernel->bind(DNNL_ARG_BIAS, pd.bias_desc(), From::kIn, 2);
  kernel->bind(DNNL_ARG_DST, pd.dst_desc(), From::kOut, 0);
  KernelChoice choice = finish(v, pd, std::move(kernel));
  choice.inputs[0] = c.x;
  choice.inputs[1] = v.target.intern(pd.weights_desc());
  choice.outputs[0] = c.y;
  if (t.p.a.residual) {
    const std::size_t r = v.node.inputs.size() - 1;
    choice.inputs[r] = c.y;
    choice.in_place = {static_cast<int>(r)};
    choice.kernel = with_residual(std::move(choice.kernel), r, v.target.bytes(v.out(), c.y));
  }
  return choice;
}

KernelChoice backward_data(const NodeView& v, const Attempt& t, const DnnlConv& c) {
  const auto hint = t.forward(dnnl::prop_kind::forward_training, false);
  const BackwardData::primitive_desc pd({t.algorithm, t.x, t.p.weights(), t.y, t.p.strides(),
                                         t.p.dilates(), t.p.pad_begin(), t.p.pad_end()},
                                        t.attr, v.target.engine(), hint);
  auto kernel = std::make_unique<DnnlKernel>(v.target, BackwardData(pd));
  kernel->bind(DNNL_ARG_DIFF_DST, pd.diff_dst_desc(), From::kIn, 0);
  kernel->bind(DNNL_ARG_WEIGHTS, pd.weights_desc(), From::kIn, 1);
  kernel->bind(DNNL_ARG_DIFF_SRC, pd.diff_src_desc(), From::kOut, 0);
  KernelChoice choice = finish(v, pd, std::move(kernel));
  choice.inputs = {c.y, v.target.intern(pd.weights_desc())};
  choice.outputs[0] = c.x;
  return choice;
}

// The gradient of a convolution of stride 1 is one with turned filters and the rest of the padding.
Problem turned(const Problem& p) {
  Problem f = p;
  f.op = Op::kConv2d;
  std::swap(f.x, f.y);
  f.w = {p.w[1], p.w[0], p.w[2], p.w[3]};
  const std::int64_t h = (p.w[2] - 1) * p.a.dilation_h, w = (p.w[3] - 1) * p.a.dilation_w;
  f.a.pad_top = h - p.a.pad_top, f.a.pad_bottom = h - p.a.pad_bottom;
  f.a.pad_left = w - p.a.pad_left, f.a.pad_right = w - p.a.pad_right;
  return f;
}

KernelChoice turned_backward_data(const NodeView& v, const Problem& p) {
  const Problem f = turned(p);
  const Attempt t(v.target, f, {dnnl::algorithm::convolution_direct, kChannelsLast, kChannelsLast});
  const auto pd = t.forward(dnnl::prop_kind::forward_training, false);
  if (make_weight_packing(pd.weights_desc(), true) == nullptr) {
    throw dnnl::error(dnnl_unimplemented, "turned weights in this format");
  }
  auto kernel = std::make_unique<DnnlKernel>(v.target, Forward(pd));
  kernel->bind(DNNL_ARG_SRC, pd.src_desc(), From::kIn, 0);
  kernel->bind(DNNL_ARG_WEIGHTS, pd.weights_desc(), From::kIn, 1);
  kernel->bind(DNNL_ARG_DST, pd.dst_desc(), From::kOut, 0);
  KernelChoice choice = finish(v, pd, std::move(kernel));
  choice.inputs = {kChannelsLast, v.target.intern(TurnedWeights{pd.weights_desc()})};
  choice.outputs[0] = kChannelsLast;
  return choice;
}

KernelChoice backward_weights(const NodeView& v, const Attempt& t, const DnnlConv& c) {
  const auto hint = t.forward(dnnl::prop_kind::forward_training, false);
  const BackwardWeights::primitive_desc pd(
      {t.algorithm, t.x, t.p.weights(DType::kF32), t.y, t.p.strides(), t.p.dilates(),
       t.p.pad_begin(), t.p.pad_end()},
      t.attr, v.target.engine(), hint);
  auto kernel = std::make_unique<DnnlKernel>(v.target, BackwardWeights(pd));
  kernel->bind(DNNL_ARG_SRC, pd.src_desc(), From::kIn, 0);
  kernel->bind(DNNL_ARG_DIFF_DST, pd.diff_dst_desc(), From::kIn, 1);
  kernel->bind(DNNL_ARG_DIFF_WEIGHTS, pd.diff_weights_desc(), From::kOut, 0);
  KernelChoice choice = finish(v, pd, std::move(kernel));
  choice.inputs = {c.x, c.y};
  choice.outputs[0] = v.target.intern(pd.diff_weights_desc());
  return choice;
}

KernelChoice dnnl_conv(const NodeView& v, const Problem& p, const DnnlConv& c) {
  const Attempt t(v.target, p, c);
  switch (p.op) {
    case Op::kConv2d: return forward(v, t, c);
    case Op::kConv2dBackwardData: return backward_data(v, t, c);
    default: return backward_weights(v, t, c);
  }
}

// F(m x m, 3 x 3) of our own that is best where nothing is measured; 0 for none. With few tiles the
// transformed weights, 4 (m = 4) or 16/9 (m = 2) times as many, take longer to read than is saved.
int preferred_winograd(const Problem& p) {
  const Shape& out = p.op == Op::kConv2dBackwardData ? p.x : p.y;
  const auto tiles = [&](std::int64_t m) {
    return out[0] * ((out[2] + m - 1) / m) * ((out[3] + m - 1) / m);
  };
  return tiles(4) >= 32 ? 4 : tiles(2) >= 32 ? 2 : 0;
}

// Everything that could compute this node, in the order of preference where nothing is measured:
// the first that can be made. A new kernel is one more line here.
std::vector<KernelCandidate> candidates(const NodeView& v, const Problem& p) {
  std::vector<KernelCandidate> list;
  const auto dnnl = [&](std::string_view name, dnnl::algorithm algorithm, Layout x, Layout y) {
    list.push_back({name, [&v, &p, c = DnnlConv{algorithm, x, y}] { return dnnl_conv(v, p, c); }});
  };
  const auto direct = dnnl::algorithm::convolution_direct;
  if (p.dtype == DType::kBF16) {
    // Fewer channels than a tile's are mostly padding.
    if (p.op == Op::kConv2dBackwardWeights && has_amx() && p.a.groups == 1 &&
        p.a.stride_h == p.a.stride_w && p.a.dilation_h == 1 && p.a.dilation_w == 1 &&
        p.x[1] >= 16 && p.y[1] >= 16) {
      list.push_back({"amx", [&v] { return make_amx_backward_weights(v); }});
    }
    // oneDNN's AMX kernels for the forward pass are up to twice as fast as those for this one.
    const bool narrow = p.a.pad_top < p.w[2] && p.a.pad_bottom < p.w[2] && p.a.pad_left < p.w[3] &&
                        p.a.pad_right < p.w[3];
    if (p.op == Op::kConv2dBackwardData && has_amx() && p.a.groups == 1 && p.a.stride_h == 1 &&
        p.a.stride_w == 1 && p.a.dilation_h == 1 && p.a.dilation_w == 1 && narrow) {
      list.push_back({"turned", [&v, &p] { return turned_backward_data(v, p); }});
    }
    // Without AMX, oneDNN's gradient of strided weights crawls channels last; blocked it does not,
    // and that is worth two changes of layout.
    const bool strided = p.a.stride_h > 1 || p.a.stride_w > 1;
    if (p.op == Op::kConv2dBackwardWeights && strided && !has_amx()) {
      dnnl("blocked", direct, kBlockedLayout, kBlockedLayout);
    }
    dnnl("channels-last", direct, kChannelsLast, kChannelsLast);
    return list;
  }
  const std::int64_t block = v.target.block();
  const bool winograd = v.target.options().winograd && p.w[2] == 3 && p.w[3] == 3 &&
                        p.a.stride_h == 1 && p.a.stride_w == 1 && p.a.dilation_h == 1 &&
                        p.a.dilation_w == 1 && p.a.groups == 1 && p.x[1] % block == 0 &&
                        p.y[1] % block == 0;
  const bool own = winograd && winograd_fits(block);
  const bool gradient = p.op == Op::kConv2dBackwardWeights;
  const auto own_winograd = [&](int m) {
    if (!gradient) {
      list.push_back(
          {m == 4 ? "winograd-4" : "winograd-2", [&v, m] { return make_winograd(v, m); }});
    } else if (m == 4) {
      list.push_back({"winograd-4", [&v] { return make_winograd_gradient(v); }});
    }
  };
  // With 16 channels oneDNN's transforms cost more than they save.
  const bool dnnls = winograd && block == 16 && p.x[1] >= 32 && p.y[1] >= 32;
  const auto dnnl_winograd = [&] {
    dnnl("dnnl-winograd", dnnl::algorithm::convolution_winograd, kBlockedLayout, kBlockedLayout);
  };
  // Gradients of weights: with more channels reading and writing the sums takes longer than
  // oneDNN does.
  const int best = gradient ? (std::max(p.x[1], p.y[1]) < 256 ? 4 : 0) : preferred_winograd(p);
  const int preferred = own ? best : 0;
  if (preferred != 0) own_winograd(preferred);
  const bool dnnl_first = !own || (gradient && preferred == 0);
  if (dnnls && dnnl_first) dnnl_winograd();
  // Of one image all weights are read for few pixels, and oneDNN's 1x1 kernels wait for them;
  // with more images ours are faster for some shapes only.
  const bool pointwise = p.op == Op::kConv2d && p.w[2] == 1 && p.w[3] == 1 && p.a.groups == 1 &&
                         p.a.pad_top == 0 && p.a.pad_left == 0 && p.a.pad_bottom == 0 &&
                         p.a.pad_right == 0 && p.x[1] % 16 == 0 && p.y[1] % (2 * block) == 0 &&
                         pointwise_fits(block);
  const auto own_pointwise = [&] {
    list.push_back({"pointwise", [&v] { return make_pointwise_conv(v); }});
  };
  const bool prefer_pointwise = pointwise && p.x[0] == 1;
  if (prefer_pointwise) own_pointwise();
  // The first convolution reads the few channels of an image as they come.
  const bool x_is_plain = v.node.op != Op::kConv2dBackwardData && v.have[0] == kPlainLayout;
  if (x_is_plain && p.x[1] < 4) dnnl("plain-to-blocked", direct, kPlainLayout, kBlockedLayout);
  dnnl("blocked", direct, kBlockedLayout, kBlockedLayout);
  dnnl("plain", dnnl::algorithm::convolution_auto, kPlainLayout, kPlainLayout);
  if (pointwise && !prefer_pointwise) own_pointwise();
  if (own && preferred != 4) own_winograd(4);
  if (own && preferred != 2) own_winograd(2);
  if (dnnls && !dnnl_first) dnnl_winograd();
  return list;
}

// What the tuner's table calls this node.
std::string tuning_key(const NodeView& v, const Problem& p) {
  const ConvAttributes& a = p.a;
  const bool folded = p.op == Op::kConv2d && v.graph.node(v.node.inputs[1]).op == Op::kFoldWeights;
  return fmt::format(
      "{}, {} threads | {} {} x {} w {} y {} stride {}x{} dilation {}x{} padding {},{},{},{} "
      "groups "
      "{}{}{}{} weights {} input {}{}",
      machine_key(), omp_get_max_threads(), name_of(p.op), name_of(p.dtype), to_string(p.x),
      to_string(p.w), to_string(p.y), a.stride_h, a.stride_w, a.dilation_h, a.dilation_w, a.pad_top,
      a.pad_left, a.pad_bottom, a.pad_right, a.groups, a.bias ? " bias" : "",
      a.residual ? " residual" : "", a.relu ? " relu" : "",
      folded || v.graph.mode() == Mode::kInference ? "fixed" : "change",
      v.have[0] == kPlainLayout ? "plain" : "blocked",
      v.target.options().winograd ? "" : ", no winograd");
}

KernelChoice make_conv(const NodeView& v) {
  const Problem p = problem_of(v);
  std::vector<KernelCandidate> list = candidates(v, p);
  std::string first = v.target.options().prefer;
  if (first.empty())
    first = v.target.tuner().fastest(
        v, [&] { return tuning_key(v, p); }, list);
  std::stable_partition(list.begin(), list.end(),
                        [&](const KernelCandidate& c) { return c.name == first; });
  std::optional<KernelChoice> slow;  // oneDNN's own naive loops, if nothing else fits
  for (const KernelCandidate& c : list) {
    try {
      KernelChoice choice = c.make();
      if (choice.name.rfind("ref", 0) != 0) return choice;
      if (!slow) slow = std::move(choice);
    } catch (const dnnl::error& e) {
      if (e.status == dnnl_out_of_memory) throw std::bad_alloc();
      continue;  // not implemented for this candidate
    }
  }
  if (slow) return std::move(*slow);
  fail(ErrorCode::kUnsupported, "layer {}: oneDNN has no {} for {} by {}", v.node.name,
       name_of(v.node.op), to_string(p.x), to_string(p.w));
}

}  // namespace

std::unique_ptr<Kernel> with_residual(std::unique_ptr<Kernel> conv, std::size_t residual,
                                      std::size_t bytes) {
  return std::make_unique<WithResidual>(std::move(conv), residual, bytes);
}

std::span<const CpuKernelRow> conv_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kConv2d, make_conv, takes::bf16_data},
      {Op::kConv2dBackwardData, make_conv, takes::bf16_data},
      {Op::kConv2dBackwardWeights, make_conv, takes::bf16},
  };
  return kRows;
}

}  // namespace resnet

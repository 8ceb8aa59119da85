// Inside the CPU backend: layouts and the pieces that the op files share.
//
// Activations of 4 dimensions lie blocked if they are f32: nChw16c (nChw8c without AVX-512),
// channels padded with zeros to whole blocks. Every kernel keeps the padding zero, because oneDNN
// counts on it. In bf16 they lie channels last (nhwc), without padding: oneDNN's AMX kernels want
// that, and run five times as fast as its others on blocked ones.
#pragma once

#include <deque>
#include <oneapi/dnnl/dnnl.hpp>
#include <span>
#include <variant>

#include "backends/cpu/cpu.h"
#include "backends/cpu/tuner.h"
#include "backends/cpu/weights.h"
#include "backends/cpu/winograd.h"
#include "compile/takes.h"
#include "compile/target.h"

namespace resnet {

struct OpDefinition;

inline constexpr Layout kBlockedLayout{1};
inline constexpr Layout kChannelsLast{2};

/// Where the kernels of our own have 4-D activations of a type.
constexpr Layout activation_layout(DType dtype) {
  return dtype == DType::kBF16 ? kChannelsLast : kBlockedLayout;
}

dnnl::memory::data_type data_type(DType dtype);

/// A 4-D activation as the kernels of our own see it: tiles [n][channel block] of `pixels` x block.
/// Channels last, an image is one tile: its block is all of its channels.
struct BlockedShape {
  std::int64_t n = 0, channels = 0, blocks = 0, height = 0, width = 0, block = 16;
  BlockedShape() = default;
  BlockedShape(const Shape& s, std::int64_t b)
      : n(s[0]), channels(s[1]), blocks((s[1] + b - 1) / b), height(s[2]), width(s[3]), block(b) {}
  std::int64_t pixels() const { return height * width; }
  std::int64_t tile() const { return pixels() * block; }
  std::int64_t tiles() const { return n * blocks; }
  std::int64_t padded() const { return blocks * block; }  ///< channels
  std::int64_t size() const { return tiles() * tile(); }
};

class CpuTarget final : public Target {
 public:
  explicit CpuTarget(const CpuOptions& options);

  std::string_view name() const override { return "cpu"; }
  DType storage(DType dtype) const override { return dtype; }
  bool computes(DType dtype) const override;
  std::string_view needs(DType dtype) const override;
  bool supports(Op op, std::size_t i, const TensorType& type) const override;
  std::size_t bytes(const TensorType& type, Layout layout) const override;
  KernelChoice choose(const Graph& graph, const Node& node, std::span<const Layout> have) override;
  KernelChoice reorder(const TensorType& type, Layout from, Layout to) override;
  void begin_run() const override;
  std::string describe(Layout layout) const override;

  const CpuOptions& options() const { return options_; }
  const dnnl::engine& engine() const { return engine_; }
  Tuner& tuner() { return tuner_; }
  /// Channels per block: 16 with AVX-512, else 8.
  std::int64_t block() const { return block_; }
  BlockedShape blocked(const TensorType& t) const {
    return {t.shape, activation_layout(t.dtype) == kChannelsLast ? t.shape[1] : block_};
  }
  /// A layout number for a format that oneDNN or a kernel of our own chose.
  using Format = std::variant<dnnl::memory::desc, WinogradWeights, TurnedWeights>;
  Layout intern(const Format& format);
  dnnl::memory::desc describe_memory(const TensorType& type, Layout layout) const;

 private:
  CpuOptions options_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  std::int64_t block_;
  Tuner tuner_;
  template <class T>
  const T* format(Layout layout) const;  ///< null if it is another

  std::deque<Format> formats_;  // layout id - kFirstFormat
};

/// What an op file sees when it makes a kernel.
struct NodeView {
  CpuTarget& target;
  const Graph& graph;
  const Node& node;
  std::span<const Layout> have;

  const TensorType& in(std::size_t i) const { return graph.type(node.inputs[i]); }
  const Shape& in_shape(std::size_t i) const { return in(i).shape; }
  const TensorType& out(std::size_t i = 0) const { return node.outputs[i]; }
  const Shape& out_shape(std::size_t i = 0) const { return node.outputs[i].shape; }
  template <class T>
  const T& attributes() const {
    return std::get<T>(node.attributes);
  }
};

/// A choice whose 4-D operands all lie as activations of their types do, the others plain.
KernelChoice own_kernel(const NodeView& v, std::unique_ptr<Kernel> kernel,
                        std::size_t scratch_bytes = 0, std::vector<int> in_place = {});
/// A choice whose operands are all plain: weights, updates, matrices.
KernelChoice plain_kernel(const NodeView& v, std::unique_ptr<Kernel> kernel,
                          std::size_t scratch_bytes = 0, std::vector<int> in_place = {});

/// For kConv2d by 1x1 filters, without padding, in whole channel blocks, an even number written.
KernelChoice make_pointwise_conv(const NodeView& v);  // pointwise.cpp
/// True if the kernels have vectors of exactly one channel block.
bool pointwise_fits(std::int64_t block);

/// A oneDNN primitive whose operands are inputs, outputs or scratch of the node.
class DnnlKernel : public Kernel {
 public:
  enum class From : std::uint8_t { kIn, kOut, kScratch };
  DnnlKernel(const CpuTarget& target, dnnl::primitive primitive)
      : engine_(target.engine()), primitive_(std::move(primitive)) {}
  void bind(int argument, const dnnl::memory::desc& desc, From from, std::size_t index = 0) {
    operands_.push_back({argument, desc, from, index});
  }
  void run(const KernelArgs& args) const override;
  std::unique_ptr<KernelState> make_state() const override;

 private:
  struct Operand {
    int argument;
    dnnl::memory::desc desc;
    From from;
    std::size_t index;
  };
  struct State;
  dnnl::engine engine_;
  dnnl::primitive primitive_;
  std::vector<Operand> operands_;
};

/// A convolution that adds its output to what is in the memory of that: oneDNN's sum post-op. Puts
/// input `residual`, of that many bytes, there first.
std::unique_ptr<Kernel> with_residual(std::unique_ptr<Kernel> conv, std::size_t residual,
                                      std::size_t bytes);  // conv.cpp

/// What the device has for one op.
struct CpuKernelRow {
  using Make = KernelChoice (*)(const NodeView&);
  Op op;
  Make make;
  Takes takes;              ///< the types of its inputs
  Make integers = nullptr;  ///< instead of `make` where input 0 is of integers
};

// The rows of the kernels in the file of each name.
std::span<const CpuKernelRow> conv_kernels();
std::span<const CpuKernelRow> norm_kernels();
std::span<const CpuKernelRow> pool_kernels();
std::span<const CpuKernelRow> elementwise_kernels();
std::span<const CpuKernelRow> linear_kernels();
std::span<const CpuKernelRow> quantized_kernels();
std::span<const CpuKernelRow> loss_kernels();
std::span<const CpuKernelRow> shape_kernels();
std::span<const CpuKernelRow> update_kernels();

KernelChoice make_custom(const NodeView& v, const OpDefinition& definition);  // custom.cpp
KernelChoice make_quantized(const NodeView& v);  // quantized.cpp: every int8 op

}  // namespace resnet

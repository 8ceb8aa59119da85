// 3x3 convolutions of stride 1 as residual networks have them: our Winograd kernels against
// oneDNN's direct and Winograd ones, on blocked activations. GFLOP/s by the direct count, 2 x
// multiply-adds. Backward passes include the changes of layout of weights and of their gradients,
// which training pays in every step; forward passes do not, as in inference.
#include <benchmark/benchmark.h>

#include <array>
#include <deque>

#include "backends/cpu/cpu.h"
#include "core/random.h"
#include "resnet/graph.h"

namespace {

using resnet::Layout;
using resnet::Op;
using resnet::Shape;
using resnet::TensorType;
using resnet::Value;

// [batch, channels, side]: ResNet-18 and -50 at batch 1 and 32, ResNet-20 and -56 at batch 128.
constexpr std::array<std::array<std::int64_t, 3>, 11> kShapes = {{{1, 64, 56},
                                                                  {1, 128, 28},
                                                                  {1, 256, 14},
                                                                  {1, 512, 7},
                                                                  {32, 64, 56},
                                                                  {32, 128, 28},
                                                                  {32, 256, 14},
                                                                  {32, 512, 7},
                                                                  {128, 16, 32},
                                                                  {128, 32, 16},
                                                                  {128, 64, 8}}};

// Kernels of one device, each with memory of its own.
class Steps {
 public:
  explicit Steps(resnet::Target& target) : target_(target) {}

  void add(resnet::KernelChoice choice, const std::vector<TensorType>& inputs,
           const TensorType& output) {
    Step& s = steps_.emplace_back();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      s.in.push_back(allocate(target_.bytes(inputs[i], choice.inputs[i])));
    }
    s.out.push_back(allocate(target_.bytes(output, choice.outputs[0])));
    s.scratch = allocate(choice.scratch_bytes);
    s.kernel = std::move(choice.kernel);
  }
  void reorder(const TensorType& type, Layout from, Layout to) {
    if (!(from == to)) add(target_.reorder(type, from, to), {type}, type);
  }
  void run() {
    for (Step& s : steps_) s.kernel->run({s.in, s.out, s.scratch, {}});
  }

 private:
  struct Step {
    std::unique_ptr<resnet::Kernel> kernel;
    std::vector<void*> in, out;
    void* scratch = nullptr;
  };
  void* allocate(std::size_t bytes) {
    resnet::Tensor& t =
        memory_.emplace_back(resnet::DType::kF32, Shape{static_cast<std::int64_t>(bytes / 4) + 16});
    resnet::Random random(memory_.size());
    for (float& x : t.as<float>()) x = random.uniform() - 0.5F;
    return t.raw();
  }

  resnet::Target& target_;
  std::deque<resnet::Tensor> memory_;
  std::vector<Step> steps_;
};

void convolution(benchmark::State& state, Op op, const char* candidate) {
  const auto [n, c, side] = kShapes[static_cast<std::size_t>(state.range(0))];
  const Shape x{n, c, side, side}, w{c, c, 3, 3};
  const bool gradient = op == Op::kConv2dBackwardWeights, forward = op == Op::kConv2d;
  resnet::Graph g(forward ? resnet::Mode::kInference : resnet::Mode::kTraining);
  resnet::ConvAttributes a{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  a.input_shape = x;
  a.weight_shape = w;
  const Value y = g.append(op, "conv", {g.input("a", x), g.input("b", gradient ? x : w)}, a);
  const auto target = resnet::make_cpu_target({.threads = 2, .prefer = candidate});
  const std::vector<Layout> have(2, resnet::kPlainLayout);
  resnet::KernelChoice choice = target->choose(g, g.node(y), have);
  state.SetLabel(resnet::to_string(x) + " " + choice.name);
  Steps steps(*target);
  const TensorType weights{resnet::DType::kF32, w};
  if (op == Op::kConv2dBackwardData) {
    steps.reorder(weights, resnet::kPlainLayout, choice.inputs[1]);
  }
  const Layout result = choice.outputs[0];
  steps.add(std::move(choice), {g.type(Value{0, 0}), g.type(Value{1, 0})}, g.type(y));
  if (gradient) steps.reorder(weights, result, resnet::kPlainLayout);
  target->begin_run();
  for (auto _ : state) steps.run();
  state.counters["GFLOP/s"] = benchmark::Counter(
      2e-9 * static_cast<double>(resnet::element_count(x) * c * 9 * state.iterations()),
      benchmark::Counter::kIsRate);
}

const auto every_shape = [](benchmark::internal::Benchmark* b) {
  for (std::size_t i = 0; i < kShapes.size(); ++i) b->Arg(static_cast<std::int64_t>(i));
  b->UseRealTime()->Unit(benchmark::kMillisecond)->MinTime(0.1);
};
#define RESNET_CONVOLUTION(NAME, OP)                                                  \
  BENCHMARK_CAPTURE(convolution, NAME##_ours, OP, "winograd-4")->Apply(every_shape);  \
  BENCHMARK_CAPTURE(convolution, NAME##_ours2, OP, "winograd-2")->Apply(every_shape); \
  BENCHMARK_CAPTURE(convolution, NAME##_direct, OP, "blocked")->Apply(every_shape);   \
  BENCHMARK_CAPTURE(convolution, NAME##_onednn, OP, "dnnl-winograd")->Apply(every_shape)

RESNET_CONVOLUTION(forward, Op::kConv2d);
RESNET_CONVOLUTION(backward_data, Op::kConv2dBackwardData);
RESNET_CONVOLUTION(backward_weights, Op::kConv2dBackwardWeights);

}  // namespace

// Batch norm + skip addition + ReLU, forward and backward: our fused kernels against oneDNN's
// primitives (batch norm with ReLU fused where there is no addition; otherwise batch norm, sum,
// ReLU), on blocked activations. Bytes a second count each operand once.
#include <benchmark/benchmark.h>
#include <omp.h>

#include <array>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "backends/cpu/cpu.h"
#include "core/random.h"
#include "resnet/graph.h"

namespace {

using dnnl::memory;
using resnet::Op;
using resnet::Shape;
using resnet::Value;

constexpr int kThreads = 2;

// [n, c, h, w] of ResNet-20 at batch 128 and of ResNet-50 at batch 32.
constexpr std::array<std::array<std::int64_t, 4>, 4> kShapes = {
    {{128, 16, 32, 32}, {128, 64, 8, 8}, {32, 64, 56, 56}, {32, 256, 56, 56}}};

Shape shape_of(const benchmark::State& state) {
  const auto& s = kShapes[static_cast<std::size_t>(state.range(0))];
  return {s[0], s[1], s[2], s[3]};
}

void label(benchmark::State& state, std::int64_t operands) {
  const Shape s = shape_of(state);
  state.SetLabel(resnet::to_string(s) + (state.range(1) != 0 ? " +residual" : ""));
  state.SetBytesProcessed(state.iterations() * operands * 4 * resnet::element_count(s));
}

// One node of the graph as the program would run it, on memory of its own.
void run_node(benchmark::State& state, const resnet::Graph& g, Op op, std::int64_t operands) {
  const auto target = resnet::make_cpu_target({.threads = kThreads});
  for (const resnet::Node& node : g.nodes()) {
    if (node.op != op) continue;
    const std::vector<resnet::Layout> have(node.inputs.size(), resnet::kPlainLayout);
    const resnet::KernelChoice choice = target->choose(g, node, have);
    std::vector<resnet::Tensor> memory;
    const auto allocate = [&](const resnet::TensorType& t, resnet::Layout l) {
      resnet::Tensor x(resnet::DType::kF32, {static_cast<std::int64_t>(target->bytes(t, l) / 4)});
      resnet::Random random(memory.size());
      for (float& v : x.as<float>()) v = 0.5F + random.uniform();
      memory.push_back(x);
      return static_cast<void*>(x.raw());
    };
    std::vector<void*> in, out;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      in.push_back(allocate(g.type(node.inputs[i]), choice.inputs[i]));
    }
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      out.push_back(allocate(node.outputs[i], choice.outputs[i]));
    }
    resnet::Tensor scratch(resnet::DType::kU8,
                           {static_cast<std::int64_t>(choice.scratch_bytes) + 64});
    target->begin_run();
    for (auto _ : state) choice.kernel->run({in, out, scratch.raw(), {}});
    label(state, operands);
    return;
  }
}

resnet::Graph norm_graph(const Shape& s, bool residual) {
  resnet::Graph g(resnet::Mode::kTraining);
  const Value x = g.input("x", s), gamma = g.input("gamma", {s[1]}), beta = g.input("beta", {s[1]});
  const resnet::NormAttributes a{.relu = true, .residual = residual};
  std::vector<Value> in{x, gamma, beta};
  if (residual) in.push_back(g.input("residual", s));
  const Value y = g.append(Op::kBatchNorm, "bn", in, a);
  std::vector<Value> back{g.input("dy", s), x, gamma, beta, {y.node, 1}, {y.node, 2}};
  if (residual) back.push_back(y);
  g.append(Op::kBatchNormBackward, "bn.grad", back, a);
  return g;
}

void OursForward(benchmark::State& state) {
  const bool residual = state.range(1) != 0;
  run_node(state, norm_graph(shape_of(state), residual), Op::kBatchNorm, residual ? 3 : 2);
}

void OursBackward(benchmark::State& state) {
  const bool residual = state.range(1) != 0;
  run_node(state, norm_graph(shape_of(state), residual), Op::kBatchNormBackward, residual ? 5 : 3);
}

// oneDNN on the same layout.
struct Dnnl {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  memory::desc data, channels, scale_shift;
  dnnl::batch_normalization_forward::primitive_desc forward;
  memory x, y, z, dy, dx, mean, var, weights, dweights, workspace;

  Dnnl(const Shape& s, bool residual)
      : data({s[0], s[1], s[2], s[3]}, memory::data_type::f32, memory::format_tag::nChw16c),
        channels({s[1]}, memory::data_type::f32, memory::format_tag::a),
        scale_shift({2, s[1]}, memory::data_type::f32, memory::format_tag::ab) {
    omp_set_num_threads(kThreads);
    auto flags = dnnl::normalization_flags::use_scale_shift;
    if (!residual) flags |= dnnl::normalization_flags::fuse_norm_relu;
    forward = {{dnnl::prop_kind::forward_training, data, 1e-5F, flags}, engine};
    const auto make = [&](const memory::desc& d) {
      memory m(d, engine);
      auto* p = static_cast<float*>(m.get_data_handle());
      resnet::Random random(1);
      for (std::size_t i = 0; i < d.get_size() / 4; ++i) p[i] = 0.5F + random.uniform();
      return m;
    };
    x = make(data), y = make(data), z = make(data), dy = make(data), dx = make(data);
    mean = make(channels), var = make(channels);
    weights = make(scale_shift), dweights = make(scale_shift);
    if (!residual) workspace = make(forward.workspace_desc());
  }
};

void DnnlForward(benchmark::State& state) {
  const bool residual = state.range(1) != 0;
  Dnnl d(shape_of(state), residual);
  const dnnl::batch_normalization_forward norm(d.forward);
  const dnnl::binary add(dnnl::binary::primitive_desc(
      {dnnl::algorithm::binary_add, d.data, d.data, d.data}, d.engine));
  const dnnl::eltwise_forward relu(dnnl::eltwise_forward::primitive_desc(
      {dnnl::prop_kind::forward_training, dnnl::algorithm::eltwise_relu, d.data, 0.0F}, d.engine));
  std::unordered_map<int, memory> args{{DNNL_ARG_SRC, d.x},
                                       {DNNL_ARG_DST, d.y},
                                       {DNNL_ARG_MEAN, d.mean},
                                       {DNNL_ARG_VARIANCE, d.var},
                                       {DNNL_ARG_SCALE_SHIFT, d.weights}};
  if (!residual) args[DNNL_ARG_WORKSPACE] = d.workspace;
  for (auto _ : state) {
    norm.execute(d.stream, args);
    if (residual) {
      add.execute(d.stream, {{DNNL_ARG_SRC_0, d.y}, {DNNL_ARG_SRC_1, d.z}, {DNNL_ARG_DST, d.y}});
      relu.execute(d.stream, {{DNNL_ARG_SRC, d.y}, {DNNL_ARG_DST, d.y}});
    }
    d.stream.wait();
  }
  label(state, residual ? 3 : 2);
}

void DnnlBackward(benchmark::State& state) {
  const bool residual = state.range(1) != 0;
  Dnnl d(shape_of(state), residual);
  auto flags = dnnl::normalization_flags::use_scale_shift;
  if (!residual) flags |= dnnl::normalization_flags::fuse_norm_relu;
  const dnnl::batch_normalization_backward norm(dnnl::batch_normalization_backward::primitive_desc(
      {dnnl::prop_kind::backward, d.data, d.data, 1e-5F, flags}, d.engine, d.forward));
  const dnnl::eltwise_forward::primitive_desc relu_forward(
      {dnnl::prop_kind::forward_training, dnnl::algorithm::eltwise_relu, d.data, 0.0F}, d.engine);
  const dnnl::eltwise_backward relu(dnnl::eltwise_backward::primitive_desc(
      {dnnl::algorithm::eltwise_relu, d.data, d.data, 0.0F}, d.engine, relu_forward));
  std::unordered_map<int, memory> args{{DNNL_ARG_SRC, d.x},
                                       {DNNL_ARG_DIFF_DST, residual ? d.z : d.dy},
                                       {DNNL_ARG_DIFF_SRC, d.dx},
                                       {DNNL_ARG_MEAN, d.mean},
                                       {DNNL_ARG_VARIANCE, d.var},
                                       {DNNL_ARG_SCALE_SHIFT, d.weights},
                                       {DNNL_ARG_DIFF_SCALE_SHIFT, d.dweights}};
  if (!residual) args[DNNL_ARG_WORKSPACE] = d.workspace;
  for (auto _ : state) {
    if (residual) {  // z: the masked gradient, which is the skip's gradient too
      relu.execute(d.stream,
                   {{DNNL_ARG_SRC, d.y}, {DNNL_ARG_DIFF_DST, d.dy}, {DNNL_ARG_DIFF_SRC, d.z}});
    }
    norm.execute(d.stream, args);
    d.stream.wait();
  }
  label(state, residual ? 5 : 3);
}

void cases(benchmark::internal::Benchmark* b) {
  for (std::int64_t shape = 0; shape < static_cast<std::int64_t>(kShapes.size()); ++shape) {
    for (const std::int64_t residual : {0, 1}) b->Args({shape, residual});
  }
  b->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(OursForward)->Apply(cases);
BENCHMARK(DnnlForward)->Apply(cases);
BENCHMARK(OursBackward)->Apply(cases);
BENCHMARK(DnnlBackward)->Apply(cases);

}  // namespace

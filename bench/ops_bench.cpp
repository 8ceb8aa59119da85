// The table of op cases (tests/support/op_cases.h) as a benchmark: each case's graph, backward ops
// included, as one program on the CPU. An op that is added there is timed here.
//   build/bench/bench/ops_bench --benchmark_filter=conv --benchmark_out=ops.json
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "resnet/program.h"
#include "support/op_cases.h"

namespace {

using resnet::DType;
using resnet::Op;

// What nobody reads is not computed, so all that a case is about becomes an output.
resnet::Graph with_outputs(const resnet::test::OpCase& c) {
  resnet::Graph g = c.graph;
  std::vector<resnet::Value> wanted = c.gradients;
  wanted.push_back(c.loss);
  if (!c.loss) {
    for (std::size_t id = 0; id < g.nodes().size(); ++id) {
      const bool source = g.nodes()[id].inputs.empty();
      if (!source && !g.nodes()[id].outputs.empty()) wanted.push_back({static_cast<int>(id), 0});
    }
  }
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (wanted[i]) g.mark_output("output " + std::to_string(i), wanted[i]);
  }
  return g;
}

std::unique_ptr<resnet::Session> session_of(const resnet::test::OpCase& c) {
  const auto sources = resnet::test::make_sources(c, resnet::test::Numbers::kReals, 0);
  const auto plain = [&](const std::string& name) {
    const resnet::Tensor& t = sources.at(name);
    const DType wanted = c.graph.type(c.graph.find(name)).dtype;
    return t.dtype() == wanted ? t : t.cast(wanted);
  };
  auto variables = std::make_shared<resnet::Variables>();
  for (const resnet::Value v : c.graph.parameters()) {
    variables->set(c.graph.node(v).name, plain(c.graph.node(v).name));
  }
  auto session = std::make_unique<resnet::Session>(with_outputs(c), variables,
                                                   resnet::CompileOptions{.threads = 2});
  for (const resnet::Node& n : c.graph.nodes()) {
    if (n.op == Op::kInput) session->set_input(n.name, plain(n.name));
  }
  return session;
}

void time(benchmark::State& state, const resnet::test::OpCase& c) {
  const auto session = session_of(c);
  session->run();  // packs weights
  for (auto _ : state) session->run();
  state.counters["kernels"] = static_cast<double>(session->program().stats().steps);
}

}  // namespace

int main(int argc, char** argv) {
  for (const auto* table : {&resnet::test::op_cases(), &resnet::test::network_cases()}) {
    for (const resnet::test::OpCase& c : *table) {
      benchmark::RegisterBenchmark(c.name.c_str(), [&c](benchmark::State& s) { time(s, c); });
    }
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

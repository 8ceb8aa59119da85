// What a further session of a compiled network costs: its time to make, and that of eight threads
// that predict with one program.
#include <benchmark/benchmark.h>

#include <memory>

#include "resnet/models.h"
#include "resnet/program.h"

namespace {

const resnet::Program& program() {
  static const resnet::Program only = [] {
    const resnet::Graph g = resnet::inference_graph({.architecture = "resnet50"}, 1);
    auto variables = std::make_shared<resnet::Variables>();
    resnet::initialise(g, *variables, 1);
    const resnet::Program p(g, variables, {.threads = 1});
    resnet::Session(p).run();  // packs weights
    return p;
  }();
  return only;
}

void make_session(benchmark::State& state) {
  const resnet::Program& p = program();
  for (auto _ : state) benchmark::DoNotOptimize(resnet::Session(p));
}

void run_session(benchmark::State& state) {
  resnet::Session session(program());
  for (auto _ : state) session.run();
  state.SetItemsProcessed(state.iterations());
}

}  // namespace

BENCHMARK(make_session)->Unit(benchmark::kMicrosecond);
BENCHMARK(run_session)->ThreadRange(1, 8)->UseRealTime()->Unit(benchmark::kMillisecond);

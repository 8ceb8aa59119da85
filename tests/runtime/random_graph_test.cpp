// Random graphs: every pass keeps their meaning, every kernel is within its error bounds, and a
// compiled program has the bits of its kernels run one by one. A failure names the seed.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "backends/reference/reference.h"
#include "compile/compiler.h"
#include "compile/passes.h"
#include "core/random.h"
#include "resnet/program.h"
#include "runtime/devices.h"
#include "support/device_check.h"
#include "support/executor.h"
#include "support/random_graph.h"

namespace resnet::test {
namespace {

using Values = std::map<std::string, Tensor>;
constexpr RunContext kContext{.seed = 3, .step = 4};
constexpr std::uint64_t kSeeds = 40;  // RESNET_RANDOM_GRAPHS=4000 searches further

struct Named {
  std::uint64_t seed;
  Mode mode;
};
void PrintTo(const Named& graph, std::ostream* out) { *out << "seed " << graph.seed; }
std::string name_of(const testing::TestParamInfo<Named>& info) {
  return (info.param.mode == Mode::kTraining ? "Training" : "Inference") +
         std::to_string(info.param.seed);
}
std::vector<Named> all() {
  std::vector<Named> graphs;
  const char* more = std::getenv("RESNET_RANDOM_GRAPHS");
  const std::uint64_t seeds = more == nullptr ? kSeeds : std::stoull(more);
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    graphs.push_back({seed, seed % 4 == 3 ? Mode::kInference : Mode::kTraining});
  }
  return graphs;
}

class RandomGraph : public testing::TestWithParam<Named> {
 protected:
  const Graph graph_ = random_graph(GetParam().seed, GetParam().mode);
  const Values sources_ = random_sources(graph_, GetParam().seed);
};

// Outputs, and the parameters after the updates.
Values results(Target& target, const Graph& graph, const Values& sources) {
  Executor run(target, graph);
  run.run(sources, kContext);
  Values values;
  for (const auto& [name, v] : graph.outputs()) values[name] = run.value(v);
  for (const Value v : graph.parameters()) values["variable " + graph.node(v).name] = run.value(v);
  return values;
}

double norm(const Tensor& t) {
  double sum = 0;
  for (const double x : t.as<double>()) sum += x * x;
  return std::sqrt(sum);
}
double distance(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.as<double>().size(); ++i) {
    sum += std::pow(a.as<double>()[i] - b.as<double>()[i], 2);
  }
  return std::sqrt(sum);
}

// A pass changes roundings of f64, and nothing else. Each is a relative change by at most 2^-53 of
// a value, so what they add up to is compared with what a change of all sources by 2^-38, as if
// each passed through 2^15 roundings, makes of the results. Wrong passes are off by far more.
TEST_P(RandomGraph, KeepsItsMeaningUnderEveryPass) {
  constexpr double kChange = 0x1p-38;
  const auto reference = make_reference_target();
  const Values expected = results(*reference, graph_, sources_);
  std::map<std::string, double> allowed;
  for (const auto& [name, value] : expected) allowed[name] = kChange * norm(value);
  for (std::uint64_t i = 0; i < 3; ++i) {
    Values moved;
    Random random(i);
    for (const auto& [name, t] : sources_) {
      moved[name] = t.clone();
      for (double& x : moved[name].as<double>()) x *= 1 + kChange * random.uniform(-1, 1);
    }
    for (const auto& [name, value] : results(*reference, graph_, moved)) {
      allowed[name] = std::max(allowed[name], distance(value, expected.at(name)));
    }
  }
  using Pass = std::pair<const char*, Graph (*)(const Graph&)>;
  const std::vector<Pass> passes = {{"fuse", fuse},
                                    {"fold", fold_batch_norm},
                                    {"schedule", schedule_updates},
                                    {"recompute", recompute_activations}};
  for (unsigned chosen = 1; chosen < 1U << passes.size(); ++chosen) {
    Graph g = graph_;
    std::string names;
    for (std::size_t i = 0; i < passes.size(); ++i) {
      if ((chosen >> i & 1U) == 0) continue;
      g = passes[i].second(g);
      names += std::string(" ") + passes[i].first;
    }
    SCOPED_TRACE("passes:" + names);
    verify(g);
    const Values found = results(*reference, g, sources_);
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [name, value] : expected) {
      EXPECT_LE(distance(found.at(name), value), allowed.at(name)) << name;
    }
    if (HasFailure()) return;
  }
}

TEST_P(RandomGraph, KernelsAreWithinTheirErrorBounds) {
  const CompileOptions options{.threads = 2, .winograd = false};
  const auto target = make_target(options);
  for (const bool passes : {false, true}) {
    SCOPED_TRACE(passes ? "with passes" : "without passes");
    const Plan plan = make_plan(graph_, *target, {.passes = passes});
    // Where the mask of a ReLU is computed again in f32, a value near its kink may fall on the
    // other side.
    const auto recomputes_mask = [](const Node& n) {
      const auto* a = std::get_if<NormAttributes>(&n.attributes);
      const bool backward = n.op == Op::kBatchNormBackward || n.op == Op::kNormalizeBackward;
      return backward && a->relu && !a->residual;
    };
    expect_nodes_match(*target, plan.graph, sources_, {.skip = recomputes_mask});
    if (HasFailure()) return;
  }
}

std::unique_ptr<Program> program_of(const Graph& graph, const Values& sources,
                                    const CompileOptions& options) {
  auto variables = std::make_shared<Variables>();
  for (const Value v : graph.parameters()) {
    const std::string& name = graph.node(v).name;
    variables->set(name, sources.at(name).cast(DType::kF32));
  }
  auto program = std::make_unique<Program>(graph, variables, options);
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::kInput) program->set_input(n.name, sources.at(n.name).cast(DType::kF32));
  }
  program->set_random(kContext.seed, kContext.step);
  return program;
}

Values results(const Graph& graph, Program& program) {
  Values values;
  for (const auto& [name, v] : graph.outputs()) values[name] = program.output(name).clone();
  for (const auto& [name, t] : program.variables().all()) values["variable " + name] = t.clone();
  return values;
}

void expect_same_bits(const Values& a, const Values& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, t] : a) {
    const Tensor x = t.cast(DType::kF32), y = b.at(name).cast(DType::kF32);
    ASSERT_EQ(x.shape(), y.shape()) << name;
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.bytes()), 0) << name;
  }
}

// Shared memory, reused layouts and kernels in place change no bit.
TEST_P(RandomGraph, ProgramsHaveTheBitsOfTheirKernels) {
  for (const bool passes : {false, true}) {
    SCOPED_TRACE(passes ? "with passes" : "without passes");
    CompileOptions options{.threads = 2, .passes = passes};
    const auto target = make_target(options);
    const Plan plan = make_plan(graph_, *target, {.passes = passes});
    const Values expected = results(*target, plan.graph, sources_);
    for (const bool planned : {false, true}) {
      SCOPED_TRACE(planned ? "planned" : "not planned");
      options.plan_memory = planned;
      const auto program = program_of(graph_, sources_, options);
      program->run();
      Values found = results(graph_, *program);
      expect_same_bits(expected, found);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, RandomGraph, testing::ValuesIn(all()), name_of);

// Programs of different graphs in threads of their own: nothing of one is another's.
TEST(RandomGraphs, RunSideBySide) {
  constexpr std::uint64_t kPrograms = 4;
  constexpr int kRuns = 20;
  const auto run = [](std::uint64_t seed) {
    const Graph graph = random_graph(seed, Mode::kTraining);
    const auto program = program_of(graph, random_sources(graph, seed), {.threads = 2});
    for (int i = 0; i < kRuns; ++i) program->run();
    return results(graph, *program);
  };
  std::vector<Values> alone, together(kPrograms);
  for (std::uint64_t i = 0; i < kPrograms; ++i) alone.push_back(run(100 + i));
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < kPrograms; ++i) {
    threads.emplace_back([&together, &run, i] { together[i] = run(100 + i); });
  }
  for (std::thread& t : threads) t.join();
  for (std::uint64_t i = 0; i < kPrograms; ++i) expect_same_bits(alone[i], together[i]);
}

}  // namespace
}  // namespace resnet::test

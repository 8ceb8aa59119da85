#include "runtime/agreement.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "backends/reference/reference.h"
#include "compile/compiler.h"
#include "compile/passes.h"
#include "core/random.h"
#include "runtime/devices.h"
#include "support/device_check.h"
#include "support/executor.h"

namespace resnet::test {
namespace {

constexpr RunContext kContext{.seed = 3, .step = 4};
const std::string kVariable = "variable ";

// Outputs, and the parameters after the updates.
Values results_of(Target& target, const Graph& graph, const Values& sources) {
  Executor run(target, graph);
  run.run(sources, kContext);
  Values values;
  for (const auto& [name, v] : graph.outputs()) values[name] = run.value(v);
  for (const Value v : graph.parameters()) values[kVariable + graph.node(v).name] = run.value(v);
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

}  // namespace

// A pass changes roundings of f64, and nothing else. Each is a relative change by at most 2^-53 of
// a value, so what they add up to is compared with what a change of all sources by 2^-38, as if
// each passed through 2^15 roundings, makes of the results. Wrong passes are off by far more.
void expect_passes_keep_the_meaning(const Graph& graph, const Values& sources) {
  constexpr double kChange = 0x1p-38;
  const auto reference = make_reference_target();
  const Values expected = results_of(*reference, graph, sources);
  std::map<std::string, double> allowed;
  for (const auto& [name, value] : expected) allowed[name] = kChange * norm(value);
  for (std::uint64_t i = 0; i < 3; ++i) {
    Values moved;
    Random random(i);
    for (const auto& [name, t] : sources) {
      moved[name] = t.clone();
      for (double& x : moved[name].as<double>()) x *= 1 + kChange * random.uniform(-1, 1);
    }
    for (const auto& [name, value] : results_of(*reference, graph, moved)) {
      allowed[name] = std::max(allowed[name], distance(value, expected.at(name)));
    }
  }
  using Pass = std::pair<const char*, Graph (*)(const Graph&)>;
  const std::vector<Pass> passes = {{"fuse", fuse},
                                    {"fold", fold_batch_norm},
                                    {"schedule", schedule_updates},
                                    {"recompute", recompute_activations}};
  for (unsigned chosen = 1; chosen < 1U << passes.size(); ++chosen) {
    Graph g = graph;
    std::string names;
    for (std::size_t i = 0; i < passes.size(); ++i) {
      if ((chosen >> i & 1U) == 0) continue;
      g = passes[i].second(g);
      names += std::string(" ") + passes[i].first;
    }
    SCOPED_TRACE("passes:" + names);
    verify(g);
    const Values found = results_of(*reference, g, sources);
    ASSERT_EQ(found.size(), expected.size());
    for (const auto& [name, value] : expected) {
      EXPECT_LE(distance(found.at(name), value), allowed.at(name)) << name;
    }
    if (::testing::Test::HasFailure()) return;
  }
}

void expect_kernels_within_bounds(const Graph& graph, const Values& sources) {
  const CompileOptions options{.threads = 2, .winograd = false};
  const auto target = make_target(options);
  for (const bool passes : {false, true}) {
    SCOPED_TRACE(passes ? "with passes" : "without passes");
    const Plan plan = make_plan(graph, *target, {.passes = passes});
    // Where the mask of a ReLU is computed again in f32, a value near its kink may fall on the
    // other side.
    const auto recomputes_mask = [](const Node& n) {
      const auto* a = std::get_if<NormAttributes>(&n.attributes);
      const bool backward = n.op == Op::kBatchNormBackward || n.op == Op::kNormalizeBackward;
      return backward && a->relu && !a->residual;
    };
    expect_nodes_match(*target, plan.graph, sources, {.skip = recomputes_mask});
    if (::testing::Test::HasFailure()) return;
  }
}

std::unique_ptr<Session> program_of(const Graph& graph, const Values& sources,
                                    const CompileOptions& options) {
  auto variables = std::make_shared<Variables>();
  for (const Value v : graph.parameters()) {
    const std::string& name = graph.node(v).name;
    variables->set(name, sources.at(name).cast(DType::kF32));
  }
  auto program = std::make_unique<Session>(graph, variables, options);
  for (const Node& n : graph.nodes()) {
    if (n.op == Op::kInput) program->set_input(n.name, sources.at(n.name).cast(DType::kF32));
  }
  program->set_random(kContext.seed, kContext.step);
  return program;
}

Values results_of(const Graph& graph, Session& program) {
  Values values;
  for (const auto& [name, v] : graph.outputs()) values[name] = program.output(name).clone();
  for (const auto& [name, t] : program.program().variables().all())
    values[kVariable + name] = t.clone();
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

void expect_programs_have_the_bits_of_their_kernels(const Graph& graph, const Values& sources,
                                                    int runs) {
  for (const bool passes : {false, true}) {
    SCOPED_TRACE(passes ? "with passes" : "without passes");
    CompileOptions options{.threads = 2, .passes = passes};
    const auto target = make_target(options);
    const Plan plan = make_plan(graph, *target, {.passes = passes});
    std::vector<Values> expected;
    for (int i = 0; i < runs; ++i) {
      Values now = sources;
      if (i > 0) {
        for (const Value v : graph.parameters()) {
          const std::string& name = graph.node(v).name;
          now[name] = expected.back().at(kVariable + name);
        }
      }
      expected.push_back(results_of(*target, plan.graph, now));
    }
    for (const bool planned : {false, true}) {
      SCOPED_TRACE(planned ? "planned" : "not planned");
      options.plan_memory = planned;
      const auto program = program_of(graph, sources, options);
      for (int i = 0; i < runs; ++i) {
        SCOPED_TRACE("run " + std::to_string(i));
        program->run();
        expect_same_bits(expected[static_cast<std::size_t>(i)], results_of(graph, *program));
      }
    }
  }
}

void expect_agreement(const Graph& graph, const Values& sources) {
  expect_passes_keep_the_meaning(graph, sources);
  expect_kernels_within_bounds(graph, sources);
  expect_programs_have_the_bits_of_their_kernels(graph, sources, 2);
}

}  // namespace resnet::test

#include "support/device_check.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "backends/reference/reference.h"
#include "core/random.h"
#include "support/executor.h"
#include "support/tolerance.h"

namespace resnet::test {
namespace {

constexpr RunContext kContext{.seed = 5, .step = 3};

double element(const Tensor& t, std::int64_t i) {
  const auto place = static_cast<std::size_t>(i);
  if (t.dtype() == DType::kU8) return t.as<std::uint8_t>()[place];
  if (t.dtype() == DType::kI8) return t.as<std::int8_t>()[place];
  return t.as<double>()[place];
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

/// Elements of `actual` outside of `bound` around `expected`, as one message; empty when none is.
std::string difference(const Tensor& actual, const Tensor& expected, const Tensor& bound) {
  std::int64_t wrong = 0, worst = 0;
  double worst_ratio = -1;
  for (std::int64_t i = 0; i < expected.size(); ++i) {
    const double a = element(actual, i), e = element(expected, i), b = element(bound, i);
    if (std::isnan(e) && std::isnan(a)) continue;
    if (std::abs(a - e) <= b) continue;  // false for NaN too
    ++wrong;
    const double ratio = std::isnan(a) ? 1e300 : std::abs(a - e) / std::max(b, 1e-300);
    if (ratio > worst_ratio) {
      worst_ratio = ratio;
      worst = i;
    }
  }
  if (wrong == 0) return "";
  return fmt::format(
      "{} of {} elements are wrong; at {}: {:.9g}, the reference has {:.9g}, "
      "off by {:.3g} of {:.3g} allowed",
      wrong, expected.size(), worst, element(actual, worst), element(expected, worst),
      std::abs(element(actual, worst) - element(expected, worst)), element(bound, worst));
}

bool mostly_zeros(const Tensor& t) {
  std::int64_t zeros = 0;
  for (std::int64_t i = 0; i < t.size(); ++i) zeros += element(t, i) == 0 ? 1 : 0;
  return zeros * 10 > t.size() * 9;
}

/// Root mean square of a - b over that of b.
double relative_rms(const Tensor& a, const Tensor& b) {
  double difference_sum = 0, size_sum = 0;
  for (std::int64_t i = 0; i < b.size(); ++i) {
    difference_sum += std::pow(element(a, i) - element(b, i), 2);
    size_sum += std::pow(element(b, i), 2);
  }
  return std::sqrt(difference_sum / std::max(size_sum, 1e-300));
}

bool is_convolution(Op op) {
  return op == Op::kConv2d || op == Op::kConv2dBackwardData || op == Op::kConv2dBackwardWeights;
}

Tensor rounded_to(DType dtype, const Tensor& t) {
  return t.dtype() == DType::kF64 ? t.cast(dtype).cast(DType::kF64) : t;
}

/// error_bounds(), and rule 9 for results of bf16: where nothing else rounds, results equal the
/// rounded ones; elsewhere they are near the reference's before it rounds, which `expected`
/// becomes.
std::vector<Tensor> bounds_of(const Graph& graph, const Node& node,
                              const std::vector<Tensor>& inputs, std::vector<Tensor>& expected,
                              bool winograd) {
  const auto is_bf16 = [](const TensorType& t) { return t.dtype == DType::kBF16; };
  if (std::ranges::none_of(node.outputs, is_bf16)) {
    return error_bounds(graph, node, inputs, expected, winograd);
  }
  Node exact = node;
  for (TensorType& t : exact.outputs) {
    if (is_bf16(t)) t.dtype = DType::kF32;
  }
  const auto reference = make_reference_target();
  const std::vector<Tensor> unrounded = run_node(*reference, graph, exact, inputs, kContext);
  std::vector<Tensor> bounds = error_bounds(graph, exact, inputs, unrounded, winograd);
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    if (!is_bf16(node.outputs[i])) continue;
    const auto y = unrounded[i].as<double>();
    auto e = expected[i].as<double>(), b = bounds[i].as<double>();
    for (std::size_t k = 0; k < y.size(); ++k) {
      if (b[k] == 0) continue;
      b[k] += kBf16Unit * (std::abs(y[k]) + b[k]);
      e[k] = y[k];
    }
  }
  return bounds;
}

}  // namespace

std::string repro() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  if (info == nullptr) return "";
  return fmt::format("\nrepro: {} --gtest_filter={}.{}", program_invocation_short_name,
                     info->test_suite_name(), info->name());
}

void expect_matches_reference(Target& target, const OpCase& c, Numbers numbers, bool winograd) {
  // A norm's mask is recomputed from x in f32: keep far enough from its kink that both agree.
  expect_nodes_match(
      target, c.graph, make_sources(c, numbers, 1e-4),
      {.winograd = winograd, .mistrust_zeros = !c.zeros_expected && numbers == Numbers::kReals});
}

void expect_nodes_match(Target& target, const Graph& graph,
                        const std::map<std::string, Tensor>& sources, const NodeCheck& check) {
  const auto reference = make_reference_target();
  std::vector<std::vector<Tensor>> values(graph.nodes().size());   // the reference's, rounded
  std::vector<std::vector<Layout>> layouts(graph.nodes().size());  // where the device leaves them
  for (std::size_t id = 0; id < graph.nodes().size(); ++id) {
    const Node& node = graph.nodes()[id];
    if (node.op == Op::kInput || node.op == Op::kParameter) {
      values[id] = {sources.at(node.name)};
      layouts[id] = {kPlainLayout};
      continue;
    }
    SCOPED_TRACE(fmt::format("{} ({}){}", node.name, name_of(node.op), repro()));
    std::vector<Tensor> inputs;
    std::vector<DeviceValue> device_inputs;
    std::vector<Layout> have;
    for (const Value v : node.inputs) {
      const auto n = static_cast<std::size_t>(v.node), o = static_cast<std::size_t>(v.output);
      inputs.push_back(values[n][o]);
      have.push_back(layouts[n][o]);
      device_inputs.push_back(upload(target, graph.type(v), values[n][o], layouts[n][o]));
    }
    std::vector<Tensor> expected = run_node(*reference, graph, node, inputs, kContext);
    const std::vector<Tensor> bounds = bounds_of(graph, node, inputs, expected, check.winograd);

    NodeRunner runner(target, graph, node, have);
    SCOPED_TRACE("kernel " + runner.kernel_name());
    const std::vector<DeviceValue> outputs = runner.run(device_inputs, kContext);
    std::vector<Tensor> actual;
    for (const DeviceValue& v : outputs) {
      actual.push_back(download(target, v));
      layouts[id].push_back(v.layout);
    }
    for (int i = 0; i < updated_inputs(node.op); ++i) {
      actual.push_back(download(target, device_inputs[static_cast<std::size_t>(i)]));
    }
    ASSERT_EQ(actual.size(), expected.size());
    const bool compared = !check.skip || !check.skip(node);
    for (std::size_t i = 0; i < actual.size() && compared; ++i) {
      const std::string what = difference(actual[i], expected[i], bounds[i]);
      EXPECT_TRUE(what.empty()) << "result " << i << ": " << what;
      if (check.winograd && is_convolution(node.op)) {
        EXPECT_LE(relative_rms(actual[i], expected[i]), winograd_rms(graph, node))
            << "result " << i;
      }
      if (check.mistrust_zeros && expected[i].dtype() == DType::kF64) {
        EXPECT_FALSE(mostly_zeros(expected[i])) << "mistrusted: result " << i << " is mostly zeros";
      }
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const DType dtype = node.outputs[i].dtype == DType::kBF16 ? DType::kBF16 : DType::kF32;
      values[id].push_back(rounded_to(dtype, expected[i]));
    }
    if (::testing::Test::HasFailure()) return;
  }
}

void expect_repeatable(Target& target, const OpCase& c) {
  const Graph& graph = c.graph;
  const auto sources = make_sources(c, Numbers::kReals, 0);
  const std::string hint = repro();

  // The same program twice, a second one, and one whose values pass through plain layout.
  Executor first(target, graph), second(target, graph), plain(target, graph, true);
  first.run(sources, kContext);
  std::vector<std::vector<Tensor>> kept;
  for (std::size_t id = 0; id < graph.nodes().size(); ++id) {
    kept.emplace_back();
    for (std::size_t o = 0; o < graph.nodes()[id].outputs.size(); ++o) {
      kept.back().push_back(
          first.value({static_cast<std::int32_t>(id), static_cast<std::int32_t>(o)}));
    }
  }
  first.run(sources, kContext);
  second.run(sources, kContext);
  plain.run(sources, kContext);
  for (std::size_t id = 0; id < graph.nodes().size(); ++id) {
    const Node& node = graph.nodes()[id];
    for (std::size_t o = 0; o < node.outputs.size(); ++o) {
      const Value v{static_cast<std::int32_t>(id), static_cast<std::int32_t>(o)};
      const std::string where = fmt::format("{} ({}){}", node.name, name_of(node.op), hint);
      EXPECT_TRUE(same_bits(kept[id][o], first.value(v))) << "a second run differs: " << where;
      EXPECT_TRUE(same_bits(kept[id][o], second.value(v))) << "a new kernel differs: " << where;
      EXPECT_TRUE(same_bits(kept[id][o], plain.value(v)))
          << "the layout's padding matters: " << where;
    }
  }

  // In place, node by node.
  std::vector<std::vector<Layout>> layouts(graph.nodes().size());
  for (std::size_t id = 0; id < graph.nodes().size(); ++id) {
    const Node& node = graph.nodes()[id];
    if (node.op == Op::kInput || node.op == Op::kParameter) {
      layouts[id] = {kPlainLayout};
      continue;
    }
    std::vector<Layout> have;
    std::vector<DeviceValue> inputs;
    for (const Value v : node.inputs) {
      const auto n = static_cast<std::size_t>(v.node), o = static_cast<std::size_t>(v.output);
      have.push_back(layouts[n][o]);
      inputs.push_back(upload(target, graph.type(v), kept[n][o], layouts[n][o]));
    }
    NodeRunner runner(target, graph, node, have);
    const auto in_place = runner.run(inputs, kContext, true);
    for (std::size_t o = 0; o < in_place.size(); ++o) {
      layouts[id].push_back(in_place[o].layout);
      if (updated_inputs(node.op) > 0) continue;
      EXPECT_TRUE(same_bits(kept[id][o], download(target, in_place[o])))
          << "running in place differs: " << node.name << hint;
    }
  }
}

void expect_gradients(const OpCase& c, double tolerance) {
  ASSERT_TRUE(c.loss) << c.name << " has no gradients";
  constexpr double kStep = 1e-5;
  const auto reference = make_reference_target();
  const auto sources = make_sources(c, Numbers::kReals, 1e-3);
  Executor run(*reference, c.graph);
  run.run(sources, kContext);
  std::vector<Tensor> gradient;
  for (std::size_t i = 0; i < c.wrt.size(); ++i) {
    ASSERT_TRUE(c.gradients[i]) << "no gradient of " << c.graph.node(c.wrt[i]).name;
    gradient.push_back(run.value(c.gradients[i]));
  }

  // A few single elements of each tensor, and directions through all of it: those meet every
  // element, and one that is wrong shows in the sum.
  const int evaluations = static_cast<int>(std::clamp(2e7 / forward_cost(c), 16.0, 2000.0)) /
                          static_cast<int>(2 * c.wrt.size());
  const int directions = 2, elements = std::clamp(evaluations - directions, 4, 24);
  Random rng(11);
  for (std::size_t i = 0; i < c.wrt.size(); ++i) {
    const std::string& name = c.graph.node(c.wrt[i]).name;
    const auto g = gradient[i].as<double>();
    double squares = 0;
    for (const double v : g) squares += v * v;
    const double typical = std::sqrt(squares / static_cast<double>(g.size()));
    for (int probe = 0; probe < directions + elements; ++probe) {
      std::vector<double> direction(g.size(), 0.0);
      if (probe < directions) {
        for (double& d : direction) d = rng.uniform(-1, 1);
      } else {
        direction[rng.below(static_cast<std::uint32_t>(g.size()))] = 1;
      }
      double analytic = 0, scale = 0;
      for (std::size_t k = 0; k < g.size(); ++k) {
        analytic += g[k] * direction[k];
        scale += g[k] * direction[k] * g[k] * direction[k];
      }
      const auto loss_at = [&](double step) {
        auto moved = sources;
        moved.at(name) = moved.at(name).clone();
        auto x = moved.at(name).as<double>();
        for (std::size_t k = 0; k < g.size(); ++k) x[k] += step * direction[k];
        run.run(moved, kContext, c.loss.node);
        return run.value(c.loss).as<double>()[0];
      };
      const double numeric = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      // Relative to the element, or to the tensor where the element is smaller than usual.
      const double size = std::max(std::sqrt(scale), typical);
      EXPECT_LE(std::abs(numeric - analytic), tolerance * size + 1e-11)
          << "gradient of " << name << (probe < directions ? " along a direction" : "") << ": "
          << analytic << ", by differences " << numeric << repro();
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_TRUE(typical > 0 || c.zeros_expected) << "the gradient of " << name << " is zero";
  }
}

}  // namespace resnet::test

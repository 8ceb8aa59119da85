// Whole networks in bf16: beside f32, and beside the reference that rounds as bf16 does.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "golden/golden.h"
#include "resnet/error.h"
#include "resnet/models.h"
#include "resnet/program.h"
#include "runtime/support.h"

namespace resnet {
namespace {

constexpr double kUnit = 0x1p-8;  // of bf16

std::shared_ptr<Variables> variables_of(const Graph& g, Device device) {
  auto v = std::make_shared<Variables>();
  for (const Value p : g.parameters()) {
    Tensor t = Tensor::zeros(DType::kF32, g.shape(p));
    const Role role = std::get<ParameterAttributes>(g.node(p).attributes).role;
    if (role != Role::kOptimizer) golden::fill(g.node(p).name, t.shape(), t.as<float>());
    v->set(g.node(p).name, std::move(t));
  }
  if (device == Device::kReference) *v = v->cast(DType::kF64);
  return v;
}

Tensor pictures(const Shape& shape) {
  Tensor t(DType::kF32, shape);
  golden::fill("image", shape, t.as<float>());
  return t;
}

/// A program, or none where the processor has no bf16.
std::optional<Program> program(const Graph& g, Device device, DType dtype) {
  try {
    return Program(g, variables_of(g, device), {.device = device, .threads = 2, .dtype = dtype});
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    EXPECT_EQ(dtype, DType::kBF16);
    return std::nullopt;
  }
}

class MixedPrecision : public testing::TestWithParam<const char*> {};

// Each convolution rounds its weights and its result: 2 L roundings of at most `kUnit`, as good as
// independent, none of which the network makes larger, because folded or not its layers keep the
// scale of their inputs. So their root mean square is within kUnit sqrt(2 L).
TEST_P(MixedPrecision, LogitsStayNearThoseOfF32) {
  ModelConfig config;
  config.architecture = GetParam();
  config.classes = 10;
  config.image_size = config.architecture == "resnet20" ? 32 : 64;
  const Graph g = inference_graph(config, 2);
  const Tensor image = pictures({2, 3, config.image_size, config.image_size});
  std::vector<Tensor> logits;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    std::optional<Program> p = program(g, Device::kCpu, dtype);
    if (!p) GTEST_SKIP() << "this processor has no bf16";
    p->set_input("image", image);
    p->run();
    logits.push_back(p->output("logits"));
    EXPECT_EQ(logits.back().dtype(), DType::kF32);
  }
  double layers = 0, error = 0, size = 0;
  for (const Node& n : g.nodes()) layers += n.op == Op::kConv2d ? 1 : 0;
  for (std::size_t i = 0; i < 20; ++i) {
    const double f32 = logits[0].as<float>()[i], bf16 = logits[1].as<float>()[i];
    error += (bf16 - f32) * (bf16 - f32);
    size += f32 * f32;
  }
  EXPECT_GT(error, 0) << "nothing was rounded";
  EXPECT_LE(std::sqrt(error / size), kUnit * std::sqrt(2 * layers));
}

INSTANTIATE_TEST_SUITE_P(Networks, MixedPrecision,
                         testing::Values("resnet18", "resnet50", "resnet20"));

std::vector<double> losses(Device device, DType dtype) {
  ModelConfig config;
  config.architecture = "resnet8";
  config.classes = 10;
  config.image_size = 16;
  Graph g(Mode::kTraining);
  const Value logits = build_model(g, config, g.input("image", {8, 3, 16, 16}));
  const Value loss = g.softmax_cross_entropy(logits, g.input("targets", {8, 10}));
  add_sgd(g, loss, {.momentum = 0.9});
  std::optional<Program> p = program(g, device, dtype);
  if (!p) return {};
  Tensor targets = Tensor::zeros(DType::kF32, {8, 10});
  const std::vector<std::int64_t> labels = golden::labels(8, 10);
  for (std::size_t i = 0; i < 8; ++i) {
    targets.as<float>()[i * 10 + static_cast<std::size_t>(labels[i])] = 1;
  }
  p->set_input("image", pictures({8, 3, 16, 16}));
  p->set_input("targets", targets);
  p->set_input("lr", 0.005);
  std::vector<double> result;
  for (int step = 0; step < 10; ++step) {
    p->run();
    result.push_back(p->scalar("loss"));
  }
  return result;
}

// Two devices that round alike differ where f32 and f64 fall on two sides of a tie; from there on
// they are two samples of the same rounding: of the weights, both results and the gradient of each
// of resnet8's seven layers, as above, in each step.
TEST(MixedPrecisionTraining, FollowsTheReferenceThatRoundsAlike) {
  const std::vector<double> cpu = losses(Device::kCpu, DType::kBF16);
  if (cpu.empty()) GTEST_SKIP() << "this processor has no bf16";
  const std::vector<double> reference = losses(Device::kReference, DType::kBF16);
  for (std::size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_NEAR(cpu[i], reference[i], kUnit * std::sqrt(4.0 * 7) * reference[0]) << "step " << i;
  }
  EXPECT_NEAR(cpu[0], reference[0], kUnit * reference[0]);  // before any step
  EXPECT_LT(cpu.back(), 0.7 * cpu.front()) << "it does not learn";
}

}  // namespace
}  // namespace resnet

// Whole networks in bf16: beside f32, and beside the reference that rounds as bf16 does.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>

#include "golden/golden.h"
#include "resnet/error.h"
#include "resnet/models.h"
#include "resnet/program.h"
#include "runtime/support.h"
#include "support/relative.h"

namespace resnet {
namespace {

constexpr double kUnit = 0x1p-8;  // of bf16
// Root mean square of a rounding's relative error: evenly spread over half a step to each side, it
// has a third of the square of the largest, which for a value of [1, 2) is kUnit <= kUnit |x|.
const double kRounding = kUnit / std::sqrt(3);

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

Tensor images(const Shape& shape) {
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

// Each convolution rounds its weights and its result: 2 L roundings, as good as independent, none
// of which the network makes larger, because folded or not its layers keep the scale of their
// inputs. So their root mean square is within kRounding sqrt(2 L).
TEST_P(MixedPrecision, LogitsStayNearThoseOfF32) {
  ModelConfig config;
  config.architecture = GetParam();
  config.classes = 10;
  config.image_size = config.architecture == "resnet20" ? 32 : 64;
  const Graph g = inference_graph(config, 2);
  const Tensor image = images({2, 3, config.image_size, config.image_size});
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
  EXPECT_LE(std::sqrt(error / size), kRounding * std::sqrt(2 * layers));
}

INSTANTIATE_TEST_SUITE_P(Networks, MixedPrecision,
                         testing::Values("resnet18", "resnet50", "resnet20"));

// Ten steps of resnet20, and what they leave.
struct Training {
  Tensor logits;                              // of the first step
  std::map<std::string, Tensor> gradients;    // likewise
  std::map<std::string, Tensor> first, last;  // weights after the first and the last step
  std::vector<double> losses;
  std::vector<std::vector<Tensor>> activations;  // by step and ReLU
};

constexpr std::int64_t kBatch = 2, kSide = 16;
constexpr float kRate = 0.005F;
constexpr int kSteps = 10;
constexpr int kLayers = 19;  // with a ReLU

std::string activation(int layer) { return "y." + std::to_string(layer); }

Graph training_graph() {
  ModelConfig config;
  config.architecture = "resnet20";
  config.classes = 10;
  config.image_size = kSide;
  Graph g(Mode::kTraining);
  const Value logits = build_model(g, config, g.input("image", {kBatch, 3, kSide, kSide}));
  g.mark_output("logits", logits);
  const Value loss = g.softmax_cross_entropy(logits, g.input("targets", {kBatch, 10}));
  add_sgd(g, loss, {.momentum = 0.9}, true);
  int relus = 0;
  for (std::size_t i = 0; i < g.nodes().size(); ++i) {
    if (g.nodes()[i].op != Op::kRelu) continue;
    g.mark_output(activation(++relus), {static_cast<std::int32_t>(i), 0});
  }
  EXPECT_EQ(relus, kLayers);
  return g;
}

void set_batch(Program& p) {
  Tensor targets = Tensor::zeros(DType::kF32, {kBatch, 10});
  const std::vector<std::int64_t> labels = golden::labels(kBatch, 10);
  for (std::size_t i = 0; i < kBatch; ++i) {
    targets.as<float>()[i * 10 + static_cast<std::size_t>(labels[i])] = 1;
  }
  p.set_input("image", images({kBatch, 3, kSide, kSide}));
  p.set_input("targets", targets);
  p.set_input("lr", kRate);
}

double squares(const Tensor& t) {
  double sum = 0;
  for (const double x : t.as<double>()) sum += x * x;
  return sum;
}

// A gradient of weights sums x dy over images and pixels. Errors of x and dy add up as squares
// do, to shares of the sum of x^2 dy^2. The gradient itself may be smaller: behind a batch norm dy
// has the mean 0, which leaves little where x hardly varies. By layer, the root of the former over
// the size of the latter, in f64.
std::map<std::string, double> cancellation(Graph g) {
  const std::vector<Node> nodes = g.nodes();
  std::map<std::string, std::size_t> layers;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].op != Op::kConv2dBackwardWeights) continue;
    const std::string layer = nodes[i].name.substr(0, nodes[i].name.rfind(".grad"));
    layers[layer] = i;
    g.mark_output(layer + " x", nodes[i].inputs[0]);
    g.mark_output(layer + " dy", nodes[i].inputs[1]);
    g.mark_output(layer + " dw", {static_cast<std::int32_t>(i), 0});
  }
  Program p(g, variables_of(g, Device::kReference), {.device = Device::kReference});
  set_batch(p);
  p.run();
  std::map<std::string, double> result;
  for (const auto& [name, i] : layers) {
    Tensor x = p.output(name + " x"), dy = p.output(name + " dy");
    for (double& v : x.as<double>()) v *= v;
    for (double& v : dy.as<double>()) v *= v;
    Graph h(Mode::kTraining);
    h.mark_output(
        "dw", h.append(Op::kConv2dBackwardWeights, "dw",
                       {h.input("x", x.shape()), h.input("dy", dy.shape())}, nodes[i].attributes));
    Program q(h, std::make_shared<Variables>(), {.device = Device::kReference});
    q.set_input("x", x);
    q.set_input("dy", dy);
    q.run();
    double sum = 0;
    const Tensor noise = q.output("dw");
    for (const double v : noise.as<double>()) sum += v;
    result[name] = std::sqrt(sum / squares(p.output(name + " dw")));
  }
  return result;
}

std::optional<Training> trained(const Graph& g, Device device) {
  std::optional<Program> p = program(g, device, DType::kBF16);
  if (!p) return std::nullopt;
  set_batch(*p);
  Training t;
  const auto weights = [&] {
    std::map<std::string, Tensor> result;
    for (const Value w : g.trainable()) {
      const std::string& name = g.node(w).name;
      result[name] = p->variables().at(name).cast(DType::kF64).clone();
    }
    return result;
  };
  for (int step = 0; step < kSteps; ++step) {
    p->run();
    t.losses.push_back(p->scalar("loss"));
    t.activations.emplace_back();
    for (int l = 1; l <= kLayers; ++l) {
      t.activations.back().push_back(p->output(activation(l)).cast(DType::kF64));
    }
    if (step > 0) continue;
    t.logits = p->output("logits").cast(DType::kF64).clone();
    for (const auto& [name, v] : g.outputs()) {
      if (name.starts_with("d.")) {
        t.gradients[name.substr(2)] = p->output(name).cast(DType::kF64).clone();
      }
    }
    t.first = weights();
  }
  t.last = weights();
  return t;
}

Tensor difference(const Tensor& a, const Tensor& b) {
  Tensor d = a.clone();
  for (std::size_t i = 0; i < static_cast<std::size_t>(d.size()); ++i) {
    d.as<double>()[i] -= b.as<double>()[i];
  }
  return d;
}

// Two devices that round alike differ where f32 and f64 fall on two sides of a tie; from there on
// they are two samples of the same rounding, sqrt(2) times as far apart as one is from the truth.
// Roundings are taken as independent, each of relative size u = 2^-8, and layers as keeping the
// scale of what they read, which batch norm sees to. Numbers are root mean squares.
//   Forward, a layer rounds its weights, the convolution's result and the norm's: after l layers
// values differ by sqrt(2) kRounding sqrt(3 l) of their size.
//   Backward, a layer rounds its weights, the gradient at its result and that at its data. The
// gradient of a layer's weights has met the former in front of it and the latter behind: 3 L
// roundings. And where a value falls on two sides of 0, ReLU passes a gradient on one device only.
// Which values do is looked up; their share of those that pass is that of the gradient's square,
// which does not depend on how near to 0 a value is. The gradient of layer k has met every ReLU
// from k to L. Both are shares of what is summed; `cancellation` says how much of it is left.
//   The last layer, L + 1, has no ReLU behind it.
double apart(int l) { return kRounding * std::sqrt(2 * 3.0 * l); }

// Of a layer's gradient, in one step or over several.
double gradient_apart(int layer, const Training& a, const Training& b, std::size_t steps) {
  double worst = 0;
  for (std::size_t step = 0; step < steps; ++step) {
    double square = 2 * 3 * kLayers * kRounding * kRounding;
    for (int l = layer; l <= kLayers; ++l) {
      const auto at = static_cast<std::size_t>(l) - 1;
      const auto x = a.activations[step][at].as<double>(), y = b.activations[step][at].as<double>();
      double differ = 0, pass = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        differ += (x[i] > 0) != (y[i] > 0) ? 1 : 0;
        pass += y[i] > 0 ? 1 : 0;
      }
      square += differ / pass;
    }
    worst = std::max(worst, std::sqrt(square));
  }
  return worst;
}

TEST(MixedPrecisionTraining, FollowsTheReferenceThatRoundsAlike) {
  const Graph g = training_graph();
  const std::optional<Training> cpu = trained(g, Device::kCpu);
  if (!cpu) GTEST_SKIP() << "this processor has no bf16";
  const Training reference = trained(g, Device::kReference).value();
  EXPECT_LE(relative(cpu->logits, reference.logits), apart(kLayers));

  const std::map<std::string, double> cancelled = cancellation(g);
  const auto start = variables_of(g, Device::kReference);
  int layer = 0;
  double norm_difference = 0, norm_size = 0, update_difference = 0, update_size = 0;
  for (const Value v : g.trainable()) {
    const std::string& name = g.node(v).name;
    SCOPED_TRACE(name);
    const Tensor &d = cpu->gradients.at(name), &expected = reference.gradients.at(name);
    const Tensor before = start->at(name).cast(DType::kF64);
    // The first step, from the gradient on: master weights are f32, v = d, w -= lr v, two
    // roundings.
    const Tensor& after = cpu->first.at(name);
    for (std::size_t i = 0; i < static_cast<std::size_t>(d.size()); ++i) {
      const double w = before.as<double>()[i], step = double{kRate} * d.as<double>()[i];
      ASSERT_NEAR(after.as<double>()[i], w - step, 0x1p-23 * (std::abs(w) + std::abs(step)));
    }
    const bool convolution = before.shape().size() == 4;
    if (convolution) ++layer;
    if (before.shape().size() == 1 && !name.starts_with("fc")) {
      // Sums over images and pixels, single ones of which may cancel: all together.
      norm_difference += squares(difference(d, expected));
      norm_size += squares(expected);
      continue;
    }
    const double left = convolution ? cancelled.at(name.substr(0, name.rfind('.'))) : 1;
    const int from = convolution ? layer : kLayers + 1;
    EXPECT_LE(relative(d, expected), left * gradient_apart(from, *cpu, reference, 1));
    // Ten steps sum ten gradients, whose errors are at worst all alike.
    const double allowed = left * gradient_apart(from, *cpu, reference, kSteps);
    const Tensor update = difference(reference.last.at(name), before);
    EXPECT_LE(relative(difference(cpu->last.at(name), before), update), allowed);
    update_difference += allowed * allowed * squares(update);
    update_size += squares(update);
  }
  EXPECT_EQ(layer, kLayers);
  EXPECT_LE(std::sqrt(norm_difference / norm_size), gradient_apart(1, *cpu, reference, 1));

  // The loss moves no more than logits do, and by what updates changed times their difference.
  const double updates_apart = std::sqrt(update_difference / update_size);
  double moved = 0;
  for (std::size_t i = 0; i < cpu->losses.size(); ++i) {
    if (i > 0) moved += std::abs(reference.losses[i] - reference.losses[i - 1]);
    EXPECT_NEAR(cpu->losses[i], reference.losses[i],
                apart(kLayers) * reference.losses[0] + updates_apart * moved)
        << "step " << i;
  }
  EXPECT_LT(cpu->losses.back(), 0.7 * cpu->losses.front()) << "it does not learn";
}

}  // namespace
}  // namespace resnet

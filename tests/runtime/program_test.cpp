#include "resnet/program.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <algorithm>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>

#include "core/file.h"
#include "core/random.h"
#include "resnet/error.h"
#include "resnet/models.h"
#include "runtime/support.h"

namespace resnet {
namespace {

Tensor random_tensor(Shape shape, std::uint64_t seed) {
  Tensor t(DType::kF32, std::move(shape));
  Random random(seed);
  for (float& x : t.as<float>()) x = static_cast<float>(random.normal());
  return t;
}

Tensor one_hot(std::int64_t n, std::int64_t classes) {
  Tensor t = Tensor::zeros(DType::kF32, {n, classes});
  for (std::int64_t i = 0; i < n; ++i) {
    t.as<float>()[static_cast<std::size_t>(i * classes + i * 7 % classes)] = 1;
  }
  return t;
}

// A CIFAR network with loss, all gradients as outputs, and momentum SGD.
Graph training_graph(const std::string& architecture, std::int64_t batch, bool outputs) {
  Graph g(Mode::kTraining);
  const ModelConfig config{.architecture = architecture, .classes = 10, .image_size = 16};
  const Value image = g.input("image", {batch, 3, 16, 16});
  const Value logits = build_model(g, config, image);
  const Value loss = g.softmax_cross_entropy(logits, g.input("targets", {batch, 10}));
  add_sgd(g, loss, {.momentum = 0.9, .weight_decay = 1e-4}, outputs);
  return g;
}

struct Training {
  std::vector<double> losses;
  Variables variables;
};

Training train(const Graph& g, const CompileOptions& options, int steps) {
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 3);
  if (options.device == Device::kReference) *variables = variables->cast(DType::kF64);
  Session p(g, variables, options);
  p.set_input("image", random_tensor({4, 3, 16, 16}, 1));
  p.set_input("targets", one_hot(4, 10));
  p.set_input("lr", 0.05);
  Training run;
  for (int i = 0; i < steps; ++i) {
    p.run();
    run.losses.push_back(p.scalar("loss"));
  }
  run.variables = variables->cast(DType::kF64);
  return run;
}

TEST(Program, TrainsAsTheReferenceDoes) {
  const Graph g = training_graph("resnet8", 4, false);
  const Training cpu = train(g, {.threads = 2}, 5);
  const Training reference = train(g, {.device = Device::kReference}, 5);
  for (std::size_t i = 0; i < cpu.losses.size(); ++i) {
    EXPECT_NEAR(cpu.losses[i], reference.losses[i], 1e-4 * reference.losses[0]) << "step " << i;
  }
  EXPECT_LT(cpu.losses.back(), cpu.losses.front());
}

// Passes and the planner change where values live, not what they are.
TEST(Program, OptionsDoNotChangeTheResult) {
  const Graph g = training_graph("resnet8v2", 4, false);
  const Training all = train(g, {.threads = 2, .winograd = false}, 3);
  const auto expect_same = [&](const CompileOptions& options, const char* what) {
    const Training other = train(g, options, 3);
    for (const auto& [name, tensor] : all.variables.all()) {
      const auto a = tensor.as<double>(), b = other.variables.at(name).as<double>();
      for (std::size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(a[i], b[i]) << what << ": " << name << "[" << i << "]";
      }
    }
  };
  expect_same({.threads = 2, .plan_memory = false, .winograd = false}, "without the planner");
  expect_same({.threads = 2, .recompute = false, .winograd = false}, "without recomputation");
}

TEST(Program, WithoutPassesTheReferenceAgreesWithItself) {
  const Graph g = training_graph("resnet8", 4, false);
  const Training with = train(g, {.device = Device::kReference}, 3);
  const Training without = train(g, {.device = Device::kReference, .passes = false}, 3);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(with.losses[i], without.losses[i], 1e-12 * with.losses[i]);
  }
}

TEST(Program, RunsAreBitwiseRepeatable) {
  const Graph g = training_graph("resnet8", 4, false);
  EXPECT_EQ(train(g, {.threads = 2}, 4).losses, train(g, {.threads = 2}, 4).losses);
}

TEST(Program, InferencePacksWeightsAgainAfterAChange) {
  const Graph g = inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 2);
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  Session p(g, variables);
  p.set_input("image", random_tensor({2, 3, 16, 16}, 5));
  p.run();
  const Tensor before = p.output("logits");
  Tensor bias(DType::kF32, {10});
  for (float& x : bias.as<float>()) x = 2;
  variables->assign("fc.bias", bias);
  variables->assign("conv1.weight", Tensor::zeros(DType::kF32, {16, 3, 3, 3}));
  p.run();
  const Tensor after = p.output("logits");
  EXPECT_NE(before.as<float>()[0], after.as<float>()[0]);
  // Images no longer reach the logits.
  for (int i = 0; i < 10; ++i) EXPECT_EQ(after.as<float>()[i], after.as<float>()[10 + i]);
}

TEST(Program, BothHostLayoutsGiveTheSameBits) {
  const Graph g = inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 2);
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  const Tensor nchw = random_tensor({2, 3, 16, 16}, 5);
  Tensor nhwc(DType::kF32, {2, 16, 16, 3});
  for (std::size_t n = 0; n < 2; ++n) {
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t i = 0; i < 256; ++i) {
        nhwc.as<float>()[(n * 256 + i) * 3 + c] = nchw.as<float>()[(n * 3 + c) * 256 + i];
      }
    }
  }
  Session a(g, variables, {}, DataLayout::kNCHW), b(g, variables, {}, DataLayout::kNHWC);
  a.set_input("image", nchw);
  b.set_input("image", nhwc);
  a.run();
  b.run();
  const Tensor x = a.output("logits"), y = b.output("logits");
  EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.bytes()), 0);
}

TEST(Program, SharesTheHostsMemoryUntilAnotherInputIsSet) {
  const Graph g = inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 2);
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  const auto logits = [](Session& p) {
    p.run();
    const Tensor y = p.output("logits");
    return std::vector<float>(y.as<float>().begin(), y.as<float>().end());
  };
  const Tensor first = random_tensor({2, 3, 16, 16}, 5), second = random_tensor({2, 3, 16, 16}, 6);
  Session copying(g, variables), sharing(g, variables);
  copying.set_input("image", first);
  const std::vector<float> of_first = logits(copying);
  copying.set_input("image", second);
  const std::vector<float> of_second = logits(copying);

  Tensor host = first.clone();
  sharing.share_input("image", host);
  EXPECT_EQ(logits(sharing), of_first);
  std::ranges::copy(second.as<float>(), host.as<float>().begin());
  EXPECT_EQ(logits(sharing), of_second);
  sharing.set_input("image", first);
  EXPECT_EQ(logits(sharing), of_first);
  EXPECT_EQ(std::memcmp(host.raw(), second.raw(), host.bytes()), 0);  // not written to
  sharing.share_input("image", second.cast(DType::kF64));             // copied
  EXPECT_EQ(logits(sharing), of_second);
  EXPECT_THROW(sharing.share_input("image", random_tensor({1, 3, 16, 16}, 1)), Error);
}

TEST(Program, NamesTheLayerThatOverflows) {
  const Graph g = inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 2);
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  Tensor huge(DType::kF32, {32});
  for (float& x : huge.as<float>()) x = 3e38F;
  variables->assign("layer2.0.bn1.weight", huge);
  Session p(g, variables);
  p.set_input("image", random_tensor({2, 3, 16, 16}, 5));
  const auto where = p.find_non_finite();
  ASSERT_TRUE(where.has_value());
  EXPECT_EQ(where->rfind("layer2.0", 0), 0U) << *where;
  Tensor nan = Tensor::full({10}, std::nanf(""));
  variables->assign("fc.bias", nan);
  EXPECT_EQ(p.find_non_finite(), "fc.bias");
}

TEST(Program, SharesMemory) {
  const Graph g = training_graph("resnet20", 4, false);
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  const Program planned(g, variables);
  EXPECT_LT(planned.stats().arena_bytes, planned.stats().unplanned_bytes / 3);
  EXPECT_NE(planned.describe().find("arena"), std::string::npos);
}

// Folded weights are there once: what packing makes on the way lies in the arena.
TEST(Program, KeepsOneCopyOfWeights) {
  const Graph g = inference_graph({.architecture = "resnet18", .image_size = 64}, 1);
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  const Session p(g, variables, {.winograd = false});
  EXPECT_GT(p.program().stats().packed_bytes, p.program().stats().variable_bytes * 9 / 10);
  EXPECT_LT(p.program().stats().packed_bytes, p.program().stats().variable_bytes * 11 / 10);
}

TEST(Program, PacksTheSameFromMappedWeightsAndRefusesToTrainThem) {
  const Graph g = inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 2);
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  const auto path =
      std::filesystem::temp_directory_path() / ("resnet-mapped-" + std::to_string(::getpid()));
  write_file_atomic(path, [&](const ByteSink& sink) {
    for (const auto& [name, t] : variables->all()) sink({t.raw(), t.bytes()});
  });
  const auto file = ByteSource(path).map();
  std::filesystem::remove(path);
  auto mapped = std::make_shared<Variables>();
  std::size_t offset = 0;
  for (const auto& [name, t] : variables->all()) {
    mapped->set(name, Tensor::mapped(t.dtype(), t.shape(), {file, file.get() + offset}));
    offset += t.bytes();
  }
  const Tensor x = random_tensor({2, 3, 16, 16}, 3);
  const auto logits = [&](const auto& weights) {
    Session p(g, weights);
    p.set_input("image", x);
    p.run();
    return p.output("logits");
  };
  const Tensor a = logits(variables), b = logits(mapped);
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0);

  Graph train(Mode::kTraining);
  const Value w = train.parameter("fc.bias", {10}, {});
  train.append(Op::kAccumulate, "fc.bias", {w, train.input("gradient", {10})}, UpdateAttributes{});
  EXPECT_THROW(Program(train, mapped), Error);
  EXPECT_NO_THROW(Program(train, variables));
}

TEST(Peaks, AreThoseOfAMachine) {
  MachinePeaks p = measure_peaks(1);
  EXPECT_GT(p.f32, 1e8);
  EXPECT_GE(p.bf16, p.f32);
  EXPECT_GE(p.int8, p.f32);
  for (const Bandwidth& b : p.bandwidth) EXPECT_GT(std::min(b.read, b.triad), 1e7) << b.bytes;

  p.f32 = 100, p.bf16 = 200, p.int8 = 400;
  p.bandwidth = {{1024, 40, 10}, {4096, 10, 20}};
  EXPECT_EQ(p.bytes_per_second(10), 40);
  EXPECT_DOUBLE_EQ(p.bytes_per_second(2048), 30);
  EXPECT_EQ(p.bytes_per_second(1e9), 20);
  EXPECT_EQ(p.floor_seconds(DType::kF32, 1000, 40), 10);
  EXPECT_EQ(p.floor_seconds(DType::kU8, 1000, 1024), 25.6);
}

TEST(Program, SaysWhatIsWrongWithItsInputs) {
  const Graph g = inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 2);
  auto variables = std::make_shared<Variables>();
  EXPECT_THROW(Program(g, variables), Error);  // no variables
  initialise(g, *variables, 1);
  Session p(g, variables);
  EXPECT_THROW(p.set_input("photo", random_tensor({2, 3, 16, 16}, 1)), Error);
  EXPECT_THROW(p.set_input("image", random_tensor({1, 3, 16, 16}, 1)), Error);
  EXPECT_THROW(p.output("nothing"), Error);
  variables->set("fc.bias", Tensor::zeros(DType::kF32, {11}));
  EXPECT_THROW(Program(g, variables), Error);
}

TEST(Variables, InitialisationDependsOnSeedAndNameAlone) {
  const Graph small =
      inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 1);
  const Graph large =
      inference_graph({.architecture = "resnet14", .classes = 10, .image_size = 16}, 1);
  Variables a, b;
  initialise(small, a, 9);
  initialise(large, b, 9);
  const Tensor x = a.at("layer1.0.conv1.weight"), y = b.at("layer1.0.conv1.weight");
  EXPECT_EQ(std::memcmp(x.raw(), y.raw(), x.bytes()), 0);
  // He: variance 2 / fan_out = 2 / (9 * 16).
  double sum = 0;
  for (const float w : x.as<float>()) sum += static_cast<double>(w) * static_cast<double>(w);
  EXPECT_NEAR(sum / static_cast<double>(x.size()), 2.0 / 144, 0.15 * 2.0 / 144);
}

}  // namespace
}  // namespace resnet

// Sessions share one program: what each of them takes, and that they do not meet.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>

#include "core/random.h"
#include "resnet/error.h"
#include "resnet/models.h"
#include "resnet/program.h"
#include "runtime/support.h"

namespace resnet {
namespace {

Tensor random_images(std::int64_t n, std::int64_t side, std::uint64_t seed) {
  Tensor t(DType::kF32, {n, 3, side, side});
  Random random(seed);
  for (float& x : t.as<float>()) x = static_cast<float>(random.normal());
  return t;
}

std::shared_ptr<Variables> weights_of(const Graph& g) {
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  return variables;
}

std::vector<float> logits(Session& s, const Tensor& images) {
  s.set_input("image", images);
  s.run();
  const Tensor y = s.output("logits");
  return {y.as<float>().begin(), y.as<float>().end()};
}

Graph small_graph() {
  return inference_graph({.architecture = "resnet8", .classes = 10, .image_size = 16}, 2);
}

TEST(Session, EightThreadsShareOneProgram) {
  const Graph g = inference_graph({.architecture = "resnet50", .image_size = 64}, 1);
  const Program program(g, weights_of(g), {.threads = 1});
  constexpr std::size_t kThreads = 8, kRuns = 3;
  std::vector<std::vector<float>> expected;
  Session alone(program);
  for (std::size_t i = 0; i < kThreads; ++i) {
    expected.push_back(logits(alone, random_images(1, 64, i)));
  }
  ASSERT_NE(expected[0], expected[1]);
  std::vector<std::vector<float>> found(kThreads * kRuns);
  {
    // Packing, too, is to happen while others wait: this program has not run yet.
    const Program fresh(g, weights_of(g), {.threads = 1});
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Session session(fresh);
        for (std::size_t r = 0; r < kRuns; ++r) {
          found[t * kRuns + r] = logits(session, random_images(1, 64, (t + r) % kThreads));
        }
      });
    }
  }
  for (std::size_t t = 0; t < kThreads; ++t) {
    for (std::size_t r = 0; r < kRuns; ++r) {
      EXPECT_EQ(found[t * kRuns + r], expected[(t + r) % kThreads]) << t << ", run " << r;
    }
  }
}

// Pages that belong to this process alone.
std::size_t private_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0, resident = 0, shared = 0;
  file >> total >> resident >> shared;
  return (resident - shared) * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(Session, AFurtherOneTakesItsArenaOnly) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer's own memory counts";
#endif
  const Graph g = inference_graph({.architecture = "resnet50", .image_size = 224}, 1);
  const Program program(g, weights_of(g), {.threads = 1});
  const Tensor images = random_images(1, 224, 1);
  Session first(program), second(program);  // the second warms what the allocator keeps
  logits(first, images);
  logits(second, images);
  const std::size_t before = private_bytes();
  Session third(program);
  third.share_input("image", images);
  third.run();
  // Pages that a run does not touch are not taken.
  EXPECT_LE(private_bytes(), before + program.stats().arena_bytes + images.bytes() + (1 << 20));
  EXPECT_GT(program.stats().packed_bytes, std::size_t{50} << 20) << "which is shared";
}

TEST(Session, ACopyIsTheSameProgram) {
  const Graph g = small_graph();
  Program program(g, weights_of(g));
  const Program copy = program;
  EXPECT_EQ(&copy.stats(), &program.stats());
  Session session(std::move(program));  // keeps it
  const Tensor images = random_images(2, 16, 3);
  Session other(copy);
  EXPECT_EQ(logits(session, images), logits(other, images));
}

TEST(Session, EverySessionSeesAChangeOfVariables) {
  const Graph g = small_graph();
  const auto variables = weights_of(g);
  const Program program(g, variables);
  Session a(program), b(program);
  const Tensor images = random_images(2, 16, 3);
  const std::vector<float> before = logits(a, images);
  EXPECT_EQ(logits(b, images), before);
  variables->assign("conv1.weight", Tensor::zeros(DType::kF32, {16, 3, 3, 3}));
  const std::vector<float> after = logits(b, images);
  EXPECT_NE(after, before);
  EXPECT_EQ(logits(a, images), after);
  // Another tensor at another address.
  variables->set("fc.bias", Tensor::full({10}, 3));
  const std::vector<float> replaced = logits(a, images);
  EXPECT_NE(replaced, after);
  EXPECT_EQ(logits(b, images), replaced);
}

TEST(Session, AnObserverSeesEveryKernelAndItsValues) {
  const Graph g = small_graph();
  Session s(g, weights_of(g), {.passes = false});
  s.set_input("image", random_images(2, 16, 3));
  std::vector<std::string> names;
  Tensor last;
  s.run([&](const StepRun& step) {
    EXPECT_GE(step.seconds(), 0);
    EXPECT_GT(step.bytes(), 0);
    EXPECT_FALSE(step.kernel().empty());
    EXPECT_TRUE(step.finite());
    for (std::size_t i = 0; i < step.outputs(); ++i) EXPECT_GT(step.output(i).size(), 0);
    EXPECT_THROW(step.output(step.outputs()), Error);
    names.emplace_back(step.name());
    if (step.name() == "fc") last = step.output(0);
    return true;
  });
  EXPECT_EQ(names.size(), s.program().stats().steps);
  EXPECT_NE(std::ranges::find(names, "layer1.0.conv1"), names.end());
  const Tensor y = s.output("logits");
  ASSERT_EQ(last.shape(), y.shape());
  EXPECT_EQ(std::memcmp(last.raw(), y.raw(), y.bytes()), 0);
  std::size_t calls = 0;
  s.run([&](const StepRun&) { return ++calls < 3; });
  EXPECT_EQ(calls, 3U);
}

// Small integers are exact in both; channels do not fill whole blocks of the cpu device's layouts,
// and what an observer gets is row-major nevertheless.
TEST(Session, AnObserverSeesTheValuesOfTheReference) {
  Graph g(Mode::kInference);
  Value x = g.input("image", {2, 3, 9, 7});
  x = g.relu(g.conv2d("first", x, {.filters = 20}));
  g.mark_output("y", g.conv2d("second", x, {.filters = 5, .stride = 2}));
  const auto integers = [](Shape shape, std::uint64_t seed) {
    Tensor t(DType::kF32, std::move(shape));
    Random random(seed);
    for (float& v : t.as<float>()) v = static_cast<float>(random.below(5)) - 2;
    return t;
  };
  auto variables = std::make_shared<Variables>();
  variables->set("first.weight", integers({20, 3, 3, 3}, 1));
  variables->set("second.weight", integers({5, 20, 3, 3}, 2));
  const auto values = [&](Device device) {
    const bool cpu = device == Device::kCpu;
    Session s(g, cpu ? variables : std::make_shared<Variables>(variables->cast(DType::kF64)),
              {.device = device, .passes = false, .winograd = false});
    s.set_input("image", integers({2, 3, 9, 7}, 3));
    std::map<std::string, std::vector<double>> result;
    s.run([&](const StepRun& step) {
      if (step.op() == "reorder") return true;
      const Tensor t = step.output(0).cast(DType::kF64);
      result[std::string(step.name())].assign(t.as<double>().begin(), t.as<double>().end());
      return true;
    });
    return result;
  };
  const auto expected = values(Device::kReference);
  EXPECT_EQ(expected.size(), 3U);
  EXPECT_EQ(values(Device::kCpu), expected);
}

TEST(Session, WithoutUpdatesVariablesStay) {
  Graph g(Mode::kTraining);
  const Value w = g.parameter("w", {2}, {});
  g.append(Op::kAccumulate, "w", {w, g.input("gradient", {2})}, UpdateAttributes{});
  auto variables = std::make_shared<Variables>();
  variables->set("w", Tensor::zeros(DType::kF32, {2}));
  Session s(g, variables);
  s.set_input("gradient", Tensor::full({2}, 1));
  std::size_t calls = 0;
  const auto count = [&](const StepRun&) {
    ++calls;
    return true;
  };
  s.run(count, /*updates=*/false);
  EXPECT_EQ(calls, 0U);
  EXPECT_EQ(variables->at("w").as<float>()[0], 0);
  s.run(count);
  EXPECT_EQ(calls, 1U);
  EXPECT_NE(variables->at("w").as<float>()[0], 0);
}

}  // namespace
}  // namespace resnet

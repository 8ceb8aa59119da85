// What goes wrong between passes, planner, kernels and host, one hazard a test.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

#include "compile/compiler.h"
#include "core/random.h"
#include "resnet/error.h"
#include "resnet/models.h"
#include "resnet/program.h"
#include "runtime/agreement.h"
#include "runtime/devices.h"
#include "runtime/support.h"
#include "support/random_graph.h"

namespace resnet {
namespace {

Tensor random_tensor(Shape shape, std::uint64_t seed) {
  Tensor t(DType::kF32, std::move(shape));
  Random random(seed);
  for (float& x : t.as<float>()) x = static_cast<float>(random.normal());
  return t;
}

// A classifier behind `features`, and momentum SGD on everything. All gradients are outputs.
void finish_training(Graph& g, Value features) {
  const Value logits = g.linear("fc", g.global_avg_pool(features), 5);
  const Value targets = g.input("targets", g.shape(logits));
  const Value loss = g.softmax_cross_entropy(logits, targets, 0.1);
  add_sgd(g, loss, {.momentum = 0.9, .weight_decay = 1e-3}, true);
}

void fill_inputs(Session& p, const Graph& g) {
  for (const Node& n : g.nodes()) {
    if (n.op != Op::kInput) continue;
    if (n.name == "lr") {
      p.set_input("lr", 0.02);
    } else {
      Tensor t = random_tensor(n.outputs[0].shape, n.name.size());
      if (n.name == "targets") {
        for (float& x : t.as<float>()) x = 0.2F;
      }
      p.set_input(n.name, t);
    }
  }
}

// Random values everywhere, so that no norm starts as the identity.
std::shared_ptr<Variables> random_variables(const Graph& g) {
  auto variables = std::make_shared<Variables>();
  initialise(g, *variables, 5);
  std::uint64_t seed = 1;
  for (const Value v : g.trainable()) {
    Tensor t = variables->at(g.node(v).name).clone();
    const Tensor noise = random_tensor(t.shape(), ++seed);
    for (std::size_t i = 0; i < noise.as<float>().size(); ++i) {
      t.as<float>()[i] += 0.1F * noise.as<float>()[i];
    }
    variables->assign(g.node(v).name, t);
  }
  return variables;
}

void expect_agrees(const Graph& g) { test::expect_agreement(g, test::random_sources(g, 5)); }

TEST(Hazards, TwoNormsOfOneInputKeepTheirOwnGradients) {
  Graph g(Mode::kTraining);
  Value x = g.conv2d("conv", g.input("image", {3, 4, 5, 5}), {.filters = 5});
  const Value a = g.batch_norm("a", x);
  x = g.relu(g.add(a, g.batch_norm("b", x, {.eps = 0.5})));
  finish_training(g, x);
  expect_agrees(g);
}

// A graph may update what a later node reads: no pass may move the read across the update.
TEST(Hazards, ParametersThatChangeBetweenForwardAndBackward) {
  for (int where = 0; where < 3; ++where) {
    SCOPED_TRACE(where);
    Graph g(Mode::kTraining);
    Value x = g.conv2d("conv", g.input("image", {3, 4, 5, 5}), {.filters = 5});
    x = g.batch_norm("bn", x);
    const Value other = g.parameter("other", {5}, {.role = Role::kBuffer, .init = Init::kOnes});
    const auto update = [&] {
      for (const char* name : {"bn.weight", "bn.bias"}) {
        g.append(Op::kRunningAverage, "update", {g.find(name), other},
                 UpdateAttributes{.momentum = 0.9});
      }
    };
    if (where == 0) update();
    x = g.relu(x);
    if (where == 1) update();
    x = g.conv2d("conv2", x, {.filters = 5});
    if (where == 2) update();
    finish_training(g, x);
    expect_agrees(g);
  }
}

TEST(Hazards, ASkipAroundNothingButTheNorm) {
  Graph g(Mode::kTraining);
  Value x = g.conv2d("conv", g.input("image", {3, 4, 5, 5}), {.filters = 5});
  x = g.relu(g.add(x, g.batch_norm("a", x)));
  x = g.relu(g.add(x, x));
  const Value y = g.batch_norm("b", g.conv2d("conv2", x, {.filters = 5}));
  x = g.relu(g.add(g.relu(y), x));
  finish_training(g, x);
  expect_agrees(g);
}

TEST(Hazards, OutputsInTheMiddleOfAFusion) {
  for (int which = 0; which < 6; ++which) {
    Graph g(Mode::kTraining);
    const Value image = g.input("image", {3, 4, 5, 5});
    const Value skip = g.conv2d("conv0", image, {.filters = 5});
    const Value conv = g.conv2d("conv", image, {.filters = 5});
    const Value norm = g.batch_norm("bn", conv);
    const Value sum = g.add(norm, skip);
    const Value relu = g.relu(sum);
    const Value marked[] = {skip, conv, norm, sum, relu, {norm.node, 1}};
    g.mark_output("marked", marked[which]);
    finish_training(g, g.conv2d("last", relu, {.filters = 5}));
    SCOPED_TRACE(which);
    expect_agrees(g);
  }
}

TEST(Hazards, FrozenNormsSharedWeightsAndAccumulation) {
  Graph g(Mode::kTraining);
  Value x = g.relu(g.conv2d("conv0", g.input("image", {3, 4, 5, 5}), {.filters = 5}));
  x = g.relu(g.batch_norm("bn0", g.conv2d("conv1", x, {.filters = 5}), {.frozen = true}));
  const Value w = g.find("conv1.weight");
  const ConvAttributes a{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  x = g.add(x, g.append(Op::kConv2d, "again", {x, w}, a));
  x = g.relu(g.add(g.batch_norm("bn1", x, {.frozen = true}), x));
  finish_training(g, x);
  const Value sum = g.parameter("sum", g.shape(w), {.role = Role::kOptimizer});
  const Value ema = g.parameter("ema", g.shape(w), {.role = Role::kOptimizer});
  const Value d1 = std::find_if(g.outputs().begin(), g.outputs().end(), [](const auto& o) {
                     return o.first == "d.conv1.weight";
                   })->second;
  g.append(Op::kAccumulate, "sum", {sum, d1}, UpdateAttributes{.scale = 0.5});
  g.append(Op::kRunningAverage, "ema", {ema, w}, UpdateAttributes{.momentum = 0.1});
  expect_agrees(g);
}

// Padding of channels that are no multiple of a block, and memory that held something else before.
// Every run starts on an arena full of NaN, where the kernels have to write before they read.
class PoisonedRun {
 public:
  PoisonedRun(const Graph& g, const CompileOptions& options)
      : target_(make_target(options)),
        plan_(make_plan(g, *target_, {})),
        variables_(random_variables(g)),
        arena_(plan_.arena_bytes + 64),
        packed_(plan_.packed_bytes + 64) {
    for (const Node& n : g.nodes()) {
      if (n.op != Op::kInput) continue;
      Tensor t = random_tensor(n.outputs[0].shape, n.name.size());
      if (n.name == "targets") std::fill(t.as<float>().begin(), t.as<float>().end(), 0.2F);
      if (n.name == "lr") t.as<float>()[0] = 0.02F;
      inputs_[n.name] = t;
    }
  }

  void run(std::byte rubbish) {
    target_->begin_run();
    std::fill(arena_.begin(), arena_.end(), rubbish);
    if (!packed_once_) {
      std::fill(packed_.begin(), packed_.end(), rubbish);
      execute(plan_.packing, true);
    }
    packed_once_ = true;
    std::fill(arena_.begin(), arena_.end(), rubbish);
    execute(plan_.steps, false);
  }

  std::vector<float> output(std::string_view name) {
    for (const auto& [n, b] : plan_.outputs) {
      if (n != name) continue;
      const Buffer& buffer = plan_.buffers[static_cast<std::size_t>(b)];
      std::vector<float> y(static_cast<std::size_t>(element_count(buffer.type.shape)));
      KernelChoice k = target_->reorder(buffer.type, buffer.layout, kPlainLayout);
      std::vector<std::byte> scratch(k.scratch_bytes);
      void* in[] = {address(b)};
      void* out[] = {y.data()};
      k.kernel->run({in, out, scratch.data(), {}});
      return y;
    }
    return {};
  }
  Variables& variables() { return *variables_; }

 private:
  static std::byte* aligned(std::vector<std::byte>& v) {
    const auto at = reinterpret_cast<std::uintptr_t>(v.data());
    return v.data() + (64 - at % 64) % 64;
  }
  void* address(std::int32_t id) {
    const Buffer& b = plan_.buffers[static_cast<std::size_t>(id)];
    switch (b.storage) {
      case Storage::kInput: return inputs_.at(b.name).raw();
      case Storage::kVariable: return const_cast<std::byte*>(variables_->at(b.name).raw());
      case Storage::kArena: return aligned(arena_) + b.offset;
      case Storage::kPacked: return aligned(packed_) + b.offset;
    }
    return nullptr;
  }
  void execute(std::vector<Step>& steps, bool packing) {
    for (Step& s : steps) {
      std::vector<void*> in, out;
      for (const std::int32_t b : s.in) in.push_back(address(b));
      for (const std::int32_t b : s.out) out.push_back(address(b));
      s.kernel->run({in, out, aligned(arena_) + (packing ? 0 : s.scratch_offset), {3, 4}});
    }
  }

  std::unique_ptr<Target> target_;
  Plan plan_;
  std::shared_ptr<Variables> variables_;
  std::vector<std::byte> arena_, packed_;
  std::map<std::string, Tensor> inputs_;
  bool packed_once_ = false;
};

// Each op once, on 5, 17 and 34 channels.
Graph zoo(std::int64_t batch, std::int64_t size) {
  Graph g(Mode::kTraining);
  Value x = g.input("image", {batch, 3, size, size});
  x = g.relu(g.batch_norm("bn0", g.conv2d("conv0", x, {.filters = 5, .kernel = 7, .stride = 2})));
  x = g.max_pool(x, {.kernel = 3, .stride = 2, .pad = 1});
  Value y = g.batch_norm("bn1", g.conv2d("conv1", x, {.filters = 17, .stride = 2}));
  x = g.relu(g.add(y, g.pad_shortcut(x, 17, 2)));
  y = g.sigmoid(g.conv2d("gate", x, {.filters = 17, .bias = true}));
  x = g.add(g.mul(y, x), g.dropout(x, 0.3));
  const Value parts[] = {x, g.conv2d("wide", x, {.filters = 17, .kernel = 5, .groups = 17})};
  x = g.concat(parts);
  x = g.avg_pool(x, {.kernel = 2, .stride = 1, .padding = Padding::kSame, .count_padding = false});
  y = g.relu(g.batch_norm("bn2", x));
  y = g.conv2d("conv2", y, {.filters = 34, .padding = Padding::kSame, .dilation = 2, .groups = 2});
  finish_training(g, g.add(x, y));
  return g;
}

TEST(Hazards, NoKernelReadsWhatWasInItsMemoryBefore) {
  for (const auto& [batch, size] : {std::pair<int, int>{2, 32}, {1, 24}}) {
    const Graph g = zoo(batch, size);
    PoisonedRun clean(g, {.threads = 2}), nan(g, {.threads = 2}), huge(g, {.threads = 2});
    for (int step = 0; step < 3; ++step) {
      clean.run(std::byte{0});
      nan.run(std::byte{0xFF});
      huge.run(std::byte{0x7E});
      for (const auto& [name, value] : g.outputs()) {
        const std::vector<float> a = clean.output(name), b = nan.output(name),
                                 c = huge.output(name);
        for (std::size_t i = 0; i < a.size(); ++i) {
          ASSERT_TRUE(std::isfinite(a[i])) << name << "[" << i << "] step " << step;
          ASSERT_EQ(a[i], b[i]) << name << "[" << i << "] step " << step;
          ASSERT_EQ(a[i], c[i]) << name << "[" << i << "] step " << step;
        }
      }
    }
  }
}

TEST(Hazards, OddShapesTrainAsOnTheReference) {
  expect_agrees(zoo(2, 32));
  expect_agrees(zoo(1, 24));
}

TEST(Hazards, NanPassesThroughRelu) {
  for (const bool norm : {false, true}) {
    for (const bool residual : {false, true}) {
      Graph g(Mode::kTraining);
      const Value image = g.input("image", {2, 3, 4, 4});
      Value x = g.conv2d("conv", image, {.filters = 5});
      if (norm) x = g.batch_norm("bn", x);
      if (residual) x = g.add(x, g.conv2d("skip", image, {.filters = 5}));
      // Without a norm a convolution would take the ReLU.
      finish_training(g, g.relu(norm ? x : g.add(x, x)));
      auto variables = random_variables(g);
      Tensor w = variables->at("conv.weight").clone();
      w.as<float>()[7] = std::nanf("");
      variables->assign("conv.weight", w);
      Session p(g, variables);
      fill_inputs(p, g);
      p.run();
      EXPECT_TRUE(std::isnan(p.scalar("loss"))) << norm << residual;
    }
  }
}

TEST(Hazards, ReplacedVariablesAreSeen) {
  const Graph g = inference_graph({.architecture = "resnet8", .classes = 4, .image_size = 16}, 1);
  auto variables = std::make_shared<Variables>(), fresh = std::make_shared<Variables>();
  initialise(g, *variables, 1);
  initialise(g, *fresh, 2);
  Session p(g, variables), expected(g, fresh);
  const Tensor image = random_tensor({1, 3, 16, 16}, 5);
  p.set_input("image", image);
  expected.set_input("image", image);
  p.run();
  expected.run();
  for (const auto& [name, tensor] : fresh->all()) variables->set(name, tensor.clone());
  p.run();
  const Tensor a = p.output("logits"), b = expected.output("logits");
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0);
  // The whole set of variables may be assigned as well, however often it was changed before.
  Variables third;
  initialise(g, third, 3);
  *variables = third.cast(DType::kF32);
  p.run();
  *fresh = third;
  expected.run();
  const Tensor c = p.output("logits"), d = expected.output("logits");
  EXPECT_EQ(std::memcmp(c.raw(), d.raw(), c.bytes()), 0);
  variables->set("fc.bias", Tensor::zeros(DType::kF32, {3}));
  EXPECT_THROW(p.run(), Error);
}

TEST(Hazards, AnotherProgramsUpdatesReachPackedWeights) {
  const ModelConfig config{.architecture = "resnet8", .classes = 5, .image_size = 16};
  Graph g(Mode::kTraining);
  const Value logits = build_model(g, config, g.input("image", {2, 3, 16, 16}));
  const Value loss = g.softmax_cross_entropy(logits, g.input("targets", {2, 5}));
  add_sgd(g, loss, {});
  auto variables = random_variables(g);
  Session train(g, variables);
  fill_inputs(train, g);
  const Graph eval_graph = inference_graph(config, 2);
  Session eval(eval_graph, variables);
  fill_inputs(eval, eval_graph);
  eval.run();
  train.run();
  eval.run();
  Session again(eval_graph, variables);
  fill_inputs(again, eval_graph);
  again.run();
  const Tensor a = eval.output("logits"), b = again.output("logits");
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0);
}

TEST(Hazards, AnyThreadMayRunAndRead) {
  const Graph g = zoo(2, 32);
  auto variables = random_variables(g);
  Session p(g, variables, {.threads = 2});
  fill_inputs(p, g);
  Tensor elsewhere;
  std::thread([&] {
    p.run();
    elsewhere = p.output("d.conv0.weight");
  }).join();
  auto again = random_variables(g);
  Session q(g, again, {.threads = 2});
  fill_inputs(q, g);
  q.run();
  const Tensor here = q.output("d.conv0.weight");
  EXPECT_EQ(std::memcmp(here.raw(), elsewhere.raw(), here.bytes()), 0);
}

TEST(Hazards, ALossMayBeAnyShapeOfOneElement) {
  Graph g(Mode::kTraining);
  const Value x = g.input("image", {1, 3, 4, 4});
  const Value loss =
      g.conv2d("conv", x, {.filters = 1, .kernel = 4, .padding = Padding::kExplicit});
  const std::vector<Value> w = g.trainable();
  const std::vector<Value> d = gradients(g, loss, w);
  g.mark_output("d", d[0]);
  Session p(g, random_variables(g));
  fill_inputs(p, g);
  p.run();
  const Tensor image = random_tensor({1, 3, 4, 4}, 5), y = p.output("d");
  for (std::size_t i = 0; i < 48; ++i) EXPECT_FLOAT_EQ(y.as<float>()[i], image.as<float>()[i]);
}

// The deepest network of the paper, of more than 10,000 steps.
TEST(Hazards, VeryDeepNetworksCompile) {
  Graph g(Mode::kTraining);
  const Value logits =
      build_model(g, {.architecture = "resnet1202", .classes = 10, .image_size = 8},
                  g.input("image", {1, 3, 8, 8}));
  const Value loss = g.softmax_cross_entropy(logits, g.input("targets", {1, 10}));
  const std::vector<Value> w = g.trainable();
  const std::vector<Value> d = gradients(g, loss, w);
  const Value lr = g.input("lr", {1});
  const Value scale = g.append(Op::kClipScale, "clip", d, ClipAttributes{.max_norm = 1});
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::string name = g.node(w[i]).name;
    const Value v = g.parameter("momentum." + name, g.shape(w[i]), {.role = Role::kOptimizer});
    g.append(Op::kSgd, name, {w[i], v, d[i], lr, scale}, UpdateAttributes{.momentum = 0.9});
  }
  g.mark_output("loss", loss);
  auto variables = std::make_shared<Variables>();
  for (const Value v : g.parameters()) {
    variables->set(g.node(v).name, Tensor(DType::kF32, g.shape(v)));
  }
  Session p(g, variables);
  EXPECT_GT(p.program().stats().steps, 10000U);
}

}  // namespace
}  // namespace resnet

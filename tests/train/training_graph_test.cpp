// Steps of training as graphs: what is updated, by how much, and when nothing may be.
#include "train/training_graph.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/random.h"
#include "resnet/models.h"

namespace resnet {
namespace {

constexpr std::int64_t kClasses = 3;

// Without batch norm: a batch in parts gives the same gradients as a whole one.
Network small_network(Graph& g, std::int64_t batch) {
  Value x = g.input("image", {batch, 2, 6, 6});
  x = g.relu(g.conv2d("conv", x, {.filters = 4, .kernel = 3, .bias = true}));
  return {.logits = g.linear("fc", g.global_avg_pool(x), kClasses)};
}

Network norm_network(Graph& g, std::int64_t batch) {
  Value x = g.input("image", {batch, 2, 6, 6});
  x = g.relu(g.batch_norm("bn", g.conv2d("conv", x, {.filters = 4, .kernel = 3})));
  return {.logits = g.linear("fc", g.global_avg_pool(x), kClasses)};
}

struct Images {
  Tensor images, targets;
};

Images images(std::int64_t first, std::int64_t count) {
  Images p{Tensor(DType::kF64, {count, 2, 6, 6}), Tensor::zeros(DType::kF64, {count, kClasses})};
  for (std::int64_t i = 0; i < count; ++i) {
    Random random(7, static_cast<std::uint64_t>(first + i));
    for (int k = 0; k < 72; ++k) {
      p.images.as<double>()[static_cast<std::size_t>(i * 72 + k)] = random.uniform(-1, 1);
    }
    p.targets.as<double>()[static_cast<std::size_t>(i * kClasses + (first + i) % kClasses)] = 1;
  }
  return p;
}

std::shared_ptr<Variables> variables_for(std::initializer_list<const Graph*> graphs,
                                         Device device) {
  Variables v;
  for (const Graph* g : graphs) initialise(*g, v, 1);
  return std::make_shared<Variables>(
      v.cast(device == Device::kReference ? DType::kF64 : DType::kF32));
}

void set(Session& program, const Images& p) {
  program.set_input("image", p.images);
  program.set_input("targets", p.targets);
}

std::vector<double> values(const Variables& v, const std::string& name) {
  const Tensor t = v.at(name).cast(DType::kF64);
  return {t.as<double>().begin(), t.as<double>().end()};
}

const std::vector<std::string> kWeights = {"conv.weight", "conv.bias", "fc.weight", "fc.bias"};
const CompileOptions kOnReference{.device = Device::kReference};

TEST(TrainingGraph, AccumulatedPartsEqualTheWholeBatch) {
  StepOptions options;
  options.optimizer.weight_decay = 0.01;
  options.ema_decay = 0.5;
  const Graph whole = training_graph(small_network, 8, options);
  const Graph part = accumulating_graph(small_network, 2, options, 4);
  const Graph apply = applying_graph(small_network, options);
  auto a = variables_for({&whole}, Device::kReference);
  auto b = variables_for({&part, &apply}, Device::kReference);
  Session one(whole, a, kOnReference), parts(part, b, kOnReference), update(apply, b, kOnReference);
  for (std::int64_t step = 0; step < 3; ++step) {
    set(one, images(8 * step, 8));
    one.set_input("lr", 0.1);
    one.run();
    for (std::int64_t i = 0; i < 4; ++i) {
      set(parts, images(8 * step + 2 * i, 2));
      parts.set_input(kWindowScale, 1);
      parts.run();
    }
    update.set_input("lr", 0.1);
    update.run();
    EXPECT_EQ(update.scalar("gradient_scale"), 1);
    for (const std::string& name : kWeights) {
      const auto x = values(*a, name), y = values(*b, name);
      // A gradient here is a sum of at most 8 * 36 products of numbers below 1 over 8, each the
      // result of fewer than 100 roundings: 36 * (8 * 36 + 100) eps = 3e-12.
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 3e-12) << name;
      for (const double sum : values(*b, "grad." + name)) EXPECT_EQ(sum, 0) << name;
      const auto ex = values(*a, "ema." + name), ey = values(*b, "ema." + name);
      for (std::size_t i = 0; i < ex.size(); ++i) EXPECT_NEAR(ex[i], ey[i], 3e-12) << name;
    }
  }
}

// What a step adds to a network (gradients, optimizer, average, clipping) is no layer of it.
TEST(TrainingGraph, IsSummarisedAsItsNetwork) {
  const auto lines = [](const Graph& g) {
    std::vector<std::string> all;
    for (const LayerSummary& l : summarise(g)) {
      all.push_back(l.name + " " + std::to_string(l.parameters) + " " +
                    std::to_string(l.multiply_adds));
    }
    return all;
  };
  Graph network(Mode::kTraining);
  network.mark_output("logits", norm_network(network, 2).logits);
  const std::vector<std::string> expected = lines(network);
  EXPECT_GE(expected.size(), 4U);
  for (const Optimizer kind : {Optimizer::kSgd, Optimizer::kAdamW, Optimizer::kLars}) {
    StepOptions options;
    options.optimizer.kind = kind;
    options.optimizer.weight_decay = 0.01;
    options.clip_norm = 1;
    options.ema_decay = 0.9;
    EXPECT_EQ(lines(training_graph(norm_network, 2, options)), expected);
    EXPECT_EQ(lines(accumulating_graph(norm_network, 2, options, 4)), expected);
    EXPECT_EQ(lines(applying_graph(norm_network, options)), std::vector<std::string>());
  }
}

TEST(TrainingGraph, AWindowThatIsNotFullIsTheMeanOfItsImages) {
  StepOptions options;
  options.optimizer.weight_decay = 0.01;
  options.clip_norm = 0.05;  // of the mean
  const Graph whole = training_graph(small_network, 6, options);
  const Graph part = accumulating_graph(small_network, 2, options, 5);
  const Graph apply = applying_graph(small_network, options);
  auto a = variables_for({&whole}, Device::kReference);
  auto b = variables_for({&part, &apply}, Device::kReference);
  Session one(whole, a, kOnReference), parts(part, b, kOnReference), update(apply, b, kOnReference);
  for (std::int64_t step = 0; step < 2; ++step) {
    set(one, images(6 * step, 6));
    one.set_input("lr", 0.1);
    one.run();
    double loss = 0;
    for (std::int64_t i = 0; i < 3; ++i) {
      set(parts, images(6 * step + 2 * i, 2));
      parts.set_input(kWindowScale, 5.0 / 3);
      parts.run();
      loss += parts.scalar("loss") / 3;
    }
    update.set_input("lr", 0.1);
    update.run();
    EXPECT_NEAR(loss, one.scalar("loss"), 1e-12);  // not scaled
    EXPECT_LT(update.scalar("gradient_scale"), 1);
    EXPECT_NEAR(update.scalar("gradient_scale"), one.scalar("gradient_scale"), 1e-12);
    for (const std::string& name : kWeights) {
      const auto x = values(*a, name), y = values(*b, name);
      // As above, of 6 images, at a rate of 0.1 with momentum: 0.19 * 36 * (6 * 36 + 100) eps.
      for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-12) << name;
    }
  }
}

TEST(TrainingGraph, ABatchWithoutWeightChangesNothingBesideDecay) {
  for (const Device device : {Device::kReference, Device::kCpu}) {
    for (const auto kind : {Optimizer::kSgd, Optimizer::kAdamW, Optimizer::kLars}) {
      for (const double smoothing : {0.0, 0.1}) {
        StepOptions options;
        options.optimizer.kind = kind;
        options.label_smoothing = smoothing;
        options.class_weights = true;
        const Graph g = training_graph(small_network, 1, options);
        auto v = variables_for({&g}, device);
        const std::vector<double> weights = {0, 1, 3};
        v->assign(kClassWeights, Tensor::from<double>({kClasses}, std::span(weights)));
        const Variables before = v->cast(DType::kF64);
        Session program(g, v, {.device = device});
        set(program, images(0, 1));  // of class 0
        program.set_input("lr", 0.1);
        if (kind == Optimizer::kAdamW) program.set_input("step", 1);
        program.run();
        EXPECT_EQ(program.scalar("loss"), 0);
        EXPECT_EQ(program.scalar("gradient_scale"), 1);
        for (const std::string& name : kWeights) {
          EXPECT_EQ(values(before, name), values(*v, name)) << name;
        }
      }
    }
  }
}

TEST(TrainingGraph, ClippingScalesTheWholeGradient) {
  StepOptions options;
  options.optimizer.momentum = 0;
  options.optimizer.nesterov = false;
  const Graph free = training_graph(small_network, 4, options);
  auto before = variables_for({&free}, Device::kReference);
  auto after = std::make_shared<Variables>(before->cast(DType::kF64));
  Session unclipped(free, after, kOnReference);
  set(unclipped, images(0, 4));
  unclipped.set_input("lr", 1);
  unclipped.run();
  EXPECT_EQ(unclipped.scalar("gradient_scale"), 1);
  std::map<std::string, std::vector<double>> gradient;
  double square = 0;
  for (const std::string& name : kWeights) {
    const auto w0 = values(*before, name), w1 = values(*after, name);
    for (std::size_t i = 0; i < w0.size(); ++i) {
      gradient[name].push_back(w0[i] - w1[i]);
      square += gradient[name].back() * gradient[name].back();
    }
  }
  const double norm = std::sqrt(square);
  ASSERT_GT(norm, 1e-3);

  options.clip_norm = norm / 3;
  auto clipped = std::make_shared<Variables>(before->cast(DType::kF64));
  Session program(training_graph(small_network, 4, options), clipped, kOnReference);
  set(program, images(0, 4));
  program.set_input("lr", 1);
  program.run();
  const double scale = (norm / 3) / (norm + 1e-6);
  EXPECT_NEAR(program.scalar("gradient_scale"), scale, 1e-12);
  for (const std::string& name : kWeights) {
    const auto w0 = values(*before, name), w1 = values(*clipped, name);
    for (std::size_t i = 0; i < w0.size(); ++i) {
      EXPECT_NEAR(w0[i] - w1[i], scale * gradient[name][i], 1e-12) << name;
    }
  }
}

// The attributes of each update, by the name of the weight.
std::map<std::string, UpdateAttributes> updates_of(const StepOptions& options, Op op) {
  const Graph g = training_graph(norm_network, 4, options);
  std::map<std::string, UpdateAttributes> result;
  for (const Node& n : g.nodes()) {
    if (n.op == op) result[g.node(n.inputs[0]).name] = std::get<UpdateAttributes>(n.attributes);
  }
  return result;
}

TEST(TrainingGraph, DecaysWeightsAloneUnlessToldOtherwise) {
  StepOptions options;
  options.optimizer.weight_decay = 0.25;
  for (const auto& [kind, op] : {std::pair{Optimizer::kSgd, Op::kSgd},
                                 {Optimizer::kAdamW, Op::kAdamW},
                                 {Optimizer::kLars, Op::kLars}}) {
    options.optimizer.kind = kind;
    options.optimizer.decay_norm_and_bias = false;
    auto updates = updates_of(options, op);
    ASSERT_EQ(updates.size(), 5U);
    EXPECT_EQ(updates["conv.weight"].weight_decay, 0.25);
    EXPECT_EQ(updates["fc.weight"].weight_decay, 0.25);
    for (const char* name : {"bn.weight", "bn.bias", "fc.bias"}) {
      EXPECT_EQ(updates[name].weight_decay, 0) << name;
    }
    options.optimizer.decay_norm_and_bias = true;
    for (const auto& [name, a] : updates_of(options, op)) EXPECT_EQ(a.weight_decay, 0.25) << name;
  }
}

TEST(TrainingGraph, AverageIsThatOfTheWeightsSoFar) {
  StepOptions options;
  options.ema_decay = 0.7;
  const Graph g = training_graph(norm_network, 4, options);
  auto v = variables_for({&g}, Device::kReference);
  Session program(g, v, kOnReference);
  const std::vector<std::string> names = {"conv.weight", "bn.weight", "bn.running_var", "fc.bias"};
  std::map<std::string, std::vector<double>> expected;
  double weight = 0;
  for (int step = 0; step < 4; ++step) {
    set(program, images(4 * step, 4));
    program.set_input("lr", 0.5);
    program.run();
    weight = 0.7 * weight + 0.3;
    for (const std::string& name : names) {
      const auto now = values(*v, name);
      auto& sum = expected[name];
      sum.resize(now.size());
      for (std::size_t i = 0; i < now.size(); ++i) sum[i] = 0.7 * sum[i] + 0.3 * now[i];
    }
  }
  // What the trainer divides by.
  EXPECT_NEAR(weight, 1 - std::pow(0.7, 4), 1e-15);
  for (const std::string& name : names) {
    const auto average = values(*v, "ema." + name);
    for (std::size_t i = 0; i < average.size(); ++i) {
      EXPECT_NEAR(average[i], expected[name][i], 1e-14) << name;
    }
  }
}

TEST(TrainingGraph, NothingIsUpdatedWhenTheGradientIsNotFinite) {
  for (const Device device : {Device::kReference, Device::kCpu}) {
    for (const auto kind : {Optimizer::kSgd, Optimizer::kAdamW, Optimizer::kLars}) {
      StepOptions options;
      options.optimizer.kind = kind;
      options.optimizer.weight_decay = 0.1;
      const Graph g = training_graph(small_network, 4, options);
      auto v = variables_for({&g}, device);
      Session program(g, v, {.device = device});
      Images p = images(0, 4);
      const auto run = [&](double step) {
        set(program, p);
        program.set_input("lr", 0.1);
        if (kind == Optimizer::kAdamW) program.set_input("step", step);
        program.run();
      };
      run(1);
      EXPECT_NE(program.scalar("gradient_scale"), 0);
      const Variables before = v->cast(DType::kF64);
      p.images.as<double>()[5] = std::numeric_limits<double>::infinity();
      run(2);
      EXPECT_EQ(program.scalar("gradient_scale"), 0);
      for (const auto& [name, tensor] : before.all()) {
        EXPECT_EQ(values(before, name), values(*v, name)) << name;
      }
    }
  }
}

TEST(TrainingGraph, ClassWeightsWeighTheLoss) {
  StepOptions options;
  options.class_weights = true;
  const Graph g = training_graph(small_network, 3, options);
  auto v = variables_for({&g}, Device::kReference);
  const std::vector<double> weights = {1, 0, 3};
  v->assign(kClassWeights, Tensor::from<double>({kClasses}, std::span(weights)));
  Session program(g, v, kOnReference);
  set(program, images(0, 3));  // one of each class
  program.set_input("lr", 0);
  program.run();
  const Tensor logits = program.output("logits");
  const auto z = logits.as<double>();
  double loss = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    double sum = 0;
    for (std::size_t c = 0; c < 3; ++c) sum += std::exp(z[3 * i + c]);
    loss += weights[i] * (std::log(sum) - z[3 * i + i]) / 4;
  }
  EXPECT_NEAR(program.scalar("loss"), loss, 1e-14);
}

TEST(TrainingGraph, RefusesWhatCannotBeTrained) {
  Graph inference(Mode::kInference);
  EXPECT_THROW(add_training_step(inference, small_network(inference, 2), {}), Error);
  Graph constant(Mode::kTraining);
  const Value logits = constant.input("logits", {2, kClasses});
  EXPECT_THROW(add_training_step(constant, logits, {}), Error);
}

}  // namespace
}  // namespace resnet

// Memory is laid out before the first step. From the second on, kernels take none by operator new,
// and what else a step takes is pinned here, to the piece: a number that falls is good news, one
// that grows is not. The first run may allocate: weights are packed, oneDNN makes code, threads
// start.
//
// oneDNN puts each execution's arguments in a map and OpenMP may start threads; that memory is not
// ours to plan. It is told apart by the caller and must be given back by the end of the step.
#include <gtest/gtest.h>

#include <cmath>

#include "backends/cpu/cpu.h"
#include "data/support.h"
#include "memory/allocations.h"
#include "resnet/quantize.h"
#include "runtime/devices.h"
#include "support/op_cases.h"
#include "train/evaluator.h"
#include "train/recipe.h"
#include "train/training_step.h"

namespace resnet::test {
namespace {

bool has_bf16() { return make_target({})->computes(DType::kBF16); }

constexpr int kWarmUp = 2;

// What the third call takes, and that nothing of it stays.
Tally settled(const std::function<void()>& call) {
  for (int i = 0; i < kWarmUp; ++i) call();
  const std::int64_t live = live_allocations();
  const Tally tally = tally_of(call);
  EXPECT_EQ(live_allocations(), live) << "a step keeps memory";
  return tally;
}

class Threads : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Memory, Threads, testing::Values(1, 2), testing::PrintToStringParamName());

// Each kernel of each case, and every value an output, so that none is left out.
void expect_kernels_take_nothing(const OpCase& c, bool passes, int threads) {
  SCOPED_TRACE(c.name);
  Graph graph = c.graph;
  const auto nodes = static_cast<std::int32_t>(graph.nodes().size());
  for (std::int32_t id = 0; id < nodes; ++id) {
    const Node& node = graph.nodes()[static_cast<std::size_t>(id)];
    if (node.op == Op::kInput || node.op == Op::kParameter) continue;
    const auto outputs = static_cast<std::int32_t>(node.outputs.size());
    for (std::int32_t o = 0; o < outputs; ++o) {
      graph.mark_output(fmt::format("{}.{}", id, o), {id, o});
    }
  }
  auto variables = std::make_shared<Variables>();
  const auto sources = make_sources(c, Numbers::kReals, 0);
  for (const Value v : graph.parameters()) {
    const std::string& name = graph.node(v).name;
    variables->set(name, sources.at(name).cast(graph.type(v).dtype));
  }
  Program program(graph, variables, {.threads = threads, .passes = passes});
  for (const Node& node : graph.nodes()) {
    if (node.op == Op::kInput) program.set_input(node.name, sources.at(node.name));
  }
  EXPECT_EQ(settled([&] { program.run(); }).ours, 0) << program.describe();
}

TEST_P(Threads, KernelsTakeNoMemory) {
  std::vector<const std::vector<OpCase>*> tables = {&op_cases(), &network_cases()};
  if (has_bf16()) tables.push_back(&bf16_cases());
  std::size_t cases = 0;
  for (const auto* table : tables) {
    for (const OpCase& c : *table) {
      expect_kernels_take_nothing(c, cases++ % 2 == 0, GetParam());
    }
  }
  EXPECT_GT(cases, 100U);
}

Tensor any_images(const ModelConfig& c, std::int64_t n) {
  Tensor t(DType::kF32, {n, c.channels, c.image_size, c.image_size});
  float x = 0;
  for (float& v : t.as<float>()) v = (x = std::fmod(x + 0.37F, 2.0F)) - 1;
  return t;
}

struct Training {
  const char* network;
  Optimizer optimizer = Optimizer::kSgd;
  int accumulate = 1;
  DType dtype = DType::kF32;
};

// What `train` does for each step, but for the loader, whose images take memory in threads of
// their own: TrainingStep, and the logits for the accuracy so far.
TEST_P(Threads, StepsTakeNothingButTheLogits) {
  // A tensor of its own for each batch: its shape, and the block that counts its owners.
  constexpr std::int64_t kLogits = 2;
  const DatasetPtr data = test_dataset(32, 16);
  DataSplits splits;
  splits.train = splits.val = data;
  for (const auto& c : {Training{"resnet8"}, Training{"resnet8", Optimizer::kLars, 2},
                        Training{"resnet11v2", Optimizer::kAdamW, 1, DType::kBF16},
                        Training{"resnet11-bottleneck", Optimizer::kAdamW, 3},
                        Training{"resnet8-fast", Optimizer::kSgd, 2, DType::kBF16}}) {
    if (c.dtype == DType::kBF16 && !has_bf16()) continue;
    SCOPED_TRACE(c.network);
    TrainOptions o;
    o.model.architecture = c.network;
    o.batch_size = 8;
    o.optimizer.kind = c.optimizer;
    o.accumulate = c.accumulate;
    o.clip_norm = 1;
    o.ema_decay = 0.9;
    o.threads = GetParam();
    o.dtype = c.dtype;
    o = resolve(o, splits);
    TrainingStep step(o, *data, 4);
    const Tensor images = any_images(o.model, 8), targets = Tensor::full({8, 3}, 1.0F / 3);
    std::int64_t number = 0;
    const Tally tally = settled([&] {
      step.begin(0.01, number, c.accumulate);
      for (int part = 0; part < c.accumulate; ++part) {
        step.add(images, targets, static_cast<std::uint64_t>(number));
        ASSERT_EQ(step.logits().dim(0), 8);
      }
      ASSERT_TRUE(step.apply());
      ++number;
    });
    EXPECT_EQ(tally.ours, c.accumulate * kLogits);
    EXPECT_GT(tally.libraries, 0) << "if oneDNN no longer allocates, count it with the rest";
  }
}

TEST_P(Threads, PredictionsTakeNothingButTheLogits) {
  constexpr std::int64_t kLogits = 2;  // as above
  ModelFile model;
  model.config = {.architecture = "resnet8", .classes = 3, .image_size = 16};
  model.class_names = {"a", "b", "c"};
  model.preprocessing = {.height = 16, .width = 16};
  Variables variables;
  initialise(inference_graph(model.config, 1), variables, 7);
  model.weights = from_variables(variables, model.config);
  const Tensor images[] = {any_images(model.config, 4), any_images(model.config, 4)};
  const ModelFile int8 = quantize_model(model, std::vector<Tensor>{images[0]}, {.threads = 1});
  std::vector<std::pair<const ModelFile*, DType>> cases = {{&model, DType::kF32},
                                                           {&int8, DType::kF32}};
  if (has_bf16()) cases.emplace_back(&model, DType::kBF16);
  for (const auto& [m, dtype] : cases) {
    Evaluator evaluator(inference_graph(*m, 4), 3, variables_of(*m, Device::kCpu),
                        {.threads = GetParam(), .dtype = dtype}, DataLayout::kNCHW);
    std::size_t batch = 0;
    const Tally tally =
        settled([&] { ASSERT_EQ(evaluator.logits(images[++batch % 2]).dim(0), 4); });
    EXPECT_EQ(tally.ours, kLogits);
  }
}

}  // namespace
}  // namespace resnet::test

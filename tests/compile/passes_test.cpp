#include "compile/passes.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backends/reference/reference.h"
#include "compile/compiler.h"
#include "compile/rewrite.h"
#include "resnet/error.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

int count(const Graph& g, Op op) {
  return static_cast<int>(
      std::count_if(g.nodes().begin(), g.nodes().end(), [&](const Node& n) { return n.op == op; }));
}

const Node& only(const Graph& g, Op op) {
  EXPECT_EQ(count(g, op), 1);
  return *std::find_if(g.nodes().begin(), g.nodes().end(),
                       [&](const Node& n) { return n.op == op; });
}

// Two residual blocks, the first with a projection.
Value two_blocks(Graph& g, Value x) {
  for (const std::string block : {"a", "b"}) {
    Value y = g.conv2d(block + ".conv1", x, {.filters = 8});
    y = g.relu(g.batch_norm(block + ".bn1", y));
    y = g.batch_norm(block + ".bn2", g.conv2d(block + ".conv2", y, {.filters = 8}));
    if (block == "a") {
      x = g.batch_norm("a.downsample.1",
                       g.conv2d("a.downsample.0", x, {.filters = 8, .kernel = 1}));
    }
    x = g.relu(g.add(y, x));
  }
  return x;
}

Graph training_graph() {
  Graph g(Mode::kTraining);
  const Value x = two_blocks(g, g.input("image", {2, 4, 6, 6}));
  const Value logits = g.linear("fc", g.global_avg_pool(x), 3);
  const Value loss = g.softmax_cross_entropy(logits, g.input("targets", {2, 3}));
  const Value lr = g.input("lr", {1});
  const std::vector<Value> w = g.trainable();
  const std::vector<Value> d = gradients(g, loss, w);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const Value v =
        g.parameter("momentum." + g.node(w[i]).name, g.shape(w[i]), {.role = Role::kOptimizer});
    g.append(Op::kSgd, g.node(w[i]).name, {w[i], v, d[i], lr}, UpdateAttributes{.momentum = 0.9});
  }
  g.mark_output("loss", loss);
  return g;
}

TEST(Passes, FuseJoinsNormAdditionAndReluInBothDirections) {
  const Graph g = fuse(training_graph());
  verify(g);
  EXPECT_EQ(count(g, Op::kRelu), 0);
  EXPECT_EQ(count(g, Op::kReluBackward), 0);
  EXPECT_EQ(count(g, Op::kAdd), 0);  // neither skip additions nor sums of gradients are left
  int with_residual = 0, with_second_gradient = 0;
  for (const Node& n : g.nodes()) {
    if (n.op != Op::kBatchNormBackward) continue;
    const auto& a = std::get<NormAttributes>(n.attributes);
    with_residual += a.residual ? 1 : 0;
    with_second_gradient += a.second_gradient ? 1 : 0;
  }
  EXPECT_EQ(with_residual, 2);
  EXPECT_EQ(with_second_gradient, 1);
}

TEST(Passes, FuseKeepsWhatTheHostReads) {
  Graph g(Mode::kInference);
  const Value x = g.input("image", {1, 3, 4, 4});
  const Value norm = g.batch_norm("bn", g.conv2d("conv", x, {.filters = 4}));
  g.mark_output("before", norm);
  g.mark_output("after", g.relu(norm));
  const Graph fused = fold_batch_norm(fuse(g));
  verify(fused);
  EXPECT_EQ(count(fused, Op::kRelu), 1);
}

TEST(Passes, FoldLeavesOneConvolutionALayer) {
  Graph g(Mode::kInference);
  g.mark_output("y", two_blocks(g, g.input("image", {1, 4, 6, 6})));
  const Graph folded = fold_batch_norm(fuse(g));
  verify(folded);
  EXPECT_EQ(count(folded, Op::kNormalize), 0);
  EXPECT_EQ(count(folded, Op::kRelu), 0);
  EXPECT_EQ(count(folded, Op::kAdd), 0);
  EXPECT_EQ(count(folded, Op::kConv2d), 5);
  EXPECT_EQ(count(folded, Op::kFoldWeights), 5);
}

TEST(Passes, FoldLeavesATrainedConvolutionAlone) {
  Graph g(Mode::kTraining);
  const Value x = g.input("image", {2, 3, 4, 4});
  const Value y = g.batch_norm("bn", g.conv2d("conv", x, {.filters = 4}), {.frozen = true});
  const Value loss =
      g.softmax_cross_entropy(g.linear("fc", g.global_avg_pool(y), 2), g.input("targets", {2, 2}));
  const std::vector<Value> w = g.trainable();
  const auto d = gradients(g, loss, w);
  for (std::size_t i = 0; i < w.size(); ++i) g.mark_output(g.node(w[i]).name, d[i]);
  const Graph folded = fold_batch_norm(fuse(g));
  verify(folded);
  EXPECT_EQ(count(folded, Op::kNormalize), 1);
  EXPECT_EQ(count(folded, Op::kFoldWeights), 0);
}

TEST(Passes, UpdatesFollowTheirLastReaderAtOnce) {
  const Graph g = schedule_updates(fuse(training_graph()));
  verify(g);
  // Each weight's update comes before the gradient of the layer below is computed.
  std::size_t update_of_last = 0, gradient_of_first = 0;
  for (std::size_t i = 0; i < g.nodes().size(); ++i) {
    const Node& n = g.nodes()[i];
    if (n.op == Op::kSgd && n.name == "b.conv2.weight") update_of_last = i;
    if (n.op == Op::kConv2dBackwardWeights && n.name == "a.conv1.grad") gradient_of_first = i;
    // Nobody reads a weight after its update.
    for (const Value v : n.inputs) {
      for (std::size_t j = 0; j < i; ++j) {
        const Node& before = g.nodes()[j];
        if (updated_inputs(before.op) > 0 && n.op != Op::kRunningAverage) {
          EXPECT_NE(before.inputs[0], v) << n.name << " reads what " << before.name << " wrote";
        }
      }
    }
  }
  EXPECT_GT(update_of_last, 0U);
  EXPECT_LT(update_of_last, gradient_of_first);
}

TEST(Passes, ScheduleKeepsTheOrderOfUpdatesOfOneVariable) {
  Graph g(Mode::kTraining);
  const ParameterAttributes state{.role = Role::kOptimizer};
  const Value w = g.parameter("w", {4}, {.role = Role::kWeight}), v = g.parameter("v", {4}, state),
              sum = g.parameter("sum", {4}, state), average = g.parameter("average", {4}, state),
              lr = g.input("lr", {1});
  g.append(Op::kSgd, "step", {w, v, sum, lr}, UpdateAttributes{});
  g.append(Op::kClear, "clear", {sum});
  g.append(Op::kRunningAverage, "ema", {average, w}, UpdateAttributes{.momentum = 0.1});
  const Graph s = schedule_updates(g);
  std::vector<std::string> order;
  for (const Node& n : s.nodes()) {
    if (updated_inputs(n.op) > 0) order.push_back(n.name);
  }
  EXPECT_EQ(order, (std::vector<std::string>{"step", "clear", "ema"}));
}

TEST(Passes, RecomputeDropsActivationsThatAreCheapToRestore) {
  const Graph g = recompute_activations(schedule_updates(fuse(training_graph())));
  verify(g);
  // bn1 of both blocks, and the output of one of the two blocks.
  EXPECT_GE(count(g, Op::kNormalize), 2);
  for (const Node& n : g.nodes()) {
    if (n.op != Op::kConv2dBackwardWeights || n.name != "a.conv2.grad") continue;
    EXPECT_EQ(g.node(n.inputs[0]).op, Op::kNormalize);
  }
}

TEST(Passes, ConvolutionTakesItsRelu) {
  Graph g(Mode::kInference);
  const Value x = g.input("image", {1, 3, 4, 4});
  g.mark_output("y", g.relu(g.conv2d("conv", x, {.filters = 4, .bias = true})));
  const Graph fused = fuse(g);
  EXPECT_TRUE(std::get<ConvAttributes>(only(fused, Op::kConv2d).attributes).relu);
  EXPECT_EQ(count(fused, Op::kRelu), 0);
}

// What is frozen in training is folded as in inference, and nothing else is.
TEST(Passes, LowerPrecisionLeavesParametersAndTheHeadAlone) {
  const Graph g = lower_precision(fuse(training_graph()), DType::kBF16, *make_reference_target());
  verify(g);
  EXPECT_EQ(count(g, Op::kCast), 1);  // of the image: nothing between layers is converted
  for (const Node& n : g.nodes()) {
    SCOPED_TRACE(n.name + " " + std::string(name_of(n.op)));
    const bool source = n.op == Op::kParameter || n.op == Op::kInput;
    for (const TensorType& t : n.outputs) {
      const bool activation = t.shape.size() == 4 && !source && n.op != Op::kConv2dBackwardWeights;
      EXPECT_EQ(t.dtype, activation ? DType::kBF16 : DType::kF32);
    }
  }
}

TEST(Passes, LowerPrecisionCastsAroundWhatItCannotTake) {
  Graph g;
  const Value x = g.input("x", {1, 4, 6, 6});
  const Value y = g.conv2d("conv", x, {.filters = 4});
  const Value z = g.sigmoid(y);
  g.mark_output("z", z);
  g.mark_output("y", y);
  const Graph low = lower_precision(g, DType::kBF16, *make_reference_target());
  verify(low);
  EXPECT_EQ(count(low, Op::kCast), 2);  // x, and y once for both of its readers
  for (const auto& [name, v] : low.outputs()) EXPECT_EQ(low.type(v).dtype, DType::kF32) << name;
}

TEST(Fold, FrozenPartsOfTraining) {
  Graph whole(Mode::kTraining), g(Mode::kTraining);
  const Value y = two_blocks(whole, whole.input("image", {2, 4, 6, 6}));
  const Value logits = whole.linear("fc", whole.global_avg_pool(y), 3);
  const Value x =
      copy_subgraph(g, whole, logits, {}, whole.node(find_layer(whole, "b.conv1")).inputs[0]);
  const Value loss = g.softmax_cross_entropy(x, g.input("targets", {2, 3}));
  const std::vector<Value> weights = g.trainable();
  const std::vector<Value> dw = gradients(g, loss, weights);
  const Value lr = g.input("lr", {1});
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::string name = g.node(weights[i]).name;
    const Value velocity =
        g.parameter("v." + name, g.shape(weights[i]), {.role = Role::kOptimizer});
    g.append(Op::kSgd, name + ".update", {weights[i], velocity, dw[i], lr}, UpdateAttributes{});
  }
  verify(g);
  const Graph folded = fold_batch_norm(fuse(g));
  verify(folded);
  EXPECT_EQ(count(g, Op::kNormalize), 3);
  EXPECT_EQ(count(folded, Op::kNormalize), 0);
  EXPECT_EQ(count(folded, Op::kFoldWeights), 3);
  EXPECT_EQ(count(folded, Op::kBatchNorm), 2);

  // A batch norm that keeps its statistics, but whose γ and weights are trained, is not constant.
  Graph trained(Mode::kTraining);
  Value z = trained.conv2d("conv", trained.input("image", {2, 4, 6, 6}), {.filters = 8});
  z = trained.global_avg_pool(trained.batch_norm("bn", z, {.frozen = true}));
  const Value gamma = trained.find("bn.weight");
  trained.append(
      Op::kAccumulate, "update",
      {gamma, trained.append(Op::kFill, "one", {}, FillAttributes{.value = 1, .shape = {8}})},
      UpdateAttributes{});
  trained.mark_output("z", z);
  verify(trained);
  EXPECT_EQ(count(fold_batch_norm(trained), Op::kFoldWeights), 0);
}

TEST(Rewrite, InsertsOnlyWhatAGraphTakes) {
  Graph g;
  const Value x = g.append(Op::kCast, "low", {g.input("x", {2, 3, 4, 4})},
                           CastAttributes{.dtype = DType::kBF16});
  Rewrite rewrite(g);
  EXPECT_EQ(rewrite.node(rewrite.insert(1, Op::kRelu, "relu", {x}, {})).outputs[0].dtype,
            DType::kBF16);
  const Value wide = rewrite.insert(1, Op::kCast, "wide", {x}, CastAttributes{});
  EXPECT_THROW(rewrite.insert(1, Op::kAdd, "add", {x, wide}, {}), Error);
  EXPECT_THROW(rewrite.insert(1, Op::kRelu, "two", {x, x}, {}), Error);
}

// Which types there are kernels for is the device's answer, asked when a graph is compiled.
TEST(Compiler, RefusesTypesThatTheDeviceHasNoKernelFor) {
  const auto error_of = [](const Graph& g) -> std::string {
    const auto target = make_reference_target();
    try {
      make_plan(g, *target, {});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupported) << e.what();
      return e.what();
    }
    return "no error";
  };
  Graph integers;
  integers.mark_output("y", integers.relu(integers.input("x", {2, 3, 4, 4}, DType::kU8)));
  EXPECT_EQ(error_of(integers),
            "layer relu (relu): input 0 is of u8, for which device reference has no kernel; "
            "dequantise it first");
  Graph low;
  low.mark_output("y", low.sigmoid(low.input("x", {2, 3, 4, 4}, DType::kBF16)));
  EXPECT_EQ(error_of(low),
            "layer sigmoid (sigmoid): input 0 is of bf16, for which device reference has no "
            "kernel; cast it first");
  Graph positions;
  const Value y = positions.input("dy", {2, 3, 2, 2});
  positions.mark_output("dx", positions.append(Op::kMaxPoolBackward, "pool", {y, y},
                                               PoolAttributes{.input_shape = {2, 3, 4, 4}}));
  EXPECT_EQ(error_of(positions),
            "layer pool (max_pool_backward): input 1 is of f32, for which device reference has no "
            "kernel");
  Graph pooled;
  pooled.mark_output(
      "y", pooled.append(Op::kMaxPool, "pool", {pooled.input("x", {2, 3, 4, 4}, DType::kU8)},
                         PoolAttributes{}));
  EXPECT_EQ(error_of(pooled), "no error");
}

}  // namespace
}  // namespace resnet

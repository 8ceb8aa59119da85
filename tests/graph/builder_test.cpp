// Building graphs: types, names, padding, and errors that name the layer.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "graph/ops.h"
#include "resnet/error.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

/// The message of the Error that `f` throws; fails when it throws none or has another code.
std::string error_of(const std::function<void()>& f, ErrorCode code = ErrorCode::kInvalidArgument) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << text << "\" lacks \"" << part << "\"";
}

TEST(OpTable, UpdatesAndOnlyTheyOverwriteInputs) {
  for (const OpInfo* info : all_ops()) {
    EXPECT_EQ(info->kind == OpKind::kUpdate, info->updated_inputs > 0) << info->name;
  }
}

// Whether the compiler has a name for a value of the enum: "... resnet::Op::kRelu ..." or
// "... (resnet::Op)77 ...".
template <Op kOp>
bool is_enumerator() {
  return std::string_view(__PRETTY_FUNCTION__).find("Op::k") != std::string_view::npos;
}

TEST(OpTable, HasARowForEveryOpOfTheEnum) {
  std::set<Op> rows, enumerators;
  for (const OpInfo* info : all_ops()) rows.insert(info->op);
  constexpr std::size_t kEnough = 128;
  [&]<std::size_t... kNumbers>(std::index_sequence<kNumbers...>) {
    ((is_enumerator<static_cast<Op>(kNumbers)>()
          ? void(enumerators.insert(static_cast<Op>(kNumbers)))
          : void()),
     ...);
  }
  (std::make_index_sequence<kEnough>());
  EXPECT_EQ(rows, enumerators);
  EXPECT_FALSE(enumerators.contains(static_cast<Op>(kEnough - 1)));  // else: search further
  EXPECT_EQ(enumerators.size(), all_ops().size());
}

TEST(OpTable, NamesAreTakenOnce) {
  std::set<std::string_view> names;
  for (const OpInfo* info : all_ops()) EXPECT_TRUE(names.insert(info->name).second) << info->name;
}

TEST(OpTable, OnlyForwardOpsAreDifferentiated) {
  for (const OpInfo* info : all_ops()) {
    if (info->gradient == nullptr) continue;
    EXPECT_EQ(info->kind, OpKind::kForward) << info->name;
  }
}

TEST(OpTable, TellsNamesAndUpdates) {
  EXPECT_EQ(name_of(Op::kConv2d), "conv2d");
  EXPECT_EQ(name_of(Op::kFoldBias), "fold_bias");
  EXPECT_EQ(updated_inputs(Op::kAdamW), 3);
  EXPECT_EQ(updated_inputs(Op::kConv2d), 0);
}

TEST(Builder, NamesParametersAsTorchvision) {
  Graph g(Mode::kTraining);
  Value x = g.input("image", {4, 3, 32, 32});
  x = g.batch_norm("bn1", g.conv2d("conv1", x, {.filters = 16, .kernel = 3}));
  x = g.linear("fc", g.global_avg_pool(x), 10);
  EXPECT_EQ(g.shape(x), (Shape{4, 10}));
  EXPECT_EQ(g.shape(g.find("conv1.weight")), (Shape{16, 3, 3, 3}));
  for (const char* name : {"bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"}) {
    ASSERT_TRUE(g.find(name)) << name;
    EXPECT_EQ(g.shape(g.find(name)), (Shape{16})) << name;
  }
  EXPECT_EQ(g.shape(g.find("fc.weight")), (Shape{10, 16}));
  EXPECT_EQ(g.shape(g.find("fc.bias")), (Shape{10}));
  EXPECT_FALSE(g.find("conv1.bias"));
  EXPECT_EQ(g.parameters().size(), 7U);
  EXPECT_EQ(g.trainable().size(), 5U);  // without the running statistics
}

TEST(Builder, FillsParametersAsTorchvision) {
  Graph g;
  const Value x = g.input("image", {1, 8, 8, 8});
  g.batch_norm("bn", g.conv2d("conv", x, {.filters = 16, .kernel = 3, .groups = 2, .bias = true}),
               {.zero_gamma = true});
  const auto attributes = [&](const char* name) {
    return std::get<ParameterAttributes>(g.node(g.find(name)).attributes);
  };
  EXPECT_EQ(attributes("conv.weight"),
            (ParameterAttributes{.role = Role::kWeight, .init = Init::kHeNormal, .fan = 16 * 9}));
  EXPECT_EQ(attributes("conv.bias"),
            (ParameterAttributes{.role = Role::kBias, .init = Init::kLinearUniform, .fan = 4 * 9}));
  EXPECT_EQ(attributes("bn.weight").init, Init::kZeros);
  EXPECT_EQ(attributes("bn.running_var").init, Init::kOnes);
}

TEST(Builder, BatchNormDependsOnTheMode) {
  const auto ops = [](Mode mode, bool frozen) {
    Graph g(mode);
    g.batch_norm("bn", g.input("x", {2, 3, 4, 4}), {.frozen = frozen});
    std::string all;
    for (const Node& n : g.nodes()) {
      if (n.op != Op::kInput && n.op != Op::kParameter) all += std::string(name_of(n.op)) + " ";
    }
    return all;
  };
  EXPECT_EQ(ops(Mode::kTraining, false), "batch_norm running_average running_average ");
  EXPECT_EQ(ops(Mode::kTraining, true), "normalize ");
  EXPECT_EQ(ops(Mode::kInference, false), "normalize ");
}

TEST(Builder, DropoutVanishesInInference) {
  Graph inference(Mode::kInference), training(Mode::kTraining);
  const Value x = inference.input("x", {2, 3}), y = training.input("x", {2, 3});
  EXPECT_EQ(inference.dropout(x, 0.5), x);
  EXPECT_EQ(training.dropout(y, 0), y);
}

std::uint64_t stream_of_dropout(Graph& g, Value x) {
  return std::get<DropoutAttributes>(g.node(g.dropout(x, 0.5)).attributes).stream;
}

TEST(Builder, DropoutsStreamFollowsFromItsName) {
  Graph a(Mode::kTraining), b(Mode::kTraining);
  const Value x = a.input("x", {2, 3}), y = b.relu(b.relu(b.input("x", {2, 3})));
  a.set_scope("head");
  b.set_scope("other");
  const std::uint64_t first = stream_of_dropout(a, x), second = stream_of_dropout(a, x);
  EXPECT_EQ(first, 13828194288565586610U);  // FNV-1a of "head.dropout" on every platform
  EXPECT_NE(first, second);
  EXPECT_NE(stream_of_dropout(b, y), first);
  b.set_scope("head");  // the place in the graph does not matter
  EXPECT_EQ(stream_of_dropout(b, y), first);
  EXPECT_EQ(stream_of_dropout(b, y), second);
}

TEST(Builder, ScopesNameOperations) {
  Graph g;
  g.set_scope("layer1.0");
  EXPECT_EQ(g.node(g.relu(g.input("x", {1, 2}))).name, "layer1.0.relu");
}

ConvAttributes padding_of(std::int64_t size, const ConvOptions& o) {
  Graph g;
  return std::get<ConvAttributes>(
      g.node(g.conv2d("c", g.input("x", {1, 1, size, size}), o)).attributes);
}

// pad_total = kernel - 1 whatever the input's size; the odd one goes to the end.
TEST(Padding, FixedDependsOnTheKernelAlone) {
  for (const std::int64_t size : {7, 8, 31, 224}) {
    for (const std::int64_t stride : {1, 2}) {
      const auto p3 = padding_of(
          size, {.filters = 1, .kernel = 3, .stride = stride, .padding = Padding::kFixed});
      EXPECT_EQ(p3.pad_top, 1);
      EXPECT_EQ(p3.pad_bottom, 1);
      const auto p4 = padding_of(
          size, {.filters = 1, .kernel = 4, .stride = stride, .padding = Padding::kFixed});
      EXPECT_EQ(p4.pad_left, 1);
      EXPECT_EQ(p4.pad_right, 2);
      const auto dilated = padding_of(
          size,
          {.filters = 1, .kernel = 3, .stride = stride, .padding = Padding::kFixed, .dilation = 3});
      EXPECT_EQ(dilated.pad_top + dilated.pad_bottom, 6);
    }
  }
}

// output = ceil(input / stride), as TensorFlow: even sizes get their padding at the end.
TEST(Padding, SameDependsOnTheInput) {
  for (std::int64_t size = 1; size <= 17; ++size) {
    for (const std::int64_t stride : {1, 2, 3}) {
      for (const std::int64_t kernel : {1, 2, 3, 5, 7}) {
        Graph g;
        const Value y =
            g.conv2d("c", g.input("x", {1, 1, size, size}),
                     {.filters = 1, .kernel = kernel, .stride = stride, .padding = Padding::kSame});
        EXPECT_EQ(g.shape(y)[2], (size + stride - 1) / stride);
        const auto& a = std::get<ConvAttributes>(g.node(y).attributes);
        EXPECT_LE(a.pad_bottom - a.pad_top, 1);
        EXPECT_GE(a.pad_bottom - a.pad_top, 0);
      }
    }
  }
  const auto even =
      padding_of(8, {.filters = 1, .kernel = 3, .stride = 2, .padding = Padding::kSame});
  EXPECT_EQ(even.pad_top, 0);
  EXPECT_EQ(even.pad_bottom, 1);
  const auto odd =
      padding_of(7, {.filters = 1, .kernel = 3, .stride = 2, .padding = Padding::kSame});
  EXPECT_EQ(odd.pad_top, 1);
  EXPECT_EQ(odd.pad_bottom, 1);
}

TEST(Padding, ExplicitIsOnBothSides) {
  const auto a =
      padding_of(9, {.filters = 1, .kernel = 3, .padding = Padding::kExplicit, .pad = 2});
  EXPECT_EQ(a.pad_top, 2);
  EXPECT_EQ(a.pad_right, 2);
}

TEST(Padding, OfPoolingFollowsTheSameRules) {
  Graph g;
  const Value x = g.input("x", {1, 1, 8, 8});
  const Value y = g.max_pool(x, {.kernel = 3, .stride = 2, .padding = Padding::kSame});
  EXPECT_EQ(g.shape(y), (Shape{1, 1, 4, 4}));
  EXPECT_EQ(std::get<PoolAttributes>(g.node(y).attributes).pad_top, 0);
  const Value z = g.avg_pool(x, {.kernel = 3, .stride = 2, .padding = Padding::kFixed});
  EXPECT_EQ(std::get<PoolAttributes>(g.node(z).attributes).pad_top, 1);
}

// --- What a user can get wrong.

TEST(ShapeErrors, NameTheLayerAndTheShapes) {
  Graph g;
  const Value x = g.input("x", {2, 6, 8, 8}), small = g.input("small", {2, 6, 2, 2});
  const Value flat = g.input("flat", {2, 6});
  std::string e =
      error_of([&] { g.conv2d("layer1.conv", x, {.filters = 4, .kernel = 3, .groups = 4}); });
  expect_contains(e, "layer1.conv");
  expect_contains(e, "[2, 6, 8, 8]");
  expect_contains(error_of([&] { g.conv2d("c2", x, {.filters = 0, .kernel = 3}); }), "c2");
  expect_contains(error_of([&] { g.conv2d("c3", flat, {.filters = 4, .kernel = 3}); }), "c3");
  e = error_of(
      [&] { g.conv2d("c4", small, {.filters = 4, .kernel = 7, .padding = Padding::kExplicit}); });
  expect_contains(e, "c4");
  expect_contains(e, "use a larger image size");
  expect_contains(error_of([&] { g.conv2d("c5", x, {.filters = 4, .kernel = 3, .stride = 0}); }),
                  "c5");
  expect_contains(error_of([&] { g.conv2d("c6", x, {.filters = 4, .kernel = 3, .dilation = -1}); }),
                  "c6");
  expect_contains(error_of([&] { g.conv2d("c7", x, {.filters = 3, .kernel = 1, .groups = 2}); }),
                  "3 filters cannot be split into 2 groups");
  expect_contains(error_of([&] { g.batch_norm("norm1", flat); }), "norm1");
  expect_contains(error_of([&] { g.linear("fc", x, 10); }), "fc");
  expect_contains(error_of([&] { g.linear("fc", flat, 0); }), "fc");
}

TEST(ShapeErrors, OfOperationsNameTheirScope) {
  Graph g(Mode::kTraining);
  g.set_scope("layer2.1");
  const Value x = g.input("x", {2, 6, 8, 8}), y = g.input("y", {2, 7, 8, 8});
  const Value flat = g.input("flat", {2, 6});
  expect_contains(error_of([&] { g.add(x, y); }), "layer2.1.add");
  expect_contains(error_of([&] { g.mul(x, flat); }), "layer2.1.mul");
  expect_contains(error_of([&] { g.max_pool(x, {.kernel = 9, .stride = 1}); }), "layer2.1.maxpool");
  expect_contains(error_of([&] { g.conv2d("conv", x, {.filters = 4, .kernel = 3, .pad = 2}); }),
                  "kExplicit");
  expect_contains(error_of([&] { g.max_pool(x, {.kernel = 2, .stride = 2, .pad = 2}); }),
                  "padding must be smaller");
  expect_contains(error_of([&] { g.max_pool(x, {.kernel = 16, .stride = 1, .pad = 8}); }), "256");
  expect_contains(error_of([&] { g.max_pool(x, {.kernel = 2, .stride = 0}); }), "layer2.1.maxpool");
  expect_contains(error_of([&] { g.avg_pool(flat, {}); }), "layer2.1.avgpool");
  expect_contains(error_of([&] { g.global_avg_pool(flat); }), "layer2.1.avgpool");
  expect_contains(error_of([&] { g.pad_shortcut(x, 5, 1); }), "cannot pad 6 channels to 5");
  expect_contains(error_of([&] { g.pad_shortcut(x, 6, 0); }), "layer2.1.shortcut");
  expect_contains(error_of([&] { g.dropout(x, 1); }), "[0, 1)");
  expect_contains(error_of([&] { g.softmax(x); }), "layer2.1.softmax");
  const Value wrong[] = {x, flat};
  expect_contains(error_of([&] { g.concat(wrong); }), "layer2.1.concat");
  error_of([&] { g.concat({}); });
}

TEST(ShapeErrors, OfLossesAndBatches) {
  Graph g(Mode::kTraining);
  const Value logits = g.input("logits", {4, 10}), targets = g.input("targets", {4, 9});
  const Value good = g.input("good", {4, 10}), weights = g.input("weights", {9});
  expect_contains(error_of([&] { g.softmax_cross_entropy(logits, targets); }), "[4, 10]");
  expect_contains(error_of([&] { g.softmax_cross_entropy(logits, good, 1.0); }), "smoothing");
  expect_contains(error_of([&] { g.softmax_cross_entropy(logits, good, 0, weights); }), "[10]");
  expect_contains(error_of([&] {
                    g.batch_norm("bn", g.input("one", {1, 3, 1, 1}));
                  }),
                  "larger batch");
}

TEST(ShapeErrors, OfNames) {
  Graph g;
  const Value x = g.input("x", {1, 3, 8, 8});
  g.conv2d("conv", x, {.filters = 4, .kernel = 3});
  expect_contains(error_of([&] { g.conv2d("conv", x, {.filters = 4, .kernel = 3}); }),
                  "conv.weight");
  expect_contains(error_of([&] { g.input("x", {1}); }), "x");
  g.mark_output("y", x);
  expect_contains(error_of([&] { g.mark_output("y", x); }), "y");
  error_of([&] { g.input("negative", {1, -3}); });
}

TEST(Builder, ScalesWithoutAConstant) {
  Graph g;
  const Value x = g.input("x", {2, 3});
  const Value y = g.scale(x, 0.5);
  EXPECT_EQ(g.nodes().size(), 2U);
  EXPECT_EQ(g.type(y), g.type(x));
  EXPECT_EQ(std::get<ScaleAttributes>(g.node(y).attributes).factor, 0.5);
  expect_contains(error_of([&] { g.scale(x, std::numeric_limits<double>::infinity()); }),
                  "the factor must be finite, it is inf");
  expect_contains(
      error_of([&] { g.append(Op::kClipScale, "clip", {x}, ClipAttributes{.max_norm = 0}); }),
      "the norm must be positive, it is 0");
}

TEST(ShapeErrors, OfTheRawFormAreOurBugs) {
  Graph g;
  const Value x = g.input("x", {1, 3});
  error_of([&] { g.append(Op::kRelu, "relu", {x, x}); }, ErrorCode::kInternal);
  error_of([&] { g.append(Op::kRelu, "relu", {Value{7, 0}}); }, ErrorCode::kInternal);
  error_of([&] { g.append(Op::kReshape, "reshape", {x}); }, ErrorCode::kInternal);  // no attributes
}

}  // namespace
}  // namespace resnet

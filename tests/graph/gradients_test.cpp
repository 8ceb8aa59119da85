// Autodiff as a transformation of graphs. That the numbers are right is tested in backends/.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "resnet/error.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

/// A scalar that depends on x: [n, k] -> [1].
Value scalar(Graph& g, Value x) {
  const std::int64_t size = element_count(g.shape(x));
  const Value row = g.append(Op::kReshape, "row", {x}, ShapeAttributes{{1, size}});
  return g.linear("sum" + std::to_string(g.nodes().size()), row, 1, false);
}

std::vector<Value> gradients_of(Graph& g, Value loss, std::vector<Value> wrt) {
  std::vector<Value> d = gradients(g, loss, wrt);
  verify(g);
  return d;
}

int count(const Graph& g, Op op) {
  return static_cast<int>(
      std::count_if(g.nodes().begin(), g.nodes().end(), [&](const Node& n) { return n.op == op; }));
}

TEST(Gradients, HaveTheShapesOfWhatTheyDifferentiateBy) {
  Graph g(Mode::kTraining);
  const Value image = g.input("image", {2, 3, 16, 16});
  Value x = g.conv2d("conv", image, {.filters = 8, .kernel = 3, .stride = 2, .bias = true});
  x = g.relu(g.batch_norm("bn", x));
  x = g.avg_pool(g.max_pool(x, {}), {});
  x = g.linear("fc", g.dropout(g.flatten(x), 0.1), 4);
  const Value loss = g.softmax_cross_entropy(x, g.input("targets", {2, 4}));
  std::vector<Value> wrt = g.trainable();
  wrt.push_back(image);
  const std::vector<Value> d = gradients_of(g, loss, wrt);
  ASSERT_EQ(d.size(), wrt.size());
  for (std::size_t i = 0; i < d.size(); ++i) {
    ASSERT_TRUE(d[i]) << g.node(wrt[i]).name;
    EXPECT_EQ(g.shape(d[i]), g.shape(wrt[i])) << g.node(wrt[i]).name;
  }
}

TEST(Gradients, SumWhereAValueIsReadTwice) {
  Graph g;
  const Value x = g.input("x", {2, 3});
  const Value y = g.add(g.add(g.relu(x), g.sigmoid(x)), x);
  const int before = count(g, Op::kAdd);
  const Value d = gradients_of(g, scalar(g, y), {x})[0];
  EXPECT_EQ(g.node(d).op, Op::kAdd);
  EXPECT_EQ(count(g, Op::kAdd) - before, 2);  // three terms
}

TEST(Gradients, OfASquareCountBothFactors) {
  Graph g;
  const Value x = g.input("x", {2, 3});
  const Value d = gradients_of(g, scalar(g, g.mul(x, x)), {x})[0];
  EXPECT_EQ(g.node(d).op, Op::kAdd);
  EXPECT_EQ(g.node(g.node(d).inputs[0]).op, Op::kMul);
}

TEST(Gradients, AreInvalidWhereTheLossDoesNotDepend) {
  Graph g;
  const Value x = g.input("x", {2, 3}), unused = g.input("unused", {4});
  const Value loss = scalar(g, g.relu(x));
  const Value later = g.input("later", {4});
  const std::vector<Value> d = gradients_of(g, loss, {x, unused, later});
  EXPECT_TRUE(d[0]);
  EXPECT_FALSE(d[1]);
  EXPECT_FALSE(d[2]);
}

TEST(Gradients, ComputeOnlyWhatIsAskedFor) {
  Graph g;
  const Value image = g.input("image", {1, 3, 8, 8});
  Value x = g.conv2d("frozen", image, {.filters = 4, .kernel = 3});
  x = g.conv2d("trained", g.relu(x), {.filters = 4, .kernel = 3});
  const Value loss = scalar(g, x);
  gradients_of(g, loss, {g.find("trained.weight")});
  EXPECT_EQ(count(g, Op::kConv2dBackwardWeights), 1);
  EXPECT_EQ(count(g, Op::kConv2dBackwardData), 0);
  EXPECT_EQ(count(g, Op::kReluBackward), 0);
}

TEST(Gradients, NeedNoGradientOfTheImage) {
  Graph g;
  const Value image = g.input("image", {1, 3, 8, 8});
  const Value loss = scalar(g, g.conv2d("conv", image, {.filters = 4, .kernel = 3}));
  gradients_of(g, loss, {g.find("conv.weight")});
  EXPECT_EQ(count(g, Op::kConv2dBackwardData), 0);
}

TEST(Gradients, OfConcatenationSliceItBack) {
  Graph g;
  const Value a = g.input("a", {2, 3, 4, 4}), b = g.input("b", {2, 5, 4, 4});
  const Value parts[] = {a, b};
  const std::vector<Value> d = gradients_of(g, scalar(g, g.concat(parts)), {a, b});
  EXPECT_EQ(std::get<SliceAttributes>(g.node(d[0]).attributes), (SliceAttributes{0, 3}));
  EXPECT_EQ(std::get<SliceAttributes>(g.node(d[1]).attributes), (SliceAttributes{3, 8}));
}

TEST(Gradients, OfDropoutReuseTheMask) {
  Graph g(Mode::kTraining);
  const Value x = g.input("x", {2, 3});
  const Value y = g.dropout(x, 0.5);
  const Value d = gradients_of(g, scalar(g, y), {x})[0];
  EXPECT_EQ(g.node(d).op, Op::kDropout);
  EXPECT_EQ(g.node(d).attributes, g.node(y).attributes);
}

TEST(Gradients, OfTheLossItselfAreOne) {
  Graph g;
  const Value x = g.input("x", {1});
  const Value d = gradients_of(g, x, {x})[0];
  EXPECT_EQ(g.node(d).op, Op::kFill);
  EXPECT_EQ(std::get<FillAttributes>(g.node(d).attributes).value, 1);
}

TEST(Gradients, NameTheBackwardNodesAfterTheLayer) {
  Graph g;
  const Value image = g.input("image", {1, 3, 8, 8});
  const Value loss = scalar(g, g.conv2d("layer1.conv", image, {.filters = 4, .kernel = 3}));
  const Value d = gradients_of(g, loss, {g.find("layer1.conv.weight")})[0];
  EXPECT_EQ(g.node(d).name, "layer1.conv.grad");
}

TEST(Gradients, RefuseAnOpWithoutARule) {
  Graph g;
  const Value x = g.input("x", {2, 3});
  g.set_scope("head");
  const Value loss = scalar(g, g.softmax(x));
  const Value wrt[] = {x};
  try {
    gradients(g, loss, wrt);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    EXPECT_STREQ(e.what(), "layer head.softmax: softmax has no gradient");
  }
}

/// The error of differentiating a scalar of `y` by `x`.
std::string refusal(Graph& g, Value y, Value x) {
  const Value loss = scalar(g, y);
  const Value wrt[] = {x};
  try {
    gradients(g, loss, wrt);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

void expect_mentions(const std::string& text, std::string_view what) {
  EXPECT_NE(text.find(what), std::string::npos) << text;
}

TEST(Gradients, BelongToTheOutputThatIsRead) {
  Graph g(Mode::kTraining);
  const Value x = g.input("x", {2, 3, 4, 4});
  const Value y = g.append(Op::kBatchNorm, "bn", {x, g.input("gamma", {3}), g.input("beta", {3})},
                           NormAttributes{});
  const Value mean{y.node, 1}, var{y.node, 2};
  const Value row = g.append(Op::kReshape, "row", {mean}, ShapeAttributes{{1, 3}});
  const Value loss = g.append(Op::kLinear, "sum", {row, g.input("w", {1, 3})});
  const std::vector<Value> d = gradients_of(g, loss, {x, y, mean, var, g.find("gamma")});
  EXPECT_EQ(g.shape(d[0]), g.shape(x));
  EXPECT_EQ(count(g, Op::kBatchNormBackward), 0);  // nothing reads y
  EXPECT_FALSE(d[1]);
  EXPECT_EQ(g.shape(d[2]), (Shape{3}));
  EXPECT_FALSE(d[3]);
  EXPECT_FALSE(d[4]);
}

TEST(Gradients, RefuseAnOutputWithoutARule) {
  Graph g;
  g.set_scope("head");
  const Value x = g.input("x", {2, 3});
  const Value loss = g.softmax_cross_entropy(x, g.input("targets", {2, 3}));
  const std::string error = refusal(g, {loss.node, 1}, x);  // the probabilities
  expect_mentions(error, "softmax_cross_entropy");
  expect_mentions(error, "output 1");
}

TEST(Gradients, RefuseInputsThatAreTakenForConstants) {
  Graph g;
  const Value x = g.input("x", {2, 3}), targets = g.input("targets", {2, 3});
  const Value loss = g.softmax_cross_entropy(x, targets);
  expect_mentions(refusal(g, loss, targets), "targets");
  const Value image = g.input("image", {2, 3, 4, 4});
  const Value y = g.batch_norm("bn", image);
  expect_mentions(refusal(g, y, g.find("bn.running_mean")), "mean");
}

TEST(Gradients, RefuseALossThatIsNoScalar) {
  Graph g;
  const Value x = g.input("x", {2, 3});
  const Value wrt[] = {x};
  EXPECT_THROW(gradients(g, x, wrt), Error);
}

}  // namespace
}  // namespace resnet

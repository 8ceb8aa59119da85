// Layers by name, parts of graphs, and frozen parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>

#include "resnet/error.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

struct Network {
  Graph g{Mode::kTraining};
  Value image, logits;
};

// Stem, two blocks of one stage each with a projection, dropout, head.
Network network() {
  Network n;
  Graph& g = n.g;
  n.image = g.input("image", {2, 3, 8, 8});
  Value x = g.relu(g.batch_norm("bn1", g.conv2d("conv1", n.image, {.filters = 4})));
  for (const std::string block : {"layer1.0", "layer2.0"}) {
    g.set_scope(block);
    Value y = g.relu(g.batch_norm(block + ".bn1", g.conv2d(block + ".conv1", x, {.filters = 4})));
    y = g.dropout(y, 0.5);
    y = g.batch_norm(block + ".bn2", g.conv2d(block + ".conv2", y, {.filters = 4}));
    const Value s = g.conv2d(block + ".downsample.0", x, {.filters = 4, .kernel = 1});
    x = g.relu(g.add(y, g.batch_norm(block + ".downsample.1", s)));
    g.set_scope("");
  }
  n.logits = g.linear("fc", g.global_avg_pool(x), 3);
  return n;
}

std::set<std::string> names(const Graph& g, const std::vector<Value>& values) {
  std::set<std::string> result;
  for (const Value v : values) result.insert(g.node(v).name);
  return result;
}

std::int64_t count(const Graph& g, Op op) { return std::ranges::count(g.nodes(), op, &Node::op); }

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(FindLayer, KnowsLayersOperationsBlocksAndStages) {
  const Network n = network();
  const Graph& g = n.g;
  const auto found = [&](std::string_view name) { return g.node(find_layer(g, name)); };
  EXPECT_EQ(found("conv1").op, Op::kConv2d);
  EXPECT_EQ(found("layer1.0.conv2").name, "layer1.0.conv2");
  EXPECT_EQ(found("layer1.0.bn1").op, Op::kBatchNorm);
  // Two operations are called so: the last one.
  EXPECT_EQ(g.node(found("layer1.0.relu").inputs[0]).op, Op::kAdd);
  EXPECT_EQ(find_layer(g, "layer1.0"), find_layer(g, "layer1.0.relu"));
  EXPECT_EQ(find_layer(g, "layer1"), find_layer(g, "layer1.0.relu"));
  EXPECT_EQ(found("layer2.0.downsample").name, "layer2.0.downsample.1");
  EXPECT_EQ(found("relu").inputs[0], find_layer(g, "bn1"));
  EXPECT_EQ(find_layer(g, "fc"), n.logits);
}

TEST(FindLayer, TheNearestNameIsInTheError) {
  const Network n = network();
  for (const auto& [name, near] : {std::pair{"layer3", "'layer"},
                                   {"layer1.0.convv1", "'layer1.0.conv1'"},
                                   {"image", "did you mean"},
                                   {"layer1.0.bn1.running_mean", "'layer1.0.bn1'"},
                                   {"", "did you mean"}}) {
    const std::string_view layer = name;  // a lambda may not take a binding
    const std::string text = error_of([&] { find_layer(n.g, layer); });
    EXPECT_NE(text.find(near), std::string::npos) << text;
  }
  // Long names, from hostile files say, are cut.
  EXPECT_LT(error_of([&] { find_layer(n.g, std::string(100'000, 'x')); }).size(), 400U);
}

TEST(CopySubgraph, WholeIsEqual) {
  const Network n = network();
  Graph g(Mode::kTraining);
  const Value logits = copy_subgraph(g, n.g, n.logits);
  verify(g);
  EXPECT_EQ(to_string(g), to_string(n.g));
  EXPECT_EQ(logits, n.logits);
}

TEST(CopySubgraph, TakesWhatTheValueDependsOn) {
  const Network n = network();
  Graph g(Mode::kTraining);
  const Value mine = g.input("mine", {2, 3, 8, 8});
  const Value y = copy_subgraph(g, n.g, find_layer(n.g, "layer1.0.bn1"), {{n.image, mine}});
  verify(g);
  EXPECT_EQ(g.node(y).name, "layer1.0.bn1");
  EXPECT_FALSE(g.find("image"));
  EXPECT_EQ(
      names(g, g.trainable()),
      (std::set<std::string>{"conv1.weight", "bn1.weight", "bn1.bias", "layer1.0.conv1.weight",
                             "layer1.0.bn1.weight", "layer1.0.bn1.bias"}));
  EXPECT_EQ(count(g, Op::kRunningAverage), 4);  // of the two batch norms
}

TEST(CopySubgraph, WhatIsKnownIsNotCopied) {
  const Network n = network();
  const Value features = n.g.node(n.logits).inputs[0];
  Graph g(Mode::kTraining);
  const Value x = g.input("features", n.g.shape(features));
  const Value logits = copy_subgraph(g, n.g, n.logits, {{features, x}});
  verify(g);
  EXPECT_EQ(names(g, g.parameters()), (std::set<std::string>{"fc.weight", "fc.bias"}));
  EXPECT_EQ(g.node(logits).inputs[0], x);
}

TEST(CopySubgraph, FrozenPartsAreNeitherTrainedNorAveraged) {
  const Network n = network();
  Graph g(Mode::kTraining);
  const Value logits = copy_subgraph(g, n.g, n.logits, {}, find_layer(n.g, "layer1"));
  verify(g);
  EXPECT_EQ(names(g, g.parameters()), names(n.g, n.g.parameters()));
  for (const Value v : g.trainable()) {
    EXPECT_TRUE(g.node(v).name.starts_with("layer2") || g.node(v).name.starts_with("fc"))
        << g.node(v).name;
  }
  EXPECT_EQ(g.trainable().size(), 3U + 3U + 3U + 2U);
  EXPECT_EQ(count(g, Op::kNormalize), 4);
  EXPECT_EQ(count(g, Op::kBatchNorm), 3);
  EXPECT_EQ(count(g, Op::kRunningAverage), 6);
  EXPECT_EQ(count(g, Op::kDropout), 1);

  // No derivative of what is frozen, and none through it.
  const Value targets = g.input("targets", {2, 3});
  const Value loss = g.softmax_cross_entropy(logits, targets);
  const std::vector<Value> weights = g.trainable();
  for (const Value gradient : gradients(g, loss, weights)) EXPECT_TRUE(gradient);
  for (const Node& node : g.nodes()) {
    if (!node.derivative) continue;
    EXPECT_TRUE(node.name.starts_with("layer2") || node.name.starts_with("fc") ||
                node.name.starts_with("loss") || node.name.starts_with("avgpool"))
        << node.name;
  }
  EXPECT_EQ(count(g, Op::kConv2dBackwardWeights), 3);
  EXPECT_EQ(count(g, Op::kConv2dBackwardData), 1);  // of layer2.0.conv2 alone
}

TEST(CopySubgraph, OnlyWhatTheFrozenLayerReadsIsFrozen) {
  const Network n = network();
  Graph g(Mode::kTraining);
  copy_subgraph(g, n.g, n.logits, {}, find_layer(n.g, "layer2.0.bn1"));
  const auto trained = names(g, g.trainable());
  EXPECT_FALSE(trained.contains("layer2.0.conv1.weight"));
  EXPECT_TRUE(trained.contains("layer2.0.conv2.weight"));
  EXPECT_TRUE(trained.contains("layer2.0.downsample.0.weight"));
}

TEST(CopySubgraph, TellsTheOutputsOfANodeApart) {
  Graph from(Mode::kTraining);
  const Value y = from.batch_norm("bn", from.input("x", {1, 3, 4, 4}));
  const Value mean{y.node, 1};
  const Value row = from.append(Op::kReshape, "row", {mean}, ShapeAttributes{{1, 3}});
  const Value both = from.add(row, from.global_avg_pool(y));
  const auto read_as_mean = [&](const Graph& g, Value copy) {
    const Node& reshape = g.node(g.node(copy).inputs[0]);
    return g.node(reshape.inputs[0]).name;
  };
  // Frozen, the mean is the running one.
  Graph frozen(Mode::kTraining);
  const Value copy = copy_subgraph(frozen, from, both, {}, y);
  verify(frozen);
  EXPECT_EQ(read_as_mean(frozen, copy), "bn.running_mean");
  EXPECT_EQ(count(frozen, Op::kBatchNorm), 0);
  // What takes the place of one output stays when the node is copied for another.
  Graph known(Mode::kTraining);
  const Value given = known.input("given", {3});
  EXPECT_EQ(read_as_mean(known, copy_subgraph(known, from, both, {{mean, given}})), "given");
  EXPECT_EQ(count(known, Op::kBatchNorm), 1);
}

TEST(CopySubgraph, NothingToFreezeWithoutRunningStatistics) {
  Graph from(Mode::kTraining), to(Mode::kTraining);
  const Value x = from.input("x", {2, 3, 4, 4});
  const Value one = from.parameter("one", {3}, {});
  const Value y = from.append(Op::kBatchNorm, "raw", {x, one, one}, NormAttributes{});
  EXPECT_NE(error_of([&] { copy_subgraph(to, from, y, {}, y); }).find("layer raw"),
            std::string::npos);
}

}  // namespace
}  // namespace resnet

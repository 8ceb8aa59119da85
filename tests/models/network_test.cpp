// What networks say of their parts.
#include "resnet/network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "resnet/error.h"
#include "support/oddly_named.h"

namespace resnet {
namespace {

ModelConfig config_of(const std::string& name, const std::string& splice = "") {
  return {
      .architecture = name, .classes = 3, .image_size = default_image_size(name), .splice = splice};
}

// Stages by torchvision's names of layers, as they were told before networks described themselves:
// 2 for "layer2.1.conv1.weight", 0 for a name outside the stages.
int number_in(std::string_view name) { return name.starts_with("layer") ? name[5] - '0' : 0; }
bool of_head(std::string_view name) { return name == "fc" || name.starts_with("fc."); }

std::vector<std::string> names_of(const Graph& g, const std::vector<Value>& values) {
  std::vector<std::string> names;
  for (const Value v : values) names.push_back(g.node(v).name);
  return names;
}

const std::vector<std::string> kFamilies = {"resnet18",   "resnet50",     "resnet18d", "resnet50d",
                                            "resnet18v2", "resnet20",     "resnet29",  "resnet20v2",
                                            "plain20",    "resnet8-fast", "plain34"};

TEST(Network, PartsAreWhatTheNamesSay) {
  for (const std::string& name : kFamilies) {
    for (const Mode mode : {Mode::kInference, Mode::kTraining}) {
      SCOPED_TRACE(name);
      const auto [g, n] = describe_network(config_of(name), 2, mode);
      ASSERT_GE(n.stages.size(), 4U);
      EXPECT_EQ(n.stages[0].name, "stem");
      for (std::size_t s = 1; s < n.stages.size(); ++s) {
        EXPECT_EQ(n.stages[s].name, "layer" + std::to_string(s));
        EXPECT_EQ(n.stages[s].output(), find_layer(g, n.stages[s].name));
        EXPECT_EQ(find_layer(g, n, n.stages[s].name), n.stages[s].output());
      }
      int reached = 0;  // the stem comes before the stages, v2's last batch norm after them
      for (const Value v : g.parameters()) {
        const std::string& parameter = g.node(v).name;
        reached = std::max(reached, number_in(parameter));
        const auto stage = stage_of(n, v);
        ASSERT_EQ(!stage, of_head(parameter)) << parameter;
        EXPECT_EQ(static_cast<int>(stage.value_or(0)), stage ? reached : 0) << parameter;
      }
      EXPECT_EQ(reached + 1, std::ssize(n.stages));
      EXPECT_EQ(n.head.name, "fc");
      EXPECT_EQ(n.head.output(), n.logits);
      EXPECT_EQ(g.node(n.logits).inputs[0], n.features);
      EXPECT_EQ(n.tail.output(), n.features);
      EXPECT_EQ(head_parameters(g, n), (std::vector<std::string>{"fc.weight", "fc.bias"}));
    }
  }
}

TEST(Network, EveryLayerAndParameterIsInOnePart) {
  for (const std::string splice : {"", "layer2.0.conv1", "layer3", "stem"}) {
    const auto [g, n] = describe_network(config_of("resnet20v2", splice), 2, Mode::kTraining);
    std::vector<Value> all = n.tail.layers;
    all.insert(all.end(), n.tail.parameters.begin(), n.tail.parameters.end());
    for (const NetworkPart& part : n.stages) {
      all.insert(all.end(), part.layers.begin(), part.layers.end());
      all.insert(all.end(), part.parameters.begin(), part.parameters.end());
    }
    all.insert(all.end(), n.head.layers.begin(), n.head.layers.end());
    all.insert(all.end(), n.head.parameters.begin(), n.head.parameters.end());
    const std::set<Value> once(all.begin(), all.end());
    EXPECT_EQ(once.size(), all.size());
    for (std::int32_t i = 0; i < std::ssize(g.nodes()); ++i) {
      const Node& node = g.nodes()[static_cast<std::size_t>(i)];
      const bool none = node.op == Op::kInput || node.op == Op::kRunningAverage;
      EXPECT_EQ(once.contains({i, 0}), !none) << node.name;
    }
  }
}

TEST(Network, CutsKeepTheParts) {
  const auto [g, n] = describe_network(config_of("resnet18", "layer2.0.conv1"), 2);
  ASSERT_EQ(n.stages.size(), 3U);
  EXPECT_EQ(n.stages[2].name, "layer2");
  EXPECT_EQ(names_of(g, n.stages[2].layers), std::vector<std::string>{"layer2.0.conv1"});
  EXPECT_EQ(n.stages[1].output(), find_layer(g, "layer1"));
  EXPECT_EQ(names_of(g, n.tail.layers), std::vector<std::string>{"avgpool"});
  EXPECT_EQ(g.node(n.features).inputs[0], n.stages[2].output());
  EXPECT_EQ(head_parameters(g, n), (std::vector<std::string>{"fc.weight", "fc.bias"}));
  // A stage is a place to cut, too, whatever its layers are called.
  const auto [stem, parts] = describe_network(config_of("resnet18", "stem"), 2);
  EXPECT_EQ(names_of(stem, {parts.stages.back().output()}), std::vector<std::string>{"maxpool"});
}

TEST(Network, FeaturesAreWhatTheHeadReads) {
  for (const std::string splice : {"", "layer1"}) {
    const ModelConfig c = config_of("resnet20", splice);
    const DescribedGraph whole = describe_network(c, 2);
    Graph g;
    const Value features = build_features(g, c, g.input("image", {2, 3, 32, 32}));
    EXPECT_EQ(g.shape(features), whole.graph.shape(whole.network.features));
    EXPECT_EQ(names_of(g, {features}), names_of(whole.graph, {whole.network.features}));
    EXPECT_FALSE(g.find("fc.weight"));
  }
}

// --------------------------------------------------------------- a family with names of its own

TEST(Registry, TakesAFamilyOfOnesOwn) {
  EXPECT_FALSE(is_architecture(kOddlyNamed));
  register_oddly_named();
  EXPECT_TRUE(is_architecture(kOddlyNamed));
  EXPECT_EQ(default_image_size(kOddlyNamed), 16);
  const auto known = architectures();
  EXPECT_TRUE(std::ranges::find(known, kOddlyNamed) != known.end());
  EXPECT_THROW(register_family(oddly_named_family()), Error);  // twice
  Family forgetful = oddly_named_family();
  forgetful.names = {"unheard-of"};
  EXPECT_THROW(register_family(forgetful), Error);

  const ModelConfig c = config_of(std::string(kOddlyNamed));
  const auto [g, n] = describe_network(c, 2, Mode::kTraining);
  verify(g);
  ASSERT_EQ(n.stages.size(), 3U);
  EXPECT_EQ(names_of(g, n.stages[0].layers), (std::vector<std::string>{"a", "relu"}));
  EXPECT_EQ(find_layer(g, n, "middle"), find_layer(g, "b.relu"));
  EXPECT_EQ(head_parameters(g, n),
            (std::vector<std::string>{"side.weight", "side.bias", "z.weight", "z.bias"}));
  ASSERT_EQ(n.auxiliary.size(), 1U);
  EXPECT_EQ(n.auxiliary[0].weight, kSideWeight);
  EXPECT_EQ(stage_of(n, g.find("b2.weight")), 1U);
  EXPECT_EQ(stage_of(n, n.features), 2U);  // the tail belongs to the last stage
  EXPECT_EQ(stage_of(n, g.find("z.weight")), std::nullopt);
  EXPECT_FALSE(inference_graph(c, 1).find("side.weight"));

  ModelConfig cut = c;
  cut.splice = "middle";
  cut.head_hidden = 5;
  const auto [short_g, short_n] = describe_network(cut, 2, Mode::kTraining);
  verify(short_g);
  EXPECT_EQ(short_n.stages.size(), 2U);
  EXPECT_TRUE(short_n.auxiliary.empty());
  EXPECT_FALSE(short_g.find("c.weight"));
  EXPECT_TRUE(short_g.find("fc.0.weight"));
  cut.splice = "z";
  EXPECT_THROW(inference_graph(cut, 1), Error);  // the head
}

// Parts are told by values: layers may share a name, and be added while no part is open.
TEST(NetworkParts, DoNotDependOnNames) {
  Graph g;
  const Value x = g.relu(g.input("x", {1, 4}));  // before the network begins
  NetworkParts parts(g);
  const Value early = g.relu(x);
  Value one, two;
  {
    const auto open = parts.stage("one");
    one = g.relu(early);
  }
  const Value between = g.relu(one);
  {
    const auto open = parts.stage("two");
    two = g.relu(between);
  }
  { const auto empty = parts.stage("empty"); }
  const Value behind = g.relu(two);
  const auto head = parts.head("h");
  const Value logits = g.relu(behind);
  const Network n = parts.finish(behind, logits);
  ASSERT_EQ(n.stages.size(), 2U);
  EXPECT_EQ(n.stages[0].layers, (std::vector<Value>{early, one, between}));
  EXPECT_EQ(n.stages[1].layers, std::vector<Value>{two});
  EXPECT_EQ(n.tail.layers, std::vector<Value>{behind});
  EXPECT_EQ(n.head.layers, std::vector<Value>{logits});
  EXPECT_EQ(find_layer(g, n, "one"), between);
  EXPECT_EQ(stage_of(n, x), std::nullopt);
}

// ------------------------------------------------------------------------------------- mistakes

TEST(NetworkParts, RefuseWhatIsNoDescription) {
  Graph g;
  const Value x = g.input("x", {1, 4});
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      return e.what();
    }
    return "";
  };
  NetworkParts parts(g);
  Value y = x;
  {
    const auto one = parts.stage("one");
    EXPECT_NE(message([&] { const auto two = parts.stage("two"); }).find("while 'one' is open"),
              std::string::npos);
    y = g.relu(y);
    EXPECT_NE(message([&] { parts.finish(y, y); }).find("has no end"), std::string::npos);
  }
  EXPECT_NE(message([&] { const auto again = parts.stage("one"); }).find("called 'one'"),
            std::string::npos);
  EXPECT_NE(message([&] { parts.finish(y, y); }).find("no head"), std::string::npos);
  NetworkParts headed(g);
  const auto head = headed.head("h");
  const Value z = g.relu(y);
  EXPECT_NE(message([&] { headed.finish(y, z); }).find("no stage"), std::string::npos);
}

}  // namespace
}  // namespace resnet

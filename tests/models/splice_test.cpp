// Networks that are cut, and heads with a hidden layer.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "resnet/error.h"
#include "resnet/models.h"

namespace resnet {
namespace {

struct Built {
  Graph g;
  Value features, logits;
};

Built build(const ModelConfig& c, Mode mode = Mode::kTraining) {
  Built b{Graph(mode), {}, {}};
  const Value image = b.g.input("image", {2, c.channels, c.image_size, c.image_size});
  b.logits = build_model(b.g, c, image);
  verify(b.g);
  EXPECT_EQ(b.g.shape(b.logits), (Shape{2, c.classes}));
  return b;
}

Shape features_of(const ModelConfig& c) {
  Graph g(Mode::kInference);
  return g.shape(
      build_features(g, c, g.input("image", {2, c.channels, c.image_size, c.image_size})));
}

std::set<std::string> parameters(const Graph& g) {
  std::set<std::string> names;
  for (const Value v : g.parameters()) names.insert(g.node(v).name);
  return names;
}

TEST(Splice, EveryFamilyAtEveryLayer) {
  for (const std::string name :
       {"resnet18", "resnet50", "resnet18v2", "resnet20", "resnet20v2", "plain20", "resnet29"}) {
    ModelConfig c{.architecture = name, .classes = 3, .image_size = default_image_size(name)};
    const Graph whole = inference_graph(c, 1);
    std::set<std::string> layers;  // and blocks and stages
    for (const LayerSummary& l : summarise(whole)) {
      if (is_head(l.name) || l.op == "softmax") continue;
      layers.insert(l.name);
      if (!l.name.starts_with("layer")) continue;
      layers.insert(l.name.substr(0, 6));
      layers.insert(l.name.substr(0, l.name.find('.', 7)));
    }
    EXPECT_GT(layers.size(), 20U);
    for (const std::string& layer : layers) {
      SCOPED_TRACE(name + " " + layer);
      c.splice = layer;
      const Graph cut = inference_graph(c, 1);
      verify(cut);
      // The head reads as many features as the layer has channels, and weights keep their names.
      const Shape out = whole.shape(find_layer(whole, layer));
      EXPECT_EQ(cut.shape(cut.find("fc.weight")), (Shape{3, out[1]}));
      EXPECT_EQ(features_of(c), (Shape{2, out[1]}));
      for (const Value v : cut.parameters()) {
        if (is_head(cut.node(v).name)) continue;
        const Value original = whole.find(cut.node(v).name);
        ASSERT_TRUE(original) << cut.node(v).name;
        EXPECT_EQ(cut.shape(v), whole.shape(original));
      }
    }
  }
}

TEST(Splice, KeepsWhatLiesBelow) {
  const ModelConfig c{
      .architecture = "resnet18", .classes = 5, .image_size = 64, .splice = "layer2"};
  const Built b = build(c);
  for (const std::string& name : parameters(b.g)) {
    EXPECT_FALSE(name.starts_with("layer3") || name.starts_with("layer4")) << name;
  }
  EXPECT_TRUE(b.g.find("layer2.1.bn2.running_var"));
  EXPECT_TRUE(b.g.find("layer2.0.downsample.1.weight"));
  // Training keeps the running averages of the batch norms that are left: 1 + 4 + 5 of them.
  EXPECT_EQ(std::ranges::count(b.g.nodes(), Op::kRunningAverage, &Node::op), 2 * 10);
  // Within a block the shortcut is not needed.
  const Built inner = build(
      {.architecture = "resnet18", .classes = 5, .image_size = 64, .splice = "layer2.0.conv1"});
  EXPECT_FALSE(inner.g.find("layer2.0.downsample.0.weight"));
  EXPECT_FALSE(inner.g.find("layer2.0.bn1.weight"));
}

TEST(Splice, AtTheEndIsTheWholeNetwork) {
  ModelConfig c{.architecture = "resnet20", .classes = 10, .image_size = 32};
  const auto whole = parameters(build(c).g);
  for (const char* layer : {"layer3", "layer3.2", "avgpool"}) {
    c.splice = layer;
    EXPECT_EQ(parameters(build(c).g), whole) << layer;
  }
}

TEST(Splice, UnknownLayersAreNamedWithTheNearest) {
  for (const char* layer : {"layer5", "fc", "softmax", "conv2d"}) {
    const char* advice = std::string(layer) == "fc" ? "it is the head" : "resnet summary";
    try {
      build({.architecture = "resnet18", .classes = 2, .image_size = 32, .splice = layer});
      ADD_FAILURE() << layer;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(e.what()).find(advice), std::string::npos) << e.what();
    }
  }
}

TEST(Head, MayHaveAHiddenLayer) {
  const ModelConfig c{
      .architecture = "resnet8", .classes = 4, .image_size = 32, .dropout = 0.3, .head_hidden = 17};
  const Built b = build(c);
  EXPECT_EQ(b.g.shape(b.g.find("fc.0.weight")), (Shape{17, 64}));
  EXPECT_EQ(b.g.shape(b.g.find("fc.0.bias")), (Shape{17}));
  EXPECT_EQ(b.g.shape(b.g.find("fc.3.weight")), (Shape{4, 17}));
  EXPECT_FALSE(b.g.find("fc.weight"));
  const Node& dropout = b.g.node(b.g.node(b.logits).inputs[0]);
  EXPECT_EQ(dropout.op, Op::kDropout);
  EXPECT_EQ(b.g.node(dropout.inputs[0]).op, Op::kRelu);
  EXPECT_EQ(find_layer(b.g, "fc"), b.logits);
  for (const char* name : {"fc", "fc.weight", "fc.0.weight", "fc.relu"}) EXPECT_TRUE(is_head(name));
  for (const char* name : {"fcx", "conv1", "layer1.0.fc.weight"}) EXPECT_FALSE(is_head(name));
  ModelConfig bad = c;
  bad.head_hidden = -1;
  EXPECT_THROW(inference_graph(bad, 1), Error);
}

}  // namespace
}  // namespace resnet

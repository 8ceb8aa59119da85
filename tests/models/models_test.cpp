// Names, counts and shapes of the networks.
#include "resnet/models.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>

#include "resnet/error.h"

namespace resnet {
namespace {

Graph build(ModelConfig config, std::int64_t batch = 2, Mode mode = Mode::kTraining) {
  Graph g(mode);
  const Value image =
      g.input("image", {batch, config.channels, config.image_size, config.image_size});
  const Value logits = build_model(g, config, image);
  EXPECT_EQ(g.shape(logits), (Shape{batch, config.classes})) << config.architecture;
  verify(g);
  return g;
}

// A network at the size of image it is made for, with ten classes.
ModelConfig config_of(const std::string& name) {
  return {.architecture = name, .classes = 10, .image_size = default_image_size(name)};
}

std::int64_t trained(const Graph& g) {
  std::int64_t sum = 0;
  for (const Value v : g.trainable()) sum += element_count(g.shape(v));
  return sum;
}

std::int64_t count(const Graph& g, Op op) { return std::ranges::count(g.nodes(), op, &Node::op); }

// Convolutions off the shortcuts and linear layers: what the paper counts.
std::int64_t depth(const Graph& g) {
  return std::ranges::count_if(g.nodes(), [](const Node& n) {
    return (n.op == Op::kConv2d && n.name.find("downsample") == std::string::npos) ||
           n.op == Op::kLinear;
  });
}

std::string message(const ModelConfig& config) {
  try {
    build(config);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    return e.what();
  }
  return "no error";
}

#define EXPECT_IN(part, text) EXPECT_NE((text).find(part), std::string::npos) << (text)

// ---------------------------------------------------------------------------------- torchvision

TEST(Torchvision, NamesShapesOrderAndCounts) {
  std::ifstream file(RESNET_TEST_DIR "/models/torchvision_names.txt");
  std::string line;
  std::vector<std::string> expected, found;
  int networks = 0, tensors = 0;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name, shape;
    words >> name;
    if (name == "#") {  // "# resnet18 11689512": the next network
      EXPECT_EQ(expected, found);
      std::int64_t parameters = 0;
      words >> name >> parameters;
      const Graph g = build({.architecture = name});
      EXPECT_EQ(trained(g), parameters) << name;
      expected.clear();
      found.clear();
      for (const Value v : g.parameters()) {
        std::string text = g.node(v).name + " ";
        for (const std::int64_t d : g.shape(v)) text += std::to_string(d) + "x";
        text.pop_back();
        found.push_back(text);
      }
      ++networks;
    } else {
      expected.push_back(line);
      ++tensors;
    }
  }
  EXPECT_EQ(expected, found);
  EXPECT_EQ(networks, 5);
  EXPECT_GT(tensors, 1500);
}

TEST(Torchvision, StrideIsOnThe3x3UnlessAskedFor) {
  ModelConfig config{.architecture = "resnet50"};
  const auto strides = [](const Graph& g) {
    std::map<std::string, std::int64_t> result;
    for (const Node& n : g.nodes()) {
      if (n.op == Op::kConv2d) result[n.name] = std::get<ConvAttributes>(n.attributes).stride_h;
    }
    return result;
  };
  auto s = strides(build(config));
  EXPECT_EQ(s["layer2.0.conv1"], 1);
  EXPECT_EQ(s["layer2.0.conv2"], 2);
  EXPECT_EQ(s["layer2.0.downsample.0"], 2);
  config.stride_on_first_1x1 = true;
  s = strides(build(config));
  EXPECT_EQ(s["layer2.0.conv1"], 2);
  EXPECT_EQ(s["layer2.0.conv2"], 1);
  EXPECT_EQ(s["layer2.0.downsample.0"], 2);
}

// TensorFlow's "same": ⌈size / stride⌉ outputs, the odd zero below and on the right.
TEST(Families, PaddingMayBeTensorFlows) {
  const auto pads = [](const Graph& g, std::string_view name) {
    for (const Node& n : g.nodes()) {
      if (n.name != name) continue;
      const auto of = [](const auto& a) {
        EXPECT_EQ(a.pad_top, a.pad_left);
        EXPECT_EQ(a.pad_bottom, a.pad_right);
        return std::pair(a.pad_top, a.pad_bottom);
      };
      if (n.op == Op::kConv2d) return of(std::get<ConvAttributes>(n.attributes));
      if (n.op == Op::kMaxPool) return of(std::get<PoolAttributes>(n.attributes));
    }
    ADD_FAILURE() << name << " is missing";
    return std::pair(std::int64_t{-1}, std::int64_t{-1});
  };
  using Pads = std::pair<std::int64_t, std::int64_t>;
  const auto pool = [](const Graph& g) {
    const auto n = std::ranges::find(g.nodes(), Op::kMaxPool, &Node::op);
    return n == g.nodes().end() ? std::string() : n->name;
  };
  for (const char* name : {"resnet18", "resnet18v2"}) {
    ModelConfig config{.architecture = name, .image_size = 64};
    EXPECT_EQ(pads(build(config), "conv1"), (Pads{3, 3}));
    EXPECT_EQ(pads(build(config), pool(build(config))), (Pads{1, 1}));
    EXPECT_EQ(pads(build(config), "layer2.0.conv1"), (Pads{1, 1}));
    config.same_padding = true;
    const Graph g = build(config);
    EXPECT_EQ(pads(g, "conv1"), (Pads{2, 3}));
    EXPECT_EQ(pads(g, pool(g)), (Pads{0, 1}));
    EXPECT_EQ(pads(g, "layer2.0.conv1"), (Pads{0, 1}));
    EXPECT_EQ(pads(g, "layer2.0.conv2"), (Pads{1, 1}));
    EXPECT_EQ(pads(g, "layer2.0.downsample.0"), (Pads{0, 0}));
  }
  const Graph odd = build({.architecture = "resnet20", .image_size = 33, .same_padding = true});
  EXPECT_EQ(pads(odd, "layer2.0.conv1"), (Pads{1, 1}));
}

TEST(Torchvision, SmallImagesDoNotChangeTheNetwork) {
  const Graph small = build({.architecture = "resnet18", .image_size = 32});
  EXPECT_EQ(trained(small), 11'689'512);
}

// ------------------------------------------------------------------------------------- the
// families

TEST(Families, EveryListedNetworkBuildsWithItsDepth) {
  for (const std::string& name : architectures()) {
    SCOPED_TRACE(name);
    check_architecture(name);
    const Graph g = build(config_of(name));
    const std::string digits = name.substr(name.find_first_of("0123456789"));
    const int stem = name.ends_with('d') ? 2 : 0;  // the stem of ResNet-D has three convolutions
    EXPECT_EQ(depth(g), std::stoi(digits) + stem);
    EXPECT_EQ(count(g, Op::kAdd) == 0, name.starts_with("plain"));
  }
}

TEST(Families, TheFastNetworkBeginsAsTheIdentity) {
  const Graph g = build(config_of("resnet8-fast"));
  Variables v;
  initialise(g, v, 0);
  const Tensor w = v.at("layer2.conv1.weight");  // [256, 64, 3, 3]
  const auto values = w.as<float>();
  for (std::size_t o = 0; o < 64; ++o) {
    for (std::size_t k = 0; k < 64 * 9; ++k) {
      ASSERT_EQ(values[o * 64 * 9 + k], k == o * 9 + 4 ? 1.0F : 0.0F);
    }
  }
  EXPECT_GT(std::ranges::max(values.subspan(64 * 64 * 9)), 0);
  EXPECT_LE(std::ranges::max(values.subspan(64 * 64 * 9)), 1.0F / 24);
}

TEST(Families, NumbersOfParameters) {
  const std::map<std::string, std::int64_t> expected = {
      // Ten classes. He et al. 2016a, table 6: 0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M, 19.4 M.
      {"resnet20", 269'722},
      {"resnet32", 464'154},
      {"resnet44", 658'586},
      {"resnet56", 853'018},
      {"resnet110", 1'727'962},
      {"resnet1202", 19'421'274},
      {"plain20", 269'722},
      {"plain56", 853'018},
      {"resnet8-fast", 1'972'514},
      // timm's, with ten classes.
      {"resnet18d", 11'200'874},
      {"resnet50d", 23'547'754},
      // The same networks written in PyTorch (bench/torch_networks.py).
      {"resnet20v2", 272'282},
      {"resnet50v2", 23'520'842},
  };
  for (const auto& [name, parameters] : expected) {
    EXPECT_EQ(trained(build(config_of(name))), parameters) << name;
  }
  // He et al. 2016b, table 4: 1.7 M and 10.2 M.
  EXPECT_NEAR(static_cast<double>(trained(build(config_of("resnet164v2")))), 1.7e6, 0.05e6);
  EXPECT_NEAR(static_cast<double>(trained(build(config_of("resnet1001v2")))), 10.3e6, 0.1e6);
}

TEST(Families, NumbersMeanOneNetwork) {
  const auto has = [](const std::string& name, const char* parameter) {
    return static_cast<bool>(build(config_of(name)).find(parameter));
  };
  EXPECT_EQ(default_image_size("resnet50"), 224);
  EXPECT_EQ(default_image_size("resnet50-cifar"), 32);
  EXPECT_EQ(default_image_size("resnet200v2"), 224);
  EXPECT_EQ(default_image_size("plain18"), 224);
  EXPECT_EQ(default_image_size("plain20"), 32);
  EXPECT_FALSE(has("resnet110", "layer1.0.conv3.weight"));
  EXPECT_TRUE(has("resnet110-bottleneck", "layer1.0.conv3.weight"));
  EXPECT_TRUE(has("resnet164", "layer1.0.conv3.weight"));
  EXPECT_TRUE(has("resnet164v2", "layer1.17.conv3.weight"));
  EXPECT_FALSE(has("resnet164v2-basic", "layer1.0.conv3.weight"));
  EXPECT_TRUE(has("resnet29", "layer1.0.conv3.weight"));  // 9n+2 only
  EXPECT_TRUE(has("resnet101v2-cifar", "layer1.10.conv3.weight"));
  EXPECT_EQ(depth(build(config_of("resnet8"))), 8);
}

TEST(Families, PreactivationNamesAndOrder) {
  const Graph g = build(config_of("resnet50v2"));
  std::vector<std::string> found;
  for (const Value v : g.trainable()) found.push_back(g.node(v).name);
  const std::vector<std::string> first(found.begin(), found.begin() + 11);
  EXPECT_EQ(first, (std::vector<std::string>{
                       "conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias",
                       "layer1.0.conv1.weight", "layer1.0.bn2.weight", "layer1.0.bn2.bias",
                       "layer1.0.conv2.weight", "layer1.0.bn3.weight", "layer1.0.bn3.bias",
                       "layer1.0.conv3.weight", "layer1.0.downsample.0.weight"}));
  EXPECT_FALSE(g.find("layer1.0.downsample.1.weight"));
  EXPECT_FALSE(g.find("bn1.weight"));
  EXPECT_TRUE(g.find("bn.weight"));

  // The projection reads what the first batch norm and ReLU made of x; an identity carries x.
  const auto node = [&](std::string_view name) {
    return *std::ranges::find(g.nodes(), name, &Node::name);
  };
  const Value projected = node("layer1.0.downsample.0").inputs[0];
  EXPECT_EQ(projected, node("layer1.0.conv1").inputs[0]);
  EXPECT_EQ(g.node(projected).op, Op::kRelu);
  EXPECT_EQ(node("layer1.1.add").inputs[1], node("layer1.1.bn1").inputs[0]);
}

TEST(Families, PooledShortcutsOfResNetD) {
  const Graph g = build(config_of("resnet50d"));
  std::vector<std::string> found;
  for (const Value v : g.trainable()) found.push_back(g.node(v).name);
  EXPECT_EQ(std::vector<std::string>(found.begin(), found.begin() + 9),
            (std::vector<std::string>{"conv1.0.weight", "conv1.1.weight", "conv1.1.bias",
                                      "conv1.3.weight", "conv1.4.weight", "conv1.4.bias",
                                      "conv1.6.weight", "bn1.weight", "bn1.bias"}));
  // A projection has no stride of its own; the pool is there where there would be one.
  std::map<std::string, std::int64_t> strides;
  for (const Node& n : g.nodes()) {
    if (n.op == Op::kConv2d) strides[n.name] = std::get<ConvAttributes>(n.attributes).stride_h;
  }
  EXPECT_EQ(strides.at("layer1.0.downsample.1"), 1);
  EXPECT_EQ(strides.at("layer2.0.downsample.1"), 1);
  EXPECT_EQ(strides.at("layer2.0.conv2"), 2);
  EXPECT_EQ(strides.count("layer2.0.downsample.0"), 0U);
  EXPECT_TRUE(g.find("layer2.0.downsample.2.running_mean"));
  EXPECT_EQ(count(g, Op::kAvgPool), 3);
  // A side that is odd in between is rounded up on both ways.
  ModelConfig odd = config_of("resnet18d");
  odd.image_size = 72;
  build(odd);
}

TEST(Families, PlainIsTheResNetWithoutItsSkips) {
  const auto shapes = [](const Graph& g) {
    std::map<std::string, Shape> result;
    for (const Value v : g.parameters()) result[g.node(v).name] = g.shape(v);
    return result;
  };
  auto residual = shapes(build(config_of("resnet50")));
  std::erase_if(residual,
                [](const auto& p) { return p.first.find("downsample") != std::string::npos; });
  EXPECT_EQ(shapes(build(config_of("plain50"))), residual);
  ModelConfig none = config_of("resnet50");
  none.shortcut = Shortcut::kNone;
  EXPECT_EQ(to_string(build(none)), to_string(build(config_of("plain50"))));
  EXPECT_EQ(shapes(build(config_of("plain20"))), shapes(build(config_of("resnet20"))));
}

// -------------------------------------------------------------------------------------- settings

struct Skips {
  std::int64_t pads, projections, adds;
  bool operator==(const Skips&) const = default;
};
Skips skips(const Graph& g) {
  const auto projections = std::ranges::count_if(
      g.nodes(), [](const Node& n) { return n.name.ends_with("downsample.0"); });
  return {count(g, Op::kPadShortcut), projections, count(g, Op::kAdd)};
}

TEST(Settings, Shortcuts) {
  const auto with = [](const char* name, Shortcut shortcut) {
    ModelConfig config = config_of(name);
    config.shortcut = shortcut;
    return skips(build(config));
  };
  EXPECT_EQ(with("resnet20", Shortcut::kDefault), (Skips{2, 0, 9}));
  EXPECT_EQ(with("resnet20", Shortcut::kA), (Skips{2, 0, 9}));
  EXPECT_EQ(with("resnet20", Shortcut::kB), (Skips{0, 2, 9}));
  EXPECT_EQ(with("resnet20", Shortcut::kC), (Skips{0, 9, 9}));
  EXPECT_EQ(with("resnet20", Shortcut::kNone), (Skips{0, 0, 0}));
  EXPECT_EQ(with("resnet20v2", Shortcut::kDefault), (Skips{0, 2, 9}));
  EXPECT_EQ(with("resnet18", Shortcut::kDefault), (Skips{0, 3, 8}));
  EXPECT_EQ(with("resnet50", Shortcut::kDefault), (Skips{0, 4, 16}));
  EXPECT_EQ(with("resnet50", Shortcut::kA), (Skips{4, 0, 16}));  // 64 -> 256 channels, no stride
  EXPECT_EQ(with("resnet50v2", Shortcut::kC), (Skips{0, 16, 16}));
}

TEST(Settings, ShortcutNames) {
  for (const auto s :
       {Shortcut::kDefault, Shortcut::kA, Shortcut::kB, Shortcut::kC, Shortcut::kNone}) {
    EXPECT_EQ(parse_shortcut(name_of(s)), s);
  }
  EXPECT_THROW(parse_shortcut("D"), Error);
}

TEST(Settings, LayersPerSkip) {
  const auto with = [](const char* name, int layers) {
    ModelConfig config = config_of(name);
    config.layers_per_skip = layers;
    return build(config);
  };
  for (const int layers : {0, 1, 2, 3, 6}) {
    const Graph g = with("resnet20", layers);
    EXPECT_EQ(skips(g).adds, 18 / (layers == 0 ? 2 : layers));
    EXPECT_EQ(depth(g), 20);
    EXPECT_EQ(trained(g), 269'722);
  }
  EXPECT_TRUE(with("resnet20", 3).find("layer1.1.conv3.weight"));
  EXPECT_FALSE(with("resnet20", 3).find("layer1.2.conv1.weight"));
  EXPECT_EQ(skips(with("resnet20v2", 3)).adds, 6);
  EXPECT_EQ(skips(with("resnet50", 3)).adds, 16);

  const auto failure = [](const char* name, int layers) {
    ModelConfig config = config_of(name);
    config.layers_per_skip = layers;
    return message(config);
  };
  EXPECT_IN("skips over 4 layers do not divide the 6 layers of stage 1", failure("resnet20", 4));
  EXPECT_IN("do not divide", failure("resnet20", -1));
  EXPECT_IN("8 layers of stage 2", failure("resnet34", 3));
  EXPECT_IN("bottleneck blocks have 3", failure("resnet50", 2));
  EXPECT_IN("plain20 has no skips", failure("plain20", 1));
}

TEST(Settings, ZeroGamma) {
  ModelConfig config = config_of("resnet50");
  config.zero_gamma = true;
  const Graph g = build(config);
  std::vector<std::string> zero;
  for (const Value v : g.parameters()) {
    const auto& a = std::get<ParameterAttributes>(g.node(v).attributes);
    if (a.role == Role::kNormScale && a.init == Init::kZeros) zero.push_back(g.node(v).name);
  }
  EXPECT_EQ(zero.size(), 16U);
  for (const std::string& name : zero) EXPECT_TRUE(name.ends_with(".bn3.weight")) << name;
  for (const char* dead : {"resnet20v2", "plain20"}) {
    config.architecture = dead;
    EXPECT_IN("zero_gamma needs", message(config));
  }
}

TEST(Settings, Dropout) {
  ModelConfig config = config_of("resnet20");
  EXPECT_EQ(count(build(config), Op::kDropout), 0);
  config.dropout = 0.25;
  EXPECT_EQ(count(build(config), Op::kDropout), 1);
  EXPECT_EQ(count(build(config, 2, Mode::kInference), Op::kDropout), 0);
  for (const double bad : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()}) {
    config.dropout = bad;
    EXPECT_IN("dropout must be", message(config));
  }
}

TEST(Settings, ChannelsAndClasses) {
  ModelConfig config = config_of("resnet20");
  config.channels = 1;
  EXPECT_EQ(build(config).shape(build(config).find("conv1.weight")), (Shape{16, 1, 3, 3}));
  config.classes = 0;
  EXPECT_IN("at least one class", message(config));
  Graph g;
  EXPECT_THROW(build_model(g, {.channels = 1}, g.input("image", {1, 3, 32, 32})), Error);
}

// ---------------------------------------------------------------------------------------- registry

TEST(Registry, UnknownNamesGetTheNearest) {
  const auto suggestion = [](const std::string& name) {
    try {
      check_architecture(name);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      const std::string text = e.what();
      const auto begin = text.find("did you mean '") + 14;
      return text.substr(begin, text.find('\'', begin) - begin);
    }
    return name + " is known";
  };
  EXPECT_EQ(suggestion("renset18"), "resnet18");
  EXPECT_EQ(suggestion("ResNet50"), "resnet50");
  EXPECT_EQ(suggestion("resnet50_v2"), "resnet50v2");
  EXPECT_EQ(suggestion("plain-20"), "plain20");
  EXPECT_EQ(suggestion("resnet"), "resnet18");
  for (const char* bad :
       {"", "resnet021", "resnet2", "resnet-20", "resnet21", "resnet20v3", "resnet20v2v2",
        "resnet20-bottleneck-basic", "resnet32-bottleneck", "resnet50-basic", "plainresnet20",
        "plainplain20", "plain", "resnet99999999999999999999", "resnet60002"}) {
    EXPECT_THROW(check_architecture(bad), Error) << bad;
  }
  EXPECT_LT(suggestion(std::string(1 << 20, 'x')).size(), 100U);
}

TEST(Registry, ListIsSortedAndUnique) {
  const auto names = architectures();
  EXPECT_TRUE(std::ranges::is_sorted(names));
  EXPECT_EQ(std::ranges::adjacent_find(names), names.end());
}

// ----------------------------------------------------------------------------------------- summary

TEST(Summary, MultiplyAddsAreTheKnownOnes) {
  const auto totals = [](const char* name, std::int64_t batch) {
    std::int64_t parameters = 0, multiply_adds = 0;
    for (const LayerSummary& l : summarise(inference_graph({.architecture = name}, batch))) {
      EXPECT_EQ(l.output[0], 1);
      parameters += l.parameters;
      multiply_adds += l.multiply_adds;
    }
    return std::pair{parameters, multiply_adds};
  };
  // fvcore and torchvision: 1.814 and 4.089 G.
  EXPECT_EQ(totals("resnet18", 1),
            (std::pair<std::int64_t, std::int64_t>{11'689'512, 1'814'073'344}));
  EXPECT_EQ(totals("resnet50", 1),
            (std::pair<std::int64_t, std::int64_t>{25'557'032, 4'089'184'256}));
  EXPECT_EQ(totals("resnet50", 5), totals("resnet50", 1));
}

TEST(Summary, LayersInOrder) {
  const auto layers = summarise(inference_graph({.architecture = "resnet18", .classes = 7}, 3));
  EXPECT_EQ(layers[0].name, "conv1");
  EXPECT_EQ(layers[0].op, "conv2d");
  EXPECT_EQ(layers[0].output, (Shape{1, 64, 112, 112}));
  EXPECT_EQ(layers[0].parameters, 64 * 3 * 49);
  EXPECT_EQ(layers[0].multiply_adds, std::int64_t{64} * 3 * 49 * 112 * 112);
  EXPECT_EQ(layers[1].name, "bn1");
  EXPECT_EQ(layers[1].parameters, 128);
  EXPECT_EQ(layers[3].name, "maxpool");
  EXPECT_EQ(layers[3].output, (Shape{1, 64, 56, 56}));
  const LayerSummary& fc = layers[layers.size() - 2];
  EXPECT_EQ(fc.name, "fc");
  EXPECT_EQ(fc.parameters, 512 * 7 + 7);
  EXPECT_EQ(fc.multiply_adds, 512 * 7);
}

TEST(Summary, TrainingGraphsCountTheForwardPassOnly) {
  Graph g = build(config_of("resnet20"));
  const Value targets = g.input("targets", {2, 10});
  const auto find = [&](std::string_view name) {
    const auto it = std::ranges::find(g.nodes(), name, &Node::name);
    return Value{static_cast<std::int32_t>(it - g.nodes().begin()), 0};
  };
  const Value loss = g.softmax_cross_entropy(find("fc"), targets);
  const std::size_t before = summarise(g).size();
  gradients(g, loss, g.trainable());
  EXPECT_EQ(summarise(g).size(), before);
}

// A whole step: loss, gradients, averages and the optimizer.
TEST(Summary, WhatATrainingStepAddsIsNoLayer) {
  for (const char* name : {"resnet20", "resnet20v2", "resnet18d"}) {
    const ModelConfig config = config_of(name);
    Graph g(Mode::kTraining);
    const Value image =
        g.input("image", {2, config.channels, config.image_size, config.image_size});
    const Value logits = build_model(g, config, image);
    const auto names = [](const std::vector<LayerSummary>& layers) {
      std::vector<std::string> all;
      for (const LayerSummary& l : layers) all.push_back(l.name + " " + l.op);
      return all;
    };
    g.mark_output("logits", logits);
    const auto before = names(summarise(g));
    const Value targets = g.input("targets", {2, config.classes});
    const Value loss = g.softmax_cross_entropy(logits, targets);
    const auto trained = g.trainable();
    const auto grads = gradients(g, loss, trained);
    // What optimizers and averages are made of: forward ops over parameters.
    const Value scale =
        g.parameter("optimizer.scale", g.shape(trained[0]), {.role = Role::kOptimizer});
    g.mark_output("scaled", g.mul(trained[0], scale));
    g.mark_output("loss", loss);
    EXPECT_EQ(names(summarise(g)), before) << name;
    EXPECT_FALSE(before.empty());
  }
}

}  // namespace
}  // namespace resnet

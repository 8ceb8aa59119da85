// ONNX out and in: what is exported comes back, other exporters' graphs are understood, and what is
// not understood is named.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>
#include <utility>

#include "core/file.h"
#include "exchange/onnx_export.h"
#include "exchange/onnx_support.h"

namespace resnet {
namespace {

std::vector<ModelConfig> configurations() {
  const ModelConfig small{.architecture = "resnet8", .classes = 4, .image_size = 32};
  const auto with = [&](const std::function<void(ModelConfig&)>& change) {
    ModelConfig c = small;
    change(c);
    return c;
  };
  return {
      small,
      with([](ModelConfig& c) { c.shortcut = Shortcut::kB; }),
      with([](ModelConfig& c) { c.shortcut = Shortcut::kC; }),
      with([](ModelConfig& c) { c.architecture = "resnet8v2"; }),
      with([](ModelConfig& c) { c.architecture = "plain8"; }),
      with([](ModelConfig& c) { c.architecture = "plain8v2"; }),
      with([](ModelConfig& c) { c.architecture = "resnet11"; }),
      with([](ModelConfig& c) { c.architecture = "resnet11v2"; }),
      with([](ModelConfig& c) {
        c.architecture = "resnet11";
        c.stride_on_first_1x1 = true;
      }),
      with([](ModelConfig& c) {
        c.architecture = "resnet18";
        c.image_size = 64;
        c.channels = 1;
      }),
      with([](ModelConfig& c) {
        c.architecture = "resnet18v2";
        c.image_size = 48;
      }),
      with([](ModelConfig& c) {  // 48 leaves three rows for the last pool, which pads them
        c.architecture = "resnet18d";
        c.image_size = 48;
      }),
  };
}

// -------------------------------------------------------------------------------------- round trip

TEST_F(OnnxTest, ComesBackAsItWas) {
  std::vector<ModelConfig> all = configurations();
  ModelConfig cut{.architecture = "resnet8", .classes = 3, .image_size = 32};
  cut.splice = "layer2";
  cut.head_hidden = 7;
  all.push_back(cut);
  for (const ModelConfig& config : all) {
    SCOPED_TRACE(config.architecture);
    const ModelFile a = model_of(config);
    for (const bool any_size : {false, true}) {
      export_onnx(path_, a, {.any_size = any_size});
      const ImportedModel b = import_model(path_);
      EXPECT_EQ(b.model.config, a.config);
      EXPECT_EQ(b.model.class_names, a.class_names);
      EXPECT_EQ(b.model.preprocessing, a.preprocessing);
      EXPECT_EQ(b.model.provenance, a.provenance);
      EXPECT_EQ(b.report.format, "ONNX");
      EXPECT_EQ(b.report.matched.size(), a.weights.size());
      expect_same_weights(a.weights, b.model.weights);
    }
  }
}

TEST_F(OnnxTest, ScalesByOneNumber) {
  const ModelFile a = model_of({.architecture = "resnet8-fast", .classes = 4, .image_size = 32});
  const OnnxModel onnx = to_onnx(a, {}, path_);
  EXPECT_EQ(std::ranges::count(onnx.nodes, "Mul", &OnnxNode::op), 1);
  const auto mul = std::ranges::find(onnx.nodes, "Mul", &OnnxNode::op);
  const auto factor = std::ranges::find_if(
      onnx.initializers, [&](const auto& entry) { return entry.first == mul->inputs.at(1); });
  ASSERT_NE(factor, onnx.initializers.end());
  ASSERT_EQ(factor->second.size(), 1);
  EXPECT_EQ(factor->second.as<float>()[0], static_cast<float>(1.0 / 9));
}

TEST_F(OnnxTest, TheGraphAloneTellsTheNetwork) {
  for (const ModelConfig& config : configurations()) {
    SCOPED_TRACE(config.architecture);
    const ModelFile a = model_of(config);
    const ImportedModel b = imported(anonymous(a));
    EXPECT_EQ(b.model.class_names.front(), "class 0");
    if (config.architecture == "plain8v2") {  // without skips v1 and v2 are the same
      EXPECT_EQ(b.model.config.architecture, "plain8");
    } else {
      EXPECT_EQ(b.model.config, a.config);
      expect_same_weights(a.weights, b.model.weights);
    }
    // Named, with the shortcut left to be found.
    const ImportedModel c = imported(anonymous(a), {.architecture = config.architecture});
    EXPECT_EQ(c.model.config, a.config);
    expect_same_weights(a.weights, c.model.weights);
  }
}

TEST_F(OnnxTest, WritesWhatTheOptionsSay) {
  const ModelFile model = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  const OnnxModel usual = exported(model);
  ASSERT_EQ(usual.outputs.size(), 2U);
  EXPECT_EQ(usual.outputs[0].name, "logits");
  EXPECT_EQ(usual.outputs[0].shape, (std::vector<OnnxDimension>{{-1, "batch"}, {4, ""}}));
  EXPECT_EQ(usual.outputs[1].name, "probabilities");
  ASSERT_EQ(usual.inputs.size(), 1U);
  EXPECT_EQ(usual.inputs[0].name, "image");
  EXPECT_EQ(usual.inputs[0].shape,
            (std::vector<OnnxDimension>{{-1, "batch"}, {3, ""}, {32, ""}, {32, ""}}));
  EXPECT_EQ(usual.metadata.at("architecture"), "resnet8");
  EXPECT_EQ(usual.metadata.at("classes"), R"(["c0","c1","c2","c3"])");
  EXPECT_FALSE(usual.metadata.contains("format"));
  EXPECT_EQ(usual.producer_name, "resnet.cpp");
  std::set<std::string> names;
  for (const auto& [name, tensor] : usual.initializers) names.insert(name);
  for (const auto& [name, tensor] : model.weights) EXPECT_TRUE(names.contains(name)) << name;

  const OnnxModel other = exported(model, {.probabilities = false, .any_size = true});
  EXPECT_EQ(other.outputs.size(), 1U);
  EXPECT_EQ(std::ranges::count(other.nodes, "Softmax", &OnnxNode::op), 0);
  EXPECT_EQ(other.inputs[0].shape[2], (OnnxDimension{-1, "height"}));

  ModelFile incomplete = model;
  incomplete.weights.erase("fc.bias");
  EXPECT_THROW(export_onnx(folder_ / "other.onnx", incomplete), Error);
  EXPECT_FALSE(fs::exists(folder_ / "other.onnx"));
}

// --------------------------------------------------------------------------------------- integers

// The int8 network with scales that tell tensors apart, and whole biases.
ModelFile on_integers(const ModelConfig& config, const std::string& keep = {}) {
  ModelFile m = model_of(config);
  const Graph real = inference_graph(m.config, 1);
  const Graph folded = fold_graph(real);
  float scale = 0.01F;
  for (const Node& n : folded.nodes()) {
    if ((n.op != Op::kConv2d && n.op != Op::kLinear) || n.name == keep) continue;
    std::vector<float>& scales = m.quantization.weights[n.name];
    for (std::int64_t i = 0; i < folded.shape(n.inputs[1])[0]; ++i)
      scales.push_back(scale *= 1.01F);
    scale = 0.01F;
  }
  for (const Value v : scaled_activations(folded)) {
    m.quantization.activations[folded.node(v).name] = scale *= 1.1F;
  }
  drop_unread_scales(real, m.quantization);
  const std::map<std::string, Tensor> before = std::exchange(m.weights, {});
  const Graph graph = inference_graph(m, 1);
  double value = 0;
  for (const Value v : graph.parameters()) {
    const std::string& name = graph.node(v).name;
    Tensor t(graph.type(v).dtype, graph.shape(v));
    if (t.dtype() == DType::kI8) {
      for (auto& x : t.as<std::int8_t>())
        x = static_cast<std::int8_t>(127 * std::sin(value += 0.7));
    } else if (before.contains(name) &&
               !m.quantization.weights.contains(name.substr(0, name.rfind('.')))) {
      t = before.at(name);
    } else {
      for (float& x : t.as<float>())
        x = std::nearbyint(1000 * static_cast<float>(std::sin(value += 0.7))) + 0.0F;  // no -0
    }
    m.weights[name] = t;
  }
  return m;
}

TEST_F(OnnxTest, IntegersComeBackAsTheyWere) {
  std::vector<ModelConfig> all = configurations();
  ModelConfig cut{.architecture = "resnet8", .classes = 1, .channels = 1, .image_size = 32};
  cut.splice = "layer2";
  cut.head_hidden = 7;
  all.push_back(cut);
  for (const ModelConfig& config : all) {
    SCOPED_TRACE(config.architecture);
    for (const char* keep : {"", "conv1", "fc"}) {
      const ModelFile a = on_integers(config, keep);
      export_onnx(path_, a, {.probabilities = *keep == 0, .any_size = *keep != 0});
      const ImportedModel b = import_model(path_);
      EXPECT_EQ(b.model.config, a.config);
      EXPECT_EQ(b.model.class_names, a.class_names);
      EXPECT_EQ(b.model.preprocessing, a.preprocessing);
      EXPECT_EQ(b.model.quantization.weights, a.quantization.weights);
      EXPECT_EQ(b.model.quantization.activations, a.quantization.activations);
      expect_same_weights(a.weights, b.model.weights);
    }
  }
}

TEST_F(OnnxTest, IntegersStandBetweenQuantizeAndDequantize) {
  const ModelFile model = on_integers({.architecture = "resnet8", .classes = 4, .image_size = 32});
  OnnxModel onnx = exported(model);
  const std::map<std::string, Tensor> constants(onnx.initializers.begin(), onnx.initializers.end());
  std::map<std::string, const OnnxNode*> made_by;
  for (const OnnxNode& n : onnx.nodes) made_by[n.outputs[0]] = &n;
  const auto is = [&](const std::string& value, std::string_view op) {
    return made_by.contains(value) && made_by.at(value)->op == op;
  };
  int layers = 0;
  for (const OnnxNode& n : onnx.nodes) {
    SCOPED_TRACE(n.name);
    if (n.op == "QuantizeLinear" || n.op == "DequantizeLinear") {
      ASSERT_EQ(n.inputs.size(), 3U);
      const Tensor& zero = constants.at(n.inputs[2]);
      EXPECT_TRUE(same_bits(zero, Tensor::zeros(zero.dtype(), zero.shape())));  // symmetric
      EXPECT_EQ(zero.shape(), constants.at(n.inputs[1]).shape());
    }
    if (n.op == "QuantizeLinear") {
      EXPECT_FALSE(is(n.inputs[0], "DequantizeLinear")) << "integers twice";
    }
    if (n.op != "Conv" && n.op != "Gemm") continue;
    ++layers;
    ASSERT_EQ(n.inputs.size(), 3U);
    for (const std::string& input : n.inputs) EXPECT_TRUE(is(input, "DequantizeLinear")) << input;
    const OnnxNode &x = *made_by.at(n.inputs[0]), &w = *made_by.at(n.inputs[1]),
                   &b = *made_by.at(n.inputs[2]);
    EXPECT_TRUE(is(x.inputs[0], "QuantizeLinear"));
    EXPECT_EQ(std::get<std::int64_t>(w.attributes.at("axis")), 0);
    EXPECT_EQ(std::get<std::int64_t>(b.attributes.at("axis")), 0);
    const float x_scale = constants.at(x.inputs[1]).as<float>()[0];
    const Tensor &w_scale = constants.at(w.inputs[1]), &b_scale = constants.at(b.inputs[1]);
    const Tensor& bias = constants.at(b.inputs[0]);
    EXPECT_TRUE(same_bits(constants.at(w.inputs[0]), model.weights.at(n.name + ".weight")));
    EXPECT_EQ(bias.dtype(), DType::kI32);
    EXPECT_TRUE(same_bits(bias.cast(DType::kF32), model.weights.at(n.name + ".bias")));
    const std::vector<float>& scales = model.quantization.weights.at(n.name);
    ASSERT_EQ(w_scale.size(), std::ssize(scales));
    for (std::size_t i = 0; i < scales.size(); ++i) {
      EXPECT_EQ(w_scale.as<float>()[i], scales[i]);
      EXPECT_EQ(b_scale.as<float>()[i], scales[i] * x_scale);
    }
  }
  EXPECT_EQ(layers, 8);
  // What follows a ReLU is unsigned, the image is not.
  EXPECT_EQ(made_by.at(first(onnx, "Conv").inputs[0])->inputs[2], "zero_point.i8");
  EXPECT_EQ(std::ranges::count(onnx.nodes, "Relu", &OnnxNode::op), 7);
  for (const OnnxNode& n : onnx.nodes) {
    if (n.op != "QuantizeLinear" || !is(n.inputs[0], "Relu")) continue;
    EXPECT_EQ(n.inputs[2], "zero_point.u8");
  }
}

TEST_F(OnnxTest, BiasesThatAreNoIntegersAreRoundedOrRefused) {
  ModelFile model = on_integers({.architecture = "resnet8", .classes = 4, .image_size = 32});
  const auto set = [&](float value) {
    Tensor bias = model.weights.at("conv1.bias").clone();
    bias.as<float>()[3] = value;
    model.weights["conv1.bias"] = bias;
  };
  set(2.5F);
  const OnnxModel onnx = exported(model);
  const auto bias =
      std::ranges::find(onnx.initializers, "conv1.bias", &std::pair<std::string, Tensor>::first);
  EXPECT_EQ(bias->second.as<std::int32_t>()[3], 2);
  for (const float value : {0x1p31F, -0x1p31F, INFINITY, NAN}) {
    set(value);
    try {
      exported(model);
      ADD_FAILURE() << value << " was written";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string_view(e.what()).find("layer conv1: ONNX keeps biases"),
                std::string_view::npos)
          << e.what();
    }
  }
}

TEST_F(OnnxTest, IntegersOfAChangedGraphAreRefused) {
  const ModelFile model = on_integers({.architecture = "resnet8", .classes = 4, .image_size = 32});
  const OnnxModel good = exported(model);
  const auto expect = [&](ErrorCode code, std::string_view part,
                          const std::function<void(OnnxModel&)>& change) {
    OnnxModel onnx = good;
    for (auto& [name, tensor] : onnx.initializers) tensor = tensor.clone();
    change(onnx);
    expect_error(code, {part}, onnx);
  };
  const auto constant = [](OnnxModel& m, std::string_view name) -> Tensor& {
    return std::ranges::find(m.initializers, name, &std::pair<std::string, Tensor>::first)->second;
  };
  using enum ErrorCode;
  expect(kUnsupported, "Relu 'conv1.Relu' differs from Relu 'conv1.Relu'",
         [](OnnxModel& m) { first(m, "Relu").inputs[0] = "image"; });
  expect(kUnsupported, "Conv 'conv1' differs", [](OnnxModel& m) {
    first(m, "Conv").attributes["strides"] = Ints{2, 2};
  });
  expect(kUnsupported, "Softmax 'softmax' is one too many",
         [](OnnxModel& m) { m.outputs.pop_back(); });
  expect(kUnsupported, "'zero_point.u8' differs",
         [&](OnnxModel& m) { constant(m, "zero_point.u8").as<std::uint8_t>()[0] = 128; });
  expect(kUnsupported, "'conv1.bias_scale' differs",
         [&](OnnxModel& m) { constant(m, "conv1.bias_scale").as<float>()[2] *= 2; });
  expect(kBadData, "scales must be between",
         [&](OnnxModel& m) { constant(m, "conv1.output_scale").as<float>()[0] = -1; });
  expect(kBadData, "'conv1.weight' must hold 8-bit integers", [&](OnnxModel& m) {
    constant(m, "conv1.weight") = Tensor::full({16, 3, 3, 3}, 1);
  });
  expect(kBadData, "'fc.bias'",
         [&](OnnxModel& m) { constant(m, "fc.bias") = Tensor::zeros(DType::kI32, {3}); });
  // Without our metadata it is anybody's.
  expect(kUnsupported, "QuantizeLinear 'image.QuantizeLinear': an int8 network",
         [](OnnxModel& m) { m.metadata.clear(); });
}

// ---------------------------------------------------------------------------------------- folding

TEST_F(OnnxTest, FoldedBatchNormsBecomeOnesThatDoNothing) {
  for (const char* architecture : {"resnet8", "resnet8v2"}) {
    SCOPED_TRACE(architecture);
    const ModelFile a = model_of({.architecture = architecture, .classes = 4, .image_size = 32});
    const OnnxModel onnx = anonymous(a, {.fold_batch_norm = true});
    const ImportedModel b = imported(onnx);
    EXPECT_EQ(b.model.config, a.config);
    int folded = 0;
    for (const auto& [name, gamma] : b.model.weights) {
      if (!name.ends_with(".running_var") ||
          !same_bits(gamma, Tensor::full(gamma.shape(), 1 - 1e-5F))) {
        continue;
      }
      ++folded;
      const std::string norm = name.substr(0, name.size() - std::strlen(".running_var"));
      EXPECT_TRUE(same_bits(b.model.weights.at(norm + ".weight"), Tensor::full(gamma.shape(), 1)));
      EXPECT_TRUE(same_bits(b.model.weights.at(norm + ".running_mean"),
                            Tensor::zeros(DType::kF32, gamma.shape())));
    }
    const bool v2 = std::string(architecture) == "resnet8v2";
    EXPECT_EQ(folded, v2 ? 3 : 7);  // v2: only those between two convolutions of a block
    // γ w / sqrt(var + eps) and β − γ mean / sqrt(var + eps), rounded once.
    const std::string conv = "layer1.0.conv1", norm = v2 ? "layer1.0.bn2" : "layer1.0.bn1";
    const auto value = [&](const std::string& name) {
      return double{a.weights.at(name).as<float>()[3]};
    };
    const double scale = value(norm + ".weight") / std::sqrt(value(norm + ".running_var") + 1e-5);
    const std::size_t filter = 3 * 16 * 9;
    EXPECT_EQ(b.model.weights.at(conv + ".weight").as<float>()[filter],
              static_cast<float>(a.weights.at(conv + ".weight").as<float>()[filter] * scale));
    EXPECT_EQ(b.model.weights.at(norm + ".bias").as<float>()[3],
              static_cast<float>(value(norm + ".bias") - value(norm + ".running_mean") * scale));
    // The factor that stands for it differs from 1 by less than half a unit of f32 below 1, 2^-25.
    const double one = 1 / std::sqrt(double{1 - 1e-5F} + 1e-5);
    EXPECT_LT(std::abs(one - 1), 0x1p-25);
  }
}

TEST_F(OnnxTest, AZeroBiasMayBeLeftOut) {
  const ModelFile a = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  OnnxModel onnx = anonymous(a, {.fold_batch_norm = true});
  first(onnx, "Conv").inputs.pop_back();
  const ImportedModel b = imported(onnx);
  EXPECT_TRUE(same_bits(b.model.weights.at("bn1.bias"), Tensor::zeros(DType::kF32, {16})));
}

TEST_F(OnnxTest, ABiasBeforeABatchNormMovesIntoItsMean) {
  const ModelFile a = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  OnnxModel onnx = anonymous(a);
  onnx.initializers.emplace_back("b", Tensor::full({16}, 0.5F));
  first(onnx, "Conv").inputs.push_back("b");
  first(onnx, "BatchNormalization").attributes["epsilon"] = 1e-3F;
  const ImportedModel b = imported(onnx);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(b.model.weights.at("bn1.running_mean").as<float>()[i],
              a.weights.at("bn1.running_mean").as<float>()[i] - 0.5F);
    EXPECT_EQ(b.model.weights.at("bn1.running_var").as<float>()[i],
              static_cast<float>(a.weights.at("bn1.running_var").as<float>()[i] + (1e-3 - 1e-5)));
  }
}

// --------------------------------------------------------------------- what other exporters write

TEST_F(OnnxTest, OtherSpellingsMeanTheSame) {
  const ModelFile a = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  const auto expect_same = [&](const std::function<void(OnnxModel&)>& change) {
    OnnxModel onnx = anonymous(a);
    change(onnx);
    const ImportedModel b = imported(onnx);
    EXPECT_EQ(b.model.config, a.config);
    expect_same_weights(a.weights, b.model.weights);
  };
  const auto insert = [](OnnxModel& onnx, const OnnxNode& before, OnnxNode node) {
    const auto at = std::ranges::find(onnx.nodes, before.outputs, &OnnxNode::outputs);
    onnx.nodes.insert(at, std::move(node));
  };
  {
    SCOPED_TRACE("sums in the other order");
    expect_same([](OnnxModel& onnx) {
      for (OnnxNode& node : onnx.nodes) {
        if (node.op == "Add") std::swap(node.inputs[0], node.inputs[1]);
      }
    });
  }
  {
    SCOPED_TRACE("the mean over rows and columns");
    expect_same([](OnnxModel& onnx) {
      OnnxNode& pool = first(onnx, "GlobalAveragePool");
      pool.op = "ReduceMean";
      pool.attributes = {{"axes", Ints{2, 3}}, {"keepdims", std::int64_t{1}}};
    });
    expect_same([](OnnxModel& onnx) {
      OnnxNode& pool = first(onnx, "GlobalAveragePool");
      pool.op = "ReduceMean";
      pool.inputs.push_back("axes");
      const Ints axes{-2, -1};
      onnx.initializers.emplace_back("axes", Tensor::from<std::int64_t>({2}, std::span(axes)));
    });
    expect_same([](OnnxModel& onnx) {
      OnnxNode& pool = first(onnx, "GlobalAveragePool");
      pool.op = "AveragePool";
      pool.attributes = {{"kernel_shape", Ints{8, 8}}, {"strides", Ints{8, 8}}};
    });
  }
  {
    SCOPED_TRACE("a reshape by a shape that is computed");
    expect_same([&](OnnxModel& onnx) {
      OnnxNode& flatten = first(onnx, "Flatten");
      flatten.op = "Reshape";
      flatten.attributes.clear();
      flatten.inputs.push_back("shape");
      const OnnxNode reshape = flatten;
      insert(onnx, reshape, {.op = "Shape", .inputs = {reshape.inputs[0]}, .outputs = {"s"}});
      insert(onnx, reshape,
             {.op = "Cast",
              .inputs = {"s"},
              .outputs = {"shape"},
              .attributes = {{"to", std::int64_t{7}}}});
    });
  }
  {
    SCOPED_TRACE("a product and a sum");
    expect_same([&](OnnxModel& onnx) {
      OnnxNode& gemm = first(onnx, "Gemm");
      gemm.op = "MatMul";
      gemm.attributes.clear();
      const std::string bias = gemm.inputs[2], weight = gemm.inputs[1], logits = gemm.outputs[0];
      gemm.inputs.pop_back();
      gemm.outputs[0] = "product";
      for (auto& [name, tensor] : onnx.initializers) {
        if (name != weight) continue;
        tensor = transposed(tensor);
      }
      const auto at = std::ranges::find(onnx.nodes, "MatMul", &OnnxNode::op);
      onnx.nodes.insert(at + 1, {.op = "Add", .inputs = {bias, "product"}, .outputs = {logits}});
    });
  }
  {
    SCOPED_TRACE("nodes that do nothing, constants as nodes, doubles");
    expect_same([&](OnnxModel& onnx) {
      OnnxNode& relu = first(onnx, "Relu");
      const OnnxNode before = relu;
      insert(onnx, before, {.op = "Identity", .inputs = {before.inputs[0]}, .outputs = {"i"}});
      insert(onnx, before, {.op = "Dropout", .inputs = {"i"}, .outputs = {"d", "mask"}});
      insert(onnx, before,
             {.op = "Cast",
              .inputs = {"d"},
              .outputs = {"f"},
              .attributes = {{"to", std::int64_t{1}}}});
      std::ranges::find(onnx.nodes, before.outputs, &OnnxNode::outputs)->inputs[0] = "f";
      auto& [name, tensor] = onnx.initializers.front();
      onnx.nodes.insert(onnx.nodes.begin(), {.op = "Constant",
                                             .outputs = {name},
                                             .attributes = {{"value", tensor.cast(DType::kF64)}}});
      onnx.initializers.erase(onnx.initializers.begin());
    });
  }
  {
    SCOPED_TRACE("rows and columns one after the other");
    expect_same([&](OnnxModel& onnx) {
      const OnnxNode both = first(onnx, "Slice");
      const auto list = [&](const char* name, std::int64_t value) {
        onnx.initializers.emplace_back(name, Tensor::from<std::int64_t>({1}, std::span(&value, 1)));
      };
      list("zero", 0), list("end", 32), list("rows", 2), list("columns", -1), list("two", 2);
      insert(onnx, both,
             {.op = "Slice",
              .inputs = {both.inputs[0], "zero", "end", "rows", "two"},
              .outputs = {"half"}});
      std::ranges::find(onnx.nodes, both.outputs, &OnnxNode::outputs)->inputs = {
          "half", "zero", "end", "columns", "two"};
    });
  }
}

// Graphs as PyTorch's exporters wrote them (onnx/make.py). Their names say the truth, and the
// import does not look at them.
TEST_F(OnnxTest, ReadsWhatPyTorchExports) {
  Tensor values(DType::kF32, {80'000});
  for (std::size_t i = 0; i < values.as<float>().size(); ++i) {
    values.as<float>()[i] =
        static_cast<float>(static_cast<std::int64_t>(i * 37 % 1021) - 510) / 1024;
  }
  write_file_atomic(folder_ / "weights.bin",
                    std::span<const std::byte>(values.raw(), values.bytes()));
  // "/layer2/layer2.0/conv1/Conv" is the node of layer2.0.conv1.
  const auto layer_of = [](const std::string& node) {
    std::vector<std::string> parts;
    for (std::size_t at = 1, end = 0; (end = node.find('/', at)) != std::string::npos;
         at = end + 1) {
      parts.push_back(node.substr(at, end - at));
    }
    return parts.size() == 1 ? parts[0] : parts.at(1) + "." + parts.back();
  };
  for (const char* name : {"resnet8_a", "resnet8_b", "resnet8v2"}) {
    for (const char* exporter : {"torchscript", "dynamo"}) {
      SCOPED_TRACE(fmt::format("{} {}", name, exporter));
      const fs::path file = fmt::format("{}_{}.onnx", name, exporter);
      fs::copy_file(fs::path(RESNET_TEST_DIR) / "exchange/onnx" / file, folder_ / file);
      // Variances are negative, too, where the values are.
      const ImportedModel m = import_model(folder_ / file, {.allow_broken = true});
      const bool v2 = std::string_view(name) == "resnet8v2";
      EXPECT_EQ(m.model.config.architecture, v2 ? "resnet8v2" : "resnet8");
      EXPECT_EQ(m.model.config.shortcut,
                std::string_view(name) == "resnet8_b" ? Shortcut::kB : Shortcut::kDefault);
      EXPECT_EQ(m.model.config.classes, 4);
      int compared = 0;
      if (std::string_view(exporter) == "torchscript") {
        for (const auto& [node, ours] : m.report.matched) {
          if (m.model.weights.at(ours).shape().size() == 1) continue;  // norms are in convolutions
          EXPECT_EQ(layer_of(node) + ".weight", ours);
          ++compared;
        }
      } else {
        for (const auto& [theirs, tensor] : read_onnx(folder_ / file).initializers) {
          if (!theirs.ends_with(".weight") || tensor.shape().size() == 1) continue;
          EXPECT_TRUE(same_bits(tensor, m.model.weights.at(theirs))) << theirs;
          ++compared;
        }
      }
      const bool projections = std::string_view(name) != "resnet8_a";
      EXPECT_EQ(compared, projections ? 10 : 8);  // 7 convolutions, 2 projections, the head
    }
  }
}

// ------------------------------------------------------------------------------------------ errors

TEST_F(OnnxTest, SaysWhatDiffersAndWhatWouldFit) {
  const ModelFile eight = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  expect_error(ErrorCode::kBadData,
               {"its graph is not that of resnet14", "'layer3.1.", "it is that of resnet8"},
               anonymous(eight), {.architecture = "resnet14"});
  expect_error(ErrorCode::kBadData, {"a model file of resnet8, not of resnet14"}, exported(eight),
               {.architecture = "resnet14"});
  expect_error(
      ErrorCode::kBadData, {"not that of resnet8", "it is that of resnet8 with shortcuts B"},
      anonymous(model_of(
          {.architecture = "resnet8", .classes = 4, .image_size = 32, .shortcut = Shortcut::kB})),
      {.architecture = "resnet8", .shortcut = Shortcut::kA});
  // Metadata that lie.
  OnnxModel onnx = exported(eight);
  onnx.metadata["architecture"] = "resnet14";
  expect_error(ErrorCode::kBadData, {"not that of resnet14", "it is that of resnet8"}, onnx);
  // A graph of no network: one ReLU is missing.
  onnx = anonymous(eight);
  OnnxNode& relu = first(onnx, "Relu");
  relu.op = "Sigmoid";
  expect_error(ErrorCode::kBadData,
               {"no network here has this graph", "7 convolutions and 4 classes"}, onnx);
  expect_error(ErrorCode::kBadData, {"relu", "was expected, found sigmoid", "no network here"},
               onnx, {.architecture = "resnet8"});
}

TEST_F(OnnxTest, NamesTheNodeThatIsNotUnderstood) {
  const ModelFile model = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  const auto refuse = [&](std::initializer_list<std::string_view> parts,
                          const std::function<void(OnnxModel&)>& change,
                          ErrorCode code = ErrorCode::kUnsupported) {
    OnnxModel onnx = exported(model);
    onnx.metadata.clear();
    change(onnx);
    expect_error(code, parts, onnx);
  };
  refuse({"Elu 'relu'", "no network here has this operation"},
         [](OnnxModel& o) { first(o, "Relu").op = "Elu"; });
  refuse({"com.example.Relu 'relu'"},
         [](OnnxModel& o) { first(o, "Relu").domain = "com.example"; });
  refuse({"BatchNormalization 'bn1'", "call .eval()"}, [](OnnxModel& o) {
    first(o, "BatchNormalization").attributes["training_mode"] = std::int64_t{1};
  });
  refuse({"GlobalMaxPool 'avgpool.GlobalAveragePool'", "no network here has this operation"},
         [](OnnxModel& o) { first(o, "GlobalAveragePool").op = "GlobalMaxPool"; });
  refuse({"version 6, 7 and later"}, [](OnnxModel& o) { o.opset = 6; });
  refuse({"expected one input of images"}, [](OnnxModel& o) {
    o.inputs.push_back({"other", DType::kF32, {{1, ""}}});
  });
  refuse({"output 'relu' comes from relu 'relu'", "expected a linear layer"}, [](OnnxModel& o) {
    o.outputs = {{first(o, "Relu").outputs[0], DType::kF32, {}}};
  });
  refuse({"Gemm 'fc'", "should be a constant"},
         [](OnnxModel& o) { first(o, "Gemm").inputs[2] = first(o, "Gemm").inputs[0]; });
  refuse({"32 rows and 31 columns"}, [](OnnxModel& o) { o.inputs[0].shape[3].size = 31; });
  refuse({"Pad", "no network here has this operation"},
         [](OnnxModel& o) { first(o, "Pad").attributes["mode"] = std::string("reflect"); });
}

TEST_F(OnnxTest, RefusesGraphsThatContradictThemselves) {
  const ModelFile model = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  const auto refuse = [&](std::initializer_list<std::string_view> parts,
                          const std::function<void(OnnxModel&)>& change) {
    OnnxModel onnx = exported(model);
    onnx.metadata.clear();
    change(onnx);
    expect_error(ErrorCode::kBadData, parts, onnx);
  };
  const auto tensor = [](OnnxModel& o, std::string_view name) -> Tensor& {
    return std::ranges::find(o.initializers, name, &std::pair<std::string, Tensor>::first)->second;
  };
  refuse({"Conv 'layer1.0.conv1'", "[16, 4, 3, 3] do not fit 16 channels"}, [&](OnnxModel& o) {
    tensor(o, "layer1.0.conv1.weight") = Tensor::full({16, 4, 3, 3}, 1);
  });
  refuse({"'bn1.weight' [5] should have 16 values"},
         [&](OnnxModel& o) { tensor(o, "bn1.weight") = Tensor::full({5}, 1); });
  refuse({"Gemm 'fc'", "[4, 63] do not fit 64 features"}, [&](OnnxModel& o) {
    tensor(o, "fc.weight") = Tensor::full({4, 63}, 1);
  });
  refuse({"Conv 'conv1'", "strides should be 2 numbers from 1"}, [](OnnxModel& o) {
    first(o, "Conv").attributes["strides"] = Ints{0, 1};
  });
  refuse({"pads should be 4 numbers from 0"}, [](OnnxModel& o) {
    first(o, "Conv").attributes["pads"] = Ints{INT64_MAX, 1, 1, 1};
  });
  refuse({"the window does not fit its input"}, [](OnnxModel& o) {
    first(o, "Conv").attributes["dilations"] = Ints{1000, 1000};
  });
  refuse({"a side of 9223372036854775807"},
         [](OnnxModel& o) { o.inputs[0].shape[2].size = INT64_MAX; });
  refuse({"has no output"}, [](OnnxModel& o) { o.outputs.clear(); });
  refuse({"has no input"}, [](OnnxModel& o) {
    o.inputs.clear();
    o.initializers.emplace_back("image", Tensor::full({1, 3, 32, 32}, 1));
  });
  // One convolution of ours, two of theirs that may have other weights, on the same input.
  OnnxModel twice = anonymous(model);
  const std::string image = twice.inputs[0].name, stem = first(twice, "Relu").outputs[0];
  std::vector<OnnxNode> twins;
  for (const OnnxNode& node : twice.nodes) {
    twins.push_back(node);
    twins.back().outputs[0] += " twin";
    if (node.inputs[0] != image) twins.back().inputs[0] += " twin";
    if (node.outputs[0] == stem) break;
  }
  first(twice, "Add").inputs[1] += " twin";
  twice.nodes.insert(twice.nodes.begin(), twins.begin(), twins.end());
  expect_error(ErrorCode::kBadData, {"several weights where resnet8 has one"}, twice,
               {.architecture = "resnet8"});
}

// A file may call its tensors anything.
TEST_F(OnnxTest, NamesOfTheFileAreNotOurs) {
  const ModelFile model = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  for (const Shape& shape : {Shape{4, 64}, Shape{64}, Shape{}}) {
    OnnxModel onnx = exported(model);
    onnx.metadata.clear();
    first(onnx, "Gemm").attributes.erase("transB");
    for (auto& [name, tensor] : onnx.initializers) {
      if (name != "fc.weight") continue;
      tensor = transposed(tensor);
    }
    onnx.initializers.emplace_back("fc.weight transposed", Tensor::full(shape, 7));
    expect_same_weights(imported(onnx).model.weights, model.weights);
  }
}

TEST_F(OnnxTest, AConstantSliceMayLackItsEnds) {
  const ModelFile model = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  OnnxModel onnx = exported(model);
  const std::int64_t last = -1, none = 0;
  for (const auto& [name, value] : {std::pair{"x", none}, {"from", last}, {"axis", none}}) {
    onnx.initializers.emplace_back(name, Tensor::from<std::int64_t>({1}, std::span(&value, 1)));
  }
  onnx.nodes.push_back(
      {.op = "Slice", .inputs = {"x", "from", "", "axis", "from"}, .outputs = {"unused"}});
  expect_same_weights(imported(onnx).model.weights, model.weights);
}

TEST_F(OnnxTest, MetadataMustAgreeWithTheGraph) {
  const ModelConfig config{.architecture = "resnet11", .classes = 4, .image_size = 32};
  ModelConfig other = config;
  other.stride_on_first_1x1 = true;
  OnnxModel onnx = exported(model_of(config));
  onnx.metadata = exported(model_of(other)).metadata;
  expect_error(ErrorCode::kBadData,
               {"its graph is that of resnet11, its metadata say resnet11 with the stride on the "
                "first 1x1 convolution"},
               onnx);
}

TEST_F(OnnxTest, ABiasWithoutAPlaceIsNotDropped) {
  const ModelFile model = model_of({.architecture = "resnet8v2", .classes = 4, .image_size = 32});
  OnnxModel onnx = exported(model);
  onnx.metadata.clear();
  const auto conv = std::ranges::find(onnx.nodes, "layer1.0.conv2", &OnnxNode::name);
  conv->inputs.push_back("b");
  onnx.initializers.emplace_back("b", Tensor::zeros(DType::kF32, {16}));
  expect_same_weights(imported(onnx).model.weights, model.weights);  // zeros need none
  onnx.initializers.back().second = Tensor::full({16}, 0.5F);
  expect_error(ErrorCode::kBadData, {"conv 'layer1.0.conv2'", "has a bias, for which"}, onnx);
}

TEST_F(OnnxTest, ConstantsCannotFillTheMemory) {
  const ModelFile model = model_of({.architecture = "resnet8", .classes = 4, .image_size = 32});
  OnnxModel onnx = exported(model);
  const Ints some(4096, 1);
  onnx.initializers.emplace_back("k0", Tensor::from<std::int64_t>({4096}, std::span(some)));
  for (int i = 0; i < 100; ++i) {
    onnx.nodes.push_back({.op = "Cast",
                          .inputs = {fmt::format("k{}", i)},
                          .outputs = {fmt::format("k{}", i + 1)},
                          .attributes = {{"to", std::int64_t{7}}}});
  }
  expect_error(ErrorCode::kBadData, {"constants take more memory than its weights"}, onnx);
}

}  // namespace
}  // namespace resnet

// Int8 networks: every family can be made one, files keep them, predictions hardly change.
#include "resnet/quantize.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/random.h"
#include "formats/image.h"
#include "formats/safetensors.h"
#include "resnet/program.h"
#include "resnet/quantized_graph.h"
#include "resnet/train.h"
#include "support/relative.h"
#include "train/evaluator.h"
#include "train/support.h"

namespace resnet {
namespace {

Tensor random_images(const ModelConfig& c, std::int64_t n, std::uint64_t seed) {
  Tensor t(DType::kF32, {n, c.channels, c.image_size, c.image_size});
  Random random(seed);
  for (float& x : t.as<float>()) x = static_cast<float>(random.normal());
  return t;
}

// Random weights whose batch norms have statistics that fit nothing in particular.
ModelFile random_model(ModelConfig config) {
  ModelFile m;
  m.config = std::move(config);
  for (std::int64_t i = 0; i < m.config.classes; ++i) m.class_names.push_back(std::to_string(i));
  const auto side = static_cast<int>(m.config.image_size);
  m.preprocessing = {.height = side, .width = side, .resize = 0};
  Variables variables;
  initialise(inference_graph(m.config, 1), variables, 7);
  Random random(5);
  for (const auto& [name, tensor] : variables.all()) {
    Tensor t = tensor;
    if (name.ends_with("running_mean")) {
      for (float& x : t.as<float>()) x = static_cast<float>(random.uniform(-0.2, 0.2));
    } else if (name.ends_with("running_var")) {
      for (float& x : t.as<float>()) x = static_cast<float>(random.uniform(0.5, 2));
    }
  }
  m.weights = from_variables(variables, m.config);
  return m;
}

Tensor logits_of(const ModelFile& m, const Tensor& images, Device device = Device::kCpu) {
  Program program(inference_graph(m, images.dim(0)), variables_of(m, device),
                  {.device = device, .threads = 1});
  program.set_input("image", images);
  program.run();
  return program.output("logits").cast(DType::kF64);
}

double mean_square(const Tensor& t) {
  double sum = 0;
  for (const float x : t.as<float>()) sum += double{x} * x;
  return sum / static_cast<double>(t.size());
}

// What quantising may change, of the size of the logits. Rounding to integers moves a value by up
// to half a step, evenly spread: its mean square is scale^2 / 12. Min-max calibration on the same
// images saturates nothing. Beside the mean square of what is rounded (each activation, each
// layer's filters) that is a share of noise; a convolution by filters of mean 0 keeps the share of
// what it reads, and so do ReLU, skip additions and averages at worst. Noise of different tensors
// is independent, so the shares add up. A filter's steps are 1/127 of its largest weight, so that
// filters differ: the mean of all is taken.
double quantisation_noise(const ModelFile& real, const ModelFile& quantized, const Tensor& images) {
  Graph g = fold_graph(inference_graph(real.config, images.dim(0)));
  std::map<std::string, Value> wanted;
  for (const Value v : scaled_activations(g)) wanted[g.node(v).name] = v;
  for (const Node& n : g.nodes()) {
    if (n.op == Op::kConv2d || n.op == Op::kLinear) wanted[n.name + ".weight"] = n.inputs[1];
  }
  for (const auto& [name, v] : wanted) g.mark_output("of " + name, v);
  Program program(g, variables_of(real, Device::kCpu), {.threads = 1});
  program.set_input("image", images);
  program.run();
  const auto size = [&](const std::string& name) {
    return mean_square(program.output("of " + name));
  };
  double noise = 0;
  for (const auto& [name, scale] : quantized.quantization.activations) {
    noise += double{scale} * scale / 12 / size(name);
  }
  for (const auto& [layer, scales] : quantized.quantization.weights) {
    double squares = 0;
    for (const float scale : scales) squares += double{scale} * scale / 12;
    noise += squares / static_cast<double>(scales.size()) / size(layer + ".weight");
  }
  return std::sqrt(noise);
}

class QuantizedFamilies : public testing::TestWithParam<ModelConfig> {};

TEST_P(QuantizedFamilies, PredictAlmostLikeTheRealOnes) {
  const ModelFile real = random_model(GetParam());
  const Tensor images = random_images(real.config, 3, 1);
  const ModelFile quantized = quantize_model(real, std::vector<Tensor>{images}, {.threads = 1});
  const Tensor expected = logits_of(real, images);
  const Tensor actual = logits_of(quantized, images);
  const double noise = quantisation_noise(real, quantized, images);
  EXPECT_LT(relative(actual, expected), noise);
  EXPECT_GT(relative(actual, expected), 1e-5) << "that was not quantised";
  // The device is the reference but for neighbours of ties, which then spread: a value is one where
  // it lies within the 12 roundings of its three terms (sum, bias, residual; tests/support rule 8)
  // of a tie, each of which has a size of 255 steps at most. It moves by a whole step, the square
  // of which is 12 times that of quantising.
  constexpr double kTies = 2 * 12 * 0x1p-24 * 3 * 255;
  EXPECT_LT(relative(actual, logits_of(quantized, images, Device::kReference)),
            std::sqrt(12 * kTies) * noise);
  for (const auto& [layer, scales] : quantized.quantization.weights) {
    EXPECT_EQ(quantized.weights.at(layer + ".weight").dtype(), DType::kI8) << layer;
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, QuantizedFamilies,
    testing::Values(
        ModelConfig{.architecture = "resnet8", .classes = 5, .image_size = 16},
        ModelConfig{.architecture = "resnet8v2", .classes = 5, .image_size = 16},
        ModelConfig{.architecture = "plain8", .classes = 5, .image_size = 16},
        ModelConfig{.architecture = "resnet8",
                    .classes = 5,
                    .channels = 1,
                    .image_size = 16,
                    .shortcut = Shortcut::kB},
        ModelConfig{.architecture = "plain8v2", .classes = 5, .image_size = 16},
        ModelConfig{
            .architecture = "resnet8", .classes = 1, .image_size = 19, .shortcut = Shortcut::kC},
        ModelConfig{.architecture = "resnet11v2", .classes = 4, .image_size = 17},
        ModelConfig{.architecture = "resnet11-bottleneck", .classes = 4, .image_size = 16},
        ModelConfig{.architecture = "resnet18", .classes = 7, .image_size = 64},
        ModelConfig{.architecture = "resnet18d", .classes = 7, .image_size = 64},
        ModelConfig{.architecture = "resnet8",
                    .classes = 5,
                    .image_size = 16,
                    .splice = "layer2",
                    .head_hidden = 9}),
    [](const auto& p) {
      std::string name = p.param.architecture + (p.param.splice.empty() ? "" : "_cut") +
                         (p.param.channels == 1 ? "_grey" : "") +
                         (p.param.classes == 1 ? "_one_class" : "");
      std::ranges::replace(name, '-', '_');
      return name;
    });

TEST(Quantize, KeepsLayersInF32) {
  const ModelFile real = random_model({.architecture = "resnet8", .classes = 3, .image_size = 16});
  const std::vector<Tensor> images{random_images(real.config, 2, 1)};
  const ModelFile m =
      quantize_model(real, images, {.keep = std::vector<std::string>{"conv1", "fc"}, .threads = 1});
  EXPECT_EQ(m.weights.at("conv1.weight").dtype(), DType::kF32);
  EXPECT_EQ(m.weights.at("fc.weight").dtype(), DType::kF32);
  EXPECT_TRUE(m.weights.contains("conv1.bias"));  // of the folded batch norm
  EXPECT_FALSE(m.quantization.weights.contains("conv1"));
  EXPECT_LT(relative(logits_of(m, images[0]), logits_of(real, images[0])),
            quantisation_noise(real, m, images[0]));
  const std::string error = error_of(
      [&] { quantize_model(real, images, {.keep = std::vector<std::string>{"layer1.0.conv3"}}); });
  EXPECT_NE(error.find("did you mean 'layer1.0.conv"), std::string::npos) << error;
}

TEST(Quantize, WeightsOfSevenBitsFitOldMachines) {
  const ModelFile real = random_model({.architecture = "resnet8", .classes = 3, .image_size = 16});
  const std::vector<Tensor> images{random_images(real.config, 2, 1)};
  const ModelFile m = quantize_model(real, images, {.weight_bits = 7, .threads = 1});
  int largest = 0;
  for (const auto& [name, t] : m.weights) {
    if (t.dtype() != DType::kI8) continue;
    for (const std::int8_t w : t.as<std::int8_t>()) largest = std::max(largest, std::abs(w));
  }
  EXPECT_EQ(largest, 63);
}

TEST(Quantize, CorrectsTheMeanOfWhatLayersMake) {
  // A layer that reads ones: rounding its weights moves every output alike, so that the correction
  // is exact up to the rounding of the bias to a whole number of its units.
  const ModelFile real = random_model({.architecture = "resnet8", .classes = 3, .image_size = 16});
  Tensor ones = Tensor::full({2, 3, 16, 16}, 1.0F);
  const auto error = [&](bool correct) {
    const ModelFile m =
        quantize_model(real, std::vector<Tensor>{ones}, {.bias_correction = correct, .threads = 1});
    // The bias is in units of a step of the data times one of the weights.
    const auto b = m.weights.at("conv1.bias").as<float>();
    const auto w = m.weights.at("conv1.weight").as<std::int8_t>();
    const auto& scales = m.quantization.weights.at("conv1");
    const double x = m.quantization.activations.at("image");
    const ModelFile folded = quantize_model(
        real, std::vector<Tensor>{ones}, {.keep = std::vector<std::string>{"conv1"}, .threads = 1});
    const auto fw = folded.weights.at("conv1.weight").as<float>();
    const auto fb = folded.weights.at("conv1.bias").as<float>();
    double worst = 0;
    for (std::size_t f = 0; f < scales.size(); ++f) {
      double whole = fb[f], rounded = b[f] * x * scales[f];
      for (std::size_t i = f * 27; i < (f + 1) * 27; ++i) {
        whole += fw[i];
        rounded += w[i] * static_cast<double>(scales[f]);
      }
      worst = std::max(worst, std::abs(whole - rounded) / (x * scales[f]));
    }
    return worst;
  };
  EXPECT_LT(error(true), 0.501);  // half a unit, and what the scales' own rounding adds
  EXPECT_GT(error(false), 2);
}

TEST(Quantize, RefusesWhatMakesNoSense) {
  const ModelFile real = random_model({.architecture = "resnet8", .classes = 3, .image_size = 16});
  const std::vector<Tensor> images{random_images(real.config, 2, 1)};
  EXPECT_NE(error_of([&] { quantize_model(real, images, {.weight_bits = 4}); }).find("7 or 8 bits"),
            std::string::npos);
  EXPECT_NE(error_of([&] { quantize_model(real, images, {.percentile = 101}); }).find("percentile"),
            std::string::npos);
  EXPECT_NE(error_of([&] { quantize_model(real, std::vector<Tensor>{}); }).find("images"),
            std::string::npos);
  const Tensor wrong(DType::kF32, {1, 3, 8, 8});
  EXPECT_NE(
      error_of([&] { quantize_model(real, std::vector<Tensor>{wrong}); }).find("[1, 3, 8, 8]"),
      std::string::npos);
  const ModelFile once = quantize_model(real, images, {.threads = 1});
  error_of([&] { quantize_model(once, images); }, ErrorCode::kUnsupported);
}

TEST(Quantize, RefusesWeightsThatAreNotFinite) {
  for (const char* name : {"fc.weight", "fc.bias"}) {
    ModelFile real = random_model({.architecture = "resnet8", .classes = 3, .image_size = 16});
    const std::vector<Tensor> images{random_images(real.config, 2, 1)};
    Tensor t = real.weights.at(name).clone();
    t.as<float>()[1] = std::nanf("");
    real.weights[name] = t;
    EXPECT_NE(error_of([&] { quantize_model(real, images, {.threads = 1}); }, ErrorCode::kNumeric)
                  .find("layer fc"),
              std::string::npos);
  }
}

class QuantizedFiles : public FolderTest {};

TEST_F(QuantizedFiles, WhatCannotBeReadLeavesTheRestOfItsBatchToCalibrateWith) {
  const ModelFile real = random_model({.architecture = "resnet8", .classes = 2, .image_size = 16});
  const auto quantized = [&](const std::string& data, bool broken) {
    Random random(3);
    const auto write = [&](const std::string& name) {
      Image image(16, 16, 3);
      for (auto& x : image.pixels) x = static_cast<std::uint8_t>(random.below(256));
      const std::filesystem::path file = folder_ / data / name;
      std::filesystem::create_directories(file.parent_path());
      write_file_atomic(file, encode_png(image));
    };
    for (const char* name : {"train/1/b.png", "val/0/d.png", "val/1/e.png"}) write(name);
    for (int i = 10; i < 22; ++i) write(fmt::format("train/0/{}.png", i));
    if (broken) std::ofstream(folder_ / data / "train/0/1.png") << "no image";
    return quantize_model(real, {.source = (folder_ / data).string()},
                          {.calibration = Calibration::kMinMax,
                           .keep = std::vector<std::string>{},
                           .batch_size = 16,
                           .threads = 1})
        .model;
  };
  const ModelFile without = quantized("without", false), with = quantized("with", true);
  ASSERT_EQ(with.weights.size(), without.weights.size());
  for (const auto& [name, tensor] : without.weights) {
    EXPECT_TRUE(same(with.weights.at(name), tensor)) << name;
  }
}

TEST_F(QuantizedFiles, ComeBackAsTheyWere) {
  const ModelFile real = random_model({.architecture = "resnet8", .classes = 3, .image_size = 16});
  const Tensor images = random_images(real.config, 2, 1);
  const ModelFile m = quantize_model(real, std::vector<Tensor>{images}, {.threads = 1});
  const auto path = folder_ / "model.safetensors";
  save_model(path, m);
  const ModelFile back = load_model(path);
  EXPECT_EQ(back.quantization.weights, m.quantization.weights);
  EXPECT_EQ(back.quantization.activations, m.quantization.activations);
  ASSERT_EQ(back.weights.size(), m.weights.size());
  for (const auto& [name, t] : m.weights) EXPECT_TRUE(same(t, back.weights.at(name))) << name;
  EXPECT_TRUE(same(logits_of(m, images), logits_of(back, images)));
  EXPECT_EQ(load_model_description(path).config, m.config);

  save_model(folder_ / "real.safetensors", real);
  EXPECT_LT(std::filesystem::file_size(path),
            std::filesystem::file_size(folder_ / "real.safetensors") / 3);
}

TEST_F(QuantizedFiles, ThatAreDamagedSaySo) {
  const ModelFile real = random_model({.architecture = "resnet8", .classes = 3, .image_size = 16});
  const std::vector<Tensor> images{random_images(real.config, 2, 1)};
  const auto path = folder_ / "model.safetensors";
  save_model(path, quantize_model(real, images, {.threads = 1}));
  const Safetensors good = read_safetensors(path);
  const auto damage = [&](const std::function<void(std::map<std::string, Tensor>&)>& change) {
    std::map<std::string, Tensor> tensors;
    for (const auto& [name, t] : good.tensors) tensors[name] = t.clone();
    change(tensors);
    write_safetensors(path, tensors, good.metadata);
    return error_of([&] { load_model(path); }, ErrorCode::kBadData);
  };
  const auto expect = [&](const std::string& part,
                          const std::function<void(std::map<std::string, Tensor>&)>& change) {
    const std::string error = damage(change);
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect("scales must be between",
         [](auto& t) { t.at("layer1.0.conv1.weight_scale").template as<float>()[3] = -1; });
  expect("scales must be between",
         [](auto& t) { t.at("conv1.output_scale").template as<float>()[0] = std::nanf(""); });
  expect("'conv1.weight_scale' must hold f32 scales, one for each filter",
         [](auto& t) { t["conv1.weight_scale"] = Tensor::zeros(DType::kI32, {16}); });
  expect("15 scales of weights for 16 filters",
         [](auto& t) { t["conv1.weight_scale"] = Tensor::full({15}, 1); });
  expect("'conv1.output_scale' must hold f32 scales, one,",
         [](auto& t) { t["conv1.output_scale"] = Tensor::full({2}, 1); });
  expect("scale of the activation 'conv1' is missing",
         [](auto& t) { t.erase("conv1.output_scale"); });
  expect("scales of weights of 'conv7'",
         [](auto& t) { t["conv7.weight_scale"] = Tensor::full({16}, 1); });
  expect("scale of 'nothing', which nothing reads",
         [](auto& t) { t["nothing.output_scale"] = Tensor::full({1}, 1); });
  expect("'conv1.weight' must hold 8-bit integers, found f32", [](auto& t) {
    t["conv1.weight"] = Tensor::full({16, 3, 3, 3}, 1);
  });
  expect("no tensor of scales", [](auto& t) {
    std::erase_if(t, [](const auto& e) { return e.first.ends_with("_scale"); });
  });
}

// --- From data to file to predictions.

TEST_F(QuantizedFiles, PredictLikeTheModelsTheyWereMadeOf) {
  const std::string data = "galaxies:train=256,val=96,size=32";
  TrainOptions o;
  o.data.source = data;
  o.model.architecture = "resnet8";
  o.epochs = 3;
  o.out = folder_ / "run";
  o.threads = 1;
  train(o);
  const ModelFile real = load_model(folder_ / "run");
  const Quantized q = quantize_model(
      real, DataSpec{.source = data},
      {.images = 64, .held_out = 96, .keep = std::vector<std::string>{}, .threads = 1});
  ASSERT_EQ(q.trials.size(), 3U);
  EXPECT_EQ(q.images, 96);
  const QuantizeTrial& best = q.trials[q.best];
  for (const QuantizeTrial& t : q.trials) EXPECT_GE(t.rms_difference, best.rms_difference);
  EXPECT_GE(best.agreement, 0.9);
  EXPECT_GE(best.top1, q.top1 - 0.05);
  EXPECT_EQ(q.model.provenance.at("quantisation"), to_table(q));
  EXPECT_NE(to_table(q).find("percentile"), std::string::npos);

  save_model(folder_ / "int8.safetensors", q.model);
  const ModelFile model = load_model(folder_ / "int8.safetensors");
  const EvalResult evaluated = evaluate(model, DataSpec{.source = data}, {.threads = 1});
  EXPECT_DOUBLE_EQ(evaluated.top1, best.top1);
  const DatasetPtr test = open_test_data({.source = data, .image_size = 32}, model.class_names);
  const Embeddings features = embed(model, test, {.eval = {.threads = 1}});
  EXPECT_EQ(features.features.shape(), (Shape{96, 64}));
  const Embeddings stage = embed(model, test, {.layer = "layer2", .eval = {.threads = 1}});
  EXPECT_EQ(stage.features.shape(), (Shape{96, 32}));

  TrainOptions again = o;
  again.out = folder_ / "again";
  again.transfer.weights = (folder_ / "int8.safetensors").string();
  EXPECT_NE(error_of([&] { train(again); }, ErrorCode::kUnsupported).find("quantised from"),
            std::string::npos);
}

}  // namespace
}  // namespace resnet

// Importing from files of every kind: what was exported here, shards, heads of one output, and
// tensors that are broken, in excess or of types that are not read.
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "exchange/import_support.h"
#include "formats/torch_file.h"

namespace resnet {
namespace {

TEST_F(Import, WhatExportWritesComesBackAsItWas) {
  std::vector<ModelConfig> configs;
  const ModelConfig base{.architecture = "resnet8", .classes = 3, .image_size = 32};
  for (const char* name : {"resnet8", "resnet8v2", "plain8", "resnet11", "resnet18d"}) {
    configs.push_back(base);
    configs.back().architecture = name;
  }
  for (const auto& change : std::vector<std::function<void(ModelConfig&)>>{
           [](ModelConfig& c) { c.channels = 1; }, [](ModelConfig& c) { c.splice = "layer2"; },
           [](ModelConfig& c) { c.splice = "layer2.0.bn1"; },
           [](ModelConfig& c) { c.head_hidden = 5; },
           [](ModelConfig& c) {
             c.splice = "layer2";
             c.head_hidden = 5;
           },
           [](ModelConfig& c) { c.shortcut = Shortcut::kC; },
           [](ModelConfig& c) {
             c.architecture = "resnet11";
             c.stride_on_first_1x1 = true;
           }}) {
    configs.push_back(base);
    change(configs.back());
  }
  for (const ModelConfig& config : configs) {
    SCOPED_TRACE(config.architecture + " " + config.splice);
    ModelFile model{.config = config,
                    .class_names = {"x", "y", "z"},
                    .preprocessing = {.height = 32, .width = 32, .resize = 36},
                    .provenance = {},
                    .weights = weights_of(config)};
    model.preprocessing.channels = static_cast<int>(config.channels);
    export_safetensors(folder_ / "out.safetensors", model);
    export_torch(folder_ / "out.pth", model);
    for (const char* file : {"out.safetensors", "out.pth"}) {
      const ModelFile back = import_model(folder_ / file).model;
      expect_same(back.weights, model.weights);
      EXPECT_EQ(back.config, config) << file;
      EXPECT_EQ(back.class_names, model.class_names);
      EXPECT_EQ(back.preprocessing.resize, 36);
    }
  }
}

TEST_F(Import, OneOutputBecomesTwoClasses) {
  ModelConfig one = small_;
  one.classes = 1;
  const Tensors weights = weights_of(one);
  const ImportedModel m = import(weights);
  EXPECT_EQ(m.model.config.classes, 2);
  EXPECT_EQ(m.model.class_names.size(), 2U);
  EXPECT_TRUE(mentions(m.report.notes, "sigmoid"));
  const auto w = m.model.weights.at("fc.weight").as<float>();
  const auto own = weights.at("fc.weight").as<float>();
  ASSERT_EQ(w.size(), 2 * own.size());
  EXPECT_TRUE(std::ranges::all_of(w.first(own.size()), [](float x) { return x == 0; }));
  EXPECT_TRUE(std::ranges::equal(w.subspan(own.size()), own));
  EXPECT_EQ(m.model.weights.at("fc.bias").as<float>()[0], 0);
  EXPECT_EQ(m.model.weights.at("fc.bias").as<float>()[1], weights.at("fc.bias").as<float>()[0]);
  EXPECT_EQ(import(weights, {.class_names = {"no", "yes"}}).model.class_names[1], "yes");
  EXPECT_IN("2 classes, but 1 names",
            error(weights, {.class_names = {"yes"}}, ErrorCode::kInvalidArgument));
}

// Whatever file brings the output, and however its model says what it is.
TEST_F(Import, OneOutputBecomesTwoClassesInEveryReader) {
  ModelConfig config = small_;
  config.classes = 1;
  for (const std::int64_t hidden : {0, 5}) {
    config.head_hidden = hidden;
    const std::string head = hidden > 0 ? "fc.3" : "fc";
    ModelFile model{.config = config,
                    .class_names = {"ring"},
                    .preprocessing = {.height = 32, .width = 32, .resize = 36},
                    .provenance = {},
                    .weights = weights_of(config)};
    save_model(folder_ / "model.safetensors", model);
    export_safetensors(folder_ / "exported.safetensors", model);
    export_torch(folder_ / "exported.pth", model);
    export_onnx(folder_ / "exported.onnx", model);
    write_torch_file(folder_ / "plain.pth", model.weights);
    for (const char* file : {"model.safetensors", "exported.safetensors", "exported.pth",
                             "exported.onnx", "plain.pth"}) {
      SCOPED_TRACE(std::string(file) + (hidden > 0 ? ", hidden layer" : ""));
      const ImportedModel m = import_model(folder_ / file);
      EXPECT_EQ(m.model.config.classes, 2);
      ASSERT_EQ(m.model.class_names.size(), 2U);
      if (file != std::string("plain.pth")) {
        EXPECT_EQ(m.model.class_names, (std::vector<std::string>{"not ring", "ring"}));
      }
      EXPECT_TRUE(mentions(m.report.notes, "sigmoid"));
      for (const char* leaf : {".weight", ".bias"}) {
        const auto two = m.model.weights.at(head + leaf).as<float>();
        const auto own = model.weights.at(head + leaf).as<float>();
        ASSERT_EQ(two.size(), 2 * own.size());
        EXPECT_TRUE(std::ranges::all_of(two.first(own.size()), [](float x) { return x == 0; }));
        EXPECT_TRUE(std::ranges::equal(two.subspan(own.size()), own));
      }
    }
  }
}

TEST_F(Import, WeightsThatAreNotFiniteAreNamed) {
  Tensors weights = weights_of(small_);
  const auto broken = [&](const std::string& name, float value) {
    Tensors w = weights;
    w[name] = w.at(name).clone();
    w[name].as<float>()[1] = value;
    return w;
  };
  for (const float value : {std::nanf(""), INFINITY, -INFINITY}) {
    const std::string message = error(broken("layer2.0.conv1.weight", value));
    EXPECT_IN("'layer2.0.conv1.weight' has 1 of", message);
    EXPECT_IN("--force", message);
  }
  EXPECT_IN("negative", error(broken("layer1.0.bn1.running_var", -0.5F)));
  EXPECT_NO_THROW(import(broken("layer1.0.bn1.bias", -0.5F)));
  const ImportedModel forced = import(broken("fc.bias", INFINITY), {.allow_broken = true});
  EXPECT_TRUE(mentions(forced.report.notes, "warning: 'fc.bias'"));
  save_model(folder_ / "model.safetensors", forced.model);
  const ModelFile loaded = load_model(folder_ / "model.safetensors");
  EXPECT_THROW(check_weights(loaded, "model"), Error);
}

TEST_F(Import, TensorsThatNothingNeedsAreNoObstacle) {
  const Tensors weights = weights_of(small_);
  Tensors tensors = weights;
  tensors["criterion.weight"] = Tensor::full({3}, 1);
  tensors["loss_fn.pos_weight"] = Tensor::full({3}, 1);
  tensors["nothing"] = Tensor::zeros(DType::kF32, {0, 4});
  tensors["table"] = Tensor::zeros(DType::kI64, {4});
  const ImportedModel m = import(tensors);
  expect_same(m.model.weights, weights);
  EXPECT_TRUE(mentions(m.report.notes, "criterion.weight"));
  EXPECT_EQ(m.report.ignored.size(), 4U);
}

TEST_F(Import, AStrayTensorIsNamed) {
  Tensors tensors = weights_of(small_);
  tensors["projector.weight"] = Tensor::full({8, 4}, 1);
  const std::string one = error(tensors);
  EXPECT_IN("resnet8", one);
  EXPECT_IN("1 more (projector.weight)", one);
  EXPECT_IN("--ignore projector", one);
  expect_same(import(tensors, {.ignore = {"projector"}}).model.weights, weights_of(small_));
  for (int i = 0; i < 5; ++i) tensors["aux" + std::to_string(i) + ".weight"] = Tensor::full({3}, 1);
  EXPECT_IN("6 more (aux0.weight, aux1.weight, aux2.weight, …)", error(tensors));
}

TEST_F(Import, TheStrayTensorOfALightningModule) {
  const Tensors weights = weights_of(small_);
  for (const char* prefix : {"model.", "state_dict.model.", "net.", "state_dict.backbone."}) {
    SCOPED_TRACE(prefix);
    const std::string outer = std::string(prefix).starts_with("state_dict.") ? "state_dict." : "";
    Tensors tensors = renamed(weights, [&](const std::string& name) { return prefix + name; });
    tensors[outer + "criterion.weight"] = Tensor::full({3}, 1);
    write_torch_file(folder_ / "x.ckpt", tensors);
    for (const ImportedModel& m : {import(tensors), import_model(folder_ / "x.ckpt")}) {
      expect_same(m.model.weights, weights);
      EXPECT_TRUE(mentions(m.report.notes, outer + "criterion.weight"));
    }
    tensors[outer + "teacher.scale"] = Tensor::full({3}, 1);
    EXPECT_IN("teacher.scale", error(tensors));
  }
}

// A safetensors file with these tensors and one of F8_E4M3.
void write_with_foreign(const fs::path& path, const Tensors& tensors, const std::string& name,
                        const Shape& shape) {
  nlohmann::json header;
  std::string data;
  const auto add = [&](const std::string& n, const char* type, const Shape& s, std::string bytes) {
    header[n] = {
        {"dtype", type}, {"shape", s}, {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data += bytes;
  };
  for (const auto& [n, t] : tensors) {
    add(n, "F32", t.shape(), {reinterpret_cast<const char*>(t.raw()), t.bytes()});
  }
  add(name, "F8_E4M3", shape, std::string(static_cast<std::size_t>(element_count(shape)), '\1'));
  const std::string text = header.dump();
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(text.size() >> (8 * i));
  write_file_atomic(path, file + text + data);
}

TEST_F(Import, ATypeThatIsNotReadIsAnErrorWhereItIsNeededAlone) {
  Tensors weights = weights_of(small_);
  write_with_foreign(path_, weights, "scale", {3});
  const ImportedModel m = import_model(path_);
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.report.ignored, std::vector<std::string>{"scale"});
  weights.erase("fc.bias");
  write_with_foreign(path_, weights, "fc.bias", {3});
  for (const char* architecture : {"", "resnet8"}) {
    try {
      import_model(path_, {.architecture = architecture});
      ADD_FAILURE() << "it was imported";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kBadData);
      EXPECT_IN("'fc.bias' of type F8_E4M3", std::string(e.what()));
    }
  }
}

TEST_F(Import, ShardsAreOneFile) {
  const Tensors weights = weights_of(small_);
  Tensors parts[2];
  int i = 0;
  for (const auto& [name, tensor] : weights) parts[i++ % 2][name] = tensor;
  for (const bool torch : {false, true}) {
    const fs::path folder = folder_ / (torch ? "torch" : "safetensors");
    fs::create_directories(folder);
    const std::string stem = torch ? "pytorch_model" : "model",
                      end = torch ? ".bin" : ".safetensors";
    const auto shard = [&](int k) {
      return stem + "-0000" + std::to_string(k) + "-of-00002" + end;
    };
    nlohmann::json index;
    for (int k = 0; k < 2; ++k) {
      if (torch) {
        write_torch_file(folder / shard(k + 1), parts[k]);
      } else {
        write_safetensors(folder / shard(k + 1), parts[k]);
      }
      for (const auto& [name, tensor] : parts[k]) index["weight_map"][name] = shard(k + 1);
    }
    const fs::path lone = folder / shard(1);
    try {
      import_model(lone);
      ADD_FAILURE() << "one shard was imported";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kNotFound);
      EXPECT_IN("shard 1 of 2", std::string(e.what()));
      EXPECT_IN(stem + end + ".index.json", std::string(e.what()));
    }
    write_file_atomic(folder / (stem + end + ".index.json"), index.dump());
    for (const fs::path& given :
         {folder, folder / (stem + end + ".index.json"), lone, folder / shard(2)}) {
      expect_same(import_model(given).model.weights, weights);
    }
  }
}

}  // namespace
}  // namespace resnet

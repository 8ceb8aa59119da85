// `resnet import` of weights that need a word from the user, and commands on weights that no
// network can have or whose predictions are not finite.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/process.h"
#include "formats/pickles.h"
#include "resnet/model_file.h"
#include "resnet/models.h"
#include "resnet/weights.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

ModelFile small_model(const std::string& splice = "") {
  ModelFile model;
  model.config = {.architecture = "resnet8", .classes = 2, .image_size = 16, .splice = splice};
  model.preprocessing.width = model.preprocessing.height = model.preprocessing.resize = 16;
  model.class_names = {"cat", "dog"};
  Variables variables;
  initialise(inference_graph(model.config, 1), variables, 7);
  model.weights = from_variables(variables, model.config);
  return model;
}

void set_first(ModelFile& model, const std::string& name, float value) {
  Tensor t = model.weights.at(name).clone();
  t.as<float>()[0] = value;
  model.weights[name] = t;
}

class ImportCommand : public testing::Test {
 protected:
  Outcome resnet(const Words& words) const { return run_resnet(home_.path(), words); }
  fs::path path(const std::string& name) const { return home_.path() / name; }
  // The tensors alone, without what `export` says of them.
  void write_tensors(const std::string& name, const ModelFile& model) const {
    save_model(path("made.safetensors"), model);
    const Outcome r = resnet({"weights", "convert", "made.safetensors", "-o", name});
    ASSERT_EQ(r.code, 0) << r.err;
  }
  // 32 images below `folder`, divided among these classes.
  void draw(const std::string& folder, const std::vector<std::string>& classes) const {
    ASSERT_EQ(resnet({"data", "galaxies", "--out", "drawn", "--count", "32", "--size", "16"}).code,
              0);
    std::size_t i = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path("drawn"))) {
      if (!entry.is_regular_file()) continue;
      const fs::path to = path(folder) / classes[i % classes.size()] / (std::to_string(i) + ".png");
      fs::create_directories(to.parent_path());
      fs::copy_file(entry.path(), to);
      ++i;
    }
  }
  static void expect_line(const Outcome& r, int code, const std::vector<std::string>& parts) {
    EXPECT_EQ(r.code, code) << r.err;
    for (const std::string& part : parts) {
      EXPECT_NE(r.err.find(part), std::string::npos) << part << "\n" << r.err;
    }
  }

  TemporaryFolder home_;
};

TEST_F(ImportCommand, ACutNetworkIsTakenBySplice) {
  write_tensors("cut.pth", small_model("layer2"));
  const auto import = [&](const Words& more) {
    Words words = {"import", "cut.pth", "-o", "out.safetensors", "--image-size", "16"};
    words.insert(words.end(), more.begin(), more.end());
    return resnet(words);
  };
  expect_line(import({"--arch", "resnet8"}), 4, {"cut.pth", "--splice"});
  expect_line(import({"--splice", "layer2"}), 2, {"--splice layer2", "--arch"});
  expect_line(import({"--arch", "resnet8", "--splice", "layer1"}), 4, {"cut.pth"});
  EXPECT_FALSE(fs::exists(path("out.safetensors")));
  const Outcome taken = import({"--arch", "resnet8", "--splice", "layer2"});
  ASSERT_EQ(taken.code, 0) << taken.err;
  EXPECT_EQ(load_model(path("out.safetensors")).config.splice, "layer2");
}

TEST_F(ImportCommand, WhatExportWritesComesBackAsItWas) {
  const ModelFile model = small_model("layer2");
  save_model(path("model.safetensors"), model);
  for (const auto& [to, file] : {std::pair("torch", "x.pth"), {"safetensors", "x.safetensors"}}) {
    const Outcome out = resnet({"export", "model.safetensors", "--to", to, "-o", file});
    ASSERT_EQ(out.code, 0) << out.err;
    const Outcome in = resnet({"import", file, "-o", "back.safetensors"});
    ASSERT_EQ(in.code, 0) << in.err;
    const ModelFile back = load_model(path("back.safetensors"));
    EXPECT_EQ(back.class_names, model.class_names);
    EXPECT_EQ(back.config.splice, "layer2");
    EXPECT_EQ(back.preprocessing.resize, 16);
  }
}

// Lightning writes beside the weights whatever its trainer was told: none of it runs or is needed.
TEST_F(ImportCommand, WhatATrainerKeptBesideTheWeightsIsLeftOut) {
  using pickles::text;
  const ModelFile model = small_model();
  std::string weights = "}";
  std::vector<std::string> storages;
  for (const auto& [name, tensor] : model.weights) {
    pickles::TensorPickle t{.shape = tensor.shape(), .key = std::to_string(storages.size())};
    std::int64_t stride = 1;
    for (auto d = t.shape.rbegin(); d != t.shape.rend(); ++d) {
      t.strides.insert(t.strides.begin(), stride);
      stride *= *d;
    }
    weights += text("net." + name) + pickles::tensor(t) + "s";
    storages.emplace_back(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
  }
  const std::string thing = pickles::global("my.project", "Scheduler") + ")R";
  pickles::write_archive(path("epoch=3.ckpt"),
                         "}" + text("state_dict") + weights + "s" + text("hyper_parameters") +
                             pickles::dict("schedule", thing) + "s" + text("callbacks") +
                             pickles::dict("best", thing) + "s.",
                         storages);
  const Outcome shown = resnet({"weights", "show", "epoch=3.ckpt"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_NE(shown.out.find("my.project.Scheduler"), std::string::npos) << shown.out;
  const Outcome taken = resnet({"import", "epoch=3.ckpt", "--arch", "resnet8", "--image-size", "16",
                                "-o", "back.safetensors"});
  ASSERT_EQ(taken.code, 0) << taken.err;
  const ModelFile back = load_model(path("back.safetensors"));
  ASSERT_EQ(back.weights.size(), model.weights.size());
  for (const auto& [name, tensor] : model.weights) {
    const Tensor& other = back.weights.at(name);
    ASSERT_EQ(other.bytes(), tensor.bytes()) << name;
    EXPECT_EQ(std::memcmp(other.raw(), tensor.raw(), tensor.bytes()), 0) << name;
  }
}

TEST_F(ImportCommand, BrokenWeightsAreTakenByForceAlone) {
  ModelFile model = small_model();
  set_first(model, "layer1.0.bn1.running_var", -1);
  set_first(model, "fc.bias", std::numeric_limits<float>::infinity());
  write_tensors("broken.pth", model);
  const Words words = {"import", "broken.pth", "--image-size", "16", "-o", "out.safetensors"};
  expect_line(resnet(words), 4,
              {"broken.pth", "'layer1.0.bn1.running_var'", "'fc.bias'", "--force"});
  EXPECT_FALSE(fs::exists(path("out.safetensors")));
  Words forced = words;
  forced.emplace_back("--force");
  const Outcome taken = resnet(forced);
  EXPECT_EQ(taken.code, 0) << taken.err;
  EXPECT_NE(taken.out.find("warning: 'fc.bias'"), std::string::npos) << taken.out;
  EXPECT_TRUE(fs::exists(path("out.safetensors")));
}

// Every command that opens a model refuses weights that are not finite before it works with them.
TEST_F(ImportCommand, BrokenModelsAreRefusedByAllCommands) {
  ModelFile model = small_model();
  set_first(model, "conv1.weight", std::nanf(""));
  save_model(path("nan.safetensors"), model);
  draw("images", {"cat", "dog"});
  for (const Words& words :
       {Words{"predict", "nan.safetensors", "images"}, Words{"eval", "nan.safetensors", "images"},
        Words{"embed", "nan.safetensors", "images", "-o", "f.npy"},
        Words{"export", "nan.safetensors", "--to", "torch", "-o", "x.pth"},
        Words{"quantize", "nan.safetensors", "images", "-o", "q.safetensors"},
        Words{"train", "images", "--weights", "nan.safetensors", "--epochs", "1", "--out",
              "run"}}) {
    expect_line(resnet(words), 4, {"nan.safetensors", "'conv1.weight'"});
  }
  for (const char* written : {"f.npy", "x.pth", "q.safetensors", "run/model.safetensors"}) {
    EXPECT_FALSE(fs::exists(path(written))) << written;
  }
}

// The weights are finite, and what becomes of them is not.
TEST_F(ImportCommand, PredictionsThatAreNotFiniteAreErrors) {
  ModelFile model = small_model();
  for (const char* name : {"fc.weight", "layer3.0.bn2.weight"}) {
    Tensor t = model.weights.at(name).clone();
    for (float& x : t.as<float>()) x = 3e38F;
    model.weights[name] = t;
  }
  save_model(path("huge.safetensors"), model);
  draw("images", {"cat", "dog"});
  const std::string layer = "'layer3.0.conv2'";
  const Outcome predicted = resnet({"predict", "huge.safetensors", "images", "--json"});
  expect_line(predicted, 4, {"not finite", layer});
  EXPECT_EQ(predicted.out.find("nan"), std::string::npos) << predicted.out;
  EXPECT_EQ(predicted.out.find("\"classes\":[{"), std::string::npos) << predicted.out;
  expect_line(resnet({"embed", "huge.safetensors", "images", "-o", "f.npy"}), 4,
              {"not finite", layer});
  expect_line(resnet({"eval", "huge.safetensors", "images"}), 4, {"not finite", layer});
  expect_line(resnet({"quantize", "huge.safetensors", "images", "-o", "q.safetensors"}), 6,
              {"not finite", layer});
  EXPECT_FALSE(fs::exists(path("f.npy")) || fs::exists(path("q.safetensors")));
}

// Softmax of one output is 100 %, whatever the image.
TEST_F(ImportCommand, AModelOfOneOutputIsRefusedOrImportedAgain) {
  ModelFile model = small_model();
  model.config.classes = 1;
  model.class_names = {"ring"};
  Variables variables;
  initialise(inference_graph(model.config, 1), variables, 7);
  model.weights = from_variables(variables, model.config);
  save_model(path("one.safetensors"), model);
  draw("images", {"ring"});
  for (const char* command : {"predict", "eval"}) {
    const Outcome r = resnet({command, "one.safetensors", "images"});
    expect_line(r, 2, {"one output", "resnet import"});
    EXPECT_EQ(r.out, "");
  }
  ASSERT_EQ(resnet({"import", "one.safetensors", "-o", "two.safetensors"}).code, 0);
  const Outcome two = resnet({"predict", "two.safetensors", "images", "--json"});
  EXPECT_EQ(two.code, 0) << two.err;
  EXPECT_NE(two.out.find("not ring"), std::string::npos) << two.out;
}

}  // namespace
}  // namespace resnet::test

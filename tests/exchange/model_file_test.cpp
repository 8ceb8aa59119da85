// The model file: what is written comes back, and every kind of damage is told apart and named.
#include "resnet/model_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <limits>

#include "core/file.h"
#include "formats/safetensors.h"
#include "resnet/error.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

#define EXPECT_IN(part, text) EXPECT_NE((text).find(part), std::string::npos) << (text)

ModelFile small_model() {
  ModelFile m;
  m.config = {.architecture = "resnet8", .classes = 3, .image_size = 32};
  m.class_names = {"elliptical", "spiral \"barred\"", "naïve 星系"};
  m.preprocessing = {
      .height = 32, .width = 40, .resize = 36, .interpolation = Interpolation::kBicubic};
  m.provenance = {{"data", "galaxies:size=32"}, {"top1", "0.91"}, {"note", "line\nbreak"}};
  const Graph graph = inference_graph(m.config, 1);
  float value = 0;
  for (const Value v : graph.parameters()) {
    Tensor t(DType::kF32, graph.shape(v));
    for (float& x : t.as<float>()) x = std::sin(value += 0.1F);
    m.weights[graph.node(v).name] = t;
  }
  return m;
}

void expect_same_values(const Tensor& a, const Tensor& b, const std::string& name) {
  ASSERT_EQ(a.dtype(), b.dtype()) << name;
  ASSERT_EQ(a.shape(), b.shape()) << name;
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
}

void expect_same(const ModelFile& a, const ModelFile& b) {
  EXPECT_EQ(a.config, b.config);
  EXPECT_EQ(a.class_names, b.class_names);
  EXPECT_EQ(a.preprocessing, b.preprocessing);
  EXPECT_EQ(a.provenance, b.provenance);
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (const auto& [name, tensor] : a.weights) {
    ASSERT_TRUE(b.weights.contains(name)) << name;
    expect_same_values(tensor, b.weights.at(name), name);
  }
}

class ModelFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::temp_directory_path() /
              ("resnet_model_file_" + name + "_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = folder_ / "model.safetensors";
  }
  void TearDown() override { fs::remove_all(folder_); }

  // What load says of a good file after `damage` to its parts.
  Error load_damaged(const std::function<void(Safetensors&)>& damage) {
    save_model(path_, small_model());
    Safetensors content = read_safetensors(path_);
    damage(content);
    write_safetensors(path_, content.tensors, content.metadata);
    return load_error();
  }
  Error load_error() {
    try {
      load_model(path_);
    } catch (const Error& e) {
      EXPECT_IN(path_.string(), std::string(e.what()));
      EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      EXPECT_LT(std::strlen(e.what()), 1500U);
      return e;
    }
    return {ErrorCode::kInternal, "it loaded"};
  }
  // What save says; nothing may be left behind.
  std::string save_error(const ModelFile& model) {
    try {
      save_model(path_, model);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_TRUE(fs::is_empty(folder_));
      return e.what();
    }
    return "it was saved";
  }

  fs::path folder_;
  fs::path path_;
};

#define EXPECT_DAMAGE(part, ...)               \
  do {                                         \
    const Error e = load_damaged(__VA_ARGS__); \
    EXPECT_EQ(e.code(), ErrorCode::kBadData);  \
    EXPECT_IN(part, std::string(e.what()));    \
  } while (false)

// -------------------------------------------------------------------------------------- round trip

TEST_F(ModelFileTest, ComesBackAsItWas) {
  const ModelFile model = small_model();
  save_model(path_, model);
  expect_same(model, load_model(path_));
  expect_same(model, load_model(folder_));  // a run's folder
}

TEST_F(ModelFileTest, EverySettingComesBack) {
  ModelFile model = small_model();
  model.config = {.architecture = "resnet11",
                  .classes = 2,
                  .channels = 1,
                  .image_size = 64,
                  .shortcut = Shortcut::kC,
                  .layers_per_skip = 3,
                  .stride_on_first_1x1 = true,
                  .same_padding = true,
                  .zero_gamma = true,
                  .dropout = 0.1};
  model.class_names = {"a", "a"};
  model.preprocessing.channels = 1;
  model.preprocessing.mean = {0.1F, 1.0F / 3, 0};
  model.preprocessing.std = {std::numeric_limits<float>::min(), 1e30F, 0.30000001F};
  model.provenance.clear();
  model.weights.clear();
  const Graph graph = inference_graph(model.config, 1);
  for (const Value v : graph.parameters()) {
    model.weights[graph.node(v).name] = Tensor::full(graph.shape(v), 0.5F);
  }
  save_model(path_, model);
  expect_same(model, load_model(path_));
}

TEST_F(ModelFileTest, MappedWeightsAreTheFilesAndStayWhenItIsReplaced) {
  const ModelFile model = small_model();
  save_model(path_, model);
  const ModelFile mapped = map_model(path_);
  for (const auto& [name, tensor] : mapped.weights) EXPECT_TRUE(tensor.is_mapped()) << name;
  ModelFile other = model;
  for (auto& [name, tensor] : other.weights) tensor = Tensor::zeros(DType::kF32, tensor.shape());
  save_model(path_, other);
  for (const auto& [name, tensor] : mapped.weights) tensor.release_memory();  // reads again
  expect_same(model, mapped);
  EXPECT_FALSE(mapped.weights.begin()->second.clone().is_mapped());
  fs::resize_file(path_, fs::file_size(path_) - 1);
  EXPECT_THROW(map_model(path_), Error);
}

TEST_F(ModelFileTest, CutNetworksNeedVersionTwo) {
  ModelFile model = small_model();
  save_model(path_, model);
  EXPECT_EQ(read_safetensors_header(path_).metadata.at("resnet.format"), "1");
  for (const auto& [splice, hidden] : {std::pair{"layer2", 0}, {"", 5}, {"layer1.0.bn1", 7}}) {
    model.config.splice = splice;
    model.config.head_hidden = hidden;
    model.weights.clear();
    const Graph graph = inference_graph(model.config, 1);
    for (const Value v : graph.parameters()) {
      model.weights[graph.node(v).name] = Tensor::full(graph.shape(v), 0.5F);
    }
    save_model(path_, model);
    EXPECT_EQ(read_safetensors_header(path_).metadata.at("resnet.format"), "2");
    expect_same(model, load_model(path_));
  }
  // A file of version 1 has no such members, one of version 2 has both.
  Safetensors content = read_safetensors(path_);
  content.metadata["resnet.format"] = "1";
  write_safetensors(path_, content.tensors, content.metadata);
  EXPECT_IN("unknown member", std::string(load_error().what()));
  EXPECT_DAMAGE("lacks 'splice'", [](Safetensors& s) { s.metadata["resnet.format"] = "2"; });
  for (const auto& [text, part] : {std::pair{R"("splice":"layer9")", "no layer is called 'layer9'"},
                                   {R"("splice":7)", "a text for 'splice'"},
                                   {R"("head_hidden":-1)", "'head_hidden'"}}) {
    const std::string member = text;
    EXPECT_DAMAGE(part, [&](Safetensors& s) {
      s.metadata["resnet.format"] = "2";
      std::string& options = s.metadata.at("options");
      options.pop_back();
      options += "," + member;
      options += member.starts_with("\"splice") ? R"(,"head_hidden":0})" : R"(,"splice":""})";
    });
  }
}

TEST_F(ModelFileTest, EqualModelsGiveEqualFiles) {
  save_model(path_, small_model());
  save_model(folder_ / "again", small_model());
  EXPECT_EQ(read_file(path_), read_file(folder_ / "again"));
}

TEST_F(ModelFileTest, DescriptionHasNoWeights) {
  ModelFile model = small_model();
  save_model(path_, model);
  model.weights.clear();
  expect_same(model, load_model_description(path_));
}

TEST_F(ModelFileTest, MetadataAreTheDocumentedKeys) {
  save_model(path_, small_model());
  const auto metadata = read_safetensors_header(path_).metadata;
  std::vector<std::string> keys;
  for (const auto& [key, text] : metadata) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"architecture", "classes", "format", "options",
                                            "preprocessing", "provenance", "resnet.format"}));
  EXPECT_EQ(metadata.at("resnet.format"), "1");
  EXPECT_EQ(metadata.at("format"), "pt");
  EXPECT_EQ(metadata.at("architecture"), "resnet8");
  EXPECT_EQ(metadata.at("classes"), R"(["elliptical","spiral \"barred\"","naïve 星系"])");
  EXPECT_EQ(metadata.at("preprocessing"),
            R"({"channels":3,"height":32,"interpolation":"bicubic","mean":[0.485,0.456,0.406],)"
            R"("resize":36,"std":[0.229,0.224,0.225],"upright":true,"width":40})");
}

TEST_F(ModelFileTest, OtherFloatsAreConvertedAndBatchCountersIgnored) {
  const ModelFile model = small_model();
  for (const DType dtype : {DType::kF64, DType::kF16, DType::kBF16}) {
    save_model(path_, model);
    Safetensors content = read_safetensors(path_);
    Tensor& fc = content.tensors.at("fc.weight");
    fc = fc.cast(dtype);
    const Tensor expected = fc.cast(DType::kF32);
    content.tensors["bn1.num_batches_tracked"] = Tensor::zeros(DType::kI64, {});
    write_safetensors(path_, content.tensors, content.metadata);
    const ModelFile loaded = load_model(path_);
    EXPECT_EQ(loaded.weights.size(), model.weights.size());
    expect_same_values(loaded.weights.at("fc.weight"), expected, "fc.weight");
    save_model(folder_ / "again", loaded);
    EXPECT_FALSE(read_safetensors(folder_ / "again").tensors.contains("bn1.num_batches_tracked"));
  }
}

TEST_F(ModelFileTest, VariablesThereAndBack) {
  const ModelFile model = small_model();
  const auto variables = to_variables(model);
  EXPECT_EQ(variables->at("conv1.weight").raw(), model.weights.at("conv1.weight").raw());
  variables->set("conv1.weight.velocity", Tensor::full({2}, 1));
  ModelFile back = model;
  back.weights = from_variables(*variables, model.config);
  expect_same(model, back);
  EXPECT_NE(back.weights.at("fc.bias").raw(), model.weights.at("fc.bias").raw());
  // The reference device keeps f64.
  back.weights = from_variables(variables->cast(DType::kF64), model.config);
  expect_same(model, back);
  ModelConfig deeper = model.config;
  deeper.architecture = "resnet14";
  try {
    from_variables(*variables, deeper);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_IN("layer1.1.conv1.weight", std::string(e.what()));
  }
}

// ------------------------------------------------------------------------------------------ damage

TEST_F(ModelFileTest, NoSuchFile) {
  EXPECT_EQ(load_error().code(), ErrorCode::kNotFound);
  try {
    load_model(folder_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kNotFound);
    EXPECT_IN("without a model.safetensors", std::string(e.what()));
  }
}

TEST_F(ModelFileTest, CutAnywhere) {
  save_model(path_, small_model());
  const auto bytes = read_file(path_);
  for (const std::size_t length : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{500},
                                   bytes.size() / 2, bytes.size() - 1}) {
    write_file_atomic(path_, std::span(bytes).first(length));
    EXPECT_EQ(load_error().code(), ErrorCode::kBadData) << length;
  }
}

TEST_F(ModelFileTest, OtherFiles) {
  write_safetensors(path_, small_model().weights);
  EXPECT_EQ(load_error().code(), ErrorCode::kBadData);
  EXPECT_IN("no key 'resnet.format'", std::string(load_error().what()));
  EXPECT_IN("resnet import", std::string(load_error().what()));
  write_file_atomic(path_, std::string_view("\x89PNG\r\n and so on"));
  EXPECT_EQ(load_error().code(), ErrorCode::kBadData);
}

TEST_F(ModelFileTest, NewerFormat) {
  const Error e = load_damaged([](Safetensors& s) { s.metadata["resnet.format"] = "4"; });
  EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
  EXPECT_IN("version '4'", std::string(e.what()));
}

TEST_F(ModelFileTest, WrongTensors) {
  EXPECT_DAMAGE("needs a tensor 'layer2.0.conv1.weight' [32, 16, 3, 3], none was found",
                [](Safetensors& s) { s.tensors.erase("layer2.0.conv1.weight"); });
  EXPECT_DAMAGE(
      "tensor 'layer2.0.conv1.weight' of resnet8 with 3 classes and 3 channels must have "
      "the shape [32, 16, 3, 3], found [32, 16, 1, 9]",
      [](Safetensors& s) {
        Tensor& t = s.tensors.at("layer2.0.conv1.weight");
        t = t.reshaped({32, 16, 1, 9});
      });
  EXPECT_DAMAGE("tensor 'extra' [2, 2] is not part of resnet8", [](Safetensors& s) {
    s.tensors["extra"] = Tensor::full({2, 2}, 1);
  });
  EXPECT_DAMAGE("'bn1.bias' must hold floating-point numbers, found i32", [](Safetensors& s) {
    Tensor& t = s.tensors.at("bn1.bias");
    t = t.cast(DType::kI32);
  });
}

TEST_F(ModelFileTest, WrongArchitecture) {
  EXPECT_DAMAGE("did you mean 'resnet20'",
                [](Safetensors& s) { s.metadata["architecture"] = "resmet20"; });
  EXPECT_DAMAGE("needs a tensor 'layer1.1.conv1.weight'",
                [](Safetensors& s) { s.metadata["architecture"] = "resnet14"; });
  EXPECT_DAMAGE("unknown architecture",
                [](Safetensors& s) { s.metadata["architecture"] = std::string(1 << 20, 'r'); });
  EXPECT_DAMAGE("no key 'architecture'", [](Safetensors& s) { s.metadata.erase("architecture"); });
}

TEST_F(ModelFileTest, WrongClasses) {
  EXPECT_DAMAGE("'fc.weight' of resnet8 with 2 classes and 3 channels must have the shape [2, 64]",
                [](Safetensors& s) { s.metadata["classes"] = R"(["a", "b"])"; });
  for (const char* text : {"", "{}", "\"a\"", "[\"a\", \"b\"", "nonsense", "null"}) {
    EXPECT_DAMAGE("'classes' is not a JSON array",
                  [&](Safetensors& s) { s.metadata["classes"] = text; });
  }
  EXPECT_DAMAGE("no text", [](Safetensors& s) { s.metadata["classes"] = R"(["a", 1, "c"])"; });
  EXPECT_DAMAGE("0 classes", [](Safetensors& s) { s.metadata["classes"] = "[]"; });
  EXPECT_DAMAGE("above the limit", [](Safetensors& s) {
    s.metadata["classes"] = "[\"" + std::string(5 << 20, 'x') + "\"]";
  });
  EXPECT_DAMAGE("not a JSON array",
                [](Safetensors& s) { s.metadata["classes"] = std::string(1 << 18, '['); });
}

TEST_F(ModelFileTest, WrongPreprocessing) {
  const auto with = [](std::string from, std::string to) {
    return [from = std::move(from), to = std::move(to)](Safetensors& s) {
      std::string& text = s.metadata.at("preprocessing");
      const auto at = text.find(from);
      ASSERT_NE(at, std::string::npos) << text;
      text.replace(at, from.size(), to);
    };
  };
  EXPECT_DAMAGE("whole number from 1 to 4096 for 'height', found 0",
                with(R"("height":32)", R"("height":0)"));
  for (const char* bad : {"-1", "1e99", "1.5", "18446744073709551615", "9223372036854775808",
                          "\"32\"", "[32]", "[[[[32]]]]", "null", "true", "100000"}) {
    EXPECT_DAMAGE("for 'height'", with(R"("height":32)", std::string(R"("height":)") + bad));
  }
  EXPECT_DAMAGE("lacks 'width'", with(R"(,"width":40)", ""));
  EXPECT_DAMAGE("\"resize\" appears twice", with(R"("width":40)", R"("resize":3)"));
  EXPECT_DAMAGE("unknown member 'gamma'", with(R"("width":40)", R"("width":40,"gamma":2)"));
  EXPECT_DAMAGE("unknown interpolation", with("bicubic", "lanczos"));
  EXPECT_DAMAGE("three numbers for 'mean'", with("0.485,", ""));
  EXPECT_DAMAGE("three numbers for 'mean'", with("0.485", "1e300"));
  EXPECT_DAMAGE("three numbers for 'mean'", with("0.485", "\"x\""));
  EXPECT_DAMAGE("std", with("0.229", "0"));
  EXPECT_DAMAGE("std", with("0.229", "-1"));
  EXPECT_DAMAGE("3 channels, the preprocessing makes 1",
                with(R"("channels":3)", R"("channels":1)"));
  EXPECT_DAMAGE("12bits", with(R"("width":40)", R"("width":40,"scale_16bit":"12bits")"));
  EXPECT_DAMAGE("for 'scale_16bit'", with(R"("width":40)", R"("width":40,"scale_16bit":12)"));
  EXPECT_DAMAGE("'preprocessing' is not a JSON object",
                [](Safetensors& s) { s.metadata["preprocessing"] = "[]"; });
}

TEST_F(ModelFileTest, WrongTrainingImages) {
  const auto is = [](std::string text) {
    return [text = std::move(text)](Safetensors& s) { s.metadata["training_images"] = text; };
  };
  const std::string side = R"("shorter_side":[1,2,3])", sharp = R"("sharpness":[0.5,1,2])";
  for (const char* bad : {"0", "-1", "2.5", "18446744073709551615", "\"9\"", "[9]", "null"}) {
    EXPECT_DAMAGE("for 'images'",
                  is(std::string(R"({"images":)") + bad + "," + side + "," + sharp + "}"));
  }
  for (const char* bad : {"[1,2]", "[1,2,1e300]", "[1,2,\"3\"]", "3", "null", "[[1],2,3]"}) {
    EXPECT_DAMAGE("three numbers for 'sharpness'",
                  is(R"({"images":9,)" + side + R"(,"sharpness":)" + bad + "}"));
  }
  EXPECT_DAMAGE("lacks 'shorter_side'", is(R"({"images":9,)" + sharp + "}"));
  EXPECT_DAMAGE("unknown member 'hue'",
                is(R"({"images":9,)" + side + "," + sharp + R"(,"hue":1})"));
  EXPECT_DAMAGE("'training_images' is not a JSON object", is("[]"));
}

TEST_F(ModelFileTest, WrongOptions) {
  const auto with = [](std::string from, std::string to) {
    return [from = std::move(from), to = std::move(to)](Safetensors& s) {
      std::string& text = s.metadata.at("options");
      const auto at = text.find(from);
      ASSERT_NE(at, std::string::npos) << text;
      text.replace(at, from.size(), to);
    };
  };
  EXPECT_DAMAGE("unknown shortcut 'D'", with("default", "D"));
  EXPECT_DAMAGE("do not divide", with(R"("layers_per_skip":0)", R"("layers_per_skip":5)"));
  EXPECT_DAMAGE("dropout must be", with(R"("dropout":0.0)", R"("dropout":7)"));
  EXPECT_DAMAGE("true or false", with(R"("zero_gamma":false)", R"("zero_gamma":0)"));
  EXPECT_DAMAGE("a number for 'dropout'", with(R"("dropout":0.0)", R"("dropout":[])"));
  EXPECT_DAMAGE("for 'image_size'", with(R"("image_size":32)", R"("image_size":1000000)"));
  EXPECT_DAMAGE("unknown member", with(R"("zero_gamma":false)", R"("zero_gamma":false,"new":1)"));
  EXPECT_DAMAGE("a text for 'epochs'",
                [](Safetensors& s) { s.metadata["provenance"] = R"({"epochs":{"a":{"b":1}}})"; });
}

TEST_F(ModelFileTest, SaveRefusesWhatLoadWould) {
  ModelFile m = small_model();
  m.config.architecture = "resnet9";
  EXPECT_IN("did you mean", save_error(m));
  m = small_model();
  m.class_names.pop_back();
  EXPECT_IN("has 3 classes, but 2 class names", save_error(m));
  m = small_model();
  m.class_names[1] = "caf\xe9";
  EXPECT_IN("not UTF-8", save_error(m));
  m = small_model();
  m.weights.erase("fc.bias");
  EXPECT_IN("'fc.bias' [3]", save_error(m));
  m = small_model();
  m.weights["fc.bias"] = Tensor::full({4}, 1);
  EXPECT_IN("must have the shape [3], found [4]", save_error(m));
  m = small_model();
  m.preprocessing.std[2] = 0;
  EXPECT_IN("std", save_error(m));
  m = small_model();
  m.preprocessing.channels = 1;
  m.preprocessing.mean[1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_IN("finite", save_error(m));
  m = small_model();
  m.preprocessing.height = 5000;
  EXPECT_IN("4096", save_error(m));
  m = small_model();
  m.provenance["log"] = std::string(5 << 20, 'x');
  EXPECT_IN("above the limit", save_error(m));
}

TEST_F(ModelFileTest, AFailedSaveKeepsTheOldFile) {
  save_model(path_, small_model());
  ModelFile other = small_model();
  other.weights.erase("fc.bias");
  EXPECT_THROW(save_model(path_, other), Error);
  expect_same(small_model(), load_model(path_));
  EXPECT_THROW(save_model(folder_ / "missing" / "model.safetensors", small_model()), Error);
}

}  // namespace
}  // namespace resnet

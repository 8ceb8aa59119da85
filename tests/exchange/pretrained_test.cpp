#include "resnet/pretrained.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include "formats/torch_file.h"
#include "resnet/error.h"
#include "resnet/models.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

TEST(Pretrained, TheTableIsComplete) {
  std::set<std::string> names, urls;
  for (const Pretrained& p : pretrained()) {
    EXPECT_TRUE(names.insert(p.name).second) << p.name;
    EXPECT_TRUE(urls.insert(p.file.url).second) << p.name;
    EXPECT_NO_THROW(check_architecture(p.architecture));
    EXPECT_TRUE(p.file.url.starts_with("https://")) << p.name;
    // The file's name ends in the checksum's first digits: two sources for the same thing.
    const std::string tag = "-" + p.file.sha256.substr(0, 8) + ".pth";
    EXPECT_TRUE(p.file_name().ends_with(tag)) << p.name;
    EXPECT_TRUE(p.file.sha256.size() == 8 || p.file.sha256.size() == 64) << p.name;
    EXPECT_GT(p.top1, 0.65) << p.name;
    EXPECT_GT(p.top5, p.top1) << p.name;
    EXPECT_LT(p.top5, 1) << p.name;
    EXPECT_GE(p.preprocessing.resize, p.preprocessing.height) << p.name;
    EXPECT_EQ(find_pretrained(p.name).file.url, p.file.url);
    if (!p.alias.empty()) {
      EXPECT_EQ(find_pretrained(p.alias).name, p.name);
    }
    // Where the size is known: f32 parameters and a little around them.
    if (p.file.size > 0) {
      const Graph graph = inference_graph({.architecture = p.architecture, .classes = 1000}, 1);
      std::uint64_t bytes = 0;
      for (const Value v : graph.parameters()) {
        std::uint64_t n = 4;
        for (const std::int64_t d : graph.shape(v)) n *= static_cast<std::uint64_t>(d);
        bytes += n;
      }
      EXPECT_GT(p.file.size, bytes) << p.name;
      EXPECT_LT(p.file.size, bytes + bytes / 50) << p.name;
    }
  }
  EXPECT_GE(names.size(), 41U);
}

TEST(Pretrained, AnArchitectureMeansTorchvisionsNewest) {
  EXPECT_EQ(find_pretrained("resnet18").name, "resnet18.tv_in1k");
  EXPECT_EQ(find_pretrained("resnet50").name, "resnet50.tv2_in1k");
  EXPECT_EQ(find_pretrained("resnet50").preprocessing.resize, 232);
  EXPECT_EQ(find_pretrained("ResNet50_Weights.IMAGENET1K_V1").preprocessing.resize, 256);
}

TEST(Pretrained, SaysHowToImport) {
  const ImportOptions options = import_options(find_pretrained("resnet50.a1h_in1k"));
  EXPECT_EQ(options.architecture, "resnet50");
  EXPECT_EQ(options.image_size, 176);
  EXPECT_EQ(options.resize, 195);  // 176 / 0.9, rounded down
  EXPECT_EQ(options.interpolation, Interpolation::kBicubic);
  EXPECT_EQ(options.class_names.size(), 1000U);
  EXPECT_EQ(options.class_names, imagenet_classes());
}

TEST(Pretrained, AFileAsPublishedBecomesAModel) {
  // resnet18 with other numbers: the real file is not at hand.
  const Pretrained& p = find_pretrained("resnet18.tv_in1k");
  ModelFile model;
  model.config = {.architecture = "resnet18", .classes = 1000};
  model.class_names = imagenet_classes();
  const Graph graph = inference_graph(model.config, 1);
  for (const Value v : graph.parameters()) {
    Tensor t(DType::kF32, graph.shape(v));
    float value = 0;
    for (float& x : t.as<float>()) x = value += 1;
    model.weights[graph.node(v).name] = t;
  }
  const fs::path path = fs::temp_directory_path() / p.file_name();
  write_torch_file(path, model.weights);
  const ModelFile read = import_model(path, import_options(p)).model;
  fs::remove(path);
  EXPECT_EQ(read.config.architecture, "resnet18");
  EXPECT_EQ(read.class_names, imagenet_classes());
  EXPECT_EQ(read.preprocessing.resize, 256);
  EXPECT_EQ(read.preprocessing.width, 224);
  EXPECT_EQ(read.preprocessing.mean, p.preprocessing.mean);
  ASSERT_EQ(read.weights.size(), model.weights.size());
  for (const auto& [name, tensor] : model.weights) {
    const Tensor& other = read.weights.at(name);
    ASSERT_EQ(other.shape(), tensor.shape()) << name;
    EXPECT_EQ(std::memcmp(other.raw(), tensor.raw(), tensor.bytes()), 0) << name;
  }
}

TEST(Pretrained, ANameThatIsNone) {
  for (const bool resolve : {false, true}) {
    try {
      resolve ? resolve_model("resnet50.a1") : get_pretrained("resnet50.a1");
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotFound);
      EXPECT_NE(std::string(error.what()).find("did you mean resnet50.a1_in1k?"), std::string::npos)
          << error.what();
    }
  }
}

TEST(Pretrained, PathsComeFirst) {
  const fs::path path = fs::temp_directory_path() / "resnet18.tv_in1k";
  std::ofstream(path) << "weights";
  EXPECT_EQ(resolve_model(path.string()), path);
  fs::remove(path);
}

TEST(Pretrained, ADamagedFileInTheCacheIsNoticed) {
  const fs::path cache = fs::temp_directory_path() / "resnet-pretrained-test";
  fs::create_directories(cache / "weights");
  std::ofstream(cache / "weights" / "resnet18-f37072fd.pth") << "weights";
  try {
    get_pretrained("resnet18", {.cache = cache, .offline = true});
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kBadData) << error.what();
    EXPECT_NE(std::string(error.what()).find("it has 7 bytes where 46830571 are expected"),
              std::string::npos)
        << error.what();
  }
  fs::remove_all(cache);
}

}  // namespace
}  // namespace resnet

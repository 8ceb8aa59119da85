// `resnet weights` on files of every kind, and on names that a terminal would obey.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/process.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class Weights : public testing::Test {
 protected:
  Outcome run(std::vector<std::string> words) {
    words.insert(words.begin(), "weights");
    return Process(folder_.path(), words).wait();
  }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_.path() / name, std::ios::binary) << bytes;
  }
  static std::string safetensors(const std::string& header, std::size_t data) {
    std::string out;
    for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i));
    return out + header + std::string(data, '\0');
  }

  TemporaryFolder folder_;
  const fs::path golden_ = RESNET_TORCH_FILES;
};

TEST_F(Weights, ShowListsTensorsAndWhatIsBesideThem) {
  const Outcome table = run({"show", (golden_ / "legacy.pth").string()});
  EXPECT_EQ(table.code, 0) << table.err;
  for (const char* part : {"state_dict.module.transposed", "f32    [4, 3, 2]", "bf16   [7]",
                           "\nepoch = 90\n", "args.lr = 0.1", "PyTorch legacy: 17 tensors"}) {
    EXPECT_NE(table.out.find(part), std::string::npos) << part << "\n" << table.out;
  }
  const Outcome object = run({"show", (golden_ / "zip.pth").string(), "--json"});
  const Json json = Json::parse(object.out);
  EXPECT_EQ(json["format"], "PyTorch zip");
  EXPECT_EQ(json["metadata"]["best_acc1"], "76.25");
  EXPECT_EQ(json["tensors"].size(), 17U);
  EXPECT_EQ(json["tensors"][0]["name"], "state_dict.module.conv1.weight");
  EXPECT_EQ(json["tensors"][0]["dtype"], "f32");
  EXPECT_EQ(json["tensors"][0]["shape"], Json({2, 3, 4}));
}

TEST_F(Weights, ShardsAreShownAndConvertedAsOne) {
  const auto shard = [](const char* tensor) {
    return safetensors(
        "{\"" + std::string(tensor) + R"(":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)" +
            "\"" + tensor + R"(.scale":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[8,9]}})",
        9);
  };
  write("model-00001-of-00002.safetensors", shard("a"));
  write("model-00002-of-00002.safetensors", shard("b"));
  const std::string first = "model-00001-of-00002.safetensors",
                    index = "model.safetensors.index.json";
  write(index, R"({"weight_map":{"a":"model-00001-of-00002.safetensors",
    "a.scale":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors",
    "b.scale":"model-00002-of-00002.safetensors"}})");
  for (const std::string& path : {std::string("."), index, first}) {
    const Outcome r = run({"show", path, "--json"});
    ASSERT_EQ(r.code, 0) << r.err;
    const Json json = Json::parse(r.out);
    EXPECT_EQ(json["format"], "safetensors, 2 shards");
    EXPECT_EQ(json["bytes"], 18);
    ASSERT_EQ(json["tensors"].size(), 4U);
    EXPECT_EQ(json["tensors"][1]["dtype"], "F8_E4M3");
  }
  const Outcome r = run({"convert", ".", "-o", "all.pth"});
  EXPECT_EQ(r.code, 7);
  EXPECT_NE(r.err.find("'a.scale' has the element type F8_E4M3"), std::string::npos) << r.err;
  EXPECT_FALSE(fs::exists(folder_.path() / "all.pth"));
}

TEST_F(Weights, NamesCannotSteerTheTerminal) {
  write("x.safetensors",
        safetensors(R"({"__metadata__":{"k\u001b[1m":"v\n\u202e"},)"
                    R"("a\u001b[2J\r":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                    4));
  const Outcome table = run({"show", "x.safetensors"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_NE(table.out.find("a\\x1b[2J\\x0d"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("k\\x1b[1m = v\\x0a\\xe2\\x80\\xae\n"), std::string::npos) << table.out;
  EXPECT_EQ(table.out.find('\x1b'), std::string::npos);
  EXPECT_EQ(Json::parse(run({"show", "x.safetensors", "--json"}).out)["tensors"][0]["name"],
            "a\x1b[2J\r");

  const std::string twice = R"("a\u001b":{"dtype":"F32","shape":[],"data_offsets":[0,4]})";
  write("y.safetensors", safetensors("{" + twice + "," + twice + "}", 4));
  const Outcome error = run({"show", "y.safetensors"});
  EXPECT_EQ(error.code, 4);
  EXPECT_NE(error.err.find("'a\\x1b' appears twice"), std::string::npos) << error.err;
}

TEST_F(Weights, ErrorsAreOneLineWithTheNextStep) {
  write("empty", "");
  write("page.pth", "<!DOCTYPE html><html>404</html>");
  write("pointer.pth", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  write("keras.h5", "\x89HDF\r\n\x1a\n");
  write("other.pkl", "\x80\x04}.");
  const std::tuple<std::string, int, const char*> cases[] = {
      {(golden_ / "whole_model.pth").string(), 4, "model.state_dict()"},
      {"absent.pth", 3, "no such file"},
      {"empty", 4, "not a file of weights"},
      {"page.pth", 7, "a web page"},
      {"pointer.pth", 7, "git lfs pull"},
      {"keras.h5", 7, "Keras"},
      {"other.pkl", 7, "torch.save did not write"},
  };
  for (const auto& [file, code, why] : cases) {
    const Outcome outcome = run({"show", file});
    EXPECT_EQ(outcome.code, code) << file << ": " << outcome.err;
    EXPECT_NE(outcome.err.find(why), std::string::npos) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(Weights, ConvertKeepsTypesShapesAndNames) {
  const auto tensors = [&](const std::string& file) {
    Json list = Json::parse(run({"show", file, "--json"}).out)["tensors"];
    std::sort(list.begin(), list.end());
    return list;
  };
  const std::string source = (golden_ / "zip.pth").string();
  EXPECT_EQ(run({"convert", source, "-o", "a.safetensors"}).code, 0);
  EXPECT_EQ(run({"convert", "a.safetensors", "-o", "b.pth"}).code, 0);
  EXPECT_EQ(run({"convert", "b.pth", "-o", "c.safetensors"}).code, 0);
  EXPECT_EQ(tensors("a.safetensors"), tensors(source));
  EXPECT_EQ(tensors("b.pth"), tensors(source));
  EXPECT_EQ(tensors("c.safetensors"), tensors(source));
  const Outcome wrong = run({"convert", source, "-o", "d.npz"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_NE(wrong.err.find(".safetensors"), std::string::npos);
}

}  // namespace
}  // namespace resnet::test

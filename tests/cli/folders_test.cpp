// What folders of labelled images may look like, through the commands.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/process.h"
#include "resnet/model_file.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

#define EXPECT_IN(part, text) EXPECT_NE((text).find(part), std::string::npos) << (text)

class FoldersInCommands : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    home = new TemporaryFolder;
    resnet({"data", "galaxies", "--out", "data/train", "--count", "64", "--size", "16"});
    resnet({"data", "galaxies", "--out", "flat", "--count", "8", "--size", "16"});
    fs::create_directories(path("data/test"));
    int i = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path("flat"))) {
      if (entry.is_regular_file()) {
        fs::copy_file(entry.path(), path("data/test") / (std::to_string(i++) + ".png"));
      }
    }
    trained = new Outcome(resnet({"train", "data", "--arch", "resnet8", "--epochs", "1",
                                  "--batch-size", "16", "--out", "run"}));
  }
  static void TearDownTestSuite() {
    delete trained;
    delete home;
  }
  static fs::path path(const std::string& name) { return home->path() / name; }
  static Outcome resnet(const Words& words) { return run_resnet(home->path(), words); }

  static TemporaryFolder* home;
  static Outcome* trained;
};

TemporaryFolder* FoldersInCommands::home = nullptr;
Outcome* FoldersInCommands::trained = nullptr;

TEST_F(FoldersInCommands, EveryCommandThatOpensDataSaysWhatItLeftOut) {
  EXPECT_EQ(trained->code, 0) << trained->err;
  EXPECT_IN("note: data/test is left out", trained->err);
  EXPECT_IN("resnet predict", trained->err);
  for (const Words& words : {Words{"eval", "run", "data"},
                             {"eval", "run", "data", "--json"},
                             {"find-lr", "data", "--arch", "resnet8", "--batch-size", "16",
                              "--steps", "10", "-o", "lr.svg"},
                             {"embed", "run", "--data", "data", "-o", "e.npy"},
                             {"quantize", "run", "data", "--calibration", "minmax", "--keep",
                              "none", "-o", "q.safetensors"},
                             {"data", "stats", "data"},
                             {"data", "check", "data"},
                             {"data", "pack", "data", "-o", "x.pack"}}) {
    const Outcome r = resnet(words);
    EXPECT_EQ(r.code, 0) << words[0] << " " << words[1] << ": " << r.err;
    const std::string note = "note: data/test is left out";
    EXPECT_IN(note, r.err);
    EXPECT_EQ(r.err.find(note), r.err.rfind(note)) << words[0] << " says it twice";
    EXPECT_EQ(r.out.find("note:"), std::string::npos) << "not among the results";
  }
}

TEST_F(FoldersInCommands, WhatAShardHoldsBesideItsSamplesIsSaid) {
  const std::string image = read_file(path("data/test/0.png"));
  const std::vector<std::string> classes = load_model(path("run")).class_names;
  const auto shard = [&](const std::string& name,
                         std::vector<std::pair<std::string, std::string>> files) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::string stem = std::to_string(10 + i);
      files.emplace_back(stem + ".png", image);
      files.emplace_back(stem + ".cls", classes.at(i));
    }
    write_file(path(name), tar_of(files));
  };
  shard("two.tar", {{"1.png", image}, {"1.seg.png", image}, {"1.cls", classes[0]}});
  for (const Words& words : {Words{"eval", "run", "two.tar"},
                             {"data", "check", "two.tar"},
                             {"data", "stats", "two.tar"},
                             {"data", "pack", "two.tar", "-o", "two.pack"}}) {
    const Outcome r = resnet(words);
    EXPECT_EQ(r.code, 0) << words[0] << r.err;
    EXPECT_IN("two.tar/1.seg.png", r.err);
  }
  shard("caption.tar", {{"1.png", image}, {"1.txt", "a spiral seen from above, with two arms"}});
  EXPECT_IN(".txt files look like captions",
            resnet({"train", "caption.tar", "--arch", "resnet8", "--out", "no"}).err);
  EXPECT_FALSE(fs::exists(path("no")));
}

TEST_F(FoldersInCommands, LinksAreFollowedWhereverAFolderOfImagesIsTaken) {
  fs::create_directories(path("links"));
  fs::create_directory_symlink(path("flat"), path("links/there"));
  fs::create_directory_symlink("..", path("links/up"));
  fs::create_symlink("nothing.png", path("links/lost.png"));
  const Outcome predicted = resnet({"predict", "run", "links"});
  EXPECT_EQ(predicted.code, 4);
  EXPECT_EQ(std::ranges::count(predicted.out, '\n'), 8);
  EXPECT_IN("links/lost.png: a link to nothing.png", predicted.err);
  const Outcome features = resnet({"embed", "run", "links", "-o", "f.npy"});
  EXPECT_EQ(features.code, 4);
  EXPECT_IN("8 images", features.out);
  EXPECT_IN("a link to nothing.png", features.err);
  const Outcome tensor = resnet({"data", "tensor", "links", "--size", "16", "--out", "t.npy"});
  EXPECT_EQ(tensor.code, 4);
  EXPECT_IN("8 of 9", tensor.out);
  EXPECT_IN("a link to nothing.png", tensor.err);
}

TEST_F(FoldersInCommands, AModelWithoutNamesIsEvaluatedByIndexWithANote) {
  for (const Words& words : {Words{"weights", "convert", "run", "-o", "tensors.pth"},
                             {"import", "tensors.pth", "--arch", "resnet8", "--image-size", "16",
                              "--resize", "0", "-o", "nameless.safetensors"}}) {
    const Outcome r = resnet(words);
    ASSERT_EQ(r.code, 0) << r.err;
  }
  const Outcome by_index = resnet({"eval", "nameless.safetensors", "flat", "--json"});
  const Outcome by_name = resnet({"eval", "run", "flat", "--json"});
  ASSERT_EQ(by_index.code, 0) << by_index.err;
  EXPECT_IN("no names", by_index.err);
  EXPECT_EQ(Json::parse(by_index.out).at("images"), Json::parse(by_name.out).at("images"));
  const Outcome few = resnet({"eval", "nameless.safetensors", "data/train/.."});
  EXPECT_EQ(few.code, 0) << few.err;
  fs::create_directories(path("two/a"));
  fs::create_directories(path("two/b"));
  fs::copy_file(path("data/test/0.png"), path("two/a/0.png"));
  fs::copy_file(path("data/test/1.png"), path("two/b/1.png"));
  const Outcome two = resnet({"eval", "nameless.safetensors", "two"});
  EXPECT_EQ(two.code, 4);
  EXPECT_IN("--classes", two.err);
}

TEST_F(FoldersInCommands, TheOrderOfClassesIsAFlagOfTraining) {
  for (const char* command : {"train", "find-lr"}) {
    const Outcome r = resnet({command, "data", "--class-order", "backwards", "--out", "none"});
    EXPECT_EQ(r.code, 2);
    EXPECT_IN("natural", r.err);
  }
  for (int c = 0; c < 12; ++c) {
    for (int i = 0; i < 4; ++i) {
      const fs::path to = path("numbers") / std::to_string(c) / (std::to_string(i) + ".png");
      fs::create_directories(to.parent_path());
      fs::copy_file(path("data/test") / (std::to_string((c + i) % 8) + ".png"), to);
    }
  }
  const std::vector<std::string> sorted = {"0", "1", "10", "11", "2", "3",
                                           "4", "5", "6",  "7",  "8", "9"};
  std::vector<std::string> natural;
  for (int c = 0; c < 12; ++c) natural.push_back(std::to_string(c));
  for (const auto& [flags, names] : {std::pair(Words{}, sorted),
                                     {Words{"--class-order", "sorted"}, sorted},
                                     {Words{"--class-order", "natural"}, natural}}) {
    Words words = {"train", "numbers",      "--arch",     "resnet8",        "--epochs",
                   "1",     "--image-size", "16",         "--val-fraction", "0.25",
                   "--out", "ordered",      "--overwrite"};
    words.insert(words.end(), flags.begin(), flags.end());
    const Outcome r = resnet(words);
    ASSERT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(load_model(path("ordered/model.safetensors")).class_names, names);
    // A model keeps its order, whatever the flag would say of the folder.
    const Outcome e = resnet({"eval", "ordered", "numbers", "--json"});
    ASSERT_EQ(e.code, 0) << e.err;
    EXPECT_EQ(Json::parse(e.out).at("images"), 48);
  }
}

// An int8 model is used, and exported as ONNX; what needs real weights says so.
TEST_F(FoldersInCommands, AnInt8ModelSaysWhatItCannotDo) {
  ASSERT_EQ(resnet({"quantize", "run", "data", "--calibration", "minmax", "-o", "i8.safetensors",
                    "--overwrite"})
                .code,
            0);
  for (const Words& words :
       {Words{"export", "i8.safetensors", "--to", "torch", "-o", "none.pth"},
        Words{"export", "i8.safetensors", "--to", "safetensors", "-o", "none.safetensors"},
        Words{"import", "i8.safetensors", "-o", "none.safetensors"},
        Words{"quantize", "i8.safetensors", "data", "-o", "none.safetensors"},
        Words{"train", "data", "--weights", "i8.safetensors", "--epochs", "1", "--out", "none"}}) {
    const Outcome r = resnet(words);
    EXPECT_NE(r.code, 0) << words[0];
    EXPECT_TRUE(r.err.find("integers") != r.err.npos || r.err.find("quantised") != r.err.npos)
        << words[0] << ": " << r.err;
    EXPECT_EQ(std::ranges::count(r.err, '\n'), 1) << r.err;
  }
  for (const char* none : {"none.pth", "none.safetensors", "none"}) {
    EXPECT_FALSE(fs::exists(path(none))) << none;
  }
  EXPECT_EQ(resnet({"export", "i8.safetensors", "--to", "onnx", "-o", "i8.onnx"}).code, 0);
  EXPECT_EQ(resnet({"predict", "i8.safetensors", "data/test"}).code, 0);
}

}  // namespace
}  // namespace resnet::test

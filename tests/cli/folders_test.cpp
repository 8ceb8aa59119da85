// What folders of labelled images may look like, through the commands.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/process.h"

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
  EXPECT_IN("8 pictures", features.out);
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
}

}  // namespace
}  // namespace resnet::test

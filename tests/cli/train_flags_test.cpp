// Flags that change what the recipe chooses, and runs that go on elsewhere.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/process.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

class TrainFlags : public testing::Test {
 protected:
  Outcome resnet(const Words& words, const fs::path& folder = {}) const {
    return run_resnet(home_.path() / folder, words);
  }
  // The augmentation of a short run, as config.json has it.
  Json augmentation(const Words& flags,
                    const std::string& data = "galaxies:train=16,val=8,size=16") {
    Words words = {"train",     data, "--arch", "resnet8", "--epochs",   "1", "--batch-size", "8",
                   "--threads", "1",  "--out",  "run",     "--overwrite"};
    words.insert(words.end(), flags.begin(), flags.end());
    const Outcome r = resnet(words);
    EXPECT_EQ(r.code, 0) << r.err;
    return config("run").at("augmentation");
  }
  Json config(const fs::path& run) const {
    return Json::parse(read_file(home_.path() / run / "config.json"));
  }

  TemporaryFolder home_;
};

// The flags below a heading of the help.
std::set<std::string> flags_of_group(const std::string& help, const std::string& heading) {
  std::set<std::string> flags;
  std::istringstream in(help);
  bool inside = false;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] != ' ') inside = line.starts_with(heading + ":");
    const std::size_t dash = line.find_first_not_of(' ');
    if (!inside || dash == std::string::npos || !line.substr(dash).starts_with("--")) continue;
    flags.insert(line.substr(dash, line.find_first_of(" ,", dash) - dash));
  }
  return flags;
}

TEST_F(TrainFlags, EachFlagOfAugmentationChangesThePresetAndNothingElse) {
  struct Sample {
    Words words;
    Json fields;
  };
  const std::map<std::string, Sample> samples = {
      {"--hflip", {{"--hflip", "0.25"}, {{"horizontal_flip", 0.25}}}},
      {"--alternate-flip",
       {{"--alternate-flip"}, {{"alternate_flip", true}, {"horizontal_flip", 0.0}}}},
      {"--vflip", {{"--vflip", "0.25"}, {{"vertical_flip", 0.25}}}},
      {"--rotate", {{"--rotate", "10"}, {{"rotation", 10.0}}}},
      {"--color-jitter",
       {{"--color-jitter", "0.4,0.3,0.2,0.1"},
        {{"brightness", 0.4}, {"contrast", 0.3}, {"saturation", 0.2}, {"hue", 0.1}}}},
      {"--randaugment", {{"--randaugment", "2"}, {{"randaugment", 2}}}},
      {"--random-erasing", {{"--random-erasing", "0.25"}, {{"random_erasing", 0.25}}}},
      {"--mixup", {{"--mixup", "0.2"}, {{"mixup", 0.2}}}},
      {"--cutmix", {{"--cutmix", "0.5"}, {{"cutmix", 0.5}}}},
      {"--fast-decode", {{"--fast-decode"}, {{"fast_decode", true}}}},
  };
  std::set<std::string> flags = flags_of_group(resnet({"train", "--help"}).out, "Augmentation");
  EXPECT_EQ(flags_of_group(resnet({"find-lr", "--help"}).out, "Augmentation"), flags);
  EXPECT_EQ(flags.erase("--augment"), 1U);
  const Json preset = augmentation({});
  EXPECT_EQ(preset.at("quarter_turns"), true) << "galaxies have a preset of their own";
  for (const std::string& flag : flags) {
    SCOPED_TRACE(flag);
    ASSERT_TRUE(samples.contains(flag)) << "a new flag needs a sample here";
    Json expected = preset;
    expected.update(samples.at(flag).fields);
    EXPECT_EQ(augmentation(samples.at(flag).words), expected);
  }
  EXPECT_EQ(samples.size(), flags.size());
}

TEST_F(TrainFlags, TheOrderOfPresetAndChangeDoesNotMatter) {
  const Json first = augmentation({"--augment", "cifar", "--hflip", "0"});
  EXPECT_EQ(first.at("pad"), 4);
  EXPECT_EQ(first.at("horizontal_flip"), 0.0);
  EXPECT_EQ(augmentation({"--hflip", "0", "--augment", "cifar"}), first);
}

TEST_F(TrainFlags, ChangeWhatRecipesAndConfigsSay) {
  write_file(home_.path() / "part.json", R"({"augmentation": {"vertical_flip": 0.125}})");
  Json expected = augmentation({});
  expected["vertical_flip"] = 0.125;
  EXPECT_EQ(augmentation({"--config", "part.json"}), expected);
  expected["mixup"] = 0.2;
  EXPECT_EQ(augmentation({"--mixup", "0.2", "--config", "part.json"}), expected);
  fs::copy_file(home_.path() / "run/config.json", home_.path() / "whole.json");
  expected["mixup"] = 0.0;
  EXPECT_EQ(augmentation({"--mixup", "0", "--config", "whole.json"}), expected);
  EXPECT_EQ(augmentation({"--augment", "none", "--config", "part.json"}).at("vertical_flip"), 0.0);

  const Outcome both =
      resnet({"train", "galaxies", "--recipe", "cifar-fast", "--config", "part.json"});
  EXPECT_EQ(both.code, 2);
  EXPECT_NE(both.err.find("--recipe"), std::string::npos) << both.err;
}

TEST_F(TrainFlags, ARunGoesOnFromAnotherFolderAndWithDataThatMoved) {
  ASSERT_EQ(resnet({"data", "galaxies", "--out", "images", "--count", "32", "--size", "16"}).code,
            0);
  const Outcome begun = resnet({"train", "images/", "--arch", "resnet8", "--epochs", "1",
                                "--batch-size", "8", "--threads", "1", "--out", "run"});
  ASSERT_EQ(begun.code, 0) << begun.err;
  EXPECT_EQ(config("run").at("data").at("source"), fs::absolute(home_.path() / "images/").string());

  fs::create_directory(home_.path() / "elsewhere");
  const auto resume = [&](const std::string& epochs, const Words& more = {}) {
    Words words = {"train", "--resume", "../run", "--epochs", epochs};
    words.insert(words.end(), more.begin(), more.end());
    return resnet(words, "elsewhere");
  };
  const Outcome second = resume("2");
  EXPECT_EQ(second.code, 0) << second.err;
  EXPECT_NE(second.err.find("2 epochs instead of 1 the learning rate goes from"), std::string::npos)
      << second.err;

  // So do other commands that read config.json.
  EXPECT_EQ(resnet({"find-lr", "--config", "../run/config.json", "--steps", "10", "-o", "lr.svg"},
                   "elsewhere")
                .code,
            0);

  fs::rename(home_.path() / "images", home_.path() / "moved");
  const Outcome lost = resume("3");
  EXPECT_EQ(lost.code, 3);
  EXPECT_NE(lost.err.find("--resume ../run DATA"), std::string::npos) << lost.err;
  const Outcome third = resume("3", {"../moved"});
  EXPECT_EQ(third.code, 0) << third.err;
  const Outcome fourth = resume("4");  // the new place is kept
  EXPECT_EQ(fourth.code, 0) << fourth.err;

  fs::remove_all(home_.path() / "moved/ring");
  const Outcome other = resume("5");
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("not the data of the run"), std::string::npos) << other.err;
  const Outcome typed = resume("5", {"../moovd"});
  EXPECT_EQ(typed.code, 3);
  EXPECT_EQ(typed.err.find("was trained on"), std::string::npos) << typed.err;
}

}  // namespace
}  // namespace resnet::test

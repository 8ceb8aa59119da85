// What is chosen for few images, and what is said about it.
#include "train/advice.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "resnet/pretrained.h"
#include "train/recipe.h"
#include "train/support.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

DatasetPtr images(int count, int side = 8) {
  std::vector<int> labels;
  for (int i = 0; i < count; ++i) labels.push_back(i % 2);
  return make_dataset(std::vector<Image>(static_cast<std::size_t>(count), Image(side, side, 3)),
                      std::move(labels), {"a", "b"});
}

struct Resolved {
  TrainOptions options;
  std::vector<std::string> notes;
};
Resolved resolved(const TrainOptions& options, const DatasetPtr& data) {
  DataSplits splits;
  splits.train = splits.val = data;
  Resolved r;
  r.options = resolve(options, splits, r.notes);
  return r;
}

TrainOptions of_size(std::int64_t size) {
  TrainOptions o;
  o.model.image_size = size;
  return o;
}

TEST(Advice, FewImagesAreAugmentedUnlessSmallAndInFewEpochs) {
  struct Case {
    int size, epochs;
    std::string preset;
  };
  for (const Case& c : {Case{32, 10, "none"},
                        {96, 10, "none"},
                        {32, 11, "cifar"},
                        {97, 10, "cifar"},
                        {224, 100, "cifar"}}) {
    TrainOptions o = of_size(c.size);
    o.epochs = c.epochs;
    const Resolved few = resolved(o, images(100));
    EXPECT_EQ(few.options.augmentation, augmentation_preset(c.preset)) << c.size;
    ASSERT_EQ(few.notes.size(), 1U);
    EXPECT_EQ(few.notes[0].find("augmentation " + c.preset), 0U) << few.notes[0];
    for (const char* other : {"--augment", "galaxy"}) {
      EXPECT_NE(few.notes[0].find(other), std::string::npos) << few.notes[0];
    }
  }
}

TEST(Advice, ManyImagesAndTrainedWeightsAreAugmentedAsBefore) {
  for (const auto& [size, preset] : {std::pair{32, "cifar"}, {224, "imagenet"}}) {
    const Resolved many = resolved(of_size(size), images(10'001, 2));
    EXPECT_EQ(many.options.augmentation, augmentation_preset(preset));
    EXPECT_TRUE(many.notes.empty());
    TrainOptions tuned = of_size(size);
    tuned.transfer.weights = "weights.pth";
    EXPECT_EQ(resolved(tuned, images(100)).options.augmentation, augmentation_preset(preset));
  }
}

TEST(Advice, WhatIsGivenIsNeitherChangedNorTalkedAbout) {
  TrainOptions o = of_size(224);
  o.augmentation = augmentation_preset("imagenet");
  const Resolved given = resolved(o, images(100));
  EXPECT_EQ(given.options.augmentation, o.augmentation);
  EXPECT_TRUE(given.notes.empty());
}

class CachedWeights : public FolderTest {
 protected:
  void cache(std::string_view name) const {
    fs::create_directories(folder_ / "weights");
    std::ofstream(folder_ / "weights" / find_pretrained(name).file_name()) << "weights";
  }
  std::string suggested(const std::string& architecture = {}, int count = 100,
                        const std::string& weights = {}) const {
    TrainOptions o = of_size(224);
    o.model.architecture = architecture.empty() ? "resnet18" : architecture;
    o.data.cache = folder_;
    o.transfer.weights = weights;
    return suggest_weights(o, *images(count, 2), architecture);
  }
};

TEST_F(CachedWeights, AreSuggestedForFewImages) {
  EXPECT_EQ(suggested(), "");
  cache("resnet50.tv2_in1k");
  EXPECT_NE(suggested().find("--weights resnet50.tv2_in1k"), std::string::npos) << suggested();
  cache("resnet18.tv_in1k");
  EXPECT_NE(suggested().find("--weights resnet18.tv_in1k"), std::string::npos)
      << "those of the network that it would be anyway: " << suggested();
  EXPECT_NE(suggested("resnet50").find("--weights resnet50.tv2_in1k"), std::string::npos);
  EXPECT_EQ(suggested("resnet34"), "") << "another network was asked for";
  EXPECT_EQ(suggested("", 10'001), "");
  EXPECT_EQ(suggested("", 100, "mine.pth"), "");
}

class FormerDefault : public FolderTest {};

TEST_F(FormerDefault, GoesOnAsItWas) {
  TrainOptions o;
  o.data.source = "galaxies:train=16,val=8,size=16";
  o.model.architecture = "resnet8";
  o.batch_size = 8;
  o.epochs = 1;
  o.threads = 1;
  o.out = folder_ / "run";
  o.augmentation = augmentation_preset("imagenet");
  train(o);
  o.augmentation.reset();  // as in a program that leaves it to the recipe
  o.resume = true;
  Observer observer;
  TrainOptions now;
  observer.started = [&](const RunInfo& info) { now = info.options; };
  EXPECT_EQ(train(o, observer).epochs, 1);
  EXPECT_EQ(now.augmentation, augmentation_preset("imagenet"));
}

}  // namespace
}  // namespace resnet

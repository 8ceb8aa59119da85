// Classes by name, by index and in another order: training, resuming and evaluating agree on them.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/class_names.h"
#include "data/support.h"
#include "formats/safetensors.h"
#include "resnet/model_file.h"
#include "resnet/train.h"
#include "train/support.h"
#include "train/transfer.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

const Names kSorted = {"0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"};

class ClassesOfRuns : public FolderTest {
 protected:
  /// 12 classes of one shade each, as folders 0 … 11 and as a table.
  ClassesOfRuns() {
    std::ofstream table(folder_ / "t.csv");
    for (int c = 0; c < 12; ++c) {
      for (int i = 0; i < 6; ++i) {
        Image image(16, 16, 3);
        std::ranges::fill(image.pixels, static_cast<std::uint8_t>(20 * c + i));
        const std::string name = "data/" + std::to_string(c) + "/" + std::to_string(i) + ".png";
        fs::create_directories((folder_ / name).parent_path());
        write_file_atomic(folder_ / name, encode_png(image));
        table << name << "," << c << "\n";
      }
    }
  }
  TrainOptions options(const std::string& data, const std::string& out) const {
    TrainOptions o;
    o.data.source = (folder_ / data).string();
    o.model.architecture = "resnet8";
    o.batch_size = 12;
    o.epochs = 1;
    o.loader_threads = 1;
    o.threads = 1;
    o.out = folder_ / out;
    return o;
  }
  static void rewrite(const fs::path& last, const std::function<void(nlohmann::json&)>& change) {
    Safetensors file = read_safetensors(last);
    auto json = nlohmann::json::parse(file.metadata.at("options"));
    change(json);
    file.metadata["options"] = json.dump();
    write_safetensors(last, file.tensors, file.metadata);
  }
};

TEST_F(ClassesOfRuns, AModelWithoutNamesHasTheAccuracyThatItHasWithNames) {
  TrainOptions o = options("data", "run");
  o.epochs = 4;
  ModelFile model = load_model(train(o).model);
  ASSERT_EQ(model.class_names, kSorted);
  const DataSpec data{.source = o.data.source};
  const EvalResult named = evaluate(model, data);
  model.class_names = unnamed_classes(12);
  const EvalResult by_index = evaluate(model, data);
  EXPECT_EQ(by_index.images, 72);
  EXPECT_EQ(by_index.confusion, named.confusion);
  EXPECT_EQ(by_index.loss, named.loss);
  // In a table these are the index itself, so that 10 is the eleventh.
  const EvalResult table = evaluate(model, {.source = (folder_ / "t.csv").string()});
  EXPECT_NE(table.confusion, named.confusion);
}

TEST_F(ClassesOfRuns, ATransferredHeadFollowsItsClassesIntoAnotherOrder) {
  TrainOptions o = options("t.csv", "natural");
  o.data.class_order = ClassOrder::kNatural;
  const ModelFile model = load_model(train(o).model);
  ASSERT_EQ(model.class_names[2], "2");
  EXPECT_NE(read_text_file(o.out / "config.json").find("\"class_order\": \"natural\""),
            std::string::npos);

  const Loaded loaded = fit_weights(model, model.config, kSorted);
  EXPECT_TRUE(loaded.fresh.empty());
  const Tensor &before = model.weights.at("fc.weight"), &after = loaded.tensors.at("fc.weight");
  const auto width = static_cast<std::size_t>(before.dim(1));
  for (std::size_t c = 0; c < 12; ++c) {
    const auto row = static_cast<std::size_t>(std::stoi(kSorted[c]));
    EXPECT_TRUE(std::ranges::equal(after.as<float>().subspan(c * width, width),
                                   before.as<float>().subspan(row * width, width)));
    EXPECT_EQ(loaded.tensors.at("fc.bias").as<float>()[c],
              model.weights.at("fc.bias").as<float>()[row]);
  }
  // The same through a folder of the same classes: as good before training as it was.
  TrainOptions more = options("data", "more");
  more.transfer.weights = (o.out / "model.safetensors").string();
  std::vector<std::string> notes;
  Observer observer;
  observer.started = [&](const RunInfo& info) { notes = info.notes; };
  train(more, observer);
  ASSERT_FALSE(notes.empty());
  EXPECT_NE(notes[0].find("the head included"), std::string::npos) << notes[0];
}

TEST_F(ClassesOfRuns, AHeadWithoutNamesIsKeptForAsManyClasses) {
  TrainOptions o = options("data", "run");
  ModelFile model = load_model(train(o).model);
  model.class_names = unnamed_classes(12);
  const Loaded kept = fit_weights(model, model.config, kSorted);
  EXPECT_TRUE(kept.fresh.empty());
  EXPECT_TRUE(kept.by_index);
  EXPECT_TRUE(same(kept.tensors.at("fc.weight"), model.weights.at("fc.weight")));
  const Loaded numbered = fit_weights(model, model.config, kSorted, /*numbered=*/true);
  EXPECT_EQ(numbered.tensors.at("fc.bias").as<float>()[2],
            model.weights.at("fc.bias").as<float>()[10]);
  ModelConfig fewer = model.config;
  fewer.classes = 2;
  EXPECT_FALSE(fit_weights(model, fewer, {"a", "b"}).fresh.empty());
}

TEST_F(ClassesOfRuns, ARunOnATableOfNumbersFromBeforeTheOrderWasSortedGoesOn) {
  TrainOptions o = options("t.csv", "whole");
  o.data.class_order = ClassOrder::kNatural;
  o.epochs = 2;
  train(o);
  o.out = folder_ / "old";
  Observer observer;
  std::atomic<bool> stop{false};
  observer.stop = &stop;
  observer.epoch = [&](const EpochResult&) { stop = true; };
  ASSERT_TRUE(train(o, observer).interrupted);
  rewrite(o.out / "last.safetensors", [](auto& json) { json["data"].erase("class_order"); });
  train(resume_options(o.out));
  EXPECT_EQ(load_model(o.out).class_names, load_model(folder_ / "whole").class_names);
  expect_same_tensors(o.out / "last.safetensors", folder_ / "whole/last.safetensors");
}

// "image" was "picture" in checkpoints once.
TEST_F(ClassesOfRuns, ARunFromBeforeKeysWereRenamedGoesOn) {
  TrainOptions o = options("t.csv", "whole");
  o.epochs = 1;
  train(o);
  const std::filesystem::path last = o.out / "last.safetensors";
  Safetensors file = read_safetensors(last);
  const std::string images = file.metadata.at("train_images");
  file.metadata.erase("train_images");
  file.metadata["train_pictures"] = images;
  write_safetensors(last, file.tensors, file.metadata);
  o = resume_options(o.out);
  o.epochs = 2;
  EXPECT_EQ(train(o).epochs, 2);
  EXPECT_EQ(read_safetensors(last).metadata.at("train_images"), images);
}

TEST_F(ClassesOfRuns, ARunGoesOnWhereNamesLookTheSame) {
  fs::rename(folder_ / "data/0", folder_ / "data/caf\u00e9");
  TrainOptions o = options("data", "run");
  train(o);
  fs::rename(folder_ / "data/caf\u00e9", folder_ / "data/cafe\u0301");
  TrainOptions more = resume_options(o.out);
  more.epochs = 2;
  EXPECT_EQ(train(more).epochs, 2);
  EXPECT_EQ(load_model(o.out).class_names.back(), "caf\u00e9");
}

}  // namespace
}  // namespace resnet

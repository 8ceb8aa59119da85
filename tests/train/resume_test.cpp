// Going on with a run whose data, weights or folder have moved, or whose epochs have become more.
#include "train/resume.h"

#include <gtest/gtest.h>

#include "core/check.h"
#include "train/support.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

bool mentions(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

class Resumed : public FolderTest {};

TrainOptions tiny(const fs::path& out) {
  TrainOptions o;
  o.data.source = "galaxies:train=32,val=8,size=16,seed=3";
  o.model.architecture = "resnet8";
  o.epochs = 2;
  o.batch_size = 8;
  o.threads = 1;
  o.out = out;
  return o;
}

TEST(Paths, AreAbsoluteInTheFilesOfARunAndNamesStay) {
  const auto kept = [](const std::string& source, const std::string& weights = {}) {
    TrainOptions o;
    o.data.source = source;
    o.transfer.weights = weights;
    o = with_absolute_paths(o);
    return std::pair(o.data.source, o.transfer.weights);
  };
  const std::string here = (fs::current_path() / "").string();
  for (const char* name : {"galaxies", "galaxies:train=64,val=8", "cifar10", "mnist"}) {
    EXPECT_EQ(kept(name).first, name);
  }
  EXPECT_EQ(kept("flowers/").first, here + "flowers/");
  EXPECT_EQ(kept("galaxies-of-mine").first, here + "galaxies-of-mine");
  EXPECT_EQ(kept("./shards/train-{0000..0003}.tar").first, here + "shards/train-{0000..0003}.tar");
  EXPECT_EQ(kept("../flowers").first, here + "../flowers");  // what .. means, the system knows
  EXPECT_EQ(kept("/data/flowers").first, "/data/flowers");
  EXPECT_EQ(kept("galaxies", "resnet50.tv2_in1k").second, "resnet50.tv2_in1k");
  EXPECT_EQ(kept("galaxies", "runs/c10").second, here + "runs/c10");
  EXPECT_EQ(kept("galaxies").second, "");
  TrainOptions cached;
  cached.data.source = "cifar10";
  cached.data.cache = "cache";
  const TrainOptions read = train_options_from_json(to_json(with_absolute_paths(cached)));
  EXPECT_EQ(read.data.cache, here + "cache");
  EXPECT_EQ(read.data.source, "cifar10");
  EXPECT_EQ(train_options_from_json(to_json(with_absolute_paths({}))).data.cache, "");
  EXPECT_EQ(seen_from_here(here + "runs/c10"), "runs/c10");
  EXPECT_EQ(seen_from_here("/elsewhere/c10"), "/elsewhere/c10");
}

TEST(RateNote, SaysWhatMoreEpochsDoToTheRate) {
  TrainOptions o;
  o.optimizer.lr = 0.1;
  o.epochs = 20;
  o.out = "runs/x";
  constexpr std::int64_t kSteps = 8;
  const auto note = [&](Schedule kind, int before, std::int64_t step) {
    o.schedule.kind = kind;
    o.schedule.milestones = {10};
    o.schedule.step_epochs = 10;
    o.schedule.warmup_epochs = kind == Schedule::kOneCycle ? 0 : 1;
    return rate_note(o, before, step, kSteps);
  };
  for (const Schedule kind : {Schedule::kCosine, Schedule::kPoly, Schedule::kOneCycle}) {
    for (const std::int64_t step : {kSteps * 5, kSteps * 10}) {  // in the run, at its end
      const std::string text = note(kind, 10, step);
      SCOPED_TRACE(text);
      const double from = learning_rate(o.schedule, 0.1, step - 1, kSteps, 10);
      const double to = learning_rate(o.schedule, 0.1, step, kSteps, 20);
      EXPECT_TRUE(mentions(text, fmt::format("from {:.3g} to {:.3g}", from, to)));
      EXPECT_TRUE(mentions(text, "20 epochs instead of 10"));
      EXPECT_TRUE(mentions(text, name_of(kind)));
      EXPECT_TRUE(mentions(text, "--weights runs/x"));
    }
    EXPECT_EQ(note(kind, 20, kSteps * 5), "") << "nothing has changed";
    EXPECT_EQ(note(kind, 30, kSteps * 20), "") << "nothing is left to do";
  }
  for (const Schedule kind : {Schedule::kConstant, Schedule::kStep, Schedule::kMultiStep}) {
    EXPECT_EQ(note(kind, 10, kSteps * 10), "") << name_of(kind);
  }
  EXPECT_EQ(note(Schedule::kCosine, 10, 3), "") << "the warm-up is the same";
  EXPECT_NE(note(Schedule::kCosine, 40, kSteps * 10), "") << "fewer epochs than before";
}

TEST_F(Resumed, WithMoreEpochsSaysWhatTheRateDoes) {
  TrainOptions o = tiny(folder_ / "run");
  o.epochs = 1;
  train(o);
  std::vector<std::string> notes;
  Observer observer;
  observer.started = [&](const RunInfo& info) { notes = info.notes; };
  TrainOptions more = resume_options(o.out);
  train(more, observer);
  EXPECT_EQ(notes.size(), 0U);
  more.epochs = 4;
  train(more, observer);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_TRUE(mentions(notes[0], "learning rate")) << notes[0];
}

// What older versions wrote: a path as seen from the folder where the run was started.
TEST_F(Resumed, WithARelativePathThatLeadsNowhereSaysWhatToDo) {
  train(tiny(folder_ / "run"));
  const fs::path last = folder_ / "run" / "last.safetensors";
  Safetensors file = read_safetensors(last);
  std::string& options = file.metadata.at("options");
  const std::string source = "galaxies:train=32,val=8,size=16,seed=3";
  options.replace(options.find(source), source.size(), "images/of-flowers");
  write_safetensors(last, file.tensors, file.metadata);
  const TrainOptions o = resume_options(folder_ / "run");
  const std::string error = error_of([&] { train(o); }, ErrorCode::kNotFound);
  for (const std::string& part :
       {std::string("images/of-flowers"), std::string("the folder where it was started"),
        "--resume " + (folder_ / "run").string() + " DATA"}) {
    EXPECT_TRUE(mentions(error, part)) << error;
  }
  TrainOptions found = o;
  found.data.source = source;
  found.epochs = 3;
  EXPECT_EQ(train(found).epochs, 3);
  EXPECT_EQ(resume_options(folder_ / "run").data.source, source);
}

TEST_F(Resumed, OtherDataIsRefusedByWhatDiffers) {
  train(tiny(folder_ / "run"));
  TrainOptions o = resume_options(folder_ / "run");
  o.data.source = "galaxies:train=40,val=8,size=16,seed=3";
  const std::string number = error_of([&] { train(o); });
  EXPECT_TRUE(mentions(number, "expected 32") && mentions(number, "found 40")) << number;

  Checkpoint c = read_checkpoint(folder_ / "run" / "last.safetensors");
  o.data.source = c.options.data.source;
  c.class_names[2] = "a class of its own";
  const std::string name = error_of([&] { open_data_again(o, c); });
  EXPECT_TRUE(mentions(name, "a class of its own")) << name;
}

TEST_F(Resumed, NeedsNoWeightsAnyMoreAndMayHaveMoved) {
  train(tiny(folder_ / "first"));
  TrainOptions o = tiny(folder_ / "second");
  o.transfer.weights = folder_ / "first";
  o.transfer.freeze_until = "layer1";
  train(o);
  fs::remove_all(folder_ / "first");
  fs::rename(folder_ / "second", folder_ / "moved");
  TrainOptions again = resume_options(folder_ / "moved");
  EXPECT_EQ(again.out, folder_ / "moved");
  again.epochs = 3;
  EXPECT_EQ(train(again).epochs, 3);
  EXPECT_FALSE(fs::exists(folder_ / "second"));
  again.transfer.weights = "given/in/another/way";  // not read
  again.data.cache = folder_ / "cache";             // may be elsewhere, too
  again.epochs = 4;
  EXPECT_EQ(train(again).epochs, 4);
}

}  // namespace
}  // namespace resnet

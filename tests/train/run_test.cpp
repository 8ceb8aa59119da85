// Whole runs on small data: learning, resuming bit for bit, and ending well when things go wrong.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include "core/file.h"
#include "core/random.h"
#include "formats/image.h"
#include "formats/safetensors.h"
#include "resnet/program.h"
#include "resnet/train.h"
#include "train/checkpoint.h"
#include "train/support.h"

extern char** environ;

namespace resnet {
namespace {

namespace fs = std::filesystem;

class Run : public FolderTest {};

// Six steps an epoch of everything that has state: shuffling, augmentation, mixup, dropout,
// momentum, an average of the weights.
TrainOptions busy_options(const fs::path& out) {
  TrainOptions o;
  o.data.source = "galaxies:train=48,val=24,size=16,seed=3";
  o.model.architecture = "resnet8";
  o.model.dropout = 0.2;
  o.epochs = 2;
  o.batch_size = 8;
  o.optimizer.lr = 0.05;
  o.ema_decay = 0.8;
  o.augmentation = augmentation_preset("galaxy");
  o.augmentation->mixup = 0.2;
  o.seed = 5;
  o.threads = 1;
  o.checkpoint_minutes = 0;
  o.out = out;
  return o;
}

// Runs until that many steps of training (or, negative, of validation) of this call are done.
TrainResult train_until(const TrainOptions& options, int steps) {
  std::atomic<bool> stop = false;
  int trained = 0, validated = 0;
  Observer observer;
  observer.stop = &stop;
  observer.progress = [&](const Progress& p) {
    ++(p.validating ? validated : trained);
    if (trained == steps || validated == -steps) stop = true;
  };
  return train(options, observer);
}

bool mentions(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

// Reddish and bluish noise: two classes that anybody can tell apart.
void write_colours(const fs::path& root, int train, int val) {
  for (const auto& [part, count] : {std::pair{"train", train}, {"val", val}}) {
    for (int i = 0; i < 2 * count; ++i) {
      Image image(16, 16, 3);
      Random random(1, static_cast<std::uint64_t>(i), *part == 't' ? 0 : 1);
      for (std::size_t k = 0; k < image.pixels.size(); ++k) {
        const bool bright = k % 3 == (i % 2 == 0 ? 0U : 2U);
        image.pixels[k] = static_cast<std::uint8_t>(random.below(100) + (bright ? 120 : 20));
      }
      const fs::path folder = root / part / (i % 2 == 0 ? "red" : "blue");
      fs::create_directories(folder);
      const auto bytes = encode_png(image);
      std::ofstream(folder / (std::to_string(i) + ".png"), std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    }
  }
}

TrainOptions colour_options(const fs::path& root) {
  TrainOptions o;
  o.data.source = (root / "data").string();
  o.model.architecture = "resnet8";
  o.model.image_size = 16;
  o.epochs = 4;
  o.batch_size = 8;
  o.augmentation = Augmentation{};
  o.threads = 1;
  o.out = root / "run";
  return o;
}

TEST_F(Run, LearnsAnEasyProblemAndItsModelIsOfUse) {
  write_colours(folder_ / "data", 16, 6);
  std::ofstream(folder_ / "data" / "train" / "red" / "broken.png") << "not an image";
  std::vector<std::string> warnings;
  Observer observer;
  observer.warning = [&](const std::string& text) { warnings.push_back(text); };
  std::int64_t parameters = 0;
  observer.started = [&](const RunInfo& info) { parameters = info.parameters; };
  int steps = 0;
  observer.progress = [&](const Progress& p) {
    if (p.validating) return;
    ++steps;
    EXPECT_GT(p.images_per_second, 0);
    EXPECT_GE(p.eta_seconds, 0);
    EXPECT_GE(p.data_wait_share, 0);
    EXPECT_LE(p.data_wait_share, 1);
  };
  const TrainResult result = train(colour_options(folder_), observer);
  EXPECT_EQ(result.epochs, 4);
  EXPECT_EQ(steps, 4 * 4);
  EXPECT_EQ(result.best.top1, 1);
  EXPECT_LT(result.best.loss, 0.3);
  EXPECT_GT(parameters, 70'000);
  ASSERT_EQ(result.skipped.size(), 1U);
  EXPECT_TRUE(mentions(result.skipped[0].name, "broken.png"));
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_TRUE(mentions(warnings[0], "broken.png"));
  for (const char* file : {"model.safetensors", "last.safetensors", "config.json", "metrics.csv",
                           "confusion.csv", "confusion.png", "confusion.svg"}) {
    EXPECT_TRUE(fs::exists(folder_ / "run" / file)) << file;
  }
  EXPECT_EQ(read_text_file(folder_ / "run" / "confusion.csv"),
            "true \\ predicted,blue,red\nblue,6,0\nred,0,6\n");

  const ModelFile model = load_model(result.model);
  DataSpec data;
  data.source = (folder_ / "data").string();
  const EvalResult again = evaluate(model, data);
  EXPECT_EQ(again.top1, 1);
  EXPECT_EQ(again.images, 12);
  EXPECT_NEAR(again.loss, result.best.loss, 1e-4 * result.best.loss + 1e-6);  // another batch size
  EvalOptions one_by_one;
  one_by_one.batch_size = 5;  // the last batch is not full
  EXPECT_NEAR(evaluate(model, data, one_by_one).loss, again.loss, 1e-4 * again.loss + 1e-6);

  const fs::path val = folder_ / "data" / "val";
  const auto predictions = predict(
      model, {val / "blue", val / "red" / "0.png", folder_ / "data/train/red/broken.png"}, 2);
  ASSERT_EQ(predictions.size(), 8U);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(predictions[i].classes.at(0).name, "blue");
  EXPECT_EQ(predictions[6].classes.at(0).name, "red");
  EXPECT_EQ(predictions[6].classes.at(0).index, 1);
  EXPECT_NEAR(predictions[6].classes[0].probability + predictions[6].classes[1].probability, 1,
              1e-5);
  EXPECT_TRUE(predictions[7].classes.empty());
  EXPECT_TRUE(mentions(predictions[7].error, "expected a JPEG")) << predictions[7].error;
  error_of([&] { predict(model, {folder_ / "nowhere"}); }, ErrorCode::kNotFound);
}

TEST_F(Run, ValidatesOnMirroredAndMovedImagesToo) {
  write_colours(folder_ / "data", 16, 6);
  TrainOptions o = colour_options(folder_);
  o.val_flip = true;
  o.val_shift = 1;
  const TrainResult result = train(o);
  DataSpec data;
  data.source = (folder_ / "data").string();
  EvalOptions views;
  views.views = evaluation_views(1, true, 1);
  const EvalResult again = evaluate(load_model(result.model), data, views);
  EXPECT_EQ(again.images, 12);
  EXPECT_NEAR(again.loss, result.best.loss, 1e-4 * result.best.loss + 1e-6);
}

TEST_F(Run, ConfigReproducesTheRun) {
  train(busy_options(folder_ / "a"));
  TrainOptions again = train_options_from_json(read_text_file(folder_ / "a" / "config.json"));
  again.out = folder_ / "b";
  train(again);
  expect_same_run(folder_ / "a", folder_ / "b");
}

struct Variant {
  const char* name;
  void (*change)(TrainOptions&);
};

bool has_bf16() {
  Graph g;
  g.mark_output("y", g.relu(g.input("x", {1, 1, 1, 1})));
  try {
    const Session p(g, std::make_shared<Variables>(), {.dtype = DType::kBF16});
    return true;
  } catch (const Error&) {
    return false;
  }
}

class Resume : public Run, public testing::WithParamInterface<Variant> {};

TEST_P(Resume, IsBitwiseWhereverItWasStopped) {
  TrainOptions o = busy_options(folder_ / "whole");
  GetParam().change(o);
  if (o.dtype == DType::kBF16 && !has_bf16()) GTEST_SKIP() << "this processor has no AVX-512";
  const TrainResult whole = train(o);
  EXPECT_FALSE(whole.interrupted);
  const int last = 2 * ((6 + o.accumulate - 1) / o.accumulate);
  for (const int stop : {1, last / 2, last / 2 + 1, -2}) {  // -2: in the validation
    SCOPED_TRACE(stop);
    o.out = folder_ / ("stopped" + std::to_string(stop));
    const TrainResult part = train_until(o, stop);
    EXPECT_TRUE(part.interrupted);
    EXPECT_LT(part.epochs, 2);
    const TrainResult rest = train(resume_options(o.out));
    EXPECT_FALSE(rest.interrupted);
    EXPECT_EQ(rest.epochs, 2);
    EXPECT_EQ(rest.best_epoch, whole.best_epoch);
    EXPECT_EQ(rest.best.top1, whole.best.top1);
    EXPECT_EQ(rest.best.confusion, whole.best.confusion);
    expect_same_run(folder_ / "whole", o.out);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Resume,
    testing::Values(Variant{"SgdTwoThreads", [](TrainOptions& o) { o.threads = 2; }},
                    Variant{"AdamWAccumulating",
                            [](TrainOptions& o) {
                              o.optimizer.kind = Optimizer::kAdamW;
                              o.optimizer.lr = 1e-3;
                              o.accumulate = 2;
                              o.clip_norm = 1;
                            }},
                    Variant{"AccumulatingWhatIsLeft",
                            [](TrainOptions& o) {
                              o.accumulate = 4;  // an epoch: 4 batches and 2
                              o.schedule.kind = Schedule::kOneCycle;
                            }},
                    Variant{"Bf16", [](TrainOptions& o) { o.dtype = DType::kBF16; }},
                    Variant{"LarsNhwc",
                            [](TrainOptions& o) {
                              o.optimizer.kind = Optimizer::kLars;
                              o.layout = DataLayout::kNHWC;
                              o.ema_decay = 0;
                              o.class_weighting = ClassWeighting::kBalanced;
                            }}),
    [](const auto& variant) { return std::string(variant.param.name); });

TEST_F(Run, AnEpochsLastStepTakesWhatIsLeftOfItsBatches) {
  TrainOptions o = busy_options(folder_ / "run");
  o.accumulate = 4;
  train_until(o, 2);
  const Checkpoint end_of_epoch = read_checkpoint(o.out / "last.safetensors");
  EXPECT_EQ(end_of_epoch.state.step, 2);
  EXPECT_EQ(end_of_epoch.state.batch, 6);
  EXPECT_EQ(end_of_epoch.state.seen, 48);  // every image
  EXPECT_EQ(end_of_epoch.options.accumulate, 4);
  Observer observer;
  std::vector<std::int64_t> steps;
  observer.started = [&](const RunInfo& info) { steps.push_back(info.steps_per_epoch); };
  observer.progress = [&](const Progress& p) {
    if (!p.validating) steps.push_back(p.step);
  };
  train(resume_options(o.out), observer);
  EXPECT_EQ(steps, (std::vector<std::int64_t>{2, 1, 2}));
  EXPECT_EQ(read_checkpoint(o.out / "last.safetensors").state.step, 4);
  o.out = folder_ / "one";
  o.accumulate = 100;  // more than an epoch has
  EXPECT_EQ(train(o).epochs, 2);
  EXPECT_EQ(read_checkpoint(o.out / "last.safetensors").state.step, 2);
}

// Four batches in one step are the same step whether the window is full or not: with powers of 2 no
// scale rounds.
TEST_F(Run, AWindowThatIsNotFullIsScaledExactly) {
  TrainOptions o = busy_options(folder_ / "full");
  o.batch_size = 12;
  o.accumulate = 4;
  train(o);
  const ModelFile full = load_model(o.out / "model.safetensors");
  for (const int accumulate : {8, 16, 64}) {
    o.out = folder_ / std::to_string(accumulate);
    o.accumulate = accumulate;
    train(o);
    for (const auto& [name, tensor] : load_model(o.out / "model.safetensors").weights) {
      EXPECT_EQ(std::memcmp(tensor.raw(), full.weights.at(name).raw(), tensor.bytes()), 0) << name;
    }
  }
}

TEST_F(Run, ARunThatLeftOutTheRestOfItsBatchesGoesOnSo) {
  TrainOptions o = busy_options(folder_ / "run");
  o.accumulate = 4;
  train_until(o, 1);
  const fs::path last = o.out / "last.safetensors";
  Safetensors file = read_safetensors(last);
  std::string& state = file.metadata.at("state");
  const std::string key = "\"whole_windows\":false,";
  const std::size_t at = state.find(key);
  ASSERT_NE(at, std::string::npos) << state;
  state.erase(at, key.size());  // as older versions wrote it
  write_safetensors(last, file.tensors, file.metadata);
  std::int64_t steps = 0;
  Observer observer;
  observer.started = [&](const RunInfo& info) { steps = info.steps_per_epoch; };
  train(resume_options(o.out), observer);
  EXPECT_EQ(steps, 1);
  const RunState end = read_checkpoint(last).state;
  EXPECT_EQ(end.epoch, 2);
  EXPECT_EQ(end.step, 2);
  EXPECT_TRUE(end.whole_windows);
}

TEST_F(Run, BatchesOfClassesWithoutWeightDoNoHarm) {
  write_colours(folder_ / "data", 16, 4);
  int number = 0;
  for (const int accumulate : {1, 3}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      if (dtype == DType::kBF16 && !has_bf16()) continue;
      TrainOptions o = colour_options(folder_);
      o.out = folder_ / std::to_string(number++);
      o.epochs = 1;
      o.batch_size = 1;  // each of one class
      o.accumulate = accumulate;
      o.dtype = dtype;
      o.label_smoothing = 0.1;
      o.class_weighting = ClassWeighting::kGiven;
      o.class_weights = {0, 1};
      std::vector<double> losses;
      Observer observer;
      observer.epoch = [&](const EpochResult& e) { losses.push_back(e.train_loss); };
      EXPECT_EQ(train(o, observer).epochs, 1);
      ASSERT_EQ(losses.size(), 1U);
      EXPECT_TRUE(std::isfinite(losses[0]) && losses[0] > 0) << losses[0];
    }
  }
}

// The child of the next test: a run that somebody kills.
TEST(RunChild, DISABLED_Train) {
  const char* out = std::getenv("RESNET_TEST_RUN");
  ASSERT_NE(out, nullptr);
  TrainOptions o = busy_options(out);
  o.epochs = 4;
  o.checkpoint_steps = 1;
  o.resume = fs::exists(o.out / "last.safetensors");
  o.overwrite = true;
  train(o);
}

pid_t start_child(const fs::path& out) {
  setenv("RESNET_TEST_RUN", out.c_str(), 1);
  std::string self = fs::read_symlink("/proc/self/exe").string();
  std::string filter = "--gtest_filter=RunChild.DISABLED_Train";
  std::string disabled = "--gtest_also_run_disabled_tests";
  char* argv[] = {self.data(), filter.data(), disabled.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  pid_t child = -1;
  const int failed = posix_spawn(&child, self.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  return failed == 0 ? child : -1;
}

TEST_F(Run, SurvivesKill9) {
  TrainOptions o = busy_options(folder_ / "whole");
  o.epochs = 4;
  train(o);
  // Each child is killed at a moment of its own, once there is a checkpoint; in between lie files
  // that are half-written. A child that is too fast ends the game early.
  o.out = folder_ / "killed";
  int killed = 0;
  for (const int delay : {0, 7, 23, 61}) {
    const pid_t child = start_child(o.out);
    ASSERT_GT(child, 0);
    const auto before = fs::exists(o.out / "last.safetensors")
                            ? fs::last_write_time(o.out / "last.safetensors")
                            : fs::file_time_type::min();
    int status = 0;
    bool ended = false;
    const auto has_new_checkpoint = [&] {
      std::error_code error;
      const auto time = fs::last_write_time(o.out / "last.safetensors", error);
      return !error && time > before;
    };
    while (!has_new_checkpoint() && !ended) {
      ended = waitpid(child, &status, WNOHANG) == child;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (!ended) {
      std::this_thread::sleep_for(std::chrono::milliseconds(delay));
      kill(child, SIGKILL);
      ASSERT_EQ(waitpid(child, &status, 0), child);
    }
    if (WIFSIGNALED(status)) {
      ++killed;
    } else {
      ASSERT_EQ(WEXITSTATUS(status), 0);
    }
  }
  EXPECT_GT(killed, 0);
  EXPECT_NO_THROW(read_checkpoint(o.out / "last.safetensors"));
  train(resume_options(o.out));
  expect_same_run(folder_ / "whole", o.out);
  for (const auto& entry : fs::directory_iterator(o.out)) {  // no temporaries are left
    const std::string name = entry.path().filename().string();
    EXPECT_FALSE(mentions(name, ".safetensors.") || mentions(name, ".csv.")) << name;
  }
}

// A limit on the size of files stands for the full disk: the write fails in the middle.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_);
    rlimit now = old_;
    now.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

TEST_F(Run, AFullDiskLeavesTheOldCheckpoint) {
  TrainOptions o = busy_options(folder_ / "whole");
  train(o);
  o.out = folder_ / "full";
  o.checkpoint_steps = 4;  // the next checkpoint is in the middle of the second epoch
  std::vector<std::byte> saved;
  std::optional<FileSizeLimit> limit;
  Observer observer;
  observer.epoch = [&](const EpochResult& e) {
    if (e.epoch != 1) return;
    saved = read_file(o.out / "last.safetensors");
    limit.emplace(64 << 10);
  };
  const std::string error = error_of([&] { train(o, observer); }, ErrorCode::kIo);
  limit.reset();
  EXPECT_TRUE(mentions(error, "last.safetensors")) << error;
  ASSERT_FALSE(saved.empty());
  EXPECT_TRUE(read_file(o.out / "last.safetensors") == saved);
  for (const auto& entry : fs::directory_iterator(o.out)) {
    EXPECT_FALSE(mentions(entry.path().filename().string(), "safetensors.")) << entry.path();
  }
  train(resume_options(o.out));
  expect_same_run(folder_ / "whole", o.out);
}

TEST_F(Run, NamesTheLayerWhereInfinityComesUp) {
  TrainOptions o = busy_options(folder_ / "run");
  o.optimizer.lr = 1e36;
  o.schedule.kind = Schedule::kConstant;
  o.schedule.warmup_epochs = 0;
  const std::string error = error_of([&] { train(o); }, ErrorCode::kNumeric);
  EXPECT_TRUE(mentions(error, "epoch 1, step 2")) << error;
  EXPECT_TRUE(mentions(error, "layer ") && mentions(error, "no checkpoint")) << error;
}

TEST_F(Run, NamesAWeightThatIsNotANumberAndKeepsTheCheckpoint) {
  for (const int steps : {4, 6}) {  // 6: it is met in the validation
    TrainOptions o = busy_options(folder_ / std::to_string(steps));
    o.ema_decay = 0;
    train_until(o, steps);
    const fs::path last = o.out / "last.safetensors";
    Safetensors file = read_safetensors(last);
    file.tensors.at("layer2.0.conv1.weight").as<float>()[3] =
        std::numeric_limits<float>::quiet_NaN();
    write_safetensors(last, file.tensors, file.metadata);
    const auto before = read_file(last);
    const std::string error = error_of([&] { train(resume_options(o.out)); }, ErrorCode::kNumeric);
    EXPECT_TRUE(mentions(error, "layer2.0.conv1")) << error;
    EXPECT_TRUE(mentions(error, "checkpoint is untouched")) << error;
    EXPECT_TRUE(read_file(last) == before);
    EXPECT_FALSE(fs::exists(o.out / "model.safetensors"));
  }
}

TEST_F(Run, StopsEarly) {
  // Every image is the same, so top-1 cannot rise after the first epoch.
  for (const char* part : {"train", "val"}) {
    for (const char* name : {"a", "b"}) {
      fs::create_directories(folder_ / "data" / part / name);
      for (int i = 0; i < 4; ++i) {
        const auto bytes = encode_png(Image(16, 16, 3));
        std::ofstream(folder_ / "data" / part / name / (std::to_string(i) + ".png"),
                      std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
      }
    }
  }
  TrainOptions o = colour_options(folder_);
  o.epochs = 20;
  o.early_stop_patience = 3;
  const TrainResult result = train(o);
  EXPECT_TRUE(result.stopped_early);
  EXPECT_FALSE(result.interrupted);
  EXPECT_EQ(result.epochs, 4);
  EXPECT_EQ(result.best.top1, 0.5);
}

TEST_F(Run, KeepsEarlierRunsUnlessToldOtherwise) {
  TrainOptions o = busy_options(folder_ / "run");
  o.epochs = 1;
  o.save_every = 1;
  train(o);
  EXPECT_TRUE(fs::exists(o.out / "epoch-0001.safetensors"));
  const auto model = read_file(o.out / "model.safetensors");
  o.seed = 6;
  EXPECT_TRUE(mentions(error_of([&] { train(o); }, ErrorCode::kInvalidArgument), "holds a run"));
  EXPECT_TRUE(read_file(o.out / "model.safetensors") == model);
  std::ofstream(o.out / "notes.txt") << "mine";
  o.overwrite = true;
  o.save_every = 0;
  train(o);
  EXPECT_FALSE(read_file(o.out / "model.safetensors") == model);
  EXPECT_FALSE(fs::exists(o.out / "epoch-0001.safetensors"));
  EXPECT_TRUE(fs::exists(o.out / "notes.txt"));
}

TEST_F(Run, ResumesWithMoreEpochsButNotWithOtherOptions) {
  TrainOptions o = busy_options(folder_ / "run");
  o.epochs = 1;
  train(o);
  TrainOptions more = resume_options(o.out);
  more.epochs = 2;
  EXPECT_EQ(train(more).epochs, 2);
  more.optimizer.momentum = 0.5;
  EXPECT_TRUE(
      mentions(error_of([&] { train(more); }, ErrorCode::kInvalidArgument), "optimizer.momentum"));
  TrainOptions other = resume_options(o.out);
  other.data.source = "galaxies:train=56,val=24,size=16,seed=3";
  EXPECT_TRUE(mentions(error_of([&] { train(other); }, ErrorCode::kInvalidArgument), "data"));
  error_of([&] { resume_options(folder_ / "nowhere"); }, ErrorCode::kNotFound);
}

TEST_F(Run, RefusesADamagedCheckpoint) {
  TrainOptions o = busy_options(folder_ / "run");
  o.epochs = 1;
  train(o);
  const fs::path last = o.out / "last.safetensors";
  const auto whole = read_file(last);
  write_file_atomic(last, std::span(whole).first(whole.size() / 2));
  error_of([&] { resume_options(o.out); }, ErrorCode::kBadData);
  write_file_atomic(last, std::span(whole));
  const TrainOptions resumed = resume_options(o.out);

  Safetensors file = read_safetensors(last);
  const Tensor weight = file.tensors.at("conv1.weight");
  file.tensors["conv1.weight"] = Tensor::zeros(DType::kF32, {16, 3, 5, 5});
  write_safetensors(last, file.tensors, file.metadata);
  EXPECT_TRUE(mentions(error_of([&] { train(resumed); }, ErrorCode::kBadData), "conv1.weight"));
  file.tensors.erase("conv1.weight");
  write_safetensors(last, file.tensors, file.metadata);
  EXPECT_TRUE(mentions(error_of([&] { train(resumed); }, ErrorCode::kBadData), "conv1.weight"));
  file.tensors["conv1.weight"] = weight;
  file.tensors["stranger"] = weight;
  write_safetensors(last, file.tensors, file.metadata);
  EXPECT_TRUE(mentions(error_of([&] { train(resumed); }, ErrorCode::kBadData), "stranger"));

  // A model is no checkpoint.
  fs::copy_file(o.out / "model.safetensors", last, fs::copy_options::overwrite_existing);
  error_of([&] { resume_options(o.out); }, ErrorCode::kBadData);
}

TEST_F(Run, NeedsAFolderThatCanBeWritten) {
  TrainOptions o = busy_options({});
  error_of([&] { train(o); }, ErrorCode::kInvalidArgument);
  std::ofstream(folder_ / "file") << "x";
  o.out = folder_ / "file" / "run";
  error_of([&] { train(o); }, ErrorCode::kIo);
}

}  // namespace
}  // namespace resnet

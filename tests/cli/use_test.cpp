// What users do: train, evaluate, predict, look, repeat, interrupt and go on.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <fstream>
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

constexpr const char* kGalaxies = "galaxies:train=64,val=16,size=16";

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A tiny network on tiny images: seconds even under sanitizers.
Words tiny_run(const std::string& out) {
  return {"train",        kGalaxies, "--arch", "resnet8", "--epochs", "2",
          "--batch-size", "16",      "--out",  out,       "--seed",   "3"};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// metrics.csv without the columns that measure time.
std::vector<std::string> metrics_of(const fs::path& run) {
  std::vector<std::string> rows = lines_of(read_file(run / "metrics.csv"));
  for (std::string& row : rows) {
    for (int i = 0; i < 3; ++i) row.resize(row.rfind(','));
  }
  return rows;
}

class Use : public testing::Test {
 protected:
  // One trained run and some images for all tests.
  static void SetUpTestSuite() {
    home = new TemporaryFolder;
    trained = new Outcome(resnet(tiny_run("run") + Words{"--json"}));
    drawn = new Outcome(resnet(
        {"data", "galaxies", "--out", "images", "--count", "16", "--size", "24", "--seed", "5"}));
  }
  static void TearDownTestSuite() {
    delete drawn;
    delete trained;
    delete home;
  }

  static Outcome resnet(const Words& words, const Settings& settings = {}) {
    return run_resnet(home->path(), words, settings);
  }
  static Json json(const Words& words) {
    const Outcome r = resnet(words);
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(std::ranges::count(r.out, '\n'), 1) << "one object, one line";
    return Json::parse(r.out, nullptr, false);
  }

  static TemporaryFolder* home;
  static Outcome* trained;
  static Outcome* drawn;
};

TemporaryFolder* Use::home = nullptr;
Outcome* Use::trained = nullptr;
Outcome* Use::drawn = nullptr;

TEST_F(Use, TrainFillsTheFolderOfTheRun) {
  ASSERT_EQ(trained->code, 0) << trained->err;
  for (const char* name : {"model.safetensors", "last.safetensors", "config.json", "metrics.csv",
                           "confusion.csv", "confusion.png", "confusion.svg"}) {
    EXPECT_GT(read_file(home->path() / "run" / name).size(), 0U) << name;
  }
  const auto is_events = [](const auto& e) {
    return e.path().filename().string().starts_with("events.out.tfevents.");
  };
  EXPECT_EQ(std::ranges::count_if(fs::directory_iterator(home->path() / "run"), is_events), 1);
  EXPECT_EQ(metrics_of(home->path() / "run").size(), 3U);  // header, two epochs
  const Json result = Json::parse(trained->out);
  EXPECT_EQ(result.at("run"), "run");
  EXPECT_EQ(result.at("epochs"), 2);
  EXPECT_EQ(result.at("interrupted"), false);
}

TEST_F(Use, ProgressIsPlainLinesUnlessOnATerminal) {
  EXPECT_EQ(trained->err.find_first_of("\r\x1b"), std::string::npos) << trained->err;
  EXPECT_NE(trained->err.find("epoch 2/2"), std::string::npos) << trained->err;
  const Outcome r = resnet(tiny_run("on-terminal") + Words{"--epochs", "1"}, {.terminal = true});
  EXPECT_EQ(r.code, 0);
  EXPECT_NE(r.err.find("\r\x1b[K"), std::string::npos) << "no line was drawn over";
  for (const char* part : {"images/s", "loss", "accuracy", "ETA"}) {
    EXPECT_NE(r.err.find(part), std::string::npos) << part;
  }
}

TEST_F(Use, EvalRepeatsWhatTrainFound) {
  const Json evaluated = json({"eval", "run", kGalaxies, "--seed", "3", "--json"});
  const Json best = Json::parse(trained->out);
  EXPECT_EQ(evaluated.at("images"), 16);
  EXPECT_EQ(evaluated.at("top1"), best.at("top1"));
  EXPECT_EQ(evaluated.at("top5"), best.at("top5"));
  EXPECT_NEAR(evaluated.at("loss").get<double>(), best.at("loss").get<double>(), 1e-5);
  EXPECT_GE(evaluated.at("top1"), 0.0);
  EXPECT_LE(evaluated.at("top1"), evaluated.at("top5"));
  EXPECT_LE(evaluated.at("top5"), 1.0);
  std::int64_t counted = 0;
  for (const Json& row : evaluated.at("confusion")) {
    for (const Json& count : row) counted += count.get<std::int64_t>();
  }
  EXPECT_EQ(counted, 16);
  const Outcome text = resnet({"eval", "run/model.safetensors", "images"});  // a folder, a file
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("16 images: top-1"), std::string::npos) << text.out;
}

TEST_F(Use, EvalWritesEveryPrediction) {
  const Json evaluated =
      json({"eval", "run", kGalaxies, "--seed", "3", "--predictions", "predictions.csv", "--json"});
  const auto lines = lines_of(read_file(home->path() / "predictions.csv"));
  ASSERT_EQ(lines.size(), 1 + 16U);
  EXPECT_EQ(lines[0], "name,label,prediction,probability");
  int right = 0;
  for (std::size_t i = 1; i < lines.size(); ++i) {
    std::vector<std::string> fields;
    std::istringstream in(lines[i]);
    for (std::string field; std::getline(in, field, ',');) fields.push_back(field);
    ASSERT_EQ(fields.size(), 4U) << lines[i];
    right += fields[1] == fields[2];
    EXPECT_GE(std::stod(fields[3]), 1.0 / 8) << lines[i];  // the best of eight classes
    EXPECT_LE(std::stod(fields[3]), 1.0) << lines[i];
  }
  EXPECT_DOUBLE_EQ(evaluated.at("top1"), right / 16.0);
}

TEST_F(Use, EqualCropsAreSaid) {
  const std::string note = "images are as large as the network's input";
  const Outcome evaluated = resnet({"eval", "run", kGalaxies, "--seed", "3", "--crops", "5"});
  ASSERT_EQ(evaluated.code, 0) << evaluated.err;
  EXPECT_NE(evaluated.err.find(note), std::string::npos) << evaluated.err;
  EXPECT_EQ(evaluated.err.find(note), evaluated.err.rfind(note)) << "once";
  const Outcome one = resnet({"eval", "run", kGalaxies, "--seed", "3"});
  EXPECT_EQ(one.err.find(note), std::string::npos) << one.err;
}

TEST_F(Use, PackedDataTrainsAndIsEvaluatedAsItWas) {
  const Outcome packed = resnet({"data", "pack", kGalaxies, "--seed", "3", "-o", "g.pack"});
  ASSERT_EQ(packed.code, 0) << packed.err;
  EXPECT_NE(packed.out.find("8 classes"), std::string::npos) << packed.out;
  auto own = json({"eval", "run", kGalaxies, "--seed", "3", "--json"});
  auto there = json({"eval", "run", "g.pack", "--json"});
  for (const char* key : {"top1", "loss", "images", "confusion"}) {
    EXPECT_EQ(own.at(key), there.at(key)) << key;
  }
  EXPECT_EQ(json({"data", "stats", "g.pack", "--json"}).at("mean"),
            json({"data", "stats", kGalaxies, "--seed", "3", "--json"}).at("mean"));
  const Outcome again = resnet({"train", "g.pack", "--arch", "resnet8", "--epochs", "1",
                                "--batch-size", "16", "--out", "packed-run", "--per-class", "4"});
  EXPECT_EQ(again.code, 0) << again.err;
  const Json made = json({"data", "pack", "images", "--size", "12", "--format", "jpeg", "--quality",
                          "80", "-o", "p", "--json"});
  EXPECT_EQ(made.at("images"), 16);
  EXPECT_EQ(made.at("skipped"), Json::array());
  EXPECT_EQ(json({"data", "check", "p", "--json"}).at("train").at("largest"), Json({12, 12}));
}

TEST_F(Use, ExportedModelsComeBack) {
  const Json own = json({"summary", "run", "--json"});
  for (const auto& [to, file] : {std::pair<std::string, std::string>{"torch", "foreign.pth"},
                                 {"safetensors", "foreign.safetensors"},
                                 {"onnx", "foreign.onnx"}}) {
    SCOPED_TRACE(to);
    const Outcome out = resnet({"export", "run", "--to", to, "-o", file});
    ASSERT_EQ(out.code, 0) << out.err;
    const Json back = json({"import", file, "-o", "back.safetensors", "--json"});
    EXPECT_EQ(back.at("architecture"), own.at("architecture"));
    EXPECT_EQ(back.at("classes"), 8);
    EXPECT_TRUE(back.at("notes").is_array());
    const Outcome tuned = resnet({"train", kGalaxies, "--weights", file, "--epochs", "1",
                                  "--freeze-until", "avgpool", "--augment", "none", "--threads",
                                  "1", "--batch-size", "8", "--out", "tuned-" + to});
    EXPECT_EQ(tuned.code, 0) << tuned.err;
    EXPECT_NE(tuned.err.find("frozen until avgpool"), std::string::npos) << tuned.err;
  }
}

TEST_F(Use, PredictHasALineForEveryImage) {
  const Outcome r = resnet({"predict", "run", "images", "--top", "8", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  const auto lines = lines_of(r.out);
  ASSERT_EQ(lines.size(), 16U);
  for (const std::string& line : lines) {
    const Json p = Json::parse(line);
    double sum = 0, before = 1;
    for (const Json& c : p.at("classes")) {
      EXPECT_LE(c.at("probability"), before);
      before = c.at("probability");
      sum += before;
    }
    EXPECT_EQ(p.at("classes").size(), 8U);
    EXPECT_NEAR(sum, 1, 1e-4);
    EXPECT_TRUE(fs::exists(home->path() / p.at("path").get<std::string>()));
  }
  // The same through standard input, one path wrong.
  const std::string first = Json::parse(lines[0]).at("path"),
                    last = Json::parse(lines[15]).at("path");
  const Outcome stream = resnet({"predict", "run", "-", "--top", "8", "--json"},
                                {.input = first + "\nmissing.png\n" + last + "\n"});
  EXPECT_EQ(stream.code, 4);
  const auto predictions = lines_of(stream.out);
  ASSERT_EQ(predictions.size(), 3U);
  EXPECT_NE(predictions[1].find("\"error\":"), std::string::npos);
  EXPECT_NE(stream.err.find("resnet: missing.png: "), std::string::npos) << stream.err;
  for (const auto& [prediction, line] :
       {std::pair(predictions[0], lines[0]), {predictions[2], lines[15]}}) {
    const Json a = Json::parse(prediction), b = Json::parse(line);  // computed in other batches
    EXPECT_EQ(a.at("path"), b.at("path"));
    for (std::size_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(a.at("classes")[i].at("probability").get<double>(),
                  b.at("classes")[i].at("probability").get<double>(), 1e-5);
    }
  }
}

TEST_F(Use, SummaryCountsParameters) {
  for (const auto& [name, parameters] :
       std::map<std::string, std::int64_t>{{"resnet18", 11689512}, {"resnet50", 25557032}}) {
    const Json s = json({"summary", name, "--batch-size", "1", "--json"});
    EXPECT_EQ(s.at("parameters"), parameters);
    std::int64_t sum = 0;
    for (const Json& layer : s.at("layers")) sum += layer.at("parameters").get<std::int64_t>();
    EXPECT_EQ(sum, parameters);
    EXPECT_GT(s.at("training_bytes"), s.at("inference_bytes"));
  }
  const Json run = json({"summary", "run", "--json"});
  EXPECT_EQ(run.at("architecture"), "resnet8");
  EXPECT_EQ(run.at("classes"), 8);
}

TEST_F(Use, DataIsDrawnMeasuredAndChecked) {
  ASSERT_EQ(drawn->code, 0) << drawn->err;
  EXPECT_EQ(drawn->out, "16 galaxies of 8 classes in images\n");
  const Json stats = json({"data", "stats", "images", "--json"});
  EXPECT_EQ(stats.at("classes").size(), 8U);
  EXPECT_EQ(stats.at("train").get<int>() + stats.at("val").get<int>(), 16);
  for (const char* key : {"mean", "std"}) {
    for (const Json& v : stats.at(key)) EXPECT_TRUE(v > 0 && v < 1) << stats;
  }
  const Json sound = json({"data", "check", "images", "--json"});
  EXPECT_EQ(sound.at("train").at("unreadable").size(), 0U);
  EXPECT_EQ(sound.at("train").at("largest"), Json({24, 24}));

  fs::copy(home->path() / "images", home->path() / "spoilt", fs::copy_options::recursive);
  write_file(home->path() / "spoilt/ring/broken.png", "no image");
  const Outcome spoilt = resnet({"data", "check", "spoilt"});
  EXPECT_EQ(spoilt.code, 4);
  EXPECT_NE(spoilt.out.find("unreadable: spoilt/ring/broken.png: "), std::string::npos);
}

TEST_F(Use, BenchMeasures) {
  for (const char* mode : {"train", "infer"}) {
    const Json b = json({"bench", "--arch", "resnet8", "--image-size", "16", "--batch-size", "2",
                         "--steps", "2", "--warmup", "1", "--mode", mode, "--json"});
    EXPECT_EQ(b.at("mode"), mode);
    EXPECT_EQ(b.at("steps"), 2);
    for (const char* key : {"images_per_second", "milliseconds", "gflops", "peak_rss_bytes"}) {
      EXPECT_GT(b.at(key), 0) << key;
    }
  }
}

TEST_F(Use, BenchComparesLayersWithTheMachine) {
  const Json b = json({"bench", "resnet8", "--image-size", "16", "--batch-size", "1", "--steps",
                       "2", "--mode", "infer", "--layers", "--json", "--roofline", "roofline.svg"});
  EXPECT_GT(b.at("peaks").at("gflops").at("f32"), 0);
  double floor = 0;
  for (const Json& layer : b.at("layers")) {
    EXPECT_GT(layer.at("floor_milliseconds"), 0) << layer;
    floor += layer.at("floor_milliseconds").get<double>();
  }
  EXPECT_NEAR(b.at("floor_milliseconds").get<double>(), floor, 1e-9);
  EXPECT_NE(read_file(home->path() / "roofline.svg").find("<svg"), std::string::npos);
  EXPECT_EQ(resnet({"bench", "resnet8", "--roofline", "roofline.jpg"}).code, 2);
}

TEST_F(Use, ConfigRepeatsTheRun) {
  const fs::path run = home->path() / "run";
  const std::string before = read_file(run / "model.safetensors");
  // Without --out the run that is there stays, and a new folder is made beside it.
  const Outcome r = resnet({"train", "--config", "run/config.json"});
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(metrics_of(home->path() / "run-2"), metrics_of(run));
  EXPECT_EQ(read_file(run / "model.safetensors"), before);
  const auto predictions = [](const std::string& model) {
    return resnet({"predict", model, "images", "--json"}).out;
  };
  EXPECT_EQ(predictions("run-2"), predictions("run"));
  // Another seed is another run.
  EXPECT_EQ(resnet({"train", "--config", "run/config.json", "--out", "seed", "--seed", "4"}).code,
            0);
  EXPECT_NE(metrics_of(home->path() / "seed"), metrics_of(run));
}

TEST_F(Use, FlagsOverrideTheConfig) {
  write_file(home->path() / "config.json",
             R"({"epochs": 7, "batch_size": 32, "optimizer": {"lr": 0.25}, "seed": 9})");
  const Outcome r = resnet({"train", kGalaxies, "--config", "config.json", "--arch", "resnet8",
                            "--epochs", "1", "--lr", "0.125", "--out", "overridden"});
  ASSERT_EQ(r.code, 0) << r.err;
  const Json config = Json::parse(read_file(home->path() / "overridden/config.json"));
  EXPECT_EQ(config.at("epochs"), 1);
  EXPECT_EQ(config.at("optimizer").at("lr"), 0.125);
  EXPECT_EQ(config.at("batch_size"), 32);
  EXPECT_EQ(config.at("seed"), 9);
}

// What config.json of a run of no epoch to speak of says.
TEST_F(Use, OneNumberIsForAllChannels) {
  const auto config_of = [](const Words& flags, const std::string& out) {
    const Outcome r = resnet(Words{"train", kGalaxies, "--arch", "resnet8", "--epochs", "1",
                                   "--batch-size", "32", "--out", out} +
                             flags);
    EXPECT_EQ(r.code, 0) << r.err;
    return Json::parse(read_file(home->path() / out / "config.json"));
  };
  const Json one = config_of({"--mean", "0.5", "--std", ".25", "--color-jitter", "0.4"}, "one");
  EXPECT_EQ(one.at("mean"), Json({0.5, 0.5, 0.5}));
  EXPECT_EQ(one.at("std"), Json({0.25, 0.25, 0.25}));
  const Json& jitter = one.at("augmentation");
  EXPECT_EQ(jitter.at("brightness"), 0.4);
  EXPECT_EQ(jitter.at("contrast"), 0.4);
  EXPECT_EQ(jitter.at("saturation"), 0.4);
  EXPECT_EQ(jitter.at("hue"), 0) << "as timm has it";
  // Spaces between the numbers, and the data behind them.
  const Outcome spaced = resnet({"train", "--mean", "0.5", "0.4", "0.3", "--color-jitter",
                                 "0.1,0.2,0.3,0.05", kGalaxies, "--arch", "resnet8", "--epochs",
                                 "1", "--batch-size", "32", "--out", "sp"});
  ASSERT_EQ(spaced.code, 0) << spaced.err;
  const Json three = Json::parse(read_file(home->path() / "sp/config.json"));
  EXPECT_EQ(three.at("mean"), Json({0.5, 0.4, 0.3}));
  EXPECT_EQ(three.at("augmentation").at("hue"), 0.05);

  write_file(home->path() / "grey.json", R"({"mean": [0.5], "std": [0.25]})");
  const Json read = config_of({"--config", "grey.json"}, "read");
  EXPECT_EQ(read.at("mean"), one.at("mean"));
  EXPECT_EQ(read.at("std"), one.at("std"));

  // Another command, another reader.
  const auto tensor = [](const std::string& mean) {
    const Outcome r = resnet({"data", "tensor", "images/ring", "--size", "24", "--resize", "0",
                              "--mean", mean, "--out", "t.npy"});
    EXPECT_EQ(r.code, 0) << r.err;
    return read_file(home->path() / "t.npy");
  };
  EXPECT_EQ(tensor("0.5"), tensor("0.5,0.5,0.5"));
  EXPECT_NE(tensor("0.5"), tensor("0.5,0.5,0.4"));
}

TEST_F(Use, QuietLeavesResultsAndErrors) {
  const std::vector<Words> commands = {{"train", kGalaxies, "--arch", "resnet8", "--epochs", "1",
                                        "--batch-size", "32", "--out", "q"},
                                       {"eval", "run", kGalaxies, "--seed", "3", "--crops", "5"},
                                       {"predict", "run", "images/ring"},
                                       {"find-lr", kGalaxies, "--arch", "resnet8", "--batch-size",
                                        "32", "--steps", "10", "-o", "q.svg"},
                                       {"data", "stats", "images"}};
  for (const Words& command : commands) {
    const Outcome r = resnet(command + Words{"--quiet"});
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(r.err, "") << command[0];
    EXPECT_NE(r.out, "") << command[0];
  }
  EXPECT_NE(resnet({"predict", "run", "nowhere.png", "--quiet"}).err, "");
}

TEST_F(Use, JsonWhereTheResultIsAPath) {
  EXPECT_EQ(
      json({"export", "run", "--to", "safetensors", "-o", "j.safetensors", "--json"}).at("out"),
      "j.safetensors");
  EXPECT_GT(json({"weights", "convert", "j.safetensors", "-o", "j.pth", "--json"}).at("tensors"),
            10);
  const Json made =
      json({"data", "galaxies", "--out", "j", "--count", "8", "--size", "8", "--json"});
  EXPECT_EQ(made.at("images"), 8);
  const Json tensor =
      json({"data", "tensor", "j", "--size", "8", "--resize", "0", "-o", "j.npy", "--json"});
  EXPECT_EQ(tensor.at("shape"), Json({8, 3, 8, 8}));
}

TEST_F(Use, SummaryOfAQuantisedModelShowsItsIntegers) {
  ASSERT_EQ(resnet({"quantize", "run", kGalaxies, "--calibration", "minmax", "--keep", "none", "-o",
                    "int8.safetensors"})
                .code,
            0);
  const Json whole = json({"summary", "run", "--json"});
  const Json s = json({"summary", "int8.safetensors", "--json"});
  std::set<std::string> ops, dtypes;
  std::int64_t bytes = 0;
  for (const Json& layer : s.at("layers")) {
    ops.insert(layer.at("op"));
    dtypes.insert(layer.at("dtype"));
    bytes += layer.at("bytes").get<std::int64_t>();
  }
  EXPECT_TRUE(ops.contains("quantized_conv2d") && ops.contains("quantized_linear")) << s;
  EXPECT_FALSE(ops.contains("conv2d") || ops.contains("normalize")) << s;
  EXPECT_TRUE(dtypes.contains("i8") || dtypes.contains("u8")) << s;
  EXPECT_EQ(s.at("multiply_adds"), whole.at("multiply_adds"));
  EXPECT_EQ(s.at("parameter_bytes"), bytes);
  EXPECT_LT(3 * bytes, whole.at("parameter_bytes").get<std::int64_t>());
  EXPECT_EQ(whole.at("parameter_bytes"), 4 * whole.at("parameters").get<std::int64_t>());
  EXPECT_TRUE(s.at("training_bytes").is_null());
  EXPECT_NE(resnet({"summary", "int8.safetensors"}).out.find("cannot be trained"),
            std::string::npos);
}

TEST_F(Use, CtrlCSavesAndResumeGoesOn) {
  const auto words = [](const std::string& out) {
    return Words{"train",        "galaxies:train=256,val=16,size=16",
                 "--arch",       "resnet8",
                 "--batch-size", "4",
                 "--epochs",     "1",
                 "--out",        out};
  };
  Process process(home->path(), words("stopped"));
  ASSERT_TRUE(process.wait_for_message("output stopped"));  // before the first step
  process.signal(SIGINT);
  const Outcome stopped = process.wait();
  EXPECT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_EQ(stopped.out, "stopped; continue with: resnet train --resume stopped\n");
  EXPECT_EQ(metrics_of(home->path() / "stopped").size(), 1U) << "not in mid-epoch";

  const Outcome rest = resnet({"train", "--resume", "stopped"});
  EXPECT_EQ(rest.code, 0) << rest.err;
  EXPECT_NE(rest.err.find("resumed at step "), std::string::npos) << rest.err;
  EXPECT_EQ(resnet(words("whole")).code, 0);
  EXPECT_EQ(metrics_of(home->path() / "stopped"), metrics_of(home->path() / "whole"));
  EXPECT_NE(resnet({"train", "--resume", "stopped"}).err.find("has all of its 1 epoch"),
            std::string::npos);
}

TEST_F(Use, PlotDrawsRuns) {
  const Json plotted = json({"plot", "both=run,run/metrics.csv", "run/", "--metric", "val_top1",
                             "--title", "a < b", "-o", "curves.svg", "--json"});
  EXPECT_EQ(plotted.at("out"), "curves.svg");
  ASSERT_EQ(plotted.at("series").size(), 2U);
  const Json &both = plotted.at("series")[0], &one = plotted.at("series")[1];
  EXPECT_EQ(both.at("name"), "both");
  EXPECT_EQ(one.at("name"), "run");
  EXPECT_EQ(both.at("epoch"), Json({1, 2}));
  EXPECT_EQ(both.at("min"), both.at("max")) << "the same run twice";
  EXPECT_EQ(one.at("mean"), both.at("mean"));
  EXPECT_FALSE(one.contains("min"));
  const std::string svg = read_file(home->path() / "curves.svg");
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find(">a &lt; b</text>"), std::string::npos);
  EXPECT_EQ(resnet({"plot", "run", "--metric", "train_loss,val_loss", "--log-y", "--x", "seconds",
                    "-o", "losses.svg"})
                .out,
            "losses.svg\n");
}

TEST_F(Use, FindLrDrawsAndSuggests) {
  const Json found = json({"find-lr", kGalaxies, "--arch", "resnet8", "--batch-size", "16",
                           "--steps", "12", "--max-lr", "0.1", "-o", "lr.svg", "--json"});
  EXPECT_EQ(found.at("csv"), "lr.csv");
  ASSERT_EQ(found.at("lr").size(), 12U);
  const double own = found.at("own");
  EXPECT_NEAR(found.at("lr")[0].get<double>(), own / 1000, 1e-12);
  for (const char* key : {"least", "highest", "suggestion"}) EXPECT_TRUE(found.contains(key));
  EXPECT_EQ(found.at("interrupted"), false);
  EXPECT_EQ(lines_of(read_file(home->path() / "lr.csv")).size(), 13U);
  EXPECT_TRUE(read_file(home->path() / "lr.svg").starts_with("<svg "));
  EXPECT_FALSE(fs::exists(home->path() / "runs")) << "nothing is kept of the network";
  const Outcome text = resnet({"find-lr", "--config", "run/config.json", "--steps", "10",
                               "--max-lr", "1e9", "-o", "diverged.svg"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out, "");
}

TEST_F(Use, EmbedWritesFeatures) {
  const Json e = json({"embed", "run", "images", "-o", "f.npy", "--json"});
  EXPECT_EQ(e.at("shape"), Json({16, 64}));
  const std::string npy = read_file(home->path() / "f.npy");
  EXPECT_EQ(npy.size(), 128U + 16 * 64 * 4);
  EXPECT_NE(npy.find("'<f4'"), std::string::npos);
  const auto paths = lines_of(read_file(home->path() / "f.paths.txt"));
  ASSERT_EQ(paths.size(), 16U);
  EXPECT_TRUE(fs::exists(home->path() / paths[7]));

  // A table, from standard input, one path wrong.
  const Outcome r = resnet({"embed", "run", "-", "--layer", "layer1", "-o", "f.csv"},
                           {.input = paths[7] + "\nmissing.png\n" + paths[3] + "\n"});
  EXPECT_EQ(r.code, 4);
  EXPECT_NE(r.err.find("skipped missing.png"), std::string::npos) << r.err;
  const auto rows = lines_of(read_file(home->path() / "f.csv"));
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_TRUE(rows[0].starts_with("path,f0,f1,") && rows[0].ends_with(",f15"));
  EXPECT_TRUE(rows[1].starts_with(paths[7] + ",") && rows[2].starts_with(paths[3] + ","));

  // Labelled data, unpooled.
  const Json d = json({"embed", "run", "--data", kGalaxies, "--part", "train", "--layer", "layer2",
                       "--no-pool", "-o", "d.npy", "--json"});
  EXPECT_EQ(d.at("shape"), Json({64, 32, 8, 8}));
  EXPECT_EQ(lines_of(read_file(home->path() / "d.labels.txt")).size(), 64U);
  EXPECT_EQ(lines_of(read_file(home->path() / "d.paths.txt")).size(), 64U);
}

TEST_F(Use, HelpHasExamples) {
  const std::vector<Words> commands = {
      {"train"}, {"eval"}, {"predict"},       {"summary"},       {"bench"},
      {"plot"},  {"data"}, {"data", "stats"}, {"data", "check"}, {"data", "galaxies"}};
  for (const Words& command : commands) {
    const Outcome r = resnet(command + Words{"--help"});
    EXPECT_EQ(r.code, 0);
    EXPECT_NE(r.out.find("Examples:\n  resnet " + command[0]), std::string::npos) << r.out;
  }
  EXPECT_EQ(resnet({"--version"}).out, "resnet " RESNET_VERSION "\n");
}

TEST_F(Use, OutputThatCannotBeWrittenIsAnError) {
  const Outcome r = resnet({"summary", "resnet8"}, {.out_path = "/dev/full"});
  EXPECT_EQ(r.code, 5);
  EXPECT_NE(r.err.find("standard output"), std::string::npos) << r.err;
}

}  // namespace
}  // namespace resnet::test

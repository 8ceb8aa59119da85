// What is wrong with the input is said in one line, with the right exit code, and nothing
// half-written is left.
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/process.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kGalaxies = "galaxies:train=64,val=16,size=16";

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

// A PNG whose header declares other dimensions than its data have.
std::string lying_png(std::string png, std::uint32_t side) {
  constexpr std::size_t kType = 12, kWidth = 16, kCrc = 29;  // "IHDR"; width, height; checksum
  png.replace(kWidth, 8, big_endian(side) + big_endian(side));
  const auto* header = reinterpret_cast<const Bytef*>(png.data() + kType);
  png.replace(kCrc, 4, big_endian(static_cast<std::uint32_t>(crc32(0, header, kCrc - kType))));
  return png;
}

// The smallest start of a JPEG that says how large it is.
std::string lying_jpeg() {
  using namespace std::string_literals;
  return "\xff\xd8\xff\xc0\x00\x11\x08\xfd\xe8\xfd\xe8\x03\x01\x11\x00\x02\x11\x00\x03\x11\x00"
         "\xff\xda\x00\x0c\x03\x01\x00\x02\x00\x03\x00\x00\x3f\x00"s;
}

// Changes the JSON header of a safetensors file.
template <class Edit>
std::string with_header(const std::string& file, const Edit& edit) {
  std::uint64_t size = 0;
  for (std::size_t i = 8; i-- > 0;) size = size << 8 | static_cast<std::uint8_t>(file[i]);
  Json header = Json::parse(file.substr(8, size));
  edit(header);
  const std::string text = header.dump();
  std::string out;
  for (std::size_t i = 0; i < 8; ++i) out += static_cast<char>(text.size() >> (8 * i));
  return out + text + file.substr(8 + size);
}

struct Case {
  const char* name;
  std::vector<std::string> words;
  int code;
  std::vector<std::string> fragments;  ///< Of the one line on standard error.
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// Training that gets as far as a first step is made short.
std::vector<std::string> train(const std::string& data, std::vector<std::string> more = {}) {
  std::vector<std::string> words{"train", data,           "--arch", "resnet8", "--epochs",
                                 "1",     "--batch-size", "8",      "--out",   "new"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      // The command line.
      {"UnknownCommand", {"evla"}, 2, {"unknown command evla", "did you mean eval?"}},
      {"UnknownSubcommand", {"data", "chek"}, 2, {"chek", "did you mean check?"}},
      {"NoSubcommand", {"data"}, 2, {"expected a command", "galaxies, pack, stats, check"}},
      {"UnknownFlag", {"train", "x", "--arhc", "y"}, 2, {"--arhc", "did you mean --arch?"}},
      {"UnknownFlagBelow", {"data", "stats", "x", "--sede", "1"}, 2, {"--seed", "data stats --h"}},
      {"UnknownFlagOfAnother",
       {"eval", "run", "x", "--epochs", "3"},
       2,
       {"unknown flag --epochs;", "belongs to train (see resnet eval --help)"}},
      {"UnknownFlagOfAnotherButNear",
       {"eval", "run", "x", "--hflip", "1"},
       2,
       {"did you mean --flip?", "--hflip belongs to train and find-lr"}},
      {"FlagThatWasRenamed",
       {"quantize", "m", "x", "--pictures", "8"},
       2,
       {"unknown flag --pictures; did you mean --images?"}},
      {"UnknownFlagCutShort", {"train", "x", "--batch", "3"}, 2, {"did you mean --batch-size?"}},
      {"UnknownFlagFarFromAll",
       {"summary", "resnet18", "--frobnicate"},
       2,
       {"unknown flag --frobnicate (see resnet summary --help)"}},
      {"UnknownFlagBeforeTheCommand", {"--jsn", "train"}, 2, {"unknown flag --jsn"}},
      {"FlagBeforeTheCommand", {"--json", "train", "x"}, 2, {"--json belongs to train, eval and"}},
      {"UnknownCommandFarFromAll", {"frobnicate"}, 2, {"unknown command", "expected train, eval"}},
      {"CommandOfAGroup", {"stats", "x"}, 2, {"did you mean data stats?"}},
      {"CommandOfTwoGroups", {"get", "x"}, 2, {"did you mean data get or weights get?"}},
      {"CommandNotOfThisGroup", {"data", "convert", "x"}, 2, {"did you mean weights convert?"}},
      {"ValueForgotten", {"train", "x", "--out", "--json"}, 2, {"--out", "got the flag --json"}},
      {"ValueOfAToggle", {"train", "x", "--json=no"}, 2, {"--json", "takes no value"}},
      {"TwoMeans", train(kGalaxies, {"--mean", "0.5,0.4"}), 2, {"--mean", "1 or 3", "got 2"}},
      {"FourMeans", train(kGalaxies, {"--mean", ".1", ".2", ".3", ".4"}), 2, {"--mean", "got 4"}},
      {"MeanOfBytes", train(kGalaxies, {"--mean", "123.7,116.3,103.5"}), 2, {"from 0 to 1"}},
      {"TwoJitters", train(kGalaxies, {"--color-jitter", "1,1"}), 2, {"1 or 3 or 4", "got 2"}},
      {"HueOfTwo", train(kGalaxies, {"--color-jitter", "1,1,1,2"}), 2, {"hue", "0.5"}},
      {"ItemForgotten", train(kGalaxies, {"--milestones", "1,,2"}), 2, {"got nothing in 1,,2"}},
      {"ImportTwoStd", {"import", "x", "-o", "y", "--std", "1,1"}, 2, {"--std", "got 2"}},
      {"TensorFourMeans",
       {"data", "tensor", "x", "-o", "x.npy", "--mean", "0,0,0,0"},
       2,
       {"--mean", "got 4"}},
      {"ConfigWithTwoMeans",
       train(kGalaxies, {"--config", "mean.json"}),
       2,
       {"mean.json", "\"mean\""}},
      {"ConfigWithStdOfZero", train(kGalaxies, {"--config", "std.json"}), 2, {"std must be"}},
      {"TimmStdOfZero",
       {"import", "timm", "-o", "x.safetensors"},
       4,
       {"timm/config.json", "'std'", "above 0"}},
      {"UnknownShortFlag", {"train", "x", "-q"}, 2, {"unknown flag -q"}},
      {"TooManyArguments", {"train", "x", "y"}, 2, {"not expected: y"}},
      {"MissingArgument", {"eval", "run"}, 2, {"DATA is required"}},
      {"NoNumber", {"train", "x", "--epochs", "ten"}, 2, {"--epochs", "a whole number", "ten"}},
      {"OutOfRange", {"bench", "--steps", "0"}, 2, {"--steps", "at least 1", "0"}},
      {"WrongMode", {"bench", "--mode", "fast"}, 2, {"train or infer", "fast"}},
      {"NoData", {"train"}, 2, {"train needs data"}},
      {"UnknownArchitecture", train(kGalaxies, {"--arch", "resnt18"}), 2, {"'resnet18'"}},
      {"UnknownArchitectureOfSummary", {"summary", "resnet51v2"}, 2, {"'resnet50v2'"}},
      {"UnknownOptimizer", train(kGalaxies, {"--optimizer", "adam"}), 2, {"\"adamw\""}},
      {"UnknownSchedule", train(kGalaxies, {"--schedule", "cosin"}), 2, {"\"cosine\""}},
      {"NegativeRate", train(kGalaxies, {"--lr", "-1"}), 2, {"--lr", "above 0", "-1"}},
      {"WrongWeights", train(kGalaxies, {"--class-weights", "1,2"}), 2, {"8 numbers", "found 2"}},
      // Paths.
      {"NoSuchData", train("nowhere"), 3, {"nowhere", "no such file or folder"}},
      {"NoSuchModel", {"eval", "nowhere", kGalaxies}, 3, {"nowhere"}},
      {"NoSuchModelFile", {"summary", "runs/nowhere"}, 3, {"runs/nowhere", "no such model"}},
      {"NoModelInFolder", {"eval", "images", kGalaxies}, 3, {"without a model.safetensors"}},
      {"NoSuchImage", {"predict", "run", "nowhere.png"}, 3, {"nowhere.png"}},
      {"NoImagesInFolder", {"predict", "run", "empty"}, 3, {"empty", "no images"}},
      {"NothingToResume", {"train", "--resume", "images"}, 3, {"no last.safetensors"}},
      {"OutIsAFile", train(kGalaxies, {"--out", "file/new"}), 5, {"file/new"}},
      {"OutHoldsARun", train(kGalaxies, {"--out", "run"}), 2, {"--resume", "--overwrite", "--out"}},
      // Data sets.
      {"EmptyFolder", train("empty"), 4, {"empty", "one folder of images for each class"}},
      {"EmptyClass", train("empty-class"), 4, {"empty-class/a", "no images"}},
      {"OneClass", train("one-class"), 4, {"one-class", "only one class"}},
      {"ClassOnlyInVal", train("class-only-in-val"), 4, {"\"new\"", "no training images"}},
      {"ClassesOfOthers",
       {"eval", "run", "cats-and-dogs"},
       4,
       {"\"cats\"", "model's classes (8 from"}},
      {"CifarOfWrongLength", train("cifar"), 4, {"test_batch.bin", "3073", "3072 bytes"}},
      {"UnknownGalaxySetting", train("galaxies:trian=9"), 2, {"trian=9", "train=N"}},
      {"TooManyBadImages",
       train("bad-images", {"--batch-size", "2"}),
       4,
       {"can be read", "data check"}},
      // Images.
      {"CutPng", {"predict", "run", "cut.png"}, 4, {"cut.png", "damaged or cut short"}},
      {"LyingPng", {"predict", "run", "lying.png"}, 4, {"lying.png", "60000 x 60000"}},
      {"LyingPngWithinLimits", {"predict", "run", "lying2.png"}, 4, {"lying2.png", "damaged"}},
      {"LyingJpeg", {"predict", "run", "lying.jpg"}, 4, {"lying.jpg", "65000 x 65000"}},
      {"NoImage", {"predict", "run", "no.jpg"}, 4, {"no.jpg", "expected a JPEG, PNG, WebP"}},
      {"EmptyImage", {"predict", "run", "empty.png"}, 4, {"empty.png", "empty"}},
      // What is written has the ending of its format.
      {"ImportIntoPth", {"import", "cut.safetensors", "-o", "x.pth"}, 2, {".safetensors", "x.pth"}},
      {"ExportTorchIntoOnnx",
       {"export", "run", "--to", "torch", "-o", "x.onnx"},
       2,
       {".pth or .pt or .th", "x.onnx"}},
      {"ExportOnnxIntoPth",
       {"export", "run", "--to", "onnx", "-o", "x.pth"},
       2,
       {".onnx", "x.pth"}},
      {"PlotIntoPng", {"plot", "run", "-o", "x.png"}, 2, {".svg", "x.png"}},
      {"TensorIntoCsv", {"data", "tensor", "cut.png", "--out", "x.csv"}, 2, {".npy", "x.csv"}},
      {"PredictionsIntoJson",
       {"eval", "run", kGalaxies, "--predictions", "x.json"},
       2,
       {"--predictions", ".csv", "x.json"}},
      {"PackIntoTar", {"data", "pack", kGalaxies, "-o", "x.tar"}, 2, {".pack", "x.tar"}},
      {"PackWithTwoSizes",
       {"data", "pack", kGalaxies, "-o", "x", "--size", "8", "--shorter-side", "8"},
       2,
       {"--size"}},
      {"PackOfNothing", {"data", "pack", "nowhere", "-o", "x"}, 3, {"nowhere"}},
      // Weights that are known by name and not here.
      {"ImportByName",
       {"import", "resnet50", "-o", "x.safetensors"},
       3,
       {"resnet50: no such file", "`resnet weights get resnet50`"}},
      {"ShowByName", {"weights", "show", "resnet50"}, 3, {"`resnet weights get resnet50`"}},
      // Plots.
      {"PlotOfNothing", {"plot", "-o", "x.svg"}, 2, {"RUN is required"}},
      {"PlotOfNoRun", {"plot", "empty", "-o", "x.svg"}, 3, {"empty", "no metrics.csv"}},
      {"PlotOfNoPath", {"plot", "a=run,nowhere", "-o", "x.svg"}, 3, {"nowhere: no such file"}},
      {"PlotOfEmptyGroup", {"plot", "a=", "-o", "x.svg"}, 2, {"NAME=RUN", "\"a=\""}},
      {"UnknownMetric",
       {"plot", "run", "--metric", "top1", "-o", "x.svg"},
       2,
       {"\"top1\"", "val_top1"}},
      {"UnknownX", {"plot", "run", "--x", "hours", "-o", "x.svg"}, 2, {"epoch, step or seconds"}},
      {"PlotIntoNoFolder", {"plot", "run", "-o", "nowhere/x.svg"}, 5, {"nowhere/x.svg"}},
      {"NoMetrics", {"plot", "file", "-o", "x.svg"}, 4, {"file", "epoch"}},
      // Learning rates and features.
      {"FindLrOfNothing", {"find-lr", "-o", "x.svg"}, 2, {"find-lr needs data"}},
      {"FindLrIntoPng", {"find-lr", kGalaxies, "-o", "x.png"}, 2, {".svg", "x.png"}},
      {"FindLrFalling",
       {"find-lr", kGalaxies, "--min-lr", "1", "--max-lr", "0.1", "-o", "x.svg"},
       2,
       {"must rise", "from 1 to 0.1"}},
      {"FindLrNoData", {"find-lr", "nowhere", "-o", "x.svg"}, 3, {"nowhere"}},
      {"EmbedNothing", {"embed", "run", "-o", "x.npy"}, 2, {"got neither"}},
      {"EmbedBoth",
       {"embed", "run", "cut.png", "--data", kGalaxies, "-o", "x.npy"},
       2,
       {"got both"}},
      {"EmbedIntoTxt", {"embed", "run", "cut.png", "-o", "x.txt"}, 2, {".npy or .csv", "x.txt"}},
      {"EmbedNoSuchPath", {"embed", "run", "nowhere.png", "-o", "x.npy"}, 3, {"nowhere.png"}},
      {"EmbedUnreadable", {"embed", "run", "cut.png", "-o", "x.npy"}, 4, {"cut.png", "not one of"}},
      {"EmbedUnknownLayer",
       {"embed", "run", "images", "--layer", "layr2", "-o", "x.npy"},
       2,
       {"layr2", "layer2"}},
      {"EmbedUnknownPart",
       {"embed", "run", "--data", kGalaxies, "--part", "test", "-o", "x.npy"},
       2,
       {"train or val", "test"}},
      // Quantisation.
      {"QuantizeNothing", {"quantize", "run"}, 2, {"DATA is required"}},
      {"QuantizeNoSuchModel", {"quantize", "nowhere", kGalaxies}, 3, {"nowhere"}},
      {"QuantizeNoSuchData", {"quantize", "run", "nowhere", "-o", "x.safetensors"}, 3, {"nowhere"}},
      {"QuantizeOtherClasses",
       {"quantize", "run", "cats-and-dogs", "-o", "x.safetensors"},
       4,
       {"\"cats\"", "model's classes (8 from"}},
      {"QuantizeUnknownCalibration",
       {"quantize", "run", kGalaxies, "--calibration", "max", "-o", "x.safetensors"},
       2,
       {"minmax, percentile or kl", "max"}},
      {"QuantizeUnknownLayer",
       {"quantize", "run", kGalaxies, "--keep", "conv2", "-o", "x.safetensors"},
       2,
       {"'conv2'", "did you mean 'conv1'?"}},
      {"QuantizeFewBits",
       {"quantize", "run", kGalaxies, "--weight-bits", "4", "-o", "x.safetensors"},
       2,
       {"--weight-bits", "7 or 8", "4"}},
      {"QuantizeOverAFile",
       {"quantize", "run", kGalaxies, "-o", "file"},
       2,
       {"file exists", "--overwrite"}},
      // Models, checkpoints, options.
      {"CutModel",
       {"eval", "cut.safetensors", kGalaxies},
       4,
       {"cut.safetensors", "the file holds"}},
      {"WrongShape",
       {"eval", "shape.safetensors", kGalaxies},
       4,
       {"shape.safetensors", "'conv1.weight'", "[16, 3, 3, 3]", "[48, 1, 3, 3]"}},
      {"NoModelFile", {"eval", "bare.safetensors", kGalaxies}, 4, {"not a model file"}},
      {"CutCheckpoint", {"train", "--resume", "cut-run"}, 4, {"cut-run/last.safetensors"}},
      {"CheckpointOfWrongShape", {"train", "--resume", "shape-run"}, 4, {"conv1.weight"}},
      {"OtherOptions", {"train", "--resume", "run", "--lr", "9"}, 2, {"optimizer.lr differs"}},
      {"NoSuchConfig", train(kGalaxies, {"--config", "none.json"}), 3, {"none.json"}},
      {"UnknownKey", train(kGalaxies, {"--config", "key.json"}), 2, {"key.json", "\"epochs\"?"}},
      {"WrongKind", train(kGalaxies, {"--config", "kind.json"}), 2, {"kind.json", "whole number"}},
      {"NoJson", train(kGalaxies, {"--config", "file"}), 2, {"file", "not valid JSON"}},
  };
  return all;
}

class BadInput : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    home = new TemporaryFolder;
    const fs::path& h = home->path();
    ASSERT_EQ(run_resnet(h, train(kGalaxies, {"--out", "run"})).code, 0);
    ASSERT_EQ(
        run_resnet(h, {"data", "galaxies", "--out", "images", "--count", "16", "--size", "16"})
            .code,
        0);
    const std::string png = read_file(h / "images/ring/galaxy-000005.png");
    ASSERT_GT(png.size(), 100U);

    fs::create_directories(h / "empty");
    fs::create_directories(h / "empty-class/a");
    write_file(h / "empty-class/b/1.png", png);
    write_file(h / "one-class/a/1.png", png);
    write_file(h / "one-class/a/2.png", png);
    for (const char* part : {"train/a", "train/b", "val/a", "val/new"}) {
      write_file(h / "class-only-in-val" / part / "1.png", png);
    }
    for (const char* name : {"cats", "dogs"}) {
      for (const char* file : {"1.png", "2.png"}) {
        write_file(h / "cats-and-dogs" / name / file, png);
        write_file(h / "bad-images" / name / file, png.substr(0, png.size() / 2));
      }
    }
    for (int i = 1; i <= 5; ++i) {
      write_file(h / "cifar" / ("data_batch_" + std::to_string(i) + ".bin"), std::string(3073, 1));
    }
    write_file(h / "cifar/test_batch.bin", std::string(3072, 1));

    write_file(h / "cut.png", png.substr(0, png.size() / 2));
    write_file(h / "lying.png", lying_png(png, 60000));
    write_file(h / "lying2.png", lying_png(png, 2000));
    write_file(h / "lying.jpg", lying_jpeg());
    write_file(h / "no.jpg", "no image");
    write_file(h / "empty.png", "");

    const auto cut = [](const std::string& s) { return s.substr(0, s.size() / 2); };
    const auto reshape = [](Json& header) {
      header.at("conv1.weight").at("shape") = {48, 1, 3, 3};
    };
    const std::string model = read_file(h / "run/model.safetensors");
    write_file(h / "cut.safetensors", cut(model));
    write_file(h / "shape.safetensors", with_header(model, reshape));
    write_file(h / "bare.safetensors",
               with_header(model, [](Json& header) { header.erase("__metadata__"); }));
    const std::string last = read_file(h / "run/last.safetensors");
    write_file(h / "cut-run/last.safetensors", cut(last));
    write_file(h / "shape-run/last.safetensors", with_header(last, reshape));

    write_file(h / "file", "text");
    write_file(h / "key.json", R"({"epochz": 1})");
    write_file(h / "mean.json", R"({"mean": [0.5, 0.5]})");
    write_file(h / "std.json", R"({"std": [0.0]})");
    write_file(h / "timm/model.safetensors", read_file(h / "bare.safetensors"));
    write_file(h / "timm/config.json",
               R"({"architecture": "resnet18", "mean": [0.5], "std": [1, 0, 1]})");
    write_file(h / "kind.json", R"({"epochs": "1"})");
  }
  static void TearDownTestSuite() { delete home; }

  // Every path below the home of the tests with its size.
  static std::set<std::string> files() {
    std::set<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(home->path())) {
      const auto size = entry.is_regular_file() ? entry.file_size() : 0;
      all.insert(entry.path().string() + " " + std::to_string(size));
    }
    return all;
  }

  static TemporaryFolder* home;
};

TemporaryFolder* BadInput::home = nullptr;

TEST_P(BadInput, IsOneLineAndAnExitCode) {
  const Case& c = GetParam();
  const std::set<std::string> before = files();
  const Outcome r = run_resnet(home->path(), c.words);
  EXPECT_EQ(r.code, c.code) << r.err;
  EXPECT_EQ(r.out, "");
  ASSERT_GT(r.err.size(), 2U);
  const std::size_t start = r.err.rfind('\n', r.err.size() - 2) + 1;
  const std::string line = r.err.substr(start);
  EXPECT_TRUE(line.starts_with("resnet: ")) << r.err;
  for (const std::string& fragment : c.fragments) {
    EXPECT_NE(line.find(fragment), std::string::npos) << fragment << "\n" << r.err;
  }
  if (c.name == std::string("TooManyBadImages")) return;  // found out while it trains
  EXPECT_EQ(start, 0U) << "more than one line:\n" << r.err;
  EXPECT_EQ(files(), before);
}

INSTANTIATE_TEST_SUITE_P(All, BadInput, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

class Failure : public testing::Test {
 protected:
  Outcome resnet(const std::vector<std::string>& words, const Settings& settings = {}) {
    return run_resnet(home_.path(), words, settings);
  }
  TemporaryFolder home_;
};

TEST_F(Failure, FullDiskLeavesWholeFilesOnly) {
  // Room for the model, 0.3 MB, and not for the checkpoint, which is twice that.
  const Outcome r = resnet(train(kGalaxies), {.largest_file = 400'000});
  EXPECT_EQ(r.code, 5) << r.err;
  EXPECT_NE(r.err.find("resnet: cannot write new/last.safetensors"), std::string::npos) << r.err;
  static const std::set<std::string> kWhole = {"model.safetensors", "config.json",
                                               "metrics.csv",       "confusion.csv",
                                               "confusion.png",     "confusion.svg"};
  for (const auto& entry : fs::directory_iterator(home_.path() / "new")) {
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(kWhole.contains(name) || name.starts_with("events.")) << name;
  }
  EXPECT_EQ(resnet({"eval", "new", kGalaxies}).code, 0);
}

TEST_F(Failure, FullDiskLeavesTheCheckpointBefore) {
  ASSERT_EQ(resnet(train(kGalaxies)).code, 0);
  const std::string before = read_file(home_.path() / "new/last.safetensors");
  const Outcome r =
      resnet({"train", "--resume", "new", "--epochs", "2"}, {.largest_file = 400'000});
  EXPECT_EQ(r.code, 5) << r.err;
  EXPECT_EQ(read_file(home_.path() / "new/last.safetensors"), before);
  EXPECT_EQ(resnet({"train", "--resume", "new", "--epochs", "2"}).code, 0);
}

TEST_F(Failure, ARunThatKeptNothingDoesNotBlockItsFolder) {
  ASSERT_EQ(resnet({"data", "galaxies", "--out", "images", "--count", "32", "--size", "16"}).code,
            0);
  for (const char* name : {"a.png", "b.png", "c.png", "d.png"}) {
    write_file(home_.path() / "images/ring" / name, "no image");
  }
  EXPECT_EQ(resnet(train("images", {"--max-bad", "0"})).code, 4);
  const Outcome r = resnet(train("images", {"--max-bad", "0.9"}));
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_NE(r.err.find("images/ring/a.png: expected a JPEG"), std::string::npos) << r.err;
}

TEST_F(Failure, DivergenceNamesALayer) {
  const Outcome r = resnet(train(kGalaxies, {"--lr", "1e30", "--epochs", "3"}));
  EXPECT_EQ(r.code, 6) << r.err;
  EXPECT_NE(r.err.find("layer "), std::string::npos) << r.err;
}

}  // namespace
}  // namespace resnet::test

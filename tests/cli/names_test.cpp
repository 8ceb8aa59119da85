// Names of files, folders and classes that hold any bytes: what is printed and what is written.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/process.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

constexpr const char* kGalaxies = "galaxies:train=64,val=16,size=16";
constexpr const char* kLatin = "caf\xe9";
constexpr const char* kHostile = "a\x1b[2Jb\nc";
constexpr const char* kHostileShown = "a\\x1b[2Jb\\x0ac";

Words train(const std::string& data, const std::string& out, const Words& more = {}) {
  Words words{"train",        data, "--arch",       "resnet8", "--epochs", "1",
              "--image-size", "16", "--batch-size", "4",       "--out",    out};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// No byte that a terminal obeys, but for ends of lines.
bool is_harmless(const std::string& text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\n' || (byte >= 0x20 && byte != 0x7f && byte != 0xe9);
  });
}

std::ptrdiff_t lines_in(const std::string& text) { return std::ranges::count(text, '\n'); }

class Names : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    home = new TemporaryFolder;
    const fs::path& h = home->path();
    ASSERT_EQ(run_resnet(h, train(kGalaxies, "run")).code, 0);
    ASSERT_EQ(
        run_resnet(h, {"data", "galaxies", "--out", "images", "--count", "16", "--size", "16"})
            .code,
        0);
    png = new std::string(read_file(h / "images/ring/galaxy-000005.png"));
    write_file(h / "odd" / (std::string(kLatin) + ".png"), *png);
    write_file(h / "odd" / (std::string(kHostile) + ".png"), *png);
    write_file(h / "odd" / "bad\x1b.png", "no image");
    for (const char* name : {"1.png", "2.png", "3.png", "4.png"}) {
      for (const char* of : {"dog", kLatin}) write_file(h / "latin" / of / name, *png);
      for (const char* of : {"dog", kHostile}) write_file(h / "hostile" / of / name, *png);
      for (const char* of : {"cat", "dog"})
        write_file(h / (std::string("d") + kLatin) / of / name, *png);
    }
  }
  static void TearDownTestSuite() {
    delete png;
    delete home;
  }
  static Outcome resnet(const Words& words, const Settings& settings = {}) {
    return run_resnet(home->path(), words, settings);
  }
  static void expect_harmless(const Outcome& r) {
    EXPECT_TRUE(is_harmless(r.out)) << r.out;
    EXPECT_TRUE(is_harmless(r.err)) << r.err;
  }

  static TemporaryFolder* home;
  static std::string* png;
};

TemporaryFolder* Names::home = nullptr;
std::string* Names::png = nullptr;

TEST_F(Names, PredictAsJsonIsValid) {
  const Outcome r = resnet({"predict", "run", "odd", "--json"});
  EXPECT_EQ(r.code, 4) << r.err;
  std::istringstream lines(r.out);
  std::vector<std::string> paths;
  for (std::string line; std::getline(lines, line);) {
    paths.push_back(Json::parse(line).at("path"));  // throws on what is not valid
  }
  ASSERT_EQ(paths.size(), 3U);
  EXPECT_EQ(paths[0], "odd/a\x1b[2Jb\nc.png");  // UTF-8 is exact
  EXPECT_EQ(paths[2], "odd/caf\\xe9.png");
  EXPECT_TRUE(is_harmless(r.err)) << r.err;
}

TEST_F(Names, PredictPrintsALineForEachWithEscapes) {
  const Outcome r = resnet({"predict", "run", "odd"});
  EXPECT_EQ(r.code, 4);
  expect_harmless(r);
  EXPECT_EQ(lines_in(r.out), 2) << r.out;
  EXPECT_EQ(lines_in(r.err), 1) << r.err;
  EXPECT_NE(r.out.find(kHostileShown), std::string::npos) << r.out;
  EXPECT_NE(r.out.find("caf\\xe9.png:"), std::string::npos) << r.out;
  EXPECT_NE(r.err.find("bad\\x1b.png"), std::string::npos) << r.err;
}

TEST_F(Names, OtherCommandsAsJsonAreValid) {
  for (const Words& words :
       {Words{"data", "check", "latin", "--json"}, Words{"data", "stats", "latin", "--json"},
        Words{"data", "check", "hostile", "--json"},
        Words{"embed", "run", "odd", "-o", "e.csv", "--json"},
        Words{"data", "pack", std::string("d") + kLatin, "-o", "p.pack", "--json"},
        Words{"plot", "run", "-o", std::string(kLatin) + ".svg", "--json"}}) {
    const Outcome r = resnet(words);
    EXPECT_TRUE(r.code == 0 || r.code == 4) << words[0] << " " << words[1] << ": " << r.err;
    EXPECT_TRUE(Json::accept(r.out)) << words[0] << " " << words[1] << ": " << r.out << r.err;
    EXPECT_TRUE(is_harmless(r.err)) << r.err;
  }
  const Outcome r = resnet({"data", "check", "latin", "--json"});
  EXPECT_TRUE(Json::parse(r.out).at("train").at("classes").contains("caf\\xe9")) << r.out;
}

TEST_F(Names, OtherCommandsPrintEscapes) {
  for (const Words& words :
       {Words{"data", "check", "hostile"}, Words{"data", "stats", "hostile"},
        Words{"embed", "run", "odd", "-o", "e.csv"}, Words{"data", "tensor", "odd", "-o", "t.npy"},
        Words{"plot", "run", "-o", std::string(kHostile) + ".svg"}, Words{"data", "check", "latin"},
        Words{"export", "run", "--to", "torch", "-o", std::string(kHostile) + ".pth"},
        Words{"weights", "show", std::string(kHostile) + ".pth"},
        Words{"weights", "convert", std::string(kHostile) + ".pth", "-o",
              std::string(kHostile) + ".safetensors"},
        Words{"import", std::string(kHostile) + ".pth", "-o",
              std::string(kHostile) + "i.safetensors"},
        Words{"summary", std::string(kHostile) + "i.safetensors"}, Words{"eval", "run", "hostile"},
        Words{"quantize", "run", "hostile", "-o", std::string(kHostile) + "q.safetensors"},
        Words{"quantize", "run", kGalaxies, "--calibration", "minmax", "-o",
              std::string(kHostile) + "q.safetensors"},
        train(kGalaxies, kHostile), Words{"train", "--resume", kHostile, "--epochs", "2"}}) {
    const Outcome r = resnet(words);
    EXPECT_TRUE(r.code == 0 || r.code == 4) << words[0] << " " << words[1] << ": " << r.err;
    expect_harmless(r);
  }
}

TEST_F(Names, ProgressOnATerminalHasEscapesOfItsOwnAlone) {
  const Outcome r = resnet({"data", "tensor", "odd", "-o", "t.npy"}, {.terminal = true});
  std::string err = r.err;
  for (std::size_t at; (at = err.find("\r\x1b[K")) != std::string::npos;) err.erase(at, 4);
  std::erase(err, '\r');
  EXPECT_TRUE(is_harmless(err)) << err;
  EXPECT_NE(err.find("bad\\x1b.png"), std::string::npos) << err;
}

TEST_F(Names, ClassesThatNoModelFileCanNameAreRefusedBeforeTraining) {
  for (const char* data : {"latin", "hostile"}) {
    const char* shown = data == std::string("latin") ? "caf\\xe9" : kHostileShown;
    for (const Words& words :
         {train(data, "refused"), Words{"find-lr", data, "--arch", "resnet8", "-o", "lr.svg"},
          Words{"data", "pack", data, "-o", "refused.pack"}}) {
      const Outcome r = resnet(words);
      EXPECT_EQ(r.code, 4) << words[0] << ": " << r.err;
      EXPECT_EQ(lines_in(r.err), 1) << r.err;
      EXPECT_NE(r.err.find(std::string(data) + "/" + shown), std::string::npos) << r.err;
      EXPECT_NE(r.err.find("rename"), std::string::npos) << r.err;
      expect_harmless(r);
    }
  }
  EXPECT_FALSE(fs::exists(home->path() / "refused"));
  EXPECT_FALSE(fs::exists(home->path() / "refused.pack"));
  EXPECT_FALSE(fs::exists(home->path() / "lr.svg"));
}

TEST_F(Names, AFolderOfAnyBytesIsTrainedOnAndItsRunRepeated) {
  const std::string data = std::string("d") + kLatin, out = std::string("r") + kLatin;
  const Outcome first = resnet(train(data, out, {"--json"}));
  ASSERT_EQ(first.code, 0) << first.err;
  EXPECT_EQ(Json::parse(first.out).at("run"), "rcaf\\xe9");
  const fs::path run = home->path() / out;
  const Json config = Json::parse(read_file(run / "config.json"));
  EXPECT_NE(config.at("data").at("source").get<std::string>().find("dcaf\\xe9"), std::string::npos);
  const Outcome again = resnet({"train", "--config", out + "/config.json", "--out", "again"});
  EXPECT_EQ(again.code, 0) << again.err;  // the data was found
  const Outcome more = resnet({"train", "--resume", out, "--epochs", "2"});
  EXPECT_EQ(more.code, 0) << more.err;
  expect_harmless(more);
  EXPECT_EQ(resnet({"eval", out, data}).code, 0);
}

TEST_F(Names, ALineARowWhateverTheNames) {
  const Outcome r = resnet({"embed", "run", "odd", "-o", "rows.npy"});
  EXPECT_EQ(r.code, 4) << r.err;
  EXPECT_EQ(read_file(home->path() / "rows.paths.txt"),
            "odd/a\x1b[2Jb\\x0ac.png\nodd/caf\xe9.png\n");
  ASSERT_EQ(resnet({"embed", "run", "odd", "-o", "rows.csv"}).code, 4);
  EXPECT_NE(read_file(home->path() / "rows.csv").find("\"odd/a\x1b[2Jb\nc.png\","),
            std::string::npos);
}

TEST_F(Names, PathsOnStandardInputFromAnotherSystem) {
  write_file(home->path() / "in/a.png", *png);
  write_file(home->path() / "in/b.png", *png);
  write_file(home->path() / "in/c.png\r", *png);
  const std::string list = "\xef\xbb\xbfin/a.png\r\n\r\nin/b.png\r\nin/c.png\r\n";
  const Outcome r = resnet({"predict", "run", "-", "--json"}, {.input = list});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(lines_in(r.out), 3) << r.out;
  EXPECT_EQ(Json::parse(r.out.substr(0, r.out.find('\n'))).at("path"), "in/a.png");
  EXPECT_NE(r.out.find("in/c.png\\r"), std::string::npos) << r.out;
  const Outcome e = resnet({"embed", "run", "-", "-o", "in.npy"}, {.input = list});
  EXPECT_EQ(e.code, 0) << e.err;
  EXPECT_TRUE(read_file(home->path() / "in.paths.txt").starts_with("in/a.png\nin/b.png\n"));
}

TEST_F(Names, PathsOnStandardInputThatAreNoLines) {
  using namespace std::string_literals;
  for (const Words& words :
       {Words{"predict", "run", "-"}, Words{"embed", "run", "-", "-o", "z.npy"}}) {
    Outcome r = resnet(words, {.input = "odd/caf\xe9.png\0odd/x.png\0"s});
    EXPECT_EQ(r.code, 4) << r.err;
    EXPECT_NE(r.err.find("-print0"), std::string::npos) << r.err;
    r = resnet(words, {.input = "\xff\xfeo\0d\0d\0"s});
    EXPECT_EQ(r.code, 4) << r.err;
    EXPECT_NE(r.err.find("UTF-16"), std::string::npos) << r.err;
  }
}

TEST_F(Names, ClassesOfImportFromAnotherSystem) {
  ASSERT_EQ(resnet({"export", "run", "--to", "torch", "-o", "w.pth"}).code, 0);
  std::string names = "\xef\xbb\xbf";
  for (int i = 0; i < 8; ++i) names += "class of " + std::to_string(i) + " \r\n";
  write_file(home->path() / "names.txt", names);
  const Words words{"import",    "w.pth",     "--arch", "resnet8",
                    "--classes", "names.txt", "-o",     "w.safetensors"};
  Outcome r = resnet(words);
  ASSERT_EQ(r.code, 0) << r.err;
  r = resnet({"predict", "w.safetensors", "images/ring", "--top", "8", "--json"});
  EXPECT_NE(r.out.find("\"class of 0\""), std::string::npos) << r.out;
  EXPECT_EQ(r.out.find("\\ufeff"), std::string::npos);
  write_file(home->path() / "names.txt", "a\nb\ncaf\xe9\nd\ne\nf\ng\nh\n");
  r = resnet(words);
  EXPECT_EQ(r.code, 4);
  EXPECT_NE(r.err.find("names.txt: line 3"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("UTF-8"), std::string::npos) << r.err;
}

TEST_F(Names, OptionsFromAnotherSystem) {
  std::string config = read_file(home->path() / "run/config.json");
  write_file(home->path() / "mark.json", "\xef\xbb\xbf" + config);
  EXPECT_EQ(resnet({"train", "--config", "mark.json", "--out", "marked"}).code, 0);
  write_file(home->path() / "wide.json", std::string("\xff\xfe{\0", 4));
  const Outcome r = resnet({"train", "--config", "wide.json", "--out", "wide"});
  EXPECT_EQ(r.code, 4) << r.err;
  EXPECT_NE(r.err.find("UTF-16"), std::string::npos) << r.err;
  EXPECT_NE(r.err.find("wide.json"), std::string::npos) << r.err;
}

}  // namespace
}  // namespace resnet::test

// Images that come in: from pipes, with 16 bits, of another size, beside paths that are none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/process.h"
#include "formats/png16.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

class Images : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    home = new TemporaryFolder;
    const Outcome trained =
        resnet({"train", "galaxies:train=64,val=16,size=16", "--arch", "resnet8", "--epochs", "1",
                "--batch-size", "16", "--out", "run"});
    ASSERT_EQ(trained.code, 0) << trained.err;
    for (const char* size : {"16", "64"}) {
      const Outcome drawn = resnet(
          {"data", "galaxies", "--out", std::string("g") + size, "--count", "8", "--size", size});
      ASSERT_EQ(drawn.code, 0) << drawn.err;
    }
    for (const auto& e : fs::recursive_directory_iterator(home->path() / "g16")) {
      if (e.is_regular_file() && image == nullptr) image = new fs::path(e.path());
    }
    // A 12-bit camera: two classes that differ above 255 only.
    for (int i = 0; i < 24; ++i) {
      std::vector<std::uint16_t> values(16 * 16);
      for (std::size_t k = 0; k < values.size(); ++k) {
        values[k] = static_cast<std::uint16_t>((i % 2 == 0 ? 300 : 3000) +
                                               (k * 37 + static_cast<std::size_t>(i) * 11) % 500);
      }
      write_file(
          home->path() / "deep" / (i % 2 == 0 ? "dim" : "bright") / (std::to_string(i) + ".png"),
          png16(values, 16));
    }
  }
  static void TearDownTestSuite() {
    delete image;
    delete home;
  }
  static Outcome resnet(const Words& words, const Settings& settings = {}) {
    return run_resnet(home->path(), words, settings);
  }
  static bool says(const Outcome& r, const std::string& part) {
    return r.err.find(part) != std::string::npos;
  }
  // The numbers of a .npy file of f32.
  static std::vector<float> numbers(const std::string& name) {
    const std::string file = read_file(home->path() / name);
    const std::size_t begin =
        10 + static_cast<unsigned char>(file[8]) + 256U * static_cast<unsigned char>(file[9]);
    std::vector<float> values((file.size() - begin) / 4);
    std::memcpy(values.data(), file.data() + begin, values.size() * 4);
    return values;
  }

  static TemporaryFolder* home;
  static fs::path* image;
};
TemporaryFolder* Images::home = nullptr;
fs::path* Images::image = nullptr;

TEST_F(Images, AMissingPathDoesNotKeepTheRestFromBeingPredicted) {
  const Outcome r = resnet({"predict", "run", "nowhere.png", image->string(), "--json"});
  EXPECT_EQ(r.code, 4);
  EXPECT_EQ(std::ranges::count(r.out, '\n'), 2) << r.out;
  EXPECT_NE(r.out.find("\"error\""), std::string::npos);
  EXPECT_TRUE(says(r, "nowhere.png")) << r.err;
  EXPECT_EQ(resnet({"predict", "run", "nowhere.png"}).code, 3) << "alone, it is not found";

  const Outcome e = resnet({"embed", "run", "nowhere.png", image->string(), "-o", "e.npy"});
  EXPECT_EQ(e.code, 4);
  EXPECT_TRUE(says(e, "nowhere.png")) << e.err;
  EXPECT_EQ(numbers("e.npy").size(), 64U);
  const Outcome t = resnet(
      {"data", "tensor", "nowhere.png", image->string(), "--model", "run", "--out", "t.npy"});
  EXPECT_EQ(t.code, 4);
  EXPECT_TRUE(says(t, "nowhere.png")) << t.err;
  const auto values = numbers("t.npy");
  ASSERT_EQ(values.size(), 2 * 3 * 256U);
  EXPECT_TRUE(std::isnan(values.front()) && std::isfinite(values.back()));
}

TEST_F(Images, AFolderThatCannotBeListedDoesNotKeepTheRestFromBeingPredicted) {
  const fs::path good = home->path() / "good";
  fs::create_directories(good);
  fs::copy_file(*image, good / "1.png");
  fs::create_directory_symlink("loop", home->path() / "loop");  // too many links, for root as well
  const Outcome r = resnet({"predict", "run", "loop", "good", "--json"});
  EXPECT_EQ(r.code, 4) << r.err;
  EXPECT_TRUE(says(r, "loop")) << r.err;
  EXPECT_NE(r.out.find("1.png"), std::string::npos) << r.out;
  const Outcome e = resnet({"embed", "run", "loop", "good", "-o", "l.npy"});
  EXPECT_EQ(e.code, 4) << e.err;
  EXPECT_TRUE(says(e, "loop")) << e.err;
  EXPECT_EQ(numbers("l.npy").size(), 64U);
  const Outcome t = resnet({"data", "tensor", "loop", "good", "--model", "run", "--out", "l.npy"});
  EXPECT_EQ(t.code, 4) << t.err;
  EXPECT_TRUE(says(t, "loop")) << t.err;
}

TEST_F(Images, StandardInputMayBeAnImage) {
  const Settings png{.input = read_file(*image)};
  const Outcome named = resnet({"predict", "run", image->string()});
  for (const char* path : {"-", "/dev/stdin"}) {
    const Outcome r = resnet({"predict", "run", path}, png);
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(r.out.substr(r.out.find(": ")), named.out.substr(named.out.find(": "))) << path;
  }
  EXPECT_EQ(resnet({"embed", "run", "-", "-o", "a.npy"}, png).code, 0);
  EXPECT_EQ(resnet({"embed", "run", image->string(), "-o", "b.npy"}).code, 0);
  EXPECT_EQ(numbers("a.npy"), numbers("b.npy"));
  EXPECT_EQ(resnet({"data", "tensor", "-", "--model", "run", "--out", "a.npy"}, png).code, 0);
  EXPECT_EQ(resnet({"data", "tensor", image->string(), "--model", "run", "--out", "b.npy"}).code,
            0);
  EXPECT_EQ(numbers("a.npy"), numbers("b.npy"));
  const Outcome paths = resnet({"predict", "run", "-"}, {.input = image->string() + "\n"});
  EXPECT_EQ(paths.out, named.out) << "paths still are";
  EXPECT_EQ(resnet({"predict", "run", "-"}, {.input = png.input.substr(0, 60)}).code, 4);
}

TEST_F(Images, SixteenBitsAreWarnedOfAndScaledOnRequest) {
  const Outcome clip =
      resnet({"data", "tensor", "deep/bright", "--size", "16", "--resize", "0", "--channels", "1",
              "--mean", "0,0,0", "--std", "1,1,1", "--out", "c.npy"});
  EXPECT_EQ(clip.code, 0) << clip.err;
  EXPECT_TRUE(says(clip, "--scale-16bit") && says(clip, "1.png") && says(clip, "9 more"))
      << clip.err;
  for (const float v : numbers("c.npy")) ASSERT_EQ(v, 1.0F);
  const Outcome scaled = resnet({"data", "tensor", "deep/bright/1.png", "--size", "16", "--resize",
                                 "0", "--channels", "1", "--mean", "0,0,0", "--std", "1,1,1",
                                 "--scale-16bit", "12bit", "--threads", "1", "--out", "s.npy"});
  EXPECT_EQ(scaled.code, 0) << scaled.err;
  EXPECT_FALSE(says(scaled, "note")) << scaled.err;
  const auto values = numbers("s.npy");
  ASSERT_EQ(values.size(), 256U);
  for (std::size_t k = 0; k < values.size(); ++k) {
    const double v = 3000 + static_cast<double>((k * 37 + 11) % 500);
    ASSERT_FLOAT_EQ(values[k], static_cast<float>(std::floor(v / 4095 * 255 + 0.5) / 255));
  }
  for (const char* command : {"stats", "check"}) {
    EXPECT_TRUE(says(resnet({"data", command, "deep"}), "--scale-16bit")) << command;
    EXPECT_FALSE(says(resnet({"data", command, "deep", "--scale-16bit", "range"}), "note"));
  }
  EXPECT_TRUE(says(resnet({"data", "pack", "deep", "-o", "deep.pack"}), "--scale-16bit"));
  EXPECT_EQ(resnet({"data", "stats", "deep", "--scale-16bit", "13bit"}).code, 2);
}

TEST_F(Images, AModelKeepsHow16BitsAreRead) {
  const Words train = {"train",        "deep",     "--arch",     "resnet8",   "--image-size",
                       "16",           "--epochs", "4",          "--augment", "none",
                       "--batch-size", "4",        "--overwrite"};
  Words clipped = train, scaled = train;
  clipped.insert(clipped.end(), {"--out", "clipped"});
  scaled.insert(scaled.end(), {"--out", "scaled", "--scale-16bit", "12bit"});
  EXPECT_TRUE(says(resnet(clipped), "--scale-16bit"));
  const Outcome r = resnet(scaled);
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_FALSE(says(r, "became white")) << r.err;
  EXPECT_NE(read_file(home->path() / "scaled/config.json").find("\"scale_16bit\": \"12bit\""),
            std::string::npos);
  EXPECT_NE(read_file(home->path() / "scaled/model.safetensors").find("scale_16bit"),
            std::string::npos);
  EXPECT_EQ(read_file(home->path() / "clipped/model.safetensors").find("scale_16bit"),
            std::string::npos)
      << "older programs read it";
  const auto tensor = [&](const Words& how, const char* out) {
    Words words = {"data", "tensor", "deep/dim/0.png", "--out", out};
    words.insert(words.end(), how.begin(), how.end());
    EXPECT_EQ(resnet(words).code, 0);
    return numbers(out);
  };
  const auto own = tensor({"--model", "scaled"}, "1.npy");
  EXPECT_NE(own, tensor({"--model", "scaled", "--scale-16bit", "clip"}, "2.npy"));
  EXPECT_EQ(own, tensor({"--model", "scaled", "--scale-16bit", "12bit"}, "3.npy"));
  EXPECT_FALSE(says(resnet({"predict", "scaled", "deep"}), "became white"));
  EXPECT_TRUE(says(resnet({"predict", "clipped", "deep"}), "became white"));
  EXPECT_TRUE(says(resnet({"eval", "clipped", "deep"}), "became white"));
  EXPECT_FALSE(says(resnet({"predict", "clipped", "deep", "--scale-16bit", "12bit"}), "white"));
  for (const char* run : {"scaled", "clipped"}) {
    const Outcome q = resnet({"quantize", run, "deep", "--calibration", "minmax"});
    EXPECT_EQ(says(q, "became white"), run == std::string("clipped")) << q.err;
  }
}

// Else a network is shown galaxies of another scale than those that it was trained on.
TEST_F(Images, DrawnGalaxiesAreAsLargeAsThoseOfTraining) {
  ASSERT_EQ(resnet({"data", "galaxies", "--out", "drawn", "--count", "32"}).code, 0);
  const Outcome check = resnet({"data", "check", "drawn", "--json"});
  const Outcome trained = resnet({"train", "galaxies:train=16,val=8", "--arch", "resnet8",
                                  "--epochs", "1", "--batch-size", "8", "--out", "as-drawn"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const auto json = nlohmann::json::parse(check.out).at("train");
  const std::string config = read_file(home->path() / "as-drawn/config.json");
  const auto side = nlohmann::json::parse(config).at("model").at("image_size");
  EXPECT_EQ(json.at("smallest"), nlohmann::json({side, side}));
  EXPECT_EQ(json.at("largest"), nlohmann::json({side, side}));
}

TEST_F(Images, AnotherSizeThanThatOfTrainingIsSaidAndScaled) {
  for (const Words& words : {Words{"predict", "run", "g64"}, Words{"eval", "run", "g64"},
                             Words{"embed", "run", "g64", "-o", "g.npy"}}) {
    const Outcome other = resnet(words);
    EXPECT_EQ(other.code, 0) << other.err;
    EXPECT_TRUE(says(other, "note") && says(other, "64 pixels")) << words[0] << other.err;
    Words same = words;
    same[2] = "g16";
    EXPECT_FALSE(says(resnet(same), "note")) << words[0];
  }
}

}  // namespace
}  // namespace resnet::test

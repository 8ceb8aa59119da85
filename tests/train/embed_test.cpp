#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "core/file.h"
#include "core/random.h"
#include "formats/image.h"
#include "resnet/train.h"
#include "train/support.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kImages = 5, kFeatures = 64, kClasses = 3;

class Embed : public FolderTest {
 protected:
  Embed() {
    for (std::size_t i = 0; i < kImages; ++i) {
      Image image(16, 16, 3);
      Random random(1, i, 0);
      for (auto& p : image.pixels) p = static_cast<std::uint8_t>(random.below(256));
      images_.push_back(image);
      paths_.push_back(folder_ / ("image" + std::to_string(i) + ".png"));
      write_file_atomic(paths_.back(), encode_png(image));
    }
    model_.config = {.architecture = "resnet8", .classes = kClasses, .image_size = 16};
    model_.class_names = {"a", "b", "c"};
    model_.preprocessing = {.height = 16, .width = 16, .resize = 0};
    Variables variables;
    initialise(inference_graph(model_.config, 1), variables, 7);
    model_.weights = from_variables(variables, model_.config);
    options_.eval.threads = 1;
  }
  Embeddings of(const std::string& layer, bool pool = true) const {
    EmbedOptions o = options_;
    o.layer = layer;
    o.pool = pool;
    return embed(model_, paths_, o);
  }

  std::vector<fs::path> paths_;
  std::vector<Image> images_;
  ModelFile model_;
  EmbedOptions options_;
};

// Both numbers come from sums in float of at most a few thousand terms of the size of the result.
void expect_close(std::span<const float> a, std::span<const float> b) {
  ASSERT_EQ(a.size(), b.size());
  double norm = 0, difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    norm = std::max(norm, std::abs(static_cast<double>(a[i])));
    difference = std::max(difference, std::abs(static_cast<double>(a[i]) - b[i]));
  }
  EXPECT_GT(norm, 0);
  EXPECT_LE(difference, 1e-5 * norm);
}

TEST_F(Embed, IsWhatTheHeadReads) {
  const Embeddings e = of("");
  ASSERT_EQ(e.features.shape(), (Shape{kImages, kFeatures}));
  ASSERT_EQ(e.names.size(), kImages);
  EXPECT_EQ(e.names[2], paths_[2].string());
  EXPECT_TRUE(e.labels.empty() && e.skipped.empty());
  // The head by hand.
  const auto w = model_.weights.at("fc.weight").as<float>();
  const auto b = model_.weights.at("fc.bias").as<float>();
  const auto x = e.features.as<float>();
  std::vector<float> logits;
  for (std::size_t i = 0; i < kImages; ++i) {
    for (std::size_t c = 0; c < kClasses; ++c) {
      double sum = b[c];
      for (std::size_t k = 0; k < kFeatures; ++k) {
        sum += static_cast<double>(w[c * kFeatures + k]) * x[i * kFeatures + k];
      }
      logits.push_back(static_cast<float>(sum));
    }
  }
  expect_close(logits, of("fc").features.as<float>());
}

TEST_F(Embed, TakesAnyLayer) {
  expect_close(of("").features.as<float>(), of("layer3").features.as<float>());
  const Embeddings whole = of("layer1.0.conv1", false), pooled = of("layer1.0.conv1");
  ASSERT_EQ(whole.features.shape(), (Shape{kImages, 16, 16, 16}));
  ASSERT_EQ(pooled.features.shape(), (Shape{kImages, 16}));
  std::vector<float> means;
  const auto values = whole.features.as<float>();
  for (std::size_t i = 0; i < values.size(); i += 256) {
    double sum = 0;
    for (std::size_t k = 0; k < 256; ++k) sum += values[i + k];
    means.push_back(static_cast<float>(sum / 256));
  }
  expect_close(means, pooled.features.as<float>());
  const std::string text = error_of([&] { of("layer9"); }, ErrorCode::kInvalidArgument);
  EXPECT_NE(text.find("layer"), std::string::npos) << text;
}

TEST_F(Embed, BatchesMakeNoDifference) {
  const Embeddings all = of("");
  EmbedOptions o = options_;
  o.eval.batch_size = 2;
  std::int64_t done = 0;
  o.eval.progress = [&](std::int64_t d, std::int64_t) { done = d; };
  expect_close(all.features.as<float>(), embed(model_, paths_, o).features.as<float>());
  EXPECT_EQ(done, static_cast<std::int64_t>(kImages));
}

TEST_F(Embed, UnreadableImagesHaveNoRow) {
  const Embeddings all = of("");
  write_file_atomic(paths_[1], std::string_view("no image"));
  const Embeddings rest = of("");
  ASSERT_EQ(rest.names.size(), kImages - 1);
  EXPECT_EQ(rest.names[1], paths_[2].string());
  ASSERT_EQ(rest.skipped.size(), 1U);
  EXPECT_EQ(rest.skipped[0].name, paths_[1].string());
  expect_close(all.features.as<float>().subspan(2 * kFeatures),
               rest.features.as<float>().subspan(kFeatures));
  const auto only = [&](const fs::path& path) {
    return error_of([&] { embed(model_, std::vector{path}, options_); },
                    path == paths_[1] ? ErrorCode::kBadData : ErrorCode::kNotFound);
  };
  EXPECT_NE(only(paths_[1]).find("not one of the 1 images"), std::string::npos);
  only(folder_ / "missing.png");
}

TEST_F(Embed, DataSetsBringLabels) {
  const DatasetPtr data = make_dataset(images_, {0, 1, 0, 1, 1}, {"x", "y"});
  const Embeddings e = embed(model_, data, options_);
  EXPECT_EQ(e.labels, (std::vector<int>{0, 1, 0, 1, 1}));
  expect_close(of("").features.as<float>(), e.features.as<float>());
  error_of([&] { embed(model_, DatasetPtr{}, options_); }, ErrorCode::kBadData);
}

}  // namespace
}  // namespace resnet

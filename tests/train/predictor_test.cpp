// Predictions of what is in memory, and predictors that share their programs.
#include "resnet/predictor.h"

#include <gtest/gtest.h>

#include <thread>

#include "core/file.h"
#include "formats/image.h"
#include "resnet/models.h"
#include "train/evaluator.h"
#include "train/support.h"

namespace resnet {
namespace {

ModelFile small_model() {
  ModelFile m;
  m.config = {.architecture = "resnet8", .classes = 3, .image_size = 16};
  m.class_names = {"a", "b", "c"};
  m.preprocessing = {.height = 16, .width = 16, .resize = 18};
  m.preprocessing.scale_16bit = Scale16Bit::kHighByte;
  const Graph g = inference_graph(m.config, 1);
  Variables variables;
  initialise(g, variables, 7);
  m.weights = from_variables(variables, m.config);
  return m;
}

Image stripes(int width, int height, int channels, int seed) {
  Image image(width, height, channels);
  int value = seed;
  for (std::uint8_t& p : image.pixels) p = static_cast<std::uint8_t>(value = value * 73 % 251 + 1);
  return image;
}

void expect_equal(const Prediction& a, const Prediction& b) {
  EXPECT_EQ(a.error, b.error);
  ASSERT_EQ(a.classes.size(), b.classes.size());
  for (std::size_t i = 0; i < a.classes.size(); ++i) {
    EXPECT_EQ(a.classes[i].index, b.classes[i].index);
    EXPECT_EQ(a.classes[i].probability, b.classes[i].probability);
  }
}

class InMemory : public FolderTest {};

TEST_F(InMemory, FilesDecodedImagesAndPathsAreTheSame) {
  std::vector<std::filesystem::path> paths;
  std::vector<EncodedImage> encoded;
  std::vector<Image> decoded;
  for (int i = 0; i < 5; ++i) {
    const Image image = stripes(20 + i, 30 - i, i % 2 == 0 ? 3 : 1, i + 1);
    const auto bytes = i < 3 ? encode_png(image) : encode_jpeg(image, 90);
    paths.push_back(folder_ / std::to_string(i));
    write_file_atomic(paths.back(), bytes);
    encoded.push_back({.name = "upload " + std::to_string(i), .bytes = bytes});
    decoded.push_back(decode(encoded.back()));
  }
  Predictor predictor(small_model(), {.threads = 1});
  const auto a = predictor.predict(paths), b = predictor.predict(encoded),
             c = predictor.predict(decoded);
  ASSERT_EQ(a.size(), 5U);
  ASSERT_EQ(b.size(), 5U);
  ASSERT_EQ(c.size(), 5U);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(b[i].path, encoded[i].name);
    EXPECT_EQ(a[i].classes.size(), 3U);
    expect_equal(a[i], b[i]);
    expect_equal(a[i], c[i]);
  }
  EXPECT_NE(a[0].classes[0].probability, a[1].classes[0].probability);
}

TEST_F(InMemory, OneBadFileIsAnErrorInItsPlace) {
  const auto good = encode_png(stripes(20, 20, 3, 1)), large = encode_png(stripes(50, 50, 3, 2));
  auto cut = good;
  cut.resize(cut.size() / 2);
  Predictor predictor(small_model(), {.threads = 1});
  const auto p = predictor.predict(
      std::vector<EncodedImage>{{"good", good}, {"empty", {}}, {"cut", cut}, {"large", large}}, 2,
      {.max_bytes = std::uint64_t{1} << 20, .max_pixels = 1000});
  ASSERT_EQ(p.size(), 4U);
  EXPECT_EQ(p[0].error, "");
  EXPECT_EQ(p[0].classes.size(), 2U);
  EXPECT_NE(p[1].error, "");
  EXPECT_NE(p[2].error.find("PNG"), std::string::npos) << p[2].error;
  EXPECT_NE(p[3].error.find("50"), std::string::npos) << p[3].error;
  const auto small = predictor.predict(std::vector<EncodedImage>{{"good", good}, {"also", good}}, 1,
                                       {.max_bytes = good.size() - 1});
  EXPECT_EQ(small[0].error, "the file has " + std::to_string(good.size()) + " bytes; at most " +
                                std::to_string(good.size() - 1) + " are allowed");
  EXPECT_TRUE(predictor.predict(std::vector<EncodedImage>{}).empty());
  Image wrong(4, 4, 3);
  wrong.pixels.pop_back();
  EXPECT_NE(error_of([&] { predictor.predict(std::vector<Image>{wrong}); }), "");
}

TEST(Decode, HeedsItsOptions) {
  const EncodedImage png{.name = "x", .bytes = encode_png(stripes(7, 5, 3, 1))};
  EXPECT_EQ(decode(png).pixels, stripes(7, 5, 3, 1).pixels);
  const Image grey = decode(png, {.grey = true});
  EXPECT_EQ(grey.channels, 1);
  EXPECT_EQ(grey.pixels, decode_image(png.bytes, "x", ColorMode::kGrey).pixels);
  const std::string pixels =
      error_of([&] { decode(png, {.limits = {.max_pixels = 34}}); }, ErrorCode::kBadData);
  EXPECT_TRUE(pixels.starts_with("x: ")) << pixels;
  error_of([&] { decode(png, {.limits = {.max_bytes = 10}}); }, ErrorCode::kBadData);
  error_of([&] { decode(std::span<const std::byte>{}); }, ErrorCode::kBadData);
}

TEST(Predictor, AnotherThreadSharesItsPrograms) {
  const ModelFile model = small_model();
  std::vector<Image> images;
  for (int i = 0; i < 6; ++i) images.push_back(stripes(20, 20, 3, i + 1));
  Predictor first(model, {.threads = 1});
  const auto expected = first.predict(images);
  std::vector<std::vector<Prediction>> found(4);
  {
    std::vector<std::jthread> threads;
    for (auto& own : found) {
      threads.emplace_back(
          [&, other = first.for_another_thread()]() mutable { own = other.predict(images); });
    }
  }
  for (const auto& own : found) {
    ASSERT_EQ(own.size(), expected.size());
    for (std::size_t i = 0; i < own.size(); ++i) expect_equal(own[i], expected[i]);
  }
  // One program for all: its figures lie at one address.
  ModelPrograms programs(model, {});
  const Program a = programs.program(0, 2), b = programs.program(0, 2), c = programs.program(0, 3);
  EXPECT_EQ(&a.stats(), &b.stats());
  EXPECT_NE(&a.stats(), &c.stats());
}

TEST(Predictor, WarmingUpChangesNothing) {
  std::vector<Image> images;
  for (int i = 0; i < 3; ++i) images.push_back(stripes(20, 20, 3, i + 1));
  Predictor cold(small_model(), {.threads = 1}), warm(small_model(), {.threads = 1});
  warm.warm_up(3);
  warm.warm_up(1);
  const auto a = cold.predict(images), b = warm.predict(images);
  for (std::size_t i = 0; i < 3; ++i) expect_equal(a[i], b[i]);
}

}  // namespace
}  // namespace resnet

// Predictions averaged over views and scales, against averaging by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <span>

#include "data/support.h"
#include "resnet/models.h"
#include "resnet/predictor.h"
#include "train/evaluator.h"

namespace resnet {
namespace {

ModelFile small_model() {
  ModelFile model;
  model.config.architecture = "resnet8";
  model.config.classes = 3;
  model.config.image_size = 16;
  model.preprocessing.width = model.preprocessing.height = 16;
  model.preprocessing.resize = 18;
  model.class_names = {"a", "b", "c"};
  Variables variables;
  initialise(inference_graph(model.config, 1), variables, 7);
  model.weights = from_variables(variables, model.config);
  return model;
}

/// Softmax of one look at one image.
std::vector<double> look(const ModelFile& model, const Image& image, const View& view, int side) {
  Preprocessing prep = model.preprocessing;
  ModelConfig config = model.config;
  if (side != 16) {
    config.image_size = prep.width = prep.height = side;
    prep.resize = side == 24 ? 27 : 36;
  }
  Tensor input(DType::kF32, {1, 3, side, side});
  preprocess(image, prep, input.as<float>().data(), DataLayout::kNCHW, view);
  auto variables = std::make_shared<Variables>(to_variables(model)->cast(DType::kF64));
  Evaluator evaluator(config, variables, 1, {.device = Device::kReference}, DataLayout::kNCHW);
  const Tensor logits = evaluator.logits(input);
  std::vector<double> p;
  double total = 0;
  for (const double x : logits.as<double>()) p.push_back(std::exp(x)), total += p.back();
  for (double& v : p) v /= total;
  return p;
}

TEST(Predictor, PredictsAnyNumberOfImagesAsOneByOne) {
  const ModelFile model = small_model();
  EvalOptions options;
  options.device = Device::kReference;
  options.batch_size = 4;
  Predictor predictor(model, options);
  Predictor single(model, options);
  for (const std::int64_t n : {3, 1, 9, 4, 2}) {
    Tensor images(DType::kF32, {n, 3, 16, 16});
    float value = static_cast<float>(n);
    for (float& x : images.as<float>()) x = std::sin(value += 0.37F);
    const Tensor all = predictor.logits(images);
    ASSERT_EQ(all.shape(), (Shape{n, 3}));
    const std::size_t image = 3 * 16 * 16;
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      const std::span<const float> own = images.as<float>().subspan(i * image, image);
      const Tensor one = single.logits(Tensor::from<float>({1, 3, 16, 16}, own));
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_FLOAT_EQ(all.as<float>()[i * 3 + c], one.as<float>()[c]) << n << " " << i;
      }
    }
  }
  EXPECT_THROW(predictor.logits(Tensor::zeros(DType::kF32, {1, 3, 16, 15})), Error);
  EXPECT_THROW(predictor.logits(Tensor::zeros(DType::kF32, {0, 3, 16, 16})), Error);
}

TEST(Predictor, CompilesFewPrograms) {
  EvalOptions options;
  options.batch_size = 32;
  ModelPrograms programs(small_model(), options);
  EXPECT_EQ(programs.batch_for(5), 5);  // a single call wastes nothing
  std::set<std::int64_t> sizes;
  for (std::int64_t n = 1; n <= 100; ++n) {
    const std::int64_t size = programs.batch_for(n);
    EXPECT_GE(size, std::min<std::int64_t>(n, 32));
    EXPECT_LT(size, 2 * std::min<std::int64_t>(n, 32));
    sizes.insert(size);
  }
  EXPECT_LE(sizes.size(), 7U);
}

TEST(Views, AreAveragedAsByHand) {
  const ModelFile model = small_model();
  std::vector<Image> images;
  for (std::uint32_t i = 0; i < 5; ++i) images.push_back(test_image(25, 19, 3, i * 7919));
  const DatasetPtr data = make_dataset(images, {0, 1, 2, 0, 1}, model.class_names);
  for (const auto& [crops, flip, scales] :
       {std::tuple{1, true, std::vector<int>{}}, {5, false, {16, 24}}, {10, false, {32}}}) {
    SCOPED_TRACE(crops);
    EvalOptions options;
    options.device = Device::kReference;
    options.batch_size = 20;  // the last batch is not full
    options.views = evaluation_views(crops, flip);
    options.scales = scales;
    const std::vector<int> sides = scales.empty() ? std::vector<int>{16} : scales;
    double loss = 0;
    ModelSessions sessions(std::make_shared<ModelPrograms>(model, options));
    ViewEvaluator evaluator(sessions, data, options, 0);
    std::int64_t seen = 0;
    while (evaluator.next()) {
      for (std::size_t row = 0; row < evaluator.labels().size(); ++row) {
        if (evaluator.labels()[row] < 0) continue;
        const std::int64_t index = evaluator.indices()[row];
        EXPECT_EQ(index, seen++);
        std::vector<double> mean(3);
        for (const int side : sides) {
          for (const View& view : options.views) {
            const auto p = look(model, images[static_cast<std::size_t>(index)], view, side);
            for (std::size_t c = 0; c < 3; ++c) {
              mean[c] += p[c] / static_cast<double>(sides.size() * options.views.size());
            }
          }
        }
        const auto ours = softmax(evaluator.logits(), row);
        for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(ours[c], mean[c], 1e-12);
        loss -= std::log(mean[static_cast<std::size_t>(evaluator.labels()[row])]) / 5;
      }
    }
    EXPECT_EQ(seen, 5);
    EXPECT_NEAR(evaluate(model, data, options).loss, loss, 1e-12);
  }
}

TEST(Views, OfOneLookAreTheNetworksOwnLogits) {
  const ModelFile model = small_model();
  const DatasetPtr data = test_dataset(3, 16);
  EvalOptions options;
  options.device = Device::kReference;
  ModelSessions sessions(std::make_shared<ModelPrograms>(model, options));
  ViewEvaluator evaluator(sessions, data, options, 0);
  ASSERT_TRUE(evaluator.next());
  const auto p = look(model, data->image(1), {}, 16);
  const auto ours = softmax(evaluator.logits(), 1);
  for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(ours[c], p[c], 1e-12);
  EXPECT_FALSE(evaluator.next());
}

TEST(Predictor, PredictionsThatAreNotFiniteAreErrorsWithTheLayer) {
  ModelFile model = small_model();
  Tensor bias = model.weights.at("fc.bias").clone();
  bias.as<float>()[1] = std::nanf("");
  model.weights["fc.bias"] = bias;
  const DatasetPtr data = test_dataset(3, 16);
  Predictor predictor(model);
  const std::vector<Prediction> predictions = predictor.predict(data);
  ASSERT_EQ(predictions.size(), 3U);
  for (const Prediction& p : predictions) {
    EXPECT_TRUE(p.classes.empty());
    EXPECT_NE(p.error.find("'fc.bias'"), std::string::npos) << p.error;
  }
  expect_error(ErrorCode::kBadData, {"not finite", "'fc.bias'"}, [&] {
    predictor.logits(Tensor::zeros(DType::kF32, {2, 3, 16, 16}));
  });
  model.class_names = data->class_names();
  ASSERT_EQ(model.class_names.size(), 3U);
  expect_error(ErrorCode::kBadData, {"not finite", "'fc.bias'"}, [&] { evaluate(model, data); });
}

TEST(Views, RefuseWhatMakesNoSense) {
  expect_error(ErrorCode::kInvalidArgument, {"7 crops", "1, 5 or 10"}, [] { evaluation_views(7); });
  const DatasetPtr data = test_dataset(3, 16);
  EvalOptions options;
  options.views.clear();
  expect_error(ErrorCode::kInvalidArgument, {"0 views"},
               [&] { evaluate(small_model(), data, options); });
  LoaderOptions load = evaluation_options(2);
  load.views = evaluation_views(5);
  expect_error(ErrorCode::kInvalidArgument, {"augmentation"}, [&] {
    Loader(data, default_preprocessing(*data), augmentation_preset("cifar"), load);
  });
}

}  // namespace
}  // namespace resnet

#include "train/whitening.h"

#include <cmath>

#include "data/support.h"
#include "train/recipe.h"
#include "train/support.h"
#include "train/training_step.h"

namespace resnet {
namespace {

TrainOptions options_for(const DatasetPtr& data) {
  TrainOptions o;
  o.model.architecture = "resnet8-fast";
  o.batch_size = 8;
  DataSplits splits;
  splits.train = splits.val = data;
  return resolve(o, splits);
}

// What the filters measure on the patches that they were made from is uncorrelated, and of variance
// λ / (λ + 5e-4).
TEST(Whitening, DecorrelatesPatches) {
  std::vector<Image> images;
  for (std::uint32_t i = 0; i < 40; ++i) images.push_back(test_image(32, 32, 3, i * 7919 + 1));
  const DatasetPtr data = make_dataset(images, std::vector<int>(40, 0), {"a", "b"});
  const TrainOptions o = options_for(data);
  const Tensor filters = whitening_filters(o, *data, {24, 3, 2, 2});
  const auto w = filters.as<float>();
  const Preprocessing prep = preprocessing_of(o, *data);
  std::vector<double> sum(24 * 24);
  double count = 0;
  std::vector<float> x(3 * 32 * 32);
  for (const Image& image : images) {
    preprocess(image, prep, x.data(), DataLayout::kNCHW);
    for (std::size_t top = 0; top + 2 <= 32; ++top) {
      for (std::size_t left = 0; left + 2 <= 32; ++left) {
        std::array<double, 24> y{};
        for (std::size_t f = 0; f < 24; ++f) {
          for (std::size_t k = 0; k < 12; ++k) {
            y[f] += static_cast<double>(w[f * 12 + k]) *
                    x[(k / 4 * 32 + top + k / 2 % 2) * 32 + left + k % 2];
          }
        }
        for (std::size_t a = 0; a < 24; ++a) {
          for (std::size_t b = 0; b < 24; ++b) sum[a * 24 + b] += y[a] * y[b];
        }
        count += 1;
      }
    }
  }
  for (std::size_t a = 0; a < 24; ++a) {
    for (std::size_t b = 0; b < 24; ++b) {
      const double c = sum[a * 24 + b] / count;
      if (a % 12 != b % 12) {
        EXPECT_NEAR(c, 0, 1e-4) << a << " " << b;
      } else {
        EXPECT_LE(std::abs(c), 1.0001);
        EXPECT_GT(a == b ? c : -c, 0);
      }
    }
  }
  EXPECT_NEAR(sum[0] / count, 1, 1e-3);  // the strongest direction
  for (std::size_t k = 0; k < 12 * 12; ++k) EXPECT_EQ(w[k], -w[12 * 12 + k]);
  EXPECT_TRUE(same(filters, whitening_filters(o, *data, {24, 3, 2, 2})));
  error_of([&] { whitening_filters(o, *data, {20, 3, 2, 2}); });
  error_of([&] { whitening_filters(o, *data, {24, 1, 2, 2}); });
}

TEST(Whitening, StaysAsItIsInTraining) {
  const DatasetPtr data = test_dataset(16, 32);
  const TrainOptions o = options_for(data);
  TrainingStep step(o, *data, 1);
  const Tensor before = step.variables()->at("conv1.weight").clone();
  EXPECT_TRUE(same(before, whitening_filters(o, *data, before.shape())));
  const Tensor bias = step.variables()->at("conv1.bias").clone();
  Loader loader(data, preprocessing_of(o, *data), *o.augmentation, train_loading(o));
  loader.start_epoch(0);
  Batch batch;
  ASSERT_TRUE(loader.next(batch));
  step.begin(0.1, 0, 1);
  step.add(batch, 0);
  EXPECT_TRUE(step.apply());
  EXPECT_TRUE(same(before, step.variables()->at("conv1.weight")));
  EXPECT_FALSE(same(bias, step.variables()->at("conv1.bias")));
}

}  // namespace
}  // namespace resnet

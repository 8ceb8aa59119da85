#include "train/find_lr.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "resnet/error.h"

namespace resnet {
namespace {

TrainOptions tiny() {
  TrainOptions o;
  o.data.source = "galaxies:train=48,val=8,size=16,seed=3";
  o.model.architecture = "resnet8";
  o.batch_size = 8;
  o.seed = 5;
  o.threads = 1;
  return o;
}

// A loss that falls around `middle`, along a sigmoid, and rises again around `end`.
LrFinderResult curve(double middle, double end, double fall = 1) {
  LrFinderResult r;
  for (int i = 0; i < 100; ++i) {
    const double lr = rate_of({}, i);
    const double down = fall / (1 + std::pow(middle / lr, 2));
    r.lr.push_back(lr);
    r.loss.push_back(2 - down + std::pow(lr / end, 4));
  }
  r.smoothed = r.loss;
  return r;
}

TEST(FindLr, RatesRiseByTheSameFactor) {
  const LrFinderOptions o{.min_lr = 1e-4, .max_lr = 1, .steps = 41};
  EXPECT_DOUBLE_EQ(rate_of(o, 0), 1e-4);
  EXPECT_NEAR(rate_of(o, 40), 1, 1e-12);
  EXPECT_NEAR(rate_of(o, 10), 1e-3, 1e-12);
}

TEST(FindLr, SuggestsTheSteepestAndATenthOfTheLeast) {
  LrFinderResult r = curve(1e-2, 5);
  suggest_rates(r);
  ASSERT_TRUE(r.steepest && r.tenth);
  // Steps are a factor of 10^(7/99) apart; the sigmoid is symmetric about its middle.
  EXPECT_NEAR(std::log10(*r.steepest), -2, 0.5 * 7 / 99 + 1e-9);
  const auto least = std::ranges::min_element(r.smoothed) - r.smoothed.begin();
  EXPECT_DOUBLE_EQ(*r.tenth, r.lr[static_cast<std::size_t>(least)] / 10);

  LrFinderResult rising = curve(1e-2, 5, -1);
  suggest_rates(rising);
  EXPECT_FALSE(rising.steepest || rising.tenth);
  LrFinderResult none;
  suggest_rates(none);
  EXPECT_FALSE(none.steepest || none.tenth);
}

TEST(FindLr, TheNoisyBeginningIsLeftOut) {
  LrFinderResult r = curve(1e-2, 5);
  r.smoothed[3] = -100;
  suggest_rates(r);
  ASSERT_TRUE(r.steepest && r.tenth);
  EXPECT_NEAR(std::log10(*r.steepest), -2, 0.5 * 7 / 99 + 1e-9);
  EXPECT_GT(*r.tenth, 1e-2);
}

TEST(FindLr, RunsUntilItDiverges) {
  const LrFinderOptions finder{.min_lr = 1e-5, .max_lr = 1e6, .steps = 44, .smoothing = 0.5};
  std::vector<double> seen;
  std::string description;
  Observer observer;
  observer.progress = [&](const Progress& p) { seen.push_back(p.loss); };
  observer.started = [&](const RunInfo& info) { description = info.description; };
  const LrFinderResult r = find_learning_rate(tiny(), finder, observer);
  EXPECT_TRUE(r.diverged);
  EXPECT_FALSE(r.interrupted);
  EXPECT_NE(description, "");
  ASSERT_GT(r.lr.size(), 10U) << "past the end of an epoch of six steps";
  ASSERT_LT(r.lr.size(), 44U);
  EXPECT_EQ(r.smoothed, seen);
  double weighted = 0, weights = 0;  // the average by its definition
  for (std::size_t i = 0; i < r.lr.size(); ++i) {
    EXPECT_DOUBLE_EQ(r.lr[i], rate_of(finder, static_cast<int>(i)));
    weighted = 0.5 * weighted + r.loss[i];
    weights = 0.5 * weights + 1;
    EXPECT_NEAR(r.smoothed[i], weighted / weights, 1e-12 * r.smoothed[i]);
  }
  // The first loss is that of a fresh network: near ln(classes), whatever the rate.
  EXPECT_NEAR(r.loss[0], std::log(8.0), 1.5);
  EXPECT_EQ(find_learning_rate(tiny(), finder).loss, r.loss) << "it repeats";
}

TEST(FindLr, AccumulatesAndTakesEveryOptimizer) {
  TrainOptions o = tiny();
  o.accumulate = 2;
  o.optimizer.kind = Optimizer::kAdamW;
  const LrFinderResult r = find_learning_rate(o, {.max_lr = 1e-3, .steps = 10});
  EXPECT_EQ(r.lr.size(), 10U);
  EXPECT_FALSE(r.diverged);
}

TEST(FindLr, AStepMayTakeMoreBatchesThanAnEpochHas) {
  TrainOptions o = tiny();
  o.accumulate = 7;  // of six
  EXPECT_EQ(find_learning_rate(o, {.max_lr = 1e-3, .steps = 10}).lr.size(), 10U);
}

TEST(FindLr, BatchesOfClassesWithoutWeightSayNothing) {
  TrainOptions o = tiny();
  o.batch_size = 1;
  o.class_weighting = ClassWeighting::kGiven;
  o.class_weights = {0, 0, 0, 0, 0, 0, 1, 1};
  const LrFinderOptions finder{.max_lr = 1e-5, .steps = 40, .smoothing = 0.5};
  const LrFinderResult r = find_learning_rate(o, finder);
  EXPECT_FALSE(r.diverged);
  ASSERT_EQ(r.lr.size(), 40U);
  EXPECT_GT(std::ranges::count(r.loss, 0.0), 20);
  double weighted = 0, weights = 0;
  for (std::size_t i = 0; i < r.loss.size(); ++i) {
    if (r.loss[i] != 0) {
      weighted = 0.5 * weighted + r.loss[i];
      weights = 0.5 * weights + 1;
    }
    EXPECT_NEAR(r.smoothed[i], weights == 0 ? 0 : weighted / weights, 1e-12 * r.smoothed[i]);
  }
}

TEST(FindLr, EndsEarlyWithWhatThereIs) {
  std::atomic<bool> stop = false;
  Observer observer;
  observer.stop = &stop;
  observer.progress = [&](const Progress& p) { stop = p.step == 4; };
  const LrFinderResult r = find_learning_rate(tiny(), {}, observer);
  EXPECT_TRUE(r.interrupted);
  EXPECT_EQ(r.lr.size(), 4U);
}

TEST(FindLr, RefusesWhatMakesNoSense) {
  for (const LrFinderOptions& o :
       {LrFinderOptions{.min_lr = 0}, LrFinderOptions{.min_lr = 1, .max_lr = 1},
        LrFinderOptions{.steps = 9}, LrFinderOptions{.smoothing = 1},
        LrFinderOptions{.diverged = 1}, LrFinderOptions{.max_lr = INFINITY}}) {
    try {
      find_learning_rate(tiny(), o);
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument) << e.what();
    }
  }
}

}  // namespace
}  // namespace resnet

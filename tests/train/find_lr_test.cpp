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

// A loss that falls from 3 to 2 in a valley around `middle` and is back at 3 at `end`, far above.
LrFinderResult curve(int steps, double middle, double end, double fall = 1) {
  const LrFinderOptions range{.min_lr = 1e-4, .max_lr = 10, .steps = steps};
  LrFinderResult r;
  r.own = 0.1;
  for (int i = 0; i < steps; ++i) {
    const double lr = rate_of(range, i);
    const double decades = std::log10(lr / middle);
    const double up = std::max(0.0, decades / std::log10(end / middle));
    r.lr.push_back(lr);
    r.loss.push_back(3 - fall * (lr < middle ? std::exp(-decades * decades) : 1 - up * up));
  }
  return r;
}

TEST(FindLr, RatesRiseByTheSameFactor) {
  const LrFinderOptions o{.min_lr = 1e-4, .max_lr = 1, .steps = 41};
  EXPECT_DOUBLE_EQ(rate_of(o, 0), 1e-4);
  EXPECT_NEAR(rate_of(o, 40), 1, 1e-12);
  EXPECT_NEAR(rate_of(o, 10), 1e-3, 1e-12);
}

TEST(FindLr, TheRangeLiesAroundTheRunsOwnRate) {
  const LrFinderOptions both = around({}, 0.2);
  EXPECT_DOUBLE_EQ(*both.min_lr, 2e-4);
  EXPECT_DOUBLE_EQ(*both.max_lr, 20);
  EXPECT_EQ(around({.min_lr = 1e-6, .max_lr = 3}, 0.2).min_lr, 1e-6);
  const LrFinderResult r = find_learning_rate(tiny(), {.steps = 10});
  EXPECT_GT(r.own, 0);
  EXPECT_DOUBLE_EQ(r.lr[0], r.own / 1000);
}

// An average over half = steps / 20 to each side, at least 1, moves what it finds by as many steps
// at most, and half a step more is between two rates: of a factor of 10^(5 / (steps − 1)) each.
double reach(int steps) { return (std::max(1, steps / 20) + 0.5) * 5 / (steps - 1); }

TEST(FindLr, WhatItFindsDoesNotDependOnTheNumberOfSteps) {
  for (const int steps : {40, 100, 200, 1000}) {
    LrFinderResult r = curve(steps, 0.02, 0.5);
    suggest_rates(r, steps);
    ASSERT_TRUE(r.least && r.highest && r.suggestion) << steps;
    EXPECT_NEAR(std::log10(*r.least), std::log10(0.02), reach(steps)) << steps;
    EXPECT_NEAR(std::log10(*r.highest), std::log10(0.5), reach(steps)) << steps;
    EXPECT_DOUBLE_EQ(*r.suggestion, r.own / 2) << steps;
  }
}

TEST(FindLr, SuggestsNothingThatIsTooHigh) {
  LrFinderResult low = curve(100, 1e-3, 0.01);
  suggest_rates(low, 100);
  ASSERT_TRUE(low.highest && low.suggestion);
  EXPECT_LT(3 * *low.highest, low.own / 2);
  EXPECT_DOUBLE_EQ(*low.suggestion, 3 * *low.highest);

  LrFinderResult never = curve(100, 0.02, 100);  // back beyond the range
  suggest_rates(never, 100);
  EXPECT_TRUE(never.suggestion && !never.highest);
  never.diverged = true;  // the test ended where it was not finite any more
  suggest_rates(never, 100);
  EXPECT_EQ(never.highest, never.lr.back());

  LrFinderResult again = curve(100, 0.02, 0.5);  // what comes after it was back says nothing
  again.loss.back() = -100;
  suggest_rates(again, 100);
  ASSERT_TRUE(again.least);
  EXPECT_NEAR(std::log10(*again.least), std::log10(0.02), reach(100));
}

TEST(FindLr, ChanceIsNoFall) {
  for (const int steps : {40, 100, 200, 1000}) {
    LrFinderResult r = curve(steps, 0.02, 0.5), flat = curve(steps, 0.02, 0.5, 0);
    for (int i = 0; i < steps; ++i) {
      const double noise = 0.1 * ((i * 7919) % 101 - 50) / 50;  // uniform in ± 0.1
      r.loss[static_cast<std::size_t>(i)] += noise;
      flat.loss[static_cast<std::size_t>(i)] += noise;
    }
    suggest_rates(flat, steps);
    EXPECT_FALSE(flat.suggestion) << steps;
    suggest_rates(r, steps);
    ASSERT_TRUE(r.highest) << steps;
    // Where 3 - 0.1 to 3 + 0.1 may lie: up² = 1 ± 0.1, in a valley of log10(25) decades.
    EXPECT_NEAR(std::log10(*r.highest), std::log10(0.5), 0.06 * std::log10(25) + reach(steps));
  }
}

TEST(FindLr, SuggestsNothingWhereTheLossNeverFell) {
  LrFinderResult rising = curve(100, 0.02, 100, -1);
  suggest_rates(rising, 100);
  EXPECT_FALSE(rising.least || rising.highest || rising.suggestion);
  LrFinderResult none;
  suggest_rates(none, 100);
  EXPECT_FALSE(none.least || none.highest || none.suggestion);
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
  const LrFinderResult r = find_learning_rate(o, {.min_lr = 1e-6, .max_lr = 1e-3, .steps = 10});
  EXPECT_EQ(r.lr.size(), 10U);
  EXPECT_FALSE(r.diverged);
}

TEST(FindLr, AStepMayTakeMoreBatchesThanAnEpochHas) {
  TrainOptions o = tiny();
  o.accumulate = 7;  // of six
  EXPECT_EQ(find_learning_rate(o, {.min_lr = 1e-6, .max_lr = 1e-3, .steps = 10}).lr.size(), 10U);
}

TEST(FindLr, BatchesOfClassesWithoutWeightSayNothing) {
  TrainOptions o = tiny();
  o.batch_size = 1;
  o.class_weighting = ClassWeighting::kGiven;
  o.class_weights = {0, 0, 0, 0, 0, 0, 1, 1};
  const LrFinderOptions finder{.min_lr = 1e-6, .max_lr = 1e-5, .steps = 40, .smoothing = 0.5};
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

// Learning rates against those of torch.optim.lr_scheduler.
#include <gtest/gtest.h>

#include "resnet/train.h"

namespace resnet {
namespace {

#include "train/schedule_tables.inc"

template <std::size_t kN>
void expect_table(const ScheduleOptions& schedule, const double (&table)[kN]) {
  ASSERT_EQ(kN, std::size_t{kStepsPerEpoch} * kEpochs);
  for (std::size_t i = 0; i < kN; ++i) {
    const double rate =
        learning_rate(schedule, kLr, static_cast<std::int64_t>(i), kStepsPerEpoch, kEpochs);
    // PyTorch updates its rates step by step, so that roundings add up: n of them.
    EXPECT_NEAR(rate, table[i], 1e-14 * kLr * static_cast<double>(kN)) << "step " << i;
  }
}

TEST(Schedules, Constant) {
  expect_table({.kind = Schedule::kConstant, .warmup_epochs = 2}, kConstantTable);
}
TEST(Schedules, Step) {
  expect_table({.kind = Schedule::kStep, .step_epochs = 2, .gamma = 0.3}, kStepTable);
}
TEST(Schedules, MultiStep) {
  expect_table({.kind = Schedule::kMultiStep, .gamma = 0.1, .milestones = {1, 4}}, kMultiStepTable);
}
TEST(Schedules, Cosine) {
  expect_table({.kind = Schedule::kCosine, .warmup_epochs = 2, .final_factor = 0.05}, kCosineTable);
}
TEST(Schedules, OneCycle) { expect_table({.kind = Schedule::kOneCycle}, kOneCycleTable); }
TEST(Schedules, Poly) {
  expect_table({.kind = Schedule::kPoly, .warmup_epochs = 2, .power = 2}, kPolyTable);
}

TEST(Schedules, MilestonesCountFromTheStartOfTheRun) {
  const ScheduleOptions s{.kind = Schedule::kMultiStep, .warmup_epochs = 1, .milestones = {2}};
  EXPECT_DOUBLE_EQ(learning_rate(s, 1, 9, 5, 6), 1);
  EXPECT_DOUBLE_EQ(learning_rate(s, 1, 10, 5, 6), 0.1);
}

TEST(Schedules, WarmupLongerThanTheRunNeverReachesThePeak) {
  const ScheduleOptions s{.kind = Schedule::kCosine, .warmup_epochs = 50};
  double before = 0;
  for (int step = 0; step < 10; ++step) {
    const double rate = learning_rate(s, 1, step, 5, 2);
    EXPECT_GT(rate, before);
    EXPECT_LT(rate, 1);
    before = rate;
  }
}

TEST(Schedules, ShortestRuns) {
  for (const Schedule kind : {Schedule::kConstant, Schedule::kStep, Schedule::kCosine,
                              Schedule::kOneCycle, Schedule::kPoly}) {
    const double rate = learning_rate({.kind = kind}, 0.5, 0, 1, 1);
    EXPECT_GE(rate, 0) << name_of(kind);
    EXPECT_LE(rate, 0.5) << name_of(kind);
  }
}

}  // namespace
}  // namespace resnet

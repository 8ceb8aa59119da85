#include "compile/planner.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/random.h"

namespace resnet {
namespace {

bool overlap(const Interval& a, const Interval& b) {
  const bool in_time = a.first <= b.last && b.first <= a.last;
  const bool in_space = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
  return in_time && in_space;
}

TEST(Planner, NothingThatLivesTogetherSharesMemory) {
  Random random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<Interval> intervals;
    std::size_t total = 0;
    for (int i = 0; i < 60; ++i) {
      const auto first = static_cast<std::int32_t>(random.below(40));
      intervals.push_back(
          {1 + random.below(5000), first, first + static_cast<std::int32_t>(random.below(10)), 0});
      total += intervals.back().bytes + 64;
    }
    const std::size_t arena = plan_offsets(intervals);
    EXPECT_LT(arena, total);
    for (std::size_t i = 0; i < intervals.size(); ++i) {
      EXPECT_EQ(intervals[i].offset % 64, 0U);
      EXPECT_LE(intervals[i].offset + intervals[i].bytes, arena);
      for (std::size_t j = 0; j < i; ++j) EXPECT_FALSE(overlap(intervals[i], intervals[j]));
    }
  }
}

TEST(Planner, AChainNeedsTwoBuffers) {
  std::vector<Interval> chain;
  for (std::int32_t i = 0; i < 100; ++i) chain.push_back({1024, i, i + 1, 0});
  EXPECT_EQ(plan_offsets(chain), 2048U);
}

TEST(Planner, ReachesTheLowerBoundOfANest) {
  // Forward values that wait for the backward pass: all are alive in the middle.
  std::vector<Interval> nest;
  std::size_t sum = 0;
  for (std::int32_t i = 0; i < 20; ++i) {
    const std::size_t bytes = 64 * static_cast<std::size_t>(i + 1);
    nest.push_back({bytes, i, 100 - i, 0});
    sum += bytes;
  }
  EXPECT_EQ(plan_offsets(nest), sum);
}

}  // namespace
}  // namespace resnet

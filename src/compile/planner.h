// Where values live: offsets in one arena, so that values whose lifetimes do not overlap share
// memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace resnet {

/// A stretch of memory needed from step `first` to step `last`, both included.
struct Interval {
  std::size_t bytes = 0;
  std::int32_t first = 0;
  std::int32_t last = 0;
  std::size_t offset = 0;  ///< the planner's answer, a multiple of 64
};

/// Greedy by size (Pisarchyk and Lee 2020, "Efficient memory management for deep neural net
/// inference"): the largest first, each at the lowest offset that is free over its lifetime.
/// Returns the size of the arena.
std::size_t plan_offsets(std::vector<Interval>& intervals);

/// The same without sharing: for debugging a plan.
std::size_t plan_without_sharing(std::vector<Interval>& intervals);

}  // namespace resnet

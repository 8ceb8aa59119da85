#include "compile/planner.h"

#include <algorithm>
#include <numeric>

namespace resnet {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t rounded(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

std::size_t plan_offsets(std::vector<Interval>& intervals) {
  std::vector<std::size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return intervals[a].bytes > intervals[b].bytes;
  });
  std::vector<std::size_t> placed;  // by offset
  std::size_t arena = 0;
  for (const std::size_t i : order) {
    Interval& x = intervals[i];
    std::size_t offset = 0;
    for (const std::size_t j : placed) {
      const Interval& y = intervals[j];
      if (y.last < x.first || x.last < y.first) continue;
      if (offset + rounded(x.bytes) <= y.offset) break;  // fits in the gap before y
      offset = std::max(offset, y.offset + rounded(y.bytes));
    }
    x.offset = offset;
    arena = std::max(arena, offset + rounded(x.bytes));
    const auto at =
        std::upper_bound(placed.begin(), placed.end(), offset,
                         [&](std::size_t o, std::size_t j) { return o < intervals[j].offset; });
    placed.insert(at, i);
  }
  return arena;
}

std::size_t plan_without_sharing(std::vector<Interval>& intervals) {
  std::size_t arena = 0;
  for (Interval& x : intervals) {
    x.offset = arena;
    arena += rounded(x.bytes);
  }
  return arena;
}

}  // namespace resnet

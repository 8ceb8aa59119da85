// How many processors this process may use.
#pragma once

#include <filesystem>
#include <optional>

namespace resnet {

/// At least 1: those that its affinity allows (taskset, a cpuset), at most as many as its control
/// groups grant time for (`docker --cpus`, cpu.max), rounded up. Below `root` are the files of
/// Linux that say it, here and in what follows.
int usable_processors(const std::filesystem::path& root = "/");

/// The smaller of `processors` and what control groups grant time for.
int within_quota(int processors, const std::filesystem::path& root = "/");

/// Threads of a network unless somebody says how many: `$OMP_NUM_THREADS`, which keeps its meaning,
/// else as many as `processors` within the quota.
int default_threads(int processors, const std::filesystem::path& root = "/");

/// Processors' worth of time that the control groups of this process (v1 and v2) grant; nothing
/// where they set no limit.
std::optional<double> processor_quota(const std::filesystem::path& root = "/");

}  // namespace resnet

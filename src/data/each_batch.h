// One pass over a data set: what evaluation, prediction, embedding, calibration and cached features
// have in common.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "resnet/data.h"

namespace resnet {

/// How long work is watched and ended.
struct Job {
  std::function<void(std::int64_t done, std::int64_t total)> progress = {};
  const std::atomic<bool>* stop = nullptr;

  bool stopped() const { return stop != nullptr && stop->load(); }
};

/// How far a pass came.
struct Pass {
  std::int64_t done = 0;  ///< images, unreadable ones included
  std::int64_t total = 0;
  bool stopped = false;  ///< by the job, before the end

  /// Throws kInterrupted: "interrupted after 32 of 100 images".
  void throw_if_stopped() const;
};

/// Calls `each` with every batch of the loader's first epoch, and reports to the job after it.
Pass for_each_batch(Loader& loader, const Job& job, const std::function<void(Batch&)>& each);

/// Reports a batch of `count` images. Returns false if the pass is to end.
bool report(Pass& pass, const Job& job, std::int64_t count);

/// Throws kBadData: not one of the images could be read, and why not the first.
[[noreturn]] void none_readable(std::int64_t images, const std::vector<BadImage>& bad);

}  // namespace resnet

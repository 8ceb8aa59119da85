// A loop over independent items on a few threads of its own.
#pragma once

#include <cstdint>
#include <functional>

namespace resnet {

/// Calls body(i, worker) for i in 0 … n − 1, in no order, with workers numbered from 0 below
/// max(1, threads). Rethrows the first exception, after all have stopped.
void parallel_for(std::int64_t n, int threads,
                  const std::function<void(std::int64_t, std::size_t)>& body);

}  // namespace resnet

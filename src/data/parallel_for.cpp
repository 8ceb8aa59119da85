#include "data/parallel_for.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace resnet {

void parallel_for(std::int64_t n, int threads,
                  const std::function<void(std::int64_t, std::size_t)>& body) {
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&](std::size_t worker) {
    try {
      for (std::int64_t i = next++; i < n; i = next++) body(i, worker);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = n;
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (std::size_t t = 1; t < static_cast<std::size_t>(threads > 1 ? threads : 1); ++t) {
        others.emplace_back(work, t);
      }
    } catch (...) {  // no memory: those that run stop soon
      next = n;
      throw;
    }
    work(0);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace resnet

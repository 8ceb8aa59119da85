// operator new that counts, and fails when it is told to.
#pragma once

#include <cstdint>
#include <vector>

namespace resnet::test {

/// While one lives, allocations by operator new count, in any thread and library. Outside are those
/// of the test itself.
class Counting {
 public:
  Counting();
  ~Counting();
  Counting(const Counting&) = delete;
  Counting& operator=(const Counting&) = delete;
};
/// Since the last call of `fail_allocation` or `note_places`.
std::int64_t allocations();
/// Those that were not freed, since the start of the process.
std::int64_t live_allocations();

/// From now on the n-th fails, `again`: and all after it. 0: none.
void fail_allocation(std::int64_t n, bool again = false);
/// Whether it came to that.
bool allocation_failed();

/// Between these two, the number of the first allocation of each place in the code (a few calls
/// deep) is noted.
void note_places();
std::vector<std::int64_t> noted_places();

/// Allocations by operator new in all threads, by who asked: oneDNN and OpenMP, or anybody else.
struct Tally {
  std::int64_t ours = 0;
  std::int64_t libraries = 0;
};
/// Counts what follows, until `end_tally`. Failing (above) is another matter.
void begin_tally();
Tally end_tally();
/// What `call` allocates.
Tally tally_of(auto&& call) {
  begin_tally();
  call();
  return end_tally();
}

}  // namespace resnet::test

#include "runtime/arena.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace resnet {

namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20;

// The kernel may refuse; then pages come as they are written.
void make_pages(std::byte* base, std::size_t bytes, int threads) {
#ifdef MADV_POPULATE_WRITE
  const std::size_t pieces = bytes / kHuge;
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < pieces; i = next++) {
      if (::madvise(base + i * kHuge, kHuge, MADV_POPULATE_WRITE) != 0) return;
    }
  };
  std::vector<std::jthread> others;
  try {
    for (int i = 1; i < threads; ++i) others.emplace_back(work);
  } catch (const std::system_error&) {  // fewer threads take longer, no more
  } catch (const std::bad_alloc&) {
  }
  work();
#endif
}

}  // namespace

Arena::Arena(std::size_t bytes, int threads) {
  if (bytes == 0) return;
  const bool large = bytes >= 2 * kHuge;
  const std::size_t size = large ? (bytes + kHuge - 1) / kHuge * kHuge + kHuge : bytes;
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  auto* base = static_cast<std::byte*>(p);
  std::size_t kept = size;
  if (large) {  // start on a huge page
    const std::size_t skip = (kHuge - reinterpret_cast<std::uintptr_t>(p) % kHuge) % kHuge;
    if (skip > 0) ::munmap(base, skip);
    base += skip;
    kept -= skip;
    ::madvise(base, bytes / kHuge * kHuge, MADV_HUGEPAGE);  // the rest is worth no huge page
  }
  memory_ = {base, Unmap{kept}};
  if (large && threads > 1) make_pages(base, bytes, threads);
}

void Arena::Unmap::operator()(std::byte* p) const {
  if (p != nullptr) ::munmap(p, bytes);
}

}  // namespace resnet

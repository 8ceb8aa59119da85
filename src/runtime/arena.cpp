#include "runtime/arena.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace resnet {

Arena::Arena(std::size_t bytes) {
  if (bytes == 0) return;
  constexpr std::size_t kHuge = std::size_t{2} << 20;
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
    ::madvise(base, kept, MADV_HUGEPAGE);
  }
  memory_ = {base, Unmap{kept}};
}

void Arena::Unmap::operator()(std::byte* p) const {
  if (p != nullptr) ::munmap(p, bytes);
}

}  // namespace resnet

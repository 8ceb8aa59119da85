// One large block of zeroed memory.
#pragma once

#include <cstddef>
#include <memory>

namespace resnet {

class Arena {
 public:
  Arena() = default;
  /// Throws std::bad_alloc. Large arenas ask for huge pages: fewer TLB misses, faster first touch.
  /// Its pages are made at once by that many threads: one by one, where they are first written,
  /// takes longer, in a virtual machine several times.
  explicit Arena(std::size_t bytes, int threads = 1);
  std::byte* data() const { return memory_.get(); }

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte, Unmap> memory_{nullptr, Unmap{0}};
};

}  // namespace resnet

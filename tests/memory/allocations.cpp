#include "memory/allocations.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>
#include <string_view>

namespace resnet::test {
namespace {

std::atomic<std::int64_t> counted{0}, live{0}, failing{0};
std::atomic<bool> for_good{false}, failed{false}, noting{false}, counting{false}, tallying{false};
std::atomic<std::int64_t> by_us{0}, by_libraries{0};

// Without allocations of its own.
constexpr std::size_t kPlaces = 1 << 18;
struct Place {
  std::uint64_t stack = 0;
  std::int64_t first = 0;
};
std::array<Place, kPlaces> places;
std::mutex places_mutex;

void note(std::int64_t number) {
  constexpr int kDepth = 10;
  std::array<void*, kDepth> frames{};
  const int depth = ::backtrace(frames.data(), kDepth);
  std::uint64_t hash = 0x9E3779B97F4A7C15ULL;
  for (int i = 3; i < depth; ++i) {
    hash = (hash ^ reinterpret_cast<std::uintptr_t>(frames[static_cast<std::size_t>(i)])) *
           0xD1342543DE82EF95ULL;
  }
  const std::lock_guard lock(places_mutex);
  for (std::size_t i = hash % kPlaces;; i = (i + 1) % kPlaces) {
    if (places[i].first == 0) places[i] = {hash, number};
    if (places[i].stack == hash) return;
  }
}

// oneDNN takes memory in the threads of OpenMP, which no exception may leave; ours must not.
bool may_fail(void* caller) {
  if (omp_get_level() == 0) return true;
  Dl_info of_caller{}, ours{};
  return ::dladdr(caller, &of_caller) == 0 ||
         ::dladdr(reinterpret_cast<void*>(&note), &ours) == 0 ||
         of_caller.dli_fbase == ours.dli_fbase;
}

// By the code that contains the call: what oneDNN asks of libstdc++ (a string that grows) would
// count as ours.
bool is_of_library(void* caller) {
  Dl_info of_caller{};
  if (::dladdr(caller, &of_caller) == 0 || of_caller.dli_fname == nullptr) return false;
  const std::string_view name = of_caller.dli_fname;
  return name.find("libdnnl") != name.npos || name.find("libgomp") != name.npos ||
         name.find("libomp") != name.npos;
}

void* allocate(std::size_t bytes, std::size_t alignment, void* caller) {
  if (counting && may_fail(caller)) {
    const std::int64_t number = ++counted;
    if (noting) note(number);
    const std::int64_t n = failing;
    if (n > 0 && (number == n || (for_good && number > n))) {
      failed = true;
      return nullptr;
    }
  }
  if (tallying) ++(is_of_library(caller) ? by_libraries : by_us);
  const std::size_t size = std::max<std::size_t>(bytes, 1);
  void* p = alignment == 0
                ? std::malloc(size)
                : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (p != nullptr) ++live;
  return p;
}

void release(void* p) {
  if (p == nullptr) return;
  --live;
  std::free(p);
}

}  // namespace

Counting::Counting() { counting = true; }
Counting::~Counting() { counting = false; }
std::int64_t allocations() { return counted; }
std::int64_t live_allocations() { return live; }

void fail_allocation(std::int64_t n, bool again) {
  failed = false;
  for_good = again;
  counted = 0;
  failing = n;
}
bool allocation_failed() { return failed; }

void note_places() {
  std::array<void*, 4> warm{};
  ::backtrace(warm.data(), 4);  // it loads a library the first time
  places.fill({});
  counted = 0;
  noting = true;
}

std::vector<std::int64_t> noted_places() {
  noting = false;
  std::vector<std::int64_t> numbers;
  for (const Place& p : places) {
    if (p.first > 0) numbers.push_back(p.first);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

void begin_tally() {
  by_us = by_libraries = 0;
  tallying = true;
}

Tally end_tally() {
  tallying = false;
  return {by_us, by_libraries};
}

}  // namespace resnet::test

namespace {
void* checked(std::size_t bytes, std::size_t alignment, void* caller) {
  void* p = resnet::test::allocate(bytes, alignment, caller);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
std::size_t bytes_of(std::align_val_t alignment) { return static_cast<std::size_t>(alignment); }
}  // namespace

#define CALLER __builtin_return_address(0)
void* operator new(std::size_t n) { return checked(n, 0, CALLER); }
void* operator new[](std::size_t n) { return checked(n, 0, CALLER); }
void* operator new(std::size_t n, std::align_val_t a) { return checked(n, bytes_of(a), CALLER); }
void* operator new[](std::size_t n, std::align_val_t a) { return checked(n, bytes_of(a), CALLER); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return resnet::test::allocate(n, 0, CALLER);
}
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return resnet::test::allocate(n, 0, CALLER);
}
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return resnet::test::allocate(n, bytes_of(a), CALLER);
}
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return resnet::test::allocate(n, bytes_of(a), CALLER);
}
#undef CALLER
void operator delete(void* p) noexcept { resnet::test::release(p); }
void operator delete[](void* p) noexcept { resnet::test::release(p); }
void operator delete(void* p, std::size_t) noexcept { resnet::test::release(p); }
void operator delete[](void* p, std::size_t) noexcept { resnet::test::release(p); }
void operator delete(void* p, std::align_val_t) noexcept { resnet::test::release(p); }
void operator delete[](void* p, std::align_val_t) noexcept { resnet::test::release(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { resnet::test::release(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept {
  resnet::test::release(p);
}
void operator delete(void* p, const std::nothrow_t&) noexcept { resnet::test::release(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { resnet::test::release(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  resnet::test::release(p);
}
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept {
  resnet::test::release(p);
}

#include "formats/archive.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  constexpr std::uint64_t kLimit = 1 << 20;
  fuzz::expect_no_other_error(
      [&] { fuzz::require(gunzip(fuzz::bytes_of(data, size), "fuzz", kLimit).size() <= kLimit); });
  return 0;
}

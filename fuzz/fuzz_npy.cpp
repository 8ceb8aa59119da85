#include "formats/npy.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  fuzz::expect_no_other_error([&] {
    // The widest widening is of u2 to i32, u4 to i64.
    fuzz::require(parse_npy(fuzz::bytes_of(data, size), "fuzz").bytes() <= 2 * size);
  });
  return 0;
}

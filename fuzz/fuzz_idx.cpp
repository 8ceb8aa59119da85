#include "formats/idx.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  const auto bytes = fuzz::bytes_of(data, size);
  fuzz::expect_no_other_error(
      [&] { fuzz::require(parse_idx_images(bytes, "fuzz").bytes() + 16 == size); });
  fuzz::expect_no_other_error(
      [&] { fuzz::require(parse_idx_labels(bytes, "fuzz").size() + 8 == size); });
  return 0;
}

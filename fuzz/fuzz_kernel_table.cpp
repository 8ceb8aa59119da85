#include "formats/kernel_table.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::expect_no_other_error([&] {
    const KernelTable table = parse_kernel_table(text, "fuzz");
    fuzz::require(parse_kernel_table(format_kernel_table(table), "again") == table);
  });
  return 0;
}

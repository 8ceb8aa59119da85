#include "formats/table.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::expect_no_other_error([&] {
    const Table table = parse_table(text, "fuzz");
    fuzz::require(!table.columns.empty() && table.values.size() == table.columns.size());
    for (const auto& column : table.values) fuzz::require(column.size() == table.rows());
  });
  return 0;
}

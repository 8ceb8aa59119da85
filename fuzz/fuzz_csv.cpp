#include <string_view>

#include "formats/csv.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  fuzz::expect_no_other_error([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const char separator = csv_separator(text, "fuzz");
    fuzz::require(std::string_view(",;\t|").find(separator) != std::string_view::npos);
    std::size_t total = 0;
    for (const CsvRow& row : parse_csv(text, "fuzz", separator)) {
      for (const std::string& field : row.fields) total += field.size();
    }
    fuzz::require(total <= size);
  });
  return 0;
}

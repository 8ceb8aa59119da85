#include "formats/archive.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  ArchiveLimits limits;
  limits.max_file_bytes = 1 << 20;
  limits.max_total_bytes = 1 << 21;
  limits.max_entries = 100;
  fuzz::expect_no_other_error([&] {
    std::uint64_t total = 0;
    read_archive(
        fuzz::bytes_of(data, size), "fuzz",
        [](const std::string& name) {
          return name.ends_with("~") ? ArchiveAction::kSkip : ArchiveAction::kTake;
        },
        [&](const std::string&, const std::vector<std::byte>& bytes) {
          total += bytes.size();
          fuzz::require(bytes.size() <= limits.max_file_bytes && total <= limits.max_total_bytes);
        },
        limits);
  });
  return 0;
}

#include "formats/shard_index.h"

#include <algorithm>
#include <string_view>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::expect_no_other_error([&] {
    const ShardIndex index = parse_shard_index(text, "fuzz");
    fuzz::require(!index.shards.empty() && std::ranges::is_sorted(index.shards));
    for (const auto& [tensor, shard] : index.shard_of) {
      fuzz::require(std::ranges::binary_search(index.shards, shard));
      fuzz::require(std::filesystem::path(shard).filename() == shard && shard != "..");
    }
  });
  const auto name = text.substr(0, text.find('\0'));
  if (const auto shard = shard_of(std::filesystem::path(name))) {
    fuzz::require(shard->number >= 1 && shard->number <= shard->count);
    fuzz::require(is_shard_index(shard->index));
  }
  return 0;
}

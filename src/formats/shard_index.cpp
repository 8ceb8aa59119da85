#include "formats/shard_index.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "core/check.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"

namespace resnet {
namespace {

constexpr std::uint64_t kMaxBytes = 16 << 20;
constexpr std::size_t kMaxShards = 10'000, kMaxName = 255, kShown = 100;

[[noreturn]] void damaged(const std::string& file, const std::string& what) {
  fail(ErrorCode::kBadData,
       "{}: not a sound index of shards: {}; fetch it again, or give a file of weights", file,
       what);
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos && !is_shard_index(name);
}

std::optional<int> number_of(std::string_view digits) {
  int value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || digits.size() > 6 || error != std::errc{} ||
      end != digits.data() + digits.size() || value < 1) {
    return std::nullopt;
  }
  return value;
}

}  // namespace

bool is_shard_index(const std::filesystem::path& path) {
  return path.filename().string().ends_with(".index.json");
}

ShardIndex read_shard_index(const std::filesystem::path& path) {
  return parse_shard_index(read_text_file(path, kMaxBytes), path.string());
}

ShardIndex parse_shard_index(std::string_view text, const std::string& file) {
  std::string problem;
  const auto json = Json::parse(text, 2, &problem);
  if (!json) damaged(file, printable(problem, 2 * kShown));
  const Json* map = json->find("weight_map");
  if (map == nullptr || !map->is_object()) {
    damaged(file, "expected a JSON object with a \"weight_map\", which says what is where");
  }
  ShardIndex index;
  std::set<std::string> shards;
  for (const auto& [name, shard] : map->members()) {
    if (!shard.is_string() || !is_plain_name(shard.text())) {
      damaged(file, fmt::format("the shard of '{}' was expected to be the name of a file beside it",
                                printable(name, kShown)));
    }
    shards.insert(shard.text());
    index.shard_of.emplace(name, shard.text());
  }
  if (shards.empty()) damaged(file, "it names no tensor");
  if (shards.size() > kMaxShards) {
    damaged(file,
            fmt::format("{} shards are more than the limit of {}", shards.size(), kMaxShards));
  }
  index.shards.assign(shards.begin(), shards.end());
  return index;
}

std::optional<ShardName> shard_of(const std::filesystem::path& path) {
  const std::string extension = path.extension().string(), stem = path.stem().string();
  const std::size_t of = stem.rfind("-of-");
  if (of == std::string::npos || of == 0 || (extension != ".safetensors" && extension != ".bin")) {
    return std::nullopt;
  }
  const std::size_t dash = stem.rfind('-', of - 1);
  if (dash == std::string::npos) return std::nullopt;
  const auto number = number_of(std::string_view(stem).substr(dash + 1, of - dash - 1));
  const auto count = number_of(std::string_view(stem).substr(of + 4));
  if (!number || !count || *number > *count) return std::nullopt;
  return ShardName{*number, *count, stem.substr(0, dash) + extension + ".index.json"};
}

}  // namespace resnet

// The index of weights that are split into several files, as Hugging Face's libraries write it:
// model.safetensors.index.json beside model-00001-of-00003.safetensors, or the same of
// pytorch_model.bin. Its "weight_map" says which file has which tensor.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace resnet {

struct ShardIndex {
  std::map<std::string, std::string> shard_of;  ///< of each tensor; a plain file name
  std::vector<std::string> shards;              ///< each once, in the order of their names
};

/// Whether the name is that of an index: it ends in ".index.json".
bool is_shard_index(const std::filesystem::path& path);

/// Reads the index alone. Throws `kNotFound`, `kIo`, or `kBadData` when it is no index, names a
/// tensor twice, or a shard that is not a plain file name, which might lie outside the folder.
ShardIndex read_shard_index(const std::filesystem::path& path);
/// The same of a text; `file` is for messages.
ShardIndex parse_shard_index(std::string_view text, const std::string& file);

/// What the name of one shard says: "model-00001-of-00003.safetensors" is number 1 of 3, and its
/// index is called "model.safetensors.index.json".
struct ShardName {
  int number = 0, count = 0;
  std::string index;
};
/// Nothing for a file with another name.
std::optional<ShardName> shard_of(const std::filesystem::path& path);

}  // namespace resnet

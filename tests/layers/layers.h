// The rules of docs/ARCHITECTURE.md as a check: which room may include which, which library shows
// where, and that only the command line prints or exits.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace resnet::layers {

/// What is wrong with one source file: "src/graph/ops.cpp:12: …", empty when nothing is.
/// `path` is relative to the repository, with forward slashes, below `src/` or `include/resnet/`.
std::vector<std::string> check_file(std::string_view path, std::string_view text);

/// All findings below `src/` and `include/` of the repository.
std::vector<std::string> check_tree(const std::filesystem::path& root, int* files_seen);

}  // namespace resnet::layers

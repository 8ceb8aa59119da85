// Paths from standard input, one a line.
#pragma once

#include <filesystem>
#include <istream>
#include <string>

namespace resnet::cli {

/// Takes the next path from `in`, passing over empty lines; false at the end. A byte-order mark
/// before the first and a carriage return behind any (lists from other systems) are no part of it,
/// unless there is a file of that very name. Throws `kBadData` for UTF-16 and for a zero byte.
class StdinPaths {
 public:
  explicit StdinPaths(std::istream& in) : in_(in) {}
  bool next(std::string& path);

 private:
  std::istream& in_;
  bool first_ = true;
};

}  // namespace resnet::cli

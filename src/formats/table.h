// CSV files of numbers under a line of names, such as the metrics.csv of a run.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace resnet {

struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<double>> values;  ///< [column][row]
  std::size_t rows() const { return values.empty() ? 0 : values.front().size(); }
};

/// `name` is for messages. Throws kBadData with the line: no name or one twice, another number of
/// fields than names, a field that is no number ("nan" and "inf" are).
Table parse_table(std::string_view text, const std::string& name);
Table read_table(const std::filesystem::path& path);

}  // namespace resnet

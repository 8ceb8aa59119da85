#include "formats/table.h"

#include <algorithm>
#include <charconv>

#include "core/check.h"
#include "core/file.h"
#include "formats/csv.h"

namespace resnet {

Table parse_table(std::string_view text, const std::string& name) {
  const std::vector<CsvRow> rows = parse_csv(text, name, csv_separator(text, name));
  Table table;
  if (!rows.empty()) table.columns = rows[0].fields;
  for (auto c = table.columns.begin(); c != table.columns.end(); ++c) {
    if (!c->empty() && std::find(table.columns.begin(), c, *c) == c) continue;
    fail(ErrorCode::kBadData, "{}: expected a first line of column names, found {}", name,
         c->empty() ? "one without a name" : fmt::format("\"{}\" twice", *c));
  }
  if (rows.empty()) fail(ErrorCode::kBadData, "{}: expected a line of column names", name);
  table.values.resize(table.columns.size());
  for (std::size_t i = 1; i < rows.size(); ++i) {
    const auto& [line, fields] = rows[i];
    if (fields.size() != table.columns.size()) {
      fail(ErrorCode::kBadData, "{}, line {}: expected {} values, found {}", name, line,
           table.columns.size(), fields.size());
    }
    for (std::size_t c = 0; c < fields.size(); ++c) {
      double value = 0;
      const char* end = fields[c].data() + fields[c].size();
      const auto parsed = std::from_chars(fields[c].data(), end, value);
      if (parsed.ec != std::errc{} || parsed.ptr != end) {
        fail(ErrorCode::kBadData, "{}, line {}: expected a number for {}, found \"{}\"", name, line,
             table.columns[c], fields[c].substr(0, 40));
      }
      table.values[c].push_back(value);
    }
  }
  return table;
}

Table read_table(const std::filesystem::path& path) {
  return parse_table(read_text_file(path), path.string());
}

}  // namespace resnet

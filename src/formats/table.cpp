#include "formats/table.h"

#include <algorithm>
#include <charconv>

#include "core/check.h"
#include "core/file.h"

namespace resnet {
namespace {

// Takes what comes before `end` away from `rest`; all of it if there is none.
std::string_view take(std::string_view& rest, char end) {
  const std::size_t at = std::min(rest.find(end), rest.size());
  const std::string_view piece = rest.substr(0, at);
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return piece;
}

std::string_view take_line(std::string_view& rest) {
  std::string_view line = take(rest, '\n');
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  while (true) {
    const bool last = line.find(',') == std::string_view::npos;
    fields.push_back(take(line, ','));
    if (last) return fields;
  }
}

}  // namespace

Table parse_table(std::string_view text, const std::string& name) {
  Table table;
  for (const std::string_view column : fields_of(take_line(text))) {
    if (column.empty() || std::ranges::find(table.columns, column) != table.columns.end()) {
      fail(ErrorCode::kBadData, "{}: expected a first line of column names, found {}", name,
           column.empty() ? "one without a name" : fmt::format("\"{}\" twice", column));
    }
    table.columns.emplace_back(column);
  }
  table.values.resize(table.columns.size());
  for (std::size_t number = 2; !text.empty(); ++number) {
    const std::vector<std::string_view> fields = fields_of(take_line(text));
    if (fields.size() != table.columns.size()) {
      fail(ErrorCode::kBadData, "{}, line {}: expected {} values, found {}", name, number,
           table.columns.size(), fields.size());
    }
    for (std::size_t c = 0; c < fields.size(); ++c) {
      double value = 0;
      const char* end = fields[c].data() + fields[c].size();
      const auto parsed = std::from_chars(fields[c].data(), end, value);
      if (parsed.ec != std::errc{} || parsed.ptr != end) {
        fail(ErrorCode::kBadData, "{}, line {}: expected a number for {}, found \"{}\"", name,
             number, table.columns[c], fields[c].substr(0, 40));
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

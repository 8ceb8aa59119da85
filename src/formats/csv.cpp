#include "formats/csv.h"

#include <algorithm>

#include "core/check.h"
#include "core/lines.h"

namespace resnet {

std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name, char separator,
                              std::size_t max_rows) {
  text = without_mark(text, name);
  std::vector<CsvRow> rows;
  std::size_t line = 1;
  std::size_t at = 0;
  const auto ends_field = [&](std::size_t i) {
    return i == text.size() || text[i] == separator || text[i] == '\n' || text[i] == '\r';
  };
  while (at < text.size() && rows.size() < max_rows) {
    CsvRow row{line, {}};
    while (true) {
      std::string field;
      if (at < text.size() && text[at] == '"') {
        for (++at;; ++at) {
          if (at == text.size()) {
            fail(ErrorCode::kBadData, "{}: line {}: a quote is opened and never closed", name,
                 row.line);
          }
          if (text[at] == '"') {
            if (++at == text.size() || text[at] != '"') break;
          }
          if (text[at] == '\n') ++line;
          field += text[at];
        }
        if (!ends_field(at)) {
          fail(ErrorCode::kBadData,
               "{}: line {}: something follows a closed quote; write a quote inside one as \"\"",
               name, line);
        }
      } else {
        for (; !ends_field(at); ++at) field += text[at];
      }
      if (field.find('\0') != std::string::npos) {
        fail(ErrorCode::kBadData, "{}: line {}: a zero byte; expected a text file in UTF-8", name,
             line);
      }
      row.fields.push_back(std::move(field));
      if (at == text.size() || text[at] != separator) break;
      ++at;
    }
    if (at < text.size()) {
      if (text[at] == '\r' && at + 1 < text.size() && text[at + 1] == '\n') ++at;
      ++at;
      ++line;
    }
    if (row.fields.size() > 1 || !row.fields.front().empty()) rows.push_back(std::move(row));
  }
  return rows;
}

char csv_separator(std::string_view text, const std::string& name, char usual) {
  constexpr std::size_t kLookedAt = 20;
  struct Columns {
    std::size_t least = 0, most = 0;
  };
  const auto columns = [&](char separator) -> Columns {
    try {
      const std::vector<CsvRow> rows = parse_csv(text, name, separator, kLookedAt);
      if (rows.empty()) return {};
      const auto [least, most] =
          std::ranges::minmax(rows, {}, [](const CsvRow& row) { return row.fields.size(); });
      return {least.fields.size(), most.fields.size()};
    } catch (const Error&) {  // said when the table is read
      return {};
    }
  };
  if (columns(usual).least > 1) return usual;
  char found = usual;
  std::size_t best = 1;
  for (const char separator : {',', ';', '\t', '|'}) {
    const Columns c = columns(separator);
    if (c.least != c.most || c.least <= best) continue;
    best = c.least;
    found = separator;
  }
  return found;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted(1, '"');
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  quoted += '"';
  return quoted;
}

}  // namespace resnet

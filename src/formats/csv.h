// Comma-separated values (RFC 4180).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace resnet {

struct CsvRow {
  std::size_t line = 0;  ///< on which it begins, from 1
  std::vector<std::string> fields;
};

/// The rows that are not empty. Fields in double quotes may hold separators, line breaks and
/// doubled quotes; a byte-order mark is skipped; lines may end as on any system. `name` is only for
/// messages. Throws `kBadData` for UTF-16, and naming the line: an open quote, text after a closed
/// one, a zero byte.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name, char separator = ',',
                              std::size_t max_rows = static_cast<std::size_t>(-1));

/// What stands between the columns: a comma, a semicolon, a tab or a bar, by the first 20 rows.
/// `usual` where it gives two columns or more in each of them; else the one that gives the same
/// number of columns, at least two, in all of them, and of several the one with the most; else
/// `usual`.
char csv_separator(std::string_view text, const std::string& name, char usual = ',');

/// A field for a row separated by commas: quoted where it must be.
std::string csv_field(const std::string& text);

}  // namespace resnet

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
/// messages. Throws `kBadData` naming the line: an open quote, text after a closed one, a zero
/// byte.
std::vector<CsvRow> parse_csv(std::string_view text, const std::string& name, char separator = ',');

/// A field for a row separated by commas: quoted where it must be.
std::string csv_field(const std::string& text);

}  // namespace resnet

// Text from files, made safe to show.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace resnet {

/// `text` on one line for a terminal: control characters, marks that reverse the writing direction
/// and bytes that are not UTF-8 become escapes (`\x1b`), and what follows `most` bytes becomes "…".
std::string printable(std::string_view text, std::size_t most = std::string_view::npos);

bool is_utf8(std::string_view text);

/// Whether `text` can name a class wherever one is written: UTF-8 without line breaks and
/// control characters other than tabs.
bool is_plain_text(std::string_view text);

/// `text`, which may be any bytes (a path), as UTF-8 for JSON. UTF-8 stays as it is, unless it has
/// the characters `\x` in it; in all else a byte that is not UTF-8 becomes `\xe9` and a backslash
/// `\\`. No two texts become one: `text_from_json` undoes it.
std::string json_text(std::string_view text);
std::string text_from_json(std::string_view json);

/// `text` as one line of a file that has a line for each name: line feeds and carriage returns
/// become `\x0a` and `\x0d`, all other bytes stay.
std::string one_line(std::string_view text);

/// With A to Z as a to z.
std::string lower(std::string_view text);

}  // namespace resnet

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

/// With A to Z as a to z.
std::string lower(std::string_view text);

}  // namespace resnet

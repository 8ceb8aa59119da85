// Text that people wrote with other programs: marks at its start, ends of lines.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace resnet {

/// `text` without UTF-8's byte-order mark. Throws `kBadData` when it begins with that of UTF-16 or
/// UTF-32, saying how to save it. `name` is that of the file, for messages.
std::string_view without_mark(std::string_view text, const std::string& name);

/// Its lines, without the mark and what ends them: \n, \r\n or \r. Throws as `without_mark`, and
/// for a zero byte.
std::vector<std::string> lines_of(std::string_view text, const std::string& name);

/// A name a line, as `classes.txt` has them: without blanks behind it, and without empty lines.
/// Throws `kBadData` naming the line when one is not UTF-8 or has control characters.
std::vector<std::string> names_of(std::string_view text, const std::string& name);

/// `names_of` a file, which must exist.
std::vector<std::string> read_names(const std::filesystem::path& path);

}  // namespace resnet

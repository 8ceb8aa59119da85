#include "core/lines.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"

namespace resnet {

using namespace std::string_view_literals;

std::string_view without_mark(std::string_view text, const std::string& name) {
  constexpr std::string_view kUtf8 = "\xef\xbb\xbf";
  // UTF-32's little-endian mark begins with that of UTF-16.
  constexpr std::array kOthers = {
      std::pair{"\xff\xfe\0\0"sv, "UTF-32"sv}, std::pair{"\0\0\xfe\xff"sv, "UTF-32"sv},
      std::pair{"\xff\xfe"sv, "UTF-16"sv}, std::pair{"\xfe\xff"sv, "UTF-16"sv}};
  for (const auto& [mark, encoding] : kOthers) {
    if (!text.starts_with(mark)) continue;
    fail(ErrorCode::kBadData, "{}: expected text in UTF-8, found {}; save it as UTF-8", name,
         encoding);
  }
  if (text.starts_with(kUtf8)) text.remove_prefix(kUtf8.size());
  return text;
}

std::vector<std::string> lines_of(std::string_view text, const std::string& name) {
  text = without_mark(text, name);
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of("\r\n"), text.size());
    lines.emplace_back(text.substr(0, end));
    if (lines.back().find('\0') != std::string::npos) {
      fail(ErrorCode::kBadData, "{}: line {}: a zero byte; expected text in UTF-8", name,
           lines.size());
    }
    text.remove_prefix(end);
    text.remove_prefix(text.starts_with("\r\n") ? 2 : text.empty() ? 0 : 1);
  }
  return lines;
}

std::vector<std::string> names_of(std::string_view text, const std::string& name) {
  constexpr std::string_view kBlank = " \t\v\f";
  const std::vector<std::string> lines = lines_of(text, name);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const std::size_t last = lines[i].find_last_not_of(kBlank);
    if (last == std::string::npos) continue;
    names.push_back(lines[i].substr(0, last + 1));
    if (is_plain_text(names.back())) continue;
    fail(ErrorCode::kBadData, "{}: line {}: the name \"{}\" {}", name, i + 1,
         printable(names.back(), 100),
         is_utf8(names.back()) ? "has control characters; remove them"
                               : "is not UTF-8; save the file as UTF-8");
  }
  return names;
}

std::vector<std::string> read_names(const std::filesystem::path& path) {
  return names_of(read_text_file(path), path.string());
}

}  // namespace resnet

#include "formats/kernel_table.h"

#include <algorithm>

#include "core/check.h"

namespace resnet {
namespace {

constexpr std::string_view kHeader = "resnet kernels 1";
constexpr std::size_t kMostLines = 100'000, kLongestWord = 1000;

bool is_word(std::string_view s) {
  return !s.empty() && s.size() <= kLongestWord &&
         std::all_of(s.begin(), s.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

KernelTable parse_kernel_table(std::string_view text, std::string_view name) {
  const auto next_line = [&] {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return line;
  };
  if (next_line() != kHeader) {
    fail(ErrorCode::kBadData, "{}: expected a table of kernels, which begins with '{}'", name,
         kHeader);
  }
  KernelTable table;
  for (std::size_t number = 2; !text.empty(); ++number) {
    const std::string_view line = next_line();
    const std::size_t tab = line.find('\t');
    const bool pair = tab != std::string_view::npos && is_word(line.substr(0, tab)) &&
                      is_word(line.substr(tab + 1));
    if (number > kMostLines || !pair ||
        !table.emplace(line.substr(0, tab), line.substr(tab + 1)).second) {
      fail(ErrorCode::kBadData,
           "{}: line {} of a table of kernels must be a new key, a tab and a kernel's name; remove "
           "the file, and it is measured again",
           name, number);
    }
  }
  return table;
}

std::string format_kernel_table(const KernelTable& table) {
  std::string text = fmt::format("{}\n", kHeader);
  for (const auto& [key, kernel] : table) text += fmt::format("{}\t{}\n", key, kernel);
  return text;
}

}  // namespace resnet

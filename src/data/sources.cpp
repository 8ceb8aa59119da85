#include "data/sources.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <set>
#include <system_error>

#include "core/check.h"
#include "core/file.h"
#include "core/lines.h"
#include "core/text.h"

namespace resnet {

namespace {

struct PartWord {
  std::string_view word;
  Part part;
};
// The more usual first.
constexpr std::array<PartWord, 10> kPartWords = {{{"train", Part::kTrain},
                                                  {"training", Part::kTrain},
                                                  {"val", Part::kVal},
                                                  {"valid", Part::kVal},
                                                  {"validation", Part::kVal},
                                                  {"eval", Part::kVal},
                                                  {"evaluation", Part::kVal},
                                                  {"dev", Part::kVal},
                                                  {"test", Part::kTest},
                                                  {"testing", Part::kTest}}};

void drop_separators(std::string& name) {
  while (!name.empty() && std::string_view("_- .").find(name.back()) != std::string_view::npos) {
    name.pop_back();
  }
}

}  // namespace

std::string_view name_of(Part part) {
  switch (part) {
    case Part::kTrain: return "training";
    case Part::kVal: return "validation";
    case Part::kTest: return "test";
    case Part::kNone: break;
  }
  return "unnamed";
}

PartName part_named(std::string_view name) {
  std::string word = lower(name);
  while (!word.empty() && word.back() >= '0' && word.back() <= '9') word.pop_back();
  drop_separators(word);
  if (word.ends_with("set")) {
    word.resize(word.size() - 3);
    drop_separators(word);
  }
  const auto* found = std::ranges::find(kPartWords, std::string_view(word), &PartWord::word);
  if (found == kPartWords.end()) return {};
  return {found->part, static_cast<int>(found - kPartWords.begin())};
}

Part part_of(std::string_view name) {
  std::string word;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    const auto c = static_cast<unsigned char>(i < name.size() ? name[i] : '\0');
    if (std::isalpha(c) != 0) {
      word += static_cast<char>(c);
      continue;
    }
    if (const Part part = part_named(word).part; part != Part::kNone) return part;
    word.clear();
  }
  return Part::kNone;
}

std::int64_t whole_number(std::string_view text) {
  if (text.empty() || text.size() > 9) return -1;
  std::int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

std::vector<std::string> numbered_classes(const std::filesystem::path& folder,
                                          std::int64_t highest_label) {
  std::vector<std::string> names;
  for (const char* file : {"classes.txt", "labels.txt"}) {
    const std::filesystem::path path = folder / file;
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) continue;
    names = read_names(path);
    std::set<std::string> seen;
    for (const std::string& class_name : names) {
      if (seen.insert(class_name).second) continue;
      fail(ErrorCode::kBadData, "{}: the class \"{}\" stands there twice; expected one a line",
           path.string(), class_name);
    }
    if (static_cast<std::int64_t>(names.size()) <= highest_label) {
      fail(ErrorCode::kBadData,
           "{}: {} class names, but the data has the label {}; expected one a line for each class",
           path.string(), names.size(), highest_label);
    }
    return names;
  }
  for (std::int64_t i = 0; i <= highest_label; ++i) names.push_back(std::to_string(i));
  return names;
}

}  // namespace resnet

#include "data/class_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "core/text.h"
#include "core/unicode.h"
#include "data/sources.h"

namespace resnet {

bool natural_less(std::string_view a, std::string_view b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto number = [&](std::string_view text, std::size_t& at) {
    while (at < text.size() && text[at] == '0') ++at;
    const std::size_t from = at;
    while (at < text.size() && digit(text[at])) ++at;
    return text.substr(from, at - from);
  };
  std::size_t i = 0, k = 0;
  while (i < a.size() && k < b.size()) {
    if (digit(a[i]) && digit(b[k])) {
      const std::string_view x = number(a, i), y = number(b, k);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
    } else if (a[i] != b[k]) {
      return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[k]);
    } else {
      ++i, ++k;
    }
  }
  const std::size_t left = a.size() - i, right = b.size() - k;
  return left != right ? left < right : a < b;
}

Classes::Classes(const std::vector<std::string>& labels, ClassOrder order) {
  std::map<std::string, std::vector<std::string>, std::less<>> spellings;  // by what looks the same
  for (const std::string& label : labels) {
    std::vector<std::string>& same = spellings[decomposed(label)];
    if (std::ranges::find(same, label) == same.end()) same.push_back(label);
  }
  for (auto& [key, same] : spellings) {
    std::ranges::sort(same, [](const std::string& a, const std::string& b) {
      return std::pair(a.size(), a) < std::pair(b.size(), b);
    });
    names_.push_back(same.front());
    for (std::size_t i = 1; i < same.size(); ++i) merged_.emplace_back(same[0], same[i]);
  }
  if (order == ClassOrder::kNatural) {
    std::ranges::sort(names_, natural_less);
  } else {
    std::ranges::sort(names_);
  }
  for (std::size_t c = 0; c < names_.size(); ++c) {
    index_[decomposed(names_[c])] = static_cast<int>(c);
  }
}

int Classes::index(std::string_view label) const {
  const auto found = index_.find(decomposed(label));
  return found == index_.end() ? -1 : found->second;
}

std::vector<int> positions_of(const std::vector<std::string>& names,
                              const std::vector<std::string>& classes) {
  std::map<std::string_view, int> exact;
  std::map<std::string, int> alike;  // −1: several
  for (std::size_t c = 0; c < classes.size(); ++c) {
    exact.try_emplace(classes[c], static_cast<int>(c));
    const auto [it, added] = alike.try_emplace(decomposed(classes[c]), static_cast<int>(c));
    if (!added) it->second = -1;
  }
  std::vector<int> positions;
  for (const std::string& name : names) {
    if (const auto same = exact.find(name); same != exact.end()) {
      positions.push_back(same->second);
      continue;
    }
    const auto found = alike.find(decomposed(name));
    positions.push_back(found == alike.end() ? -1 : found->second);
  }
  return positions;
}

std::vector<std::string> notes_of(const Classes& classes) {
  std::vector<std::string> notes;
  for (const auto& [first, second] : classes.merged()) {
    notes.push_back(fmt::format(
        "\"{}\" and \"{}\" are one class: they look the same and differ in how accents are stored",
        printable(first), printable(second)));
  }
  return notes;
}

bool are_numbers(const std::vector<std::string>& names) {
  return !names.empty() && std::ranges::all_of(names, [](const std::string& name) {
    const std::int64_t number = whole_number(name);
    return number >= 0 && std::to_string(number) == name;
  });
}

std::vector<std::string> unnamed_classes(std::size_t count) {
  std::vector<std::string> names;
  for (std::size_t c = 0; c < count; ++c) names.push_back(fmt::format("class {}", c));
  return names;
}

bool are_unnamed(const std::vector<std::string>& names) {
  return !names.empty() && names == unnamed_classes(names.size());
}

}  // namespace resnet

// "Did you mean …": the known name closest to a misspelt one.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace resnet {

/// Letters to insert, leave out, replace, or exchange with their neighbour.
inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before = last;
    last = row;
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1), last[j] + 1, row[j - 1] + 1});
      const bool exchanged = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (exchanged) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row.back();
}

/// The element of `known`, a range of strings, with the smallest distance; "" if there is none.
template <class Range>
std::string nearest_name(std::string_view name, const Range& known) {
  std::string best;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const auto& candidate : known) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < least) {
      least = distance;
      best = std::string(candidate);
    }
  }
  return best;
}

/// The same, but "" unless it is near enough to have been meant: a letter in three is wrong, or the
/// rest of the word is missing. Dashes in front do not count.
template <class Range>
std::string near_name(std::string_view name, const Range& known) {
  const auto word = [](std::string_view text) {
    return text.substr(std::min(text.find_first_not_of('-'), text.size()));
  };
  constexpr std::size_t kShortestStart = 3;
  const std::string best = nearest_name(name, known);
  const std::size_t allowed = std::max<std::size_t>(1, word(name).size() / 3);
  const bool has_letter_left = word(name).size() > 1;
  if (!best.empty() && has_letter_left && edit_distance(name, best) <= allowed) return best;
  for (const auto& candidate : known) {
    const bool starts = word(candidate).starts_with(word(name));
    if (word(name).size() >= kShortestStart && starts) return std::string(candidate);
  }
  return "";
}

}  // namespace resnet

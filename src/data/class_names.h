// Names of classes: their order, and which of them are the same.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "resnet/data.h"

namespace resnet {

/// The classes of labels as they are written, each once, in order. Spellings that look the same
/// ("é" as one character or as two) are one class, under the one of fewest bytes.
class Classes {
 public:
  Classes(const std::vector<std::string>& labels, ClassOrder order);
  const std::vector<std::string>& names() const { return names_; }
  /// −1 for a label that is none.
  int index(std::string_view label) const;
  /// Pairs of spellings that became one class.
  const std::vector<std::pair<std::string, std::string>>& merged() const { return merged_; }

 private:
  std::vector<std::string> names_;
  std::map<std::string, int, std::less<>> index_;  // by what looks the same
  std::vector<std::pair<std::string, std::string>> merged_;
};

/// In the order of numbers where digits stand: "2" before "10", "img2" before "img10".
bool natural_less(std::string_view a, std::string_view b);

/// Where each of `names` stands among `classes`, −1 for what does not: the same name, else the only
/// one that looks the same.
std::vector<int> positions_of(const std::vector<std::string>& names,
                              const std::vector<std::string>& classes);

/// What a user may not expect of classes: spellings that became one.
std::vector<std::string> notes_of(const Classes& classes);

/// All are whole numbers without leading zeros.
bool are_numbers(const std::vector<std::string>& names);

/// "class 0", "class 1", …: the names of a network whose classes have none.
std::vector<std::string> unnamed_classes(std::size_t count);
bool are_unnamed(const std::vector<std::string>& names);

}  // namespace resnet

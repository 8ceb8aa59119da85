#include "data/imagenet.h"

#include <algorithm>
#include <iterator>

namespace resnet {
namespace {

struct ImagenetClass {
  std::string_view synset, name;
};

// Sorted by synset, which is the order of the classes.
constexpr ImagenetClass kClasses[] = {
#include "data/imagenet_classes.inc"
};

}  // namespace

const std::vector<std::string>& imagenet_class_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const ImagenetClass& c : kClasses) all.emplace_back(c.name);
    return all;
  }();
  return names;
}

std::vector<std::string> readable_class_names(const std::vector<std::string>& folders) {
  std::vector<std::string> names;
  for (const std::string& folder : folders) {
    const auto* found = std::ranges::lower_bound(kClasses, folder, {}, &ImagenetClass::synset);
    if (found == std::end(kClasses) || found->synset != folder) return folders;
    names.emplace_back(found->name);
  }
  return names;
}

}  // namespace resnet

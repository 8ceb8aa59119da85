// The classes of ImageNet's challenge (ILSVRC 2012), which published weights know.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace resnet {

/// The 1000 names in the order of the logits: "tench", "goldfish", …
const std::vector<std::string>& imagenet_class_names();

/// Folders of ImageNet's images have WordNet's numbers as names: "n01440764". If every one of
/// `folders` is such a number of the challenge, their names ("tench"), else `folders` as they are.
std::vector<std::string> readable_class_names(const std::vector<std::string>& folders);

}  // namespace resnet

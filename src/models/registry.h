// What a family of networks tells the registry. A new network is one file that defines a Family and
// one line in registry.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/models.h"

namespace resnet {

struct Family {
  /// Names for lists and for suggestions; a family of endlessly many gives its well-known ones.
  std::vector<std::string> names;
  /// Side of the images that the network of this name was designed for; 0: not of this family.
  std::int64_t (*image_size)(std::string_view name);
  /// Adds the network up to its last feature maps [n, c, h, w] and returns them; average pool and
  /// head are the same for all. The architecture is of this family; the numbers have been checked.
  Value (*build)(Graph& graph, const ModelConfig& config, Value image);
};

/// What the family of `config.architecture` builds.
Value build_body(Graph& graph, const ModelConfig& config, Value image);

Family resnet_family();
Family resnet_v2_family();
Family resnet_cifar_family();
Family plain_family();
Family resnet_fast_family();

}  // namespace resnet

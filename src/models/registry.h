// The families that the library has. A new network is one file that defines a Family (network.h),
// its declaration here and one line in registry.cpp.
#pragma once

#include <map>
#include <vector>

#include "resnet/network.h"

namespace resnet {

Family resnet_family();
Family resnet_v2_family();
Family resnet_cifar_family();
Family plain_family();
Family resnet_fast_family();

/// What the family of `config.architecture` builds, whole.
Network build_whole(Graph& graph, const ModelConfig& config, Value image);

/// The network that most families end in: `x` [n, c, h, w], averaged over the image, and
/// `add_head`.
Network finish_classifier(Graph& graph, NetworkParts& parts, const ModelConfig& config, Value x);

/// The description of a copy: `to` says what became of each value. Parts that were not copied are
/// empty, stages without layers are left out.
Network mapped(const Network& network, const std::map<Value, Value>& to);

}  // namespace resnet

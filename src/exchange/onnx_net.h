// The common form that graphs are compared in: layers of a few kinds, each with the layers before
// it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "resnet/tensor.h"

namespace resnet::onnx_net {

using Ints = std::vector<std::int64_t>;

// Names of a layer's tensors: parameters of ours, constants of the other graph.
struct Parameters {
  std::string weight, bias;
  std::string gamma, beta, mean, var;  // of a batch norm, alone or right after a convolution
  double eps = 0;
  bool transposed = false;  // the matrix of a linear layer is [k, m] there
};

struct Layer {
  std::string op;  // "conv", "norm", "relu", …
  std::string name;
  Ints attributes = {};          // all that tells it from another of its kind
  Shape weight_shape = {};       // of a convolution or a linear layer
  std::vector<int> inputs = {};  // layers before it
  Parameters parameters = {};
  std::int64_t c = 0, h = 0, w = 0;  // of its output; 0: not known
};

struct Net {
  std::vector<Layer> layers;  // the first is the input
  int logits = -1;

  int add(Layer layer) {
    layers.push_back(std::move(layer));
    return static_cast<int>(layers.size()) - 1;
  }
  const Layer& at(int i) const { return layers[static_cast<std::size_t>(i)]; }
  Layer& at(int i) { return layers[static_cast<std::size_t>(i)]; }
};

}  // namespace resnet::onnx_net

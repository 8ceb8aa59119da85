// resnet8-fast: a small residual network for 32x32 images that learns in few epochs. Its parts
// are those of the fastest trainings on CIFAR-10: a frozen first layer that whitens 2x2 patches
// (Page 2019, "How to train your ResNet"), convolutions that begin as the identity, a pool inside
// each stage and at the end, small logits (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a
// single GPU"). Here each stage has a skip over its second convolution.
#include "models/registry.h"

namespace resnet {
namespace {

constexpr std::string_view kName = "resnet8-fast";

std::int64_t image_size(std::string_view name) { return name == kName ? 32 : 0; }

Value conv_norm(Graph& graph, const std::string& stage, const char* number, Value x,
                std::int64_t filters, bool pool) {
  x = graph.conv2d(stage + ".conv" + number, x,
                   {.filters = filters, .kernel = 3, .init = Init::kDirac});
  if (pool) x = graph.max_pool(x, {});
  // Few steps: the running statistics must follow quickly.
  return graph.batch_norm(stage + ".bn" + number, x, {.momentum = 0.4});
}

// [n, c, h, w] -> [n, 8c, h - 1, w - 1]
Value whitened(Graph& graph, const ModelConfig& config, Value image) {
  // Both signs of every direction in which patches vary, since ReLU cuts one of them off.
  const std::int64_t directions = config.channels * 2 * 2;
  return graph.conv2d("conv1", image,
                      {.filters = 2 * directions,
                       .kernel = 2,
                       .padding = Padding::kExplicit,
                       .bias = true,
                       .init = Init::kWhitening,
                       .frozen = true});
}

Network build(Graph& graph, const ModelConfig& config, Value image) {
  NetworkParts parts(graph);
  const Shape& size = graph.shape(image);  // [n, c, h, w]
  Value x = image;
  {
    const auto stem = parts.stage("stem");
    graph.set_scope("stem");
    x = graph.relu(whitened(graph, config, x));
  }
  int stage = 0;
  for (const std::int64_t filters : {64, 256, 256}) {
    const std::string name = "layer" + std::to_string(++stage);
    const auto open = parts.stage(name);
    graph.set_scope(name);
    x = graph.relu(conv_norm(graph, name, "1", x, filters, true));
    x = graph.relu(graph.add(conv_norm(graph, name, "2", x, filters, false), x));
  }
  graph.set_scope("");
  const std::int64_t left = ((size[2] - 1) / 2 / 2 / 2);
  x = graph.max_pool(x, {.kernel = left, .stride = left});
  return finish_classifier(graph, parts, config, graph.scale(x, 1.0 / 9));
}

}  // namespace

Family resnet_fast_family() { return {{std::string(kName)}, image_size, build}; }

}  // namespace resnet

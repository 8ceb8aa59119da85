// ResNet for ImageNet (He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR
// 2016). Bottlenecks have their stride on the 3x3 convolution as torchvision's do ("v1.5");
// ModelConfig::stride_on_first_1x1 is the paper's way. Images of any size work; the architecture
// does not change with it.
//
// A "d" behind the name is ResNet-D (He, Zhang, Zhang, Zhang, Xie, Li: "Bag of Tricks for Image
// Classification with Convolutional Neural Networks", CVPR 2019) with timm's names: three 3x3
// convolutions in place of the 7x7 of the stem, and an average pool in front of a projection
// instead of its stride, so that no activation is skipped.
#include "models/registry.h"
#include "models/residual.h"

namespace resnet {
namespace {

bool is_d(std::string_view name) { return name.ends_with('d'); }

std::optional<ResidualBody> body_of(std::string_view name) {
  const auto parsed = parse_residual_name(name);
  if (!parsed || parsed->v2 || (parsed->suffix != "" && parsed->suffix != "d")) return std::nullopt;
  auto body = imagenet_body(parsed->layers);
  if (body) body->pooled_shortcut = is_d(name);
  return body;
}

std::int64_t image_size(std::string_view name) { return body_of(name) ? 224 : 0; }

// [n, c, h, w] -> [n, 64, h / 2, w / 2], before its batch norm "bn1"
Value stem_convolutions(Graph& graph, const ModelConfig& config, Value x) {
  const Padding padding = padding_of(config);
  if (!is_d(config.architecture)) {
    return graph.conv2d("conv1", x, {.filters = 64, .kernel = 7, .stride = 2, .padding = padding});
  }
  x = graph.conv2d("conv1.0", x, {.filters = 32, .kernel = 3, .stride = 2, .padding = padding});
  x = graph.relu(graph.batch_norm("conv1.1", x));
  x = graph.conv2d("conv1.3", x, {.filters = 32, .kernel = 3});
  x = graph.relu(graph.batch_norm("conv1.4", x));
  return graph.conv2d("conv1.6", x, {.filters = 64, .kernel = 3});
}

Network build(Graph& graph, const ModelConfig& config, Value image) {
  NetworkParts parts(graph);
  Value x = image;
  {
    const auto stem = parts.stage("stem");
    x = stem_convolutions(graph, config, x);
    x = graph.relu(graph.batch_norm("bn1", x));
    x = graph.max_pool(x, {.kernel = 3, .stride = 2, .padding = padding_of(config)});
  }
  x = add_residual_body(graph, parts, config, body_of(config.architecture).value(), x);
  return finish_classifier(graph, parts, config, x);
}

}  // namespace

Family resnet_family() {
  return {{"resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200", "resnet18d",
           "resnet34d", "resnet50d", "resnet101d", "resnet152d", "resnet200d"},
          image_size,
          build};
}

}  // namespace resnet

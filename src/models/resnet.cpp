// ResNet for ImageNet (He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR
// 2016). Bottlenecks have their stride on the 3x3 convolution as torchvision's do ("v1.5");
// ModelConfig::stride_on_first_1x1 is the paper's way. Pictures of any size work; the architecture
// does not change with it.
#include "models/registry.h"
#include "models/residual.h"

namespace resnet {
namespace {

std::optional<ResidualBody> body_of(std::string_view name) {
  const auto parsed = parse_residual_name(name);
  if (!parsed || parsed->v2 || !parsed->suffix.empty()) return std::nullopt;
  return imagenet_body(parsed->layers);
}

std::int64_t image_size(std::string_view name) { return body_of(name) ? 224 : 0; }

Value build(Graph& graph, const ModelConfig& config, Value image) {
  Value x = graph.conv2d("conv1", image, {.filters = 64, .kernel = 7, .stride = 2});
  x = graph.relu(graph.batch_norm("bn1", x));
  x = graph.max_pool(x, {.kernel = 3, .stride = 2, .pad = 1});
  return add_residual_body(graph, config, body_of(config.architecture).value(), x);
}

}  // namespace

Family resnet_family() {
  return {{"resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200"},
          image_size,
          build};
}

}  // namespace resnet

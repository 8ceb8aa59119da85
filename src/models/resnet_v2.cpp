// ResNet v2, "pre-activation" (He, Zhang, Ren, Sun: "Identity Mappings in Deep Residual Networks",
// ECCV 2016). The stem is the convolution and the max pool alone, as in Keras' networks of this
// name: layer1.0 begins with batch norm and ReLU anyway. One batch norm, "bn", and a ReLU follow
// the last block, whose sum nothing else has activated.
#include "models/registry.h"
#include "models/residual.h"

namespace resnet {
namespace {

std::optional<ResidualBody> body_of(std::string_view name) {
  const auto parsed = parse_residual_name(name);
  if (!parsed || !parsed->v2 || !parsed->suffix.empty()) return std::nullopt;
  auto body = imagenet_body(parsed->layers);
  if (body) body->preactivation = true;
  return body;
}

std::int64_t image_size(std::string_view name) { return body_of(name) ? 224 : 0; }

Network build(Graph& graph, const ModelConfig& config, Value image) {
  NetworkParts parts(graph);
  const Padding padding = padding_of(config);
  Value x = image;
  {
    const auto stem = parts.stage("stem");
    x = graph.conv2d("conv1", x, {.filters = 64, .kernel = 7, .stride = 2, .padding = padding});
    x = graph.max_pool(x, {.kernel = 3, .stride = 2, .padding = padding});
  }
  x = add_residual_body(graph, parts, config, body_of(config.architecture).value(), x);
  return finish_classifier(graph, parts, config, graph.relu(graph.batch_norm("bn", x)));
}

}  // namespace

Family resnet_v2_family() {
  return {{"resnet18v2", "resnet34v2", "resnet50v2", "resnet101v2", "resnet152v2", "resnet200v2"},
          image_size,
          build};
}

}  // namespace resnet

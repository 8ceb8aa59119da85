// The ResNets for 32x32 images, v1 (He et al. 2016a, section 4.2) and v2 (2016b): a 3x3 stem and
// three stages of 16, 32 and 64 filters with n blocks each, so 6n+2 layers with basic blocks and
// 9n+2 with bottlenecks. include/resnet/models.h says which name means which.
#include "models/registry.h"
#include "models/residual.h"

namespace resnet {
namespace {

bool remove_suffix(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  return true;
}

std::optional<ResidualBody> body_of(std::string_view name) {
  auto parsed = parse_residual_name(name);
  if (!parsed) return std::nullopt;
  const int layers = parsed->layers;
  const bool basic = remove_suffix(parsed->suffix, "-basic");
  const bool bottleneck = !basic && remove_suffix(parsed->suffix, "-bottleneck");
  const bool cifar = remove_suffix(parsed->suffix, "-cifar");
  if (!parsed->suffix.empty() || (imagenet_body(layers) && !cifar)) return std::nullopt;

  const bool fits_basic = layers >= 8 && layers % 6 == 2;
  const bool fits_bottleneck = layers >= 11 && layers % 9 == 2;
  const bool use_basic = basic || (!bottleneck && fits_basic && layers != 164);
  if (!(use_basic ? fits_basic : fits_bottleneck)) return std::nullopt;
  const std::int64_t n = (layers - 2) / (use_basic ? 6 : 9);
  return ResidualBody{.preactivation = parsed->v2,
                      .bottleneck = !use_basic,
                      .shortcut = use_basic && !parsed->v2 ? Shortcut::kA : Shortcut::kB,
                      .stages = {{16, n, 1}, {32, n, 2}, {64, n, 2}}};
}

std::int64_t image_size(std::string_view name) { return body_of(name) ? 32 : 0; }

Network build(Graph& graph, const ModelConfig& config, Value image) {
  const ResidualBody body = body_of(config.architecture).value();
  NetworkParts parts(graph);
  Value x = image;
  {
    const auto stem = parts.stage("stem");
    x = graph.conv2d("conv1", x, {.filters = 16, .kernel = 3});
    if (!body.preactivation) x = graph.relu(graph.batch_norm("bn1", x));
  }
  x = add_residual_body(graph, parts, config, body, x);
  if (body.preactivation) x = graph.relu(graph.batch_norm("bn", x));
  return finish_classifier(graph, parts, config, x);
}

}  // namespace

Family resnet_cifar_family() {
  return {{"resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet164", "resnet1001",
           "resnet1202", "resnet20v2", "resnet32v2", "resnet44v2", "resnet56v2", "resnet110v2",
           "resnet164v2", "resnet1001v2"},
          image_size,
          build};
}

}  // namespace resnet

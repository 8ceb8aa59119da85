// Plain networks: a ResNet without its skips, to compare it with (He et al. 2016a, section 3.3).
// plain20 is resnet20 with Shortcut::kNone: the same layers, names and numbers of parameters, less
// those of projections.
#include "core/check.h"
#include "models/registry.h"

namespace resnet {
namespace {

// The residual network that plain{X} strips: resnet{X}.
std::string residual_name(std::string_view name) {
  constexpr std::string_view kPrefix = "plain";
  return name.starts_with(kPrefix) ? "resnet" + std::string(name.substr(kPrefix.size())) : "";
}

std::int64_t image_size(std::string_view name) {
  const std::string residual = residual_name(name);
  for (const Family& family : {resnet_family(), resnet_v2_family(), resnet_cifar_family()}) {
    if (const std::int64_t size = family.image_size(residual); size != 0) return size;
  }
  return 0;
}

Network build(Graph& graph, const ModelConfig& config, Value image) {
  const bool skips = config.shortcut != Shortcut::kDefault && config.shortcut != Shortcut::kNone;
  if (skips || config.layers_per_skip != 0) {
    fail(ErrorCode::kInvalidArgument,
         "{} has no skips, so neither a kind of shortcut nor a number of layers per skip; use {}",
         config.architecture, residual_name(config.architecture));
  }
  ModelConfig plain = config;
  plain.architecture = residual_name(config.architecture);
  plain.shortcut = Shortcut::kNone;
  return build_whole(graph, plain, image);
}

}  // namespace

Family plain_family() {
  return {{"plain18", "plain34", "plain50", "plain20", "plain32", "plain44", "plain56", "plain110"},
          image_size,
          build};
}

}  // namespace resnet

#include "cli/network.h"

#include <filesystem>

#include "cli/command.h"
#include "core/check.h"
#include "resnet/model_file.h"

namespace resnet::cli {

void add_network_flags(CLI::App* command, NetworkFlags& f) {
  command->add_option("--image-size", f.config.image_size, "Side of the images, in pixels");
  command->add_option("--classes", f.config.classes, "Number of classes");
  command->add_option("--channels", f.config.channels, "Of the images")->capture_default_str();
  command->add_option("--shortcut", f.shortcut, "A, B, C or none");
  command->add_option("--layers-per-skip", f.config.layers_per_skip, "Layers a skip jumps over");
  command->add_flag("--stride-on-first-1x1", f.config.stride_on_first_1x1,
                    "Bottlenecks with the paper's stride");
}

ModelConfig network_config(const NetworkFlags& f) {
  if (std::filesystem::exists(f.name)) {
    ModelConfig config = load_model_description(f.name).config;
    if (f.config.image_size > 0) config.image_size = f.config.image_size;
    return config;
  }
  if (f.name.find('/') != std::string::npos || f.name.ends_with(".safetensors")) {
    fail(ErrorCode::kNotFound, "{}: no such model file or folder of a run", f.name);
  }
  ModelConfig config = f.config;
  config.architecture = f.name;
  check_architecture(f.name);
  const std::int64_t size = default_image_size(f.name);
  if (config.image_size == 0) config.image_size = size;
  if (config.classes == 0) config.classes = size == 32 ? 10 : 1000;
  if (!f.shortcut.empty()) config.shortcut = parse_shortcut(f.shortcut);
  return config;
}

}  // namespace resnet::cli

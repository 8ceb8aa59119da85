// A network to look at or to time: an architecture's name with settings, or a model file.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "resnet/models.h"
#include "resnet/variables.h"

namespace resnet::cli {

struct NetworkFlags {
  std::string name = "resnet18";  ///< architecture, model file or folder of a run
  std::string shortcut;
  ModelConfig config{.classes = 0, .image_size = 0};
};

/// The flags that change an architecture. `name` itself is added by the caller.
void add_network_flags(CLI::App* command, NetworkFlags& flags);

/// The configuration that was asked for, complete.
ModelConfig network_config(const NetworkFlags& flags);

}  // namespace resnet::cli

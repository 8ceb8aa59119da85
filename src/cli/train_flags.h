// Flags that change TrainOptions, for the commands that train.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "resnet/train.h"

namespace resnet::cli {

struct TrainFlags {
  /// Flags override the config file, so they are applied after it has been read.
  std::vector<std::function<void(TrainOptions&)>> edits;
  std::string data, recipe, config, resume_from;
  bool out_given = false;
  bool json = false;
};

/// DATA and what is done to images.
void add_data_flags(CLI::App* app, TrainFlags& flags);
/// Random changes of images, on top of a preset.
void add_augmentation_flags(CLI::App* app, TrainFlags& flags);
void add_network_flags(CLI::App* app, TrainFlags& flags);
/// Weights to start from, and what of them is trained.
void add_transfer_flags(CLI::App* app, TrainFlags& flags);
/// What shapes a step: batch, optimizer, loss.
void add_step_flags(CLI::App* app, TrainFlags& flags);
/// Seed, threads, device, layout.
void add_machine_flags(CLI::App* app, TrainFlags& flags);

/// The options in a JSON file.
TrainOptions read_config(const std::string& path);

/// What was skipped, the first twenty by name, on standard error.
void print_skipped(const std::vector<BadImage>& skipped);

}  // namespace resnet::cli

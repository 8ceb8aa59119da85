// What the commands share that take images to predict.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "cli/progress.h"
#include "resnet/model_file.h"
#include "train/files.h"

namespace resnet::cli {

/// --scale-16bit, which takes the place of what the model says.
struct ScaleFlag {
  std::string name;
  void apply(Preprocessing& preprocessing) const;
};
void add_scale_16bit(CLI::App& command, ScaleFlag& flag);

/// Prints notes on standard error.
std::function<void(const std::string&)> notes_to(ProgressLine& line);

/// The image that standard input is, called "-", if its first bytes are those of one; else nothing
/// is taken from it. Throws `kBadData` when it is longer than an image may be.
std::optional<EncodedImage> image_from(std::istream& in);

}  // namespace resnet::cli

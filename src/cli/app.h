// The whole program but for `main`: tests build it and run it, too.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"

namespace resnet::cli {

/// Adds every command to `app`, with what all of them have and the checks of their flags' values.
/// Parsing sets `action`.
void build_app(CLI::App& app, Action& action);

/// Parses the words behind the program's name and does what they say. Returns the exit code; what
/// is wrong is one line on standard error.
int run_program(const std::vector<std::string>& words);

}  // namespace resnet::cli

// The words of a command line: brought into one form before they are parsed, and explained when
// they make no sense.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace resnet::cli {

/// The words with "--flag=" as a flag and an empty value, and with "0.1 0.2" behind a flag that
/// takes several as "0.1,0.2". Throws CLI::ValidationError for a flag that lacks its value or has
/// one that it does not take.
std::vector<std::string> normalised(CLI::App& app, const std::vector<std::string>& words);

/// What is wrong, in one line that ends with where the help is, and the flag or command that was
/// probably meant.
std::string explain(CLI::App& app, const CLI::ParseError& error,
                    const std::vector<std::string>& words);

}  // namespace resnet::cli

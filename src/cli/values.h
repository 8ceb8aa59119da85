// What values flags take. Every check refuses the others with one line, while the command line is
// parsed: before anything is read, written or computed.
#pragma once

#include <CLI/CLI.hpp>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/error.h"

namespace resnet::cli {

/// Finite numbers between two bounds.
struct Range {
  double least = 0;
  double most = std::numeric_limits<float>::max();
  bool above = false;  ///< `least` itself is not one of them.
  bool below = false;  ///< `most` itself is not one of them.
};

/// A decimal number; "010" is ten.
CLI::Validator whole(std::int64_t least = 0,
                     std::uint64_t most = std::numeric_limits<std::int32_t>::max());
CLI::Validator number(const Range& range);
/// One of these, with the nearest when it is none.
CLI::Validator one_of(std::vector<std::string> names);
/// Whatever `parse` takes without an Error, whose message says what is expected.
template <class Parse>
CLI::Validator parsed_by(Parse parse) {
  return {[parse](const std::string& text) {
            try {
              parse(text);
              return std::string();
            } catch (const Error& error) {
              return std::string(error.what());
            }
          },
          ""};
}
/// Several with commas between them, each as `item` says; `counts`: how many there may be, any
/// number when empty.
CLI::Validator list_of(CLI::Validator item, std::vector<std::size_t> counts = {});
/// Anything but nothing.
CLI::Validator some_text();

/// The items of a list that was checked: "1,2".
std::vector<std::string> items(std::string_view list);
std::vector<double> numbers(std::string_view list);
std::vector<int> whole_numbers(std::string_view list);
/// One number for each colour channel; one alone is for all three. Other counts are
/// kInvalidArgument.
std::array<float, 3> per_channel(std::string_view list);

/// Checks every flag of every command by the one table of what flags mean; see values.cpp.
void limit_values(CLI::App& app);
/// Whether the flag takes several values with commas between them.
bool takes_list(const CLI::Option& option);

/// Commands that have no commands below them, by their whole name: "data stats".
std::vector<std::pair<std::string, CLI::App*>> leaf_commands(CLI::App& app);

}  // namespace resnet::cli

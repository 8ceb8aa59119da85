// All that is shown on a terminal: names and texts from elsewhere stand in it as escapes, so that
// none of them moves the cursor or makes a line of its own. The one place that prints.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "core/text.h"

namespace resnet::cli {

/// An argument that is printed as it is: lines of our own, JSON.
struct AsIs {
  std::string text;
};

namespace detail {

template <class T>
auto shown(const T& value) {
  if constexpr (std::is_same_v<T, AsIs>) {
    return value.text;
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return printable(value.string());
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return printable(value);
  } else {
    static_assert(std::is_arithmetic_v<T>, "join lists to one text first");
    return value;
  }
}

template <class T>
using Shown = decltype(shown(std::declval<const std::decay_t<T>&>()));

template <class... Args>
std::string line(fmt::format_string<Shown<Args>...> format, const Args&... args) {
  return fmt::format(format, shown<std::decay_t<const Args&>>(args)...);
}

}  // namespace detail

/// Where what is said about results goes: standard output, or standard error when that is the file
/// that a command writes (`claim_output`).
std::FILE* results();

/// To `results()`. Throws std::system_error when that is not possible.
template <class... Args>
void print_out(fmt::format_string<detail::Shown<Args>...> format, const Args&... args) {
  fmt::print(results(), "{}", detail::line<Args...>(format, args...));
}

/// To standard error. Never throws: a terminal that went away must not end the work.
template <class... Args>
void print_err(fmt::format_string<detail::Shown<Args>...> format, const Args&... args) {
  std::fputs(detail::line<Args...>(format, args...).c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace resnet::cli

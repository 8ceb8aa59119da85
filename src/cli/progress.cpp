#include "cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "cli/print.h"
#include "core/text.h"

namespace resnet::cli {
namespace {

constexpr int kBarWidth = 20;

bool quiet = false;
ProgressLine* shown_last = nullptr;

// Whether standard error is a terminal that can be drawn over, and the user wants that
// (https://no-color.org).
bool draws_over() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string_view(value == nullptr ? "" : value);
  };
  const std::string_view terminal = variable("TERM");
  return ::isatty(STDERR_FILENO) == 1 && !terminal.empty() && terminal != "dumb" &&
         variable("NO_COLOR").empty();
}

std::size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

// A terminal that went away must not end the work: no exception, unlike fmt::print.
void put(const std::string& text) { print_err("{}", AsIs{text}); }

void print_line(const std::string& text) {
  if (shown_last != nullptr) shown_last->clear();
  put(printable(text) + "\n");
}

std::string scaled(double value, double unit, const std::array<const char*, 5>& names) {
  std::size_t i = 0;
  while (value >= unit && i + 1 < names.size()) {
    value /= unit;
    ++i;
  }
  return i == 0 ? fmt::format("{:.0f}{}", value, names[0])
                : fmt::format("{:.2f}{}", value, names[i]);
}

}  // namespace

void be_quiet() { quiet = true; }

void note(const std::string& text) {
  if (!quiet) print_line("note: " + text);
}

ProgressLine::ProgressLine() : terminal_(draws_over()) { shown_last = this; }

ProgressLine::~ProgressLine() {
  clear();
  if (shown_last == this) shown_last = nullptr;
}

void ProgressLine::show(double fraction, const std::string& text) {
  if (quiet) return;
  const auto now = std::chrono::steady_clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::seconds(10);
  if (now - last_ < pause && fraction < 1) return;
  if (!terminal_ && last_ == std::chrono::steady_clock::time_point{}) {
    last_ = now;  // short work needs no lines
    return;
  }
  last_ = now;
  if (!terminal_) {
    if (fraction < 1) put(fmt::format("{:3.0f} %  {}\n", 100 * fraction, printable(text)));
    return;
  }
  const int filled = static_cast<int>(std::lround(std::clamp(fraction, 0.0, 1.0) * kBarWidth));
  std::string bar;
  for (int i = 0; i < kBarWidth; ++i) bar += i < filled ? "█" : "·";
  // The bar's characters have several bytes but one column each.
  const std::size_t room = terminal_width() - kBarWidth - 3;
  put(fmt::format("\r\x1b[K{} {}", bar, printable(text).substr(0, room)));
  shown_ = true;
}

void ProgressLine::clear() {
  if (!shown_) return;
  put("\r\x1b[K");
  shown_ = false;
}

void ProgressLine::print(const std::string& text) {
  clear();
  put(printable(text) + "\n");
}

void print_warning(const std::string& text) { print_line("warning: " + text); }

void ProgressLine::note(const std::string& text) {
  if (!quiet) print(text);
}

std::string format_seconds(double seconds) {
  const auto s = static_cast<long>(std::max(0.0, std::round(seconds)));
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string format_bytes(double bytes) {
  return scaled(bytes, 1024, {" B", " KiB", " MiB", " GiB", " TiB"});
}

std::string format_count(double count) { return scaled(count, 1000, {"", " k", " M", " G", " T"}); }

}  // namespace resnet::cli

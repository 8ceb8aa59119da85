// Progress on standard error: one line that is drawn over on a terminal, else a line now and then.
// A terminal that cannot do that (TERM=dumb) and a user who does not want it (NO_COLOR) get lines.
#pragma once

#include <chrono>
#include <string>

namespace resnet::cli {

/// From now on there is no progress and there are no notes (--quiet).
void be_quiet();

/// A line on standard error that begins with "note: ", unless all is to be quiet.
void note(const std::string& text);

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool terminal() const { return terminal_; }
  /// Shows how far it is, at most ten times a second on a terminal and every ten seconds elsewhere.
  void show(double fraction, const std::string& text);
  /// Takes the line away, so that something lasting can be printed.
  void clear();
  /// A lasting line on standard error. Names in it are shown with escapes, as in what is shown.
  void print(const std::string& text);
  /// The same for what nobody has to know, which --quiet leaves out.
  void note(const std::string& text);

 private:
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

/// A lasting line on standard error, below whatever progress is shown.
void print_warning(const std::string& text);

/// "1:02:03", "2:03"
std::string format_seconds(double seconds);
/// "12.3 GiB", "512 KiB"
std::string format_bytes(double bytes);
/// "11.69 M", "1.82 G"
std::string format_count(double count);

}  // namespace resnet::cli

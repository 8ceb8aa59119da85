#include "cli/command.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iterator>

#include "cli/print.h"
#include "cli/progress.h"
#include "cli/values.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/processors.h"
#include "core/text.h"

namespace resnet::cli {
namespace {

std::atomic<bool> stop{false};
bool output_is_stdout = false;

void on_signal(int signal) {
  if (stop.exchange(true)) {  // the second time: do not wait for the checkpoint
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

}  // namespace

const std::atomic<bool>& stop_requested() { return stop; }

void catch_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    // nohup, and shells for what runs in the background, start a process with some ignored.
    if (::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    std::signal(signal, on_signal);
  }
}

std::FILE* results() { return output_is_stdout ? stderr : stdout; }

void claim_output(const std::string& path) {
  struct stat wanted {
  }, standard{};
  output_is_stdout = ::stat(path.c_str(), &wanted) == 0 && ::fstat(STDOUT_FILENO, &standard) == 0 &&
                     wanted.st_dev == standard.st_dev && wanted.st_ino == standard.st_ino;
}

void add_views(CLI::App& command, ViewFlags& views, std::vector<int>& scales) {
  command
      .add_option("--crops", views.crops,
                  "Average over 1: the centre; 5: and the corners; 10: and the same mirrored")
      ->capture_default_str();
  command.add_flag("--flip", views.flip, "Average over the mirrored image, too");
  command.add_option("--shift", views.shift,
                     "Average over the image moved by so many pixels and back, too");
  command.add_option_function<std::string>(
      "--scales", [&scales](const std::string& list) { scales = whole_numbers(list); },
      "Average over these sides of the network's input, e.g. 224,256");
}

void add_dtype(CLI::App& command, DType& dtype) {
  command.add_option_function<std::string>(
      "--dtype",
      [&dtype](const std::string& v) { dtype = v == "bf16" ? DType::kBF16 : DType::kF32; },
      "Of activations: f32, or bf16, which halves their memory (default f32)");
}

void add_threads(CLI::App& command, int& threads, const std::string& help) {
  command.add_option("--threads", threads, help)->capture_default_str();
}

int processors_or(int threads) { return threads > 0 ? threads : usable_processors(); }

CLI::Option* add_json(CLI::App& command, bool& json, const std::string& help) {
  return command.add_flag("--json", json, help);
}

void note_equal_crops(int crops, const Preprocessing& p, ImageSize images) {
  const bool as_large = p.resize == 0 ? images == ImageSize{p.width, p.height}
                                      : p.width == p.resize && p.height == p.resize &&
                                            images.width > 0 && images.width == images.height;
  if (crops == 1 || !as_large) return;
  note(
      fmt::format("--crops {}: images are as large as the network's input, {} x {}, so that all "
                  "crops are the same; --flip looks at them twice",
                  crops, p.width, p.height));
}

void require_extension(const std::string& flag, const std::string& path,
                       std::initializer_list<std::string_view> extensions) {
  claim_output(path);
  if (is_stream(path)) return;
  const std::string found = lower(std::filesystem::path(path).extension().string());
  if (std::ranges::find(extensions, found) != extensions.end()) return;
  std::vector<std::string_view> named;
  std::ranges::copy_if(extensions, std::back_inserter(named), [](auto e) { return !e.empty(); });
  fail(ErrorCode::kInvalidArgument, "{}: expected a name that ends in {}, got {}", flag,
       fmt::join(named, " or "), path);
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Examples:\n" + examples);
  return command;
}

}  // namespace resnet::cli

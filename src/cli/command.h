// What the subcommands share.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "resnet/data.h"
#include "resnet/tensor.h"

namespace resnet::cli {

/// Set by Ctrl-C (SIGINT), SIGTERM and SIGHUP after `catch_signals`, which only work that heeds it
/// calls; a second signal ends the process at once. One that was ignored when the process started
/// stays ignored.
const std::atomic<bool>& stop_requested();
void catch_signals();

/// The work of the subcommand that was chosen, to be run after parsing.
using Action = std::function<int()>;

/// Each adds its subcommand to `app` and sets `action` when it is the one that was called.
void add_train(CLI::App& app, Action& action);
void add_eval(CLI::App& app, Action& action);
void add_predict(CLI::App& app, Action& action);
void add_summary(CLI::App& app, Action& action);
void add_data(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_find_lr(CLI::App& app, Action& action);
void add_embed(CLI::App& app, Action& action);
void add_quantize(CLI::App& app, Action& action);
void add_import(CLI::App& app, Action& action);
void add_export(CLI::App& app, Action& action);
void add_plot(CLI::App& app, Action& action);
void add_weights(CLI::App& app, Action& action);
/// `list` and `get` of `weights`.
void add_pretrained(CLI::App& weights, Action& action);

/// A subcommand with a one-line description and examples in its help.
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& examples);

/// --crops, --flip, --shift and --scales: the views of each image that a prediction is averaged
/// over.
struct ViewFlags {
  int crops = 1;
  bool flip = false;
  int shift = 0;
  std::vector<View> views() const { return evaluation_views(crops, flip, shift); }
};
void add_views(CLI::App& command, ViewFlags& views, std::vector<int>& scales);

/// --dtype: f32 or bf16.
void add_dtype(CLI::App& command, DType& dtype);

/// Says on standard error that several crops are all the same: images of this size are as large
/// as what the network sees of them.
void note_equal_crops(int crops, const Preprocessing& preprocessing, ImageSize images);

/// --threads; 0, the default of most, is all processors.
void add_threads(CLI::App& command, int& threads,
                 const std::string& help = "Default: all processors");

/// That many threads, or one a processor for 0.
int processors_or(int threads);

/// --json, for every command that prints a result.
CLI::Option* add_json(CLI::App& command, bool& json, const std::string& help = "One JSON object");

/// The file that a command writes: when it is standard output, `results` go to standard error.
void claim_output(const std::string& path);

/// Refuses a file to write whose name ends otherwise, so that it is not taken for another format:
/// `flag` is the one that names it. An empty extension stands for none at all. A pipe or a device
/// may have any name. Claims the output.
void require_extension(const std::string& flag, const std::string& path,
                       std::initializer_list<std::string_view> extensions);

/// Exit codes; docs/CLI.md lists them.
enum Exit : int {
  kSuccess = 0,
  kInternalError = 1,
  kUsage = 2,
  kNotFound = 3,
  kBadData = 4,
  kIoError = 5,
  kNumericError = 6,
  kUnsupported = 7,
  kInterrupted = 130,
};

}  // namespace resnet::cli

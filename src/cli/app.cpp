#include "cli/app.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <system_error>

#include "cli/print.h"
#include "cli/progress.h"
#include "cli/usage.h"
#include "cli/values.h"
#include "core/check.h"
#include "resnet/error.h"
#include "resnet/warning.h"

namespace resnet::cli {
namespace {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return kUsage;
    case ErrorCode::kNotFound: return kNotFound;
    case ErrorCode::kBadData: return kBadData;
    case ErrorCode::kIo: return kIoError;
    case ErrorCode::kNumeric: return kNumericError;
    case ErrorCode::kUnsupported: return kUnsupported;
    case ErrorCode::kInterrupted: return kInterrupted;
    case ErrorCode::kInternal:
    case ErrorCode::kOutOfMemory: return kInternalError;
  }
  return kInternalError;
}

// One line, whatever the names in it hold, and never an exception: this is what the last resort
// uses.
void print_error(std::string message) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  print_err("resnet: {}\n", message);
}

int parse_and_run(const std::vector<std::string>& words) {
  CLI::App app;
  Action action;
  build_app(app, action);
  try {
    std::vector<std::string> reversed = normalised(app, words);
    std::ranges::reverse(reversed);  // as CLI11 wants them
    app.parse(std::move(reversed));
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    if (words.empty()) {
      print_err("{}", AsIs{app.help()});
      return kUsage;
    }
    print_error(explain(app, error, words));
    return kUsage;
  }
  set_warning_handler(print_warning);
  std::signal(SIGXFSZ, SIG_IGN);  // a file above the limit is an error of write() like any other
  const int code = action();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    fail(ErrorCode::kIo, "cannot write to standard output: {}", std::strerror(errno));
  }
  return code;
}

}  // namespace

void build_app(CLI::App& app, Action& action) {
  app.description(
      "Trains, evaluates and uses residual networks for image classification.\n"
      "Results go to standard output, progress and messages to standard error.");
  app.name("resnet");
  app.set_version_flag("--version", "resnet " RESNET_VERSION);
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.footer(
      "Examples:\n"
      "  resnet train galaxies --out runs/galaxies     images that the program draws itself\n"
      "  resnet train flowers/ --arch resnet18         a folder with one folder a class\n"
      "  resnet eval runs/galaxies galaxies\n"
      "  resnet predict runs/galaxies image.png\n"
      "Help on a command: resnet train --help");
  add_train(app, action);
  add_eval(app, action);
  add_predict(app, action);
  add_summary(app, action);
  add_data(app, action);
  add_bench(app, action);
  add_find_lr(app, action);
  add_embed(app, action);
  add_quantize(app, action);
  add_import(app, action);
  add_export(app, action);
  add_plot(app, action);
  add_weights(app, action);
  for (const auto& [name, command] : leaf_commands(app)) {
    CLI::Option* quiet = command->add_flag_callback(
        "--quiet", [] { be_quiet(); }, "No progress and no notes; warnings and errors still");
    const CLI::Option* json = command->get_option_no_throw("--json");
    if (json != nullptr) quiet->group(json->get_group());
  }
  limit_values(app);
}

int run_program(const std::vector<std::string>& words) {
  try {
    return parse_and_run(words);
  } catch (const Error& error) {
    print_error(error.what());
    return exit_code(error.code());
  } catch (const std::bad_alloc&) {
    print_error("not enough memory; try a smaller --batch-size or --image-size");
    return kInternalError;
  } catch (const std::system_error& error) {  // of fmt::print
    print_error(fmt::format("cannot write the output: {}", error.what()));
    return kIoError;
  } catch (const std::exception& error) {
    print_error(fmt::format("internal error: {}; this is a bug, please report it", error.what()));
    return kInternalError;
  }
}

}  // namespace resnet::cli

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <new>

#include "cli/command.h"
#include "core/nearest.h"
#include "resnet/error.h"

namespace resnet::cli {
namespace {

std::atomic<bool> stop{false};

void on_signal(int signal) {
  if (stop.exchange(true)) {  // the second time: do not wait for the checkpoint
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return kUsage;
    case ErrorCode::kNotFound: return kNotFound;
    case ErrorCode::kBadData: return kBadData;
    case ErrorCode::kIo: return kIoError;
    case ErrorCode::kNumeric: return kNumericError;
    case ErrorCode::kUnsupported: return kUnsupported;
    case ErrorCode::kInterrupted: return kInterrupted;
    case ErrorCode::kInternal: return kInternalError;
  }
  return kInternalError;
}

void print_error(const std::string& message) { fmt::print(stderr, "resnet: {}\n", message); }

// The deepest subcommand that was given on the command line.
const CLI::App& chosen(const CLI::App& app) {
  const auto sub = app.get_subcommands();
  return sub.empty() ? app : chosen(*sub.front());
}

// CLI11's words, and the flag that was probably meant.
std::string explain(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const CLI::App& command = chosen(app);
  std::string message = error.what();
  if (const auto newline = message.find('\n'); newline != std::string::npos) {
    message.resize(newline);
  }
  std::vector<std::string> known;
  for (const CLI::Option* o : command.get_options()) {
    for (const std::string& name : o->get_lnames()) known.push_back("--" + name);
  }
  for (int i = 1; i < argc; ++i) {
    const std::string word = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    if (word.rfind("--", 0) != 0 || std::find(known.begin(), known.end(), word) != known.end()) {
      continue;
    }
    message = fmt::format("unknown flag {}; did you mean {}?", word, nearest_name(word, known));
  }
  if (app.get_subcommands().empty() && argc > 1 && argv[1][0] != '-') {
    std::vector<std::string> commands;
    for (const CLI::App* c : app.get_subcommands([](const CLI::App*) { return true; })) {
      commands.push_back(c->get_name());
    }
    message = fmt::format("unknown command {}; did you mean {}?", argv[1],
                          nearest_name(argv[1], commands));
  }
  const bool top = &command == &app;
  return fmt::format("{} (see resnet {}--help)", message, top ? "" : command.get_name() + " ");
}

int run(int argc, char** argv) {
  CLI::App app{
      "Trains, evaluates and uses residual networks for image classification.\n"
      "Results go to standard output, progress and messages to standard error."};
  app.name("resnet");
  app.set_version_flag("--version", "resnet " RESNET_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  resnet train galaxies --out runs/galaxies     pictures that the program draws itself\n"
      "  resnet train flowers/ --arch resnet18         a folder with one folder a class\n"
      "  resnet eval runs/galaxies galaxies\n"
      "  resnet predict runs/galaxies picture.png\n"
      "Help on a command: resnet train --help");
  Action action;
  add_train(app, action);
  add_eval(app, action);
  add_predict(app, action);
  add_summary(app, action);
  add_data(app, action);
  add_bench(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    if (argc == 1) {
      fmt::print("{}", app.help());
      return kUsage;
    }
    print_error(explain(app, error, argc, argv));
    return kUsage;
  }
  catch_signals();
  return action();
}

}  // namespace

const std::atomic<bool>& stop_requested() { return stop; }

void catch_signals() {
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  std::signal(SIGPIPE, SIG_IGN);
}

CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& description,
                      const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, description);
  command->footer("Examples:\n" + examples);
  return command;
}

}  // namespace resnet::cli

int main(int argc, char** argv) {
  using namespace resnet;
  try {
    return cli::run(argc, argv);
  } catch (const Error& error) {
    cli::print_error(error.what());
    return cli::exit_code(error.code());
  } catch (const std::bad_alloc&) {
    cli::print_error("not enough memory; try a smaller --batch-size or --image-size");
    return cli::kInternalError;
  } catch (const std::exception& error) {
    cli::print_error(fmt::format("internal error: {}; this is a bug, please report it",
                                 error.what()));
    return cli::kInternalError;
  }
}

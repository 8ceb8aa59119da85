#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <new>
#include <system_error>

#include "cli/command.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/nearest.h"
#include "core/text.h"
#include "resnet/error.h"
#include "resnet/warning.h"

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

// The deepest command that was given, as "resnet data stats", and where its own words begin.
struct Place {
  const CLI::App* command;
  std::string path;
  int next;
};

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

Place place_of(const CLI::App& app, int argc, char** argv) {
  Place place{&app, app.get_name(), 1};
  for (bool deeper = true; deeper && place.next < argc;) {
    deeper = false;
    for (const CLI::App* c : commands_of(*place.command)) {
      if (c->get_name() != argv[place.next]) continue;
      place = {c, place.path + " " + c->get_name(), place.next + 1};
      deeper = true;
      break;
    }
  }
  return place;
}

// "unknown flag --arhc; did you mean --arch?", or "" when every flag is known.
std::string unknown_flag(const Place& place, int argc, char** argv) {
  std::vector<std::string> known, short_flags;
  for (const CLI::Option* o : place.command->get_options()) {
    for (const std::string& name : o->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : o->get_snames()) short_flags.push_back("-" + name);
  }
  for (int i = place.next; i < argc; ++i) {
    const std::string word = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
    if (word == "--") break;
    const bool is_long = word.starts_with("--");
    if (!is_long && (word.size() != 2 || word[0] != '-' || std::isdigit(word[1]) != 0)) continue;
    const auto& list = is_long ? known : short_flags;
    if (std::find(list.begin(), list.end(), word) != list.end()) continue;
    const std::string meant = nearest_name(word, known);
    return fmt::format("unknown flag {}{}", word,
                       is_long ? fmt::format("; did you mean {}?", meant) : "");
  }
  return "";
}

// CLI11's "Could not convert: --epochs = x" in our words.
std::string wrong_value(const CLI::App& command, const std::string& message) {
  const std::string start = "Could not convert: ";
  const auto equals = message.find(" = ");
  if (!message.starts_with(start) || equals == std::string::npos) return message;
  const std::string name = message.substr(start.size(), equals - start.size());
  const CLI::Option* option = command.get_option_no_throw(name);
  const std::string type = option == nullptr ? "" : option->get_type_name();
  const char* wanted = type.starts_with("INT")    ? "a whole number"
                       : type.starts_with("UINT") ? "a whole number of at least 0"
                                                  : "a number";
  return fmt::format("{}: expected {}, got {}", name, wanted, message.substr(equals + 3));
}

// What is wrong with the command line, and the flag or command that was probably meant.
std::string explain(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const Place place = place_of(app, argc, argv);
  std::vector<std::string> commands;
  for (const CLI::App* c : commands_of(*place.command)) commands.push_back(c->get_name());
  std::string message = unknown_flag(place, argc, argv);
  if (!message.empty()) {
    // said already
  } else if (!commands.empty() && place.next < argc) {
    message = fmt::format("unknown command {}; did you mean {}?", argv[place.next],
                          nearest_name(argv[place.next], commands));
  } else if (!commands.empty()) {
    message = fmt::format("expected a command: {}", fmt::join(commands, ", "));
  } else {
    message = wrong_value(*place.command, error.what());
    message = message.substr(0, message.find('\n'));
  }
  return fmt::format("{} (see {} --help)", message, place.path);
}

int run(int argc, char** argv) {
  CLI::App app{
      "Trains, evaluates and uses residual networks for image classification.\n"
      "Results go to standard output, progress and messages to standard error."};
  app.name("resnet");
  app.set_version_flag("--version", "resnet " RESNET_VERSION);
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
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
  add_find_lr(app, action);
  add_embed(app, action);
  add_quantize(app, action);
  add_import(app, action);
  add_export(app, action);
  add_plot(app, action);
  add_weights(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {  // --help, --version
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    if (argc == 1) {
      print_err("{}", AsIs{app.help()});
      return kUsage;
    }
    print_error(explain(app, error, argc, argv));
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
  command.add_flag("--flip", views.flip, "Average over the mirrored picture, too");
  command
      .add_option("--shift", views.shift,
                  "Average over the picture moved by so many pixels and back, too")
      ->check(at_least(0));
  command
      .add_option("--scales", scales,
                  "Average over these sides of the network's input, e.g. 224,256")
      ->delimiter(',')
      ->check(at_least(1));
}

void add_dtype(CLI::App& command, DType& dtype) {
  command
      .add_option_function<std::string>(
          "--dtype",
          [&dtype](const std::string& v) { dtype = v == "bf16" ? DType::kBF16 : DType::kF32; },
          "Of activations: f32, or bf16, which halves their memory (default f32)")
      ->check(CLI::IsMember({"f32", "bf16"}));
}

void note_equal_crops(int crops, const Preprocessing& p, PictureSize pictures) {
  const bool as_large = p.resize == 0 ? pictures == PictureSize{p.width, p.height}
                                      : p.width == p.resize && p.height == p.resize &&
                                            pictures.width > 0 && pictures.width == pictures.height;
  if (crops == 1 || !as_large) return;
  print_err(
      "note: --crops {}: pictures are as large as the network's input, {} x {}, so that all crops "
      "are the same; --flip looks at them twice\n",
      crops, p.width, p.height);
}

CLI::Validator at_least(double least, double most) {
  return {[=](const std::string& text) {
            double value = 0;
            if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) {
              return std::string();
            }
            return fmt::format("expected {} {:g}{}, got {}", std::isinf(most) ? "at least" : "from",
                               least, std::isinf(most) ? "" : fmt::format(" to {:g}", most), text);
          },
          ""};
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

// GNU OpenMP's threads spin for milliseconds where they wait for each other. When another process
// has one of the processors, what they wait for is not running, and everything takes several times
// as long. How long they spin is read when the library is loaded, hence the new start.
void limit_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || ::setenv("GOMP_SPINCOUNT", "2000", 1) != 0) return;
  ::execv(self.c_str(), argv);  // if it fails, things go on as they are
}

}  // namespace resnet::cli

int main(int argc, char** argv) {
  using namespace resnet;
  cli::limit_spinning(argv);
  std::ios::sync_with_stdio(false);  // so that standard input tells how much has arrived
  try {
    return cli::run(argc, argv);
  } catch (const Error& error) {
    cli::print_error(error.what());
    return cli::exit_code(error.code());
  } catch (const std::bad_alloc&) {
    cli::print_error("not enough memory; try a smaller --batch-size or --image-size");
    return cli::kInternalError;
  } catch (const std::system_error& error) {  // of fmt::print
    cli::print_error(fmt::format("cannot write the output: {}", error.what()));
    return cli::kIoError;
  } catch (const std::exception& error) {
    cli::print_error(
        fmt::format("internal error: {}; this is a bug, please report it", error.what()));
    return cli::kInternalError;
  }
}

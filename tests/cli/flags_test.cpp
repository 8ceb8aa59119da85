// Every flag of every command, taken from the parser itself, with values that make no sense: an
// error of one line and exit code 2, and nothing written.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>

#include "cli/app.h"
#include "cli/process.h"
#include "cli/values.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

// Flags that take any text; only an empty one makes no sense.
const std::map<std::string, const char*> kFreeText = {
    {"--out", "a path"},
    {"--cache", "a path"},
    {"--config", "a path"},
    {"--resume", "a path"},
    {"--weights", "a path or a name that a list has"},
    {"--predictions", "a path"},
    {"--roofline", "a path"},
    {"--model", "a path"},
    {"--data", "a path or a name that a list has"},
    {"import --classes", "a path"},
    {"bench --arch", "a path or an architecture"},
    {"--splice", "a layer, which the network knows"},
    {"--freeze-until", "a layer, which the network knows"},
    {"--layer", "a layer, which the network knows"},
    {"--keep", "layers, which the network knows"},
    {"--metric", "columns, which a file has"},
    {"--prefix", "words of names in a file"},
    {"--ignore", "words of names in a file"},
    {"--title", "what a chart is called"},
};

// Lists of any length.
const std::set<std::string> kManyValues = {"--scales", "--unfreeze-at", "--milestones",
                                           "--class-weights"};

// Finite numbers of any size: too large ones diverge, and what does is named then.
const std::set<std::string> kAnySize = {
    "--lr",        "--min-lr",       "--max-lr", "--norm-shift-lr",
    "--clip-norm", "--weight-decay", "--gamma",  "--class-weights"};

struct Parser {
  CLI::App app;
  cli::Action action;
  Parser() { cli::build_app(app, action); }
  std::vector<std::pair<std::string, CLI::App*>> commands() { return cli::leaf_commands(app); }
};

Words words_of(const std::string& command) {
  const std::size_t space = command.find(' ');
  if (space == std::string::npos) return {command};
  return {command.substr(0, space), command.substr(space + 1)};
}

std::string name_of(const CLI::Option& option) {
  return option.get_lnames().empty() ? option.get_name() : "--" + option.get_lnames().front();
}

bool is_flag(const CLI::Option& option) { return !option.get_lnames().empty(); }
bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// The command with a word for all that it needs, but for `but`.
Words minimal(const std::string& command, const CLI::App& app, const CLI::Option* but) {
  Words words = words_of(command);
  for (const CLI::Option* o : app.get_options()) {
    if (o == but || !o->get_required()) continue;
    if (is_flag(*o)) words.push_back(name_of(*o));
    words.emplace_back("onnx");  // a path that is not there, and a format that --to knows
  }
  return words;
}

std::string content(int file) {
  std::string text;
  std::array<char, 4096> part{};
  ::lseek(file, 0, SEEK_SET);
  for (ssize_t n = 0; (n = ::read(file, part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(n));
  }
  ::close(file);
  return text;
}

// The program in a child of this process: a hundred times faster than starting it.
Outcome run_here(const fs::path& folder, const Words& words) {
  const int out = ::memfd_create("out", 0), err = ::memfd_create("err", 0);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::chdir(folder.c_str()) != 0 || ::dup2(out, 1) < 0 || ::dup2(err, 2) < 0) ::_exit(99);
    ::alarm(60);
    const int code = cli::run_program(words);
    std::fflush(nullptr);
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), content(out), content(err)};
}

std::string joined(const Words& words) {
  std::string text = "resnet";
  for (const std::string& w : words) text += w.empty() ? " ''" : " " + w;
  return text;
}

class Flags : public testing::Test {
 protected:
  // Is refused in one line that holds `named`.
  void refused(const Words& words, const std::string& named) {
    const Outcome r = run_here(home_.path(), words);
    ++runs_;
    const std::string what = joined(words) + "\n" + r.err;
    EXPECT_EQ(r.code, 2) << what;
    EXPECT_EQ(r.out, "") << what;
    EXPECT_TRUE(r.err.starts_with("resnet: ")) << what;
    EXPECT_EQ(std::ranges::count(r.err, '\n'), 1) << what;
    EXPECT_LT(r.err.size(), 400U) << what;
    EXPECT_NE(r.err.find(named), std::string::npos) << what;
    EXPECT_NE(r.err.find(" --help)"), std::string::npos) << what;
    EXPECT_TRUE(fs::is_empty(home_.path())) << what;
  }
  TemporaryFolder home_;
  Parser parser_;
  int runs_ = 0;
};

TEST_F(Flags, ValuesThatMakeNoSenseAreRefused) {
  std::set<std::string> free_text_seen;
  for (const auto& [command, app] : parser_.commands()) {
    for (const CLI::Option* option : app->get_options()) {
      if (!is_flag(*option)) continue;
      const std::string flag = name_of(*option);
      const Words start = minimal(command, *app, option);
      const auto with = [&](const Words& more) {
        Words words = start;
        words.insert(words.end(), more.begin(), more.end());
        refused(words, flag);
      };
      with({flag + "="});
      if (!takes_value(*option)) {
        with({flag + "=abc"});
        continue;
      }
      with({flag});             // no value
      with({flag, ""});         // an empty one
      with({flag, "--quiet"});  // a flag in its place
      with({flag, "--quiet=1"});
      if (cli::takes_list(*option)) {
        for (const char* list : {",", "1,,2", ",1", "1,"}) with({flag, list});
      }
      const std::string own = command + " " + flag;
      const bool is_own = kFreeText.contains(own);
      if (is_own || kFreeText.contains(flag)) {
        const bool rules_differ = flag == "--classes" || flag == "--arch";
        if (is_own || !rules_differ) {
          free_text_seen.insert(is_own ? own : flag);
          continue;
        }
      }
      for (const char* value :
           {"abc", "-1", "-0.5", "1e308", "-1e308", "1e999", "99999999999999999999", "nan", "-nan",
            "inf", "-inf", "0x10", "1 ", "1;2", "\x1b[31m", "\xff"}) {
        if (value == std::string("99999999999999999999") && kAnySize.contains(flag)) continue;
        with({flag, value});
      }
      if (!kManyValues.contains(flag)) with({flag, "1,1,1,1,1"});
    }
  }
  EXPECT_EQ(free_text_seen.size(), kFreeText.size()) << "a flag that is no more is in the table";
  EXPECT_GT(runs_, 2000);
}

TEST_F(Flags, EmptyArgumentsAreRefused) {
  for (const auto& [command, app] : parser_.commands()) {
    for (const CLI::Option* option : app->get_options()) {
      if (is_flag(*option)) continue;
      Words words = words_of(command);
      for (const CLI::Option* o : app->get_options()) {
        if (!is_flag(*o) && (o == option || o->get_required())) {
          words.emplace_back(o == option ? "" : "x");
        }
      }
      for (const CLI::Option* o : app->get_options()) {
        if (!is_flag(*o) || !o->get_required()) continue;
        words.push_back(name_of(*o));
        words.emplace_back("onnx");
      }
      refused(words, option->get_name());
    }
  }
}

// The limits leave what the program itself chooses.
TEST_F(Flags, DefaultsAreWithinTheLimits) {
  int defaults = 0;
  for (const auto& [command, app] : parser_.commands()) {
    for (const CLI::Option* option : app->get_options()) {
      if (!is_flag(*option) || option->get_default_str().empty()) continue;
      Words words = minimal(command, *app, option);
      words.push_back(name_of(*option));
      words.push_back(option->get_default_str());
      std::ranges::reverse(words);
      Parser fresh;
      EXPECT_NO_THROW(fresh.app.parse(words)) << command << " " << name_of(*option);
      ++defaults;
    }
  }
  EXPECT_GT(defaults, 30);
}

TEST_F(Flags, FlagsOfAKindAreOnAllCommandsOfIt) {
  const std::set<std::string> no_computing = {
      "summary",       "import",       "export",      "plot",         "data list",      "data get",
      "data galaxies", "weights list", "weights get", "weights show", "weights convert"};
  for (const auto& [command, app] : parser_.commands()) {
    EXPECT_NE(app->get_option_no_throw("--json"), nullptr) << command;
    EXPECT_NE(app->get_option_no_throw("--quiet"), nullptr) << command;
    const bool threads = app->get_option_no_throw("--threads") != nullptr;
    EXPECT_TRUE(threads || no_computing.contains(command)) << command;
  }
}

TEST_F(Flags, WholeNumbersAreDecimal) {
  const std::vector<std::pair<std::string, std::string>> same = {
      {"010", "10"}, {"+7", "7"}, {"0", "0"}, {"18446744073709551615", "18446744073709551615"}};
  for (const auto& [given, meant] : same) {
    Parser parser;
    parser.app.parse(Words{given, "--seed", "nowhere", "nowhere", "eval"});
    EXPECT_EQ(parser.app.get_subcommand("eval")->get_option("--seed")->as<std::uint64_t>(),
              std::stoull(meant));
  }
}

}  // namespace
}  // namespace resnet::test

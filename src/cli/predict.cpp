// resnet predict
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

struct Flags {
  std::string model;
  std::vector<std::string> paths;
  int top = 3;
  EvalOptions options;
  bool json = false;
};

void print(const Prediction& p) {
  if (!p.error.empty()) {
    fmt::print("{}: {}\n", p.path.string(), p.error);
    return;
  }
  std::string line = p.path.string() + ":";
  for (const ClassScore& c : p.classes) {
    line += fmt::format("  {} {:.1f} %", c.name, 100 * c.probability);
  }
  fmt::print("{}\n", line);
}

void print_json(const Prediction& p) {
  nlohmann::json object{{"path", p.path.string()}};
  if (!p.error.empty()) object["error"] = p.error;
  nlohmann::json classes = nlohmann::json::array();
  for (const ClassScore& c : p.classes) {
    classes.push_back({{"index", c.index}, {"name", c.name}, {"probability", c.probability}});
  }
  object["classes"] = classes;
  fmt::print("{}\n", object.dump());
}

int run(Flags& f) {
  const ModelFile model = load_model(f.model);
  f.options.stop = &stop_requested();
  bool any_readable = false, any = false;
  const auto each = [&](const Prediction& p) {
    any = true;
    any_readable = any_readable || p.error.empty();
    f.json ? print_json(p) : print(p);
    std::fflush(stdout);
  };
  std::vector<std::filesystem::path> paths;
  bool stream = false;
  for (const std::string& p : f.paths) {
    if (p == "-") {
      stream = true;
    } else {
      paths.emplace_back(p);
    }
  }
  if (!paths.empty()) predict(model, paths, f.top, f.options, each);
  for (std::string line; stream && !stop_requested() && std::getline(std::cin, line);) {
    if (!line.empty()) predict(model, {line}, f.top, f.options, each);
  }
  return any && !any_readable ? kBadData : kSuccess;
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, "predict", "Name what is in pictures",
                  "  resnet predict runs/flowers rose.jpg\n"
                  "  resnet predict runs/flowers holiday-pictures/ --top 1 --json\n"
                  "  find . -name '*.jpg' | resnet predict runs/flowers -");
  command->add_option("MODEL", f->model, "A model file or the folder of a run")->required();
  command->add_option("PATH", f->paths, "Pictures, folders of pictures, or - for paths from stdin")
      ->required();
  command->add_option("--top", f->top, "Classes a picture")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--batch-size", f->options.batch_size, "Pictures a step")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command->add_option("--threads", f->options.threads, "Default: all processors");
  command->add_flag("--json", f->json, "One JSON object a line");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli

// resnet import
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/print.h"
#include "cli/values.h"
#include "core/check.h"
#include "core/json_line.h"
#include "core/lines.h"
#include "resnet/weights.h"

namespace resnet::cli {
namespace {

struct Flags {
  std::string file, out, shortcut, interpolation, classes;
  std::vector<std::string> renames;
  int image_size = 0, resize = -1;
  bool no_average = false, verbose = false, json = false;
  ImportOptions options;
};

// One name a line.
std::vector<std::string> class_names(const std::string& path) {
  std::vector<std::string> names = read_names(path);
  if (names.empty()) {
    fail(ErrorCode::kBadData, "{}: expected the name of a class on each line, found none", path);
  }
  return names;
}

ImportOptions options_of(const Flags& f) {
  ImportOptions o = f.options;
  if (!o.splice.empty() && o.architecture.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "--splice {}: expected --arch beside it, which says what was cut", o.splice);
  }
  if (!f.shortcut.empty()) o.shortcut = parse_shortcut(f.shortcut);
  if (f.image_size > 0) o.image_size = f.image_size;
  if (f.resize >= 0) o.resize = f.resize;
  if (!f.interpolation.empty()) o.interpolation = parse_interpolation(f.interpolation);
  if (!f.classes.empty()) o.class_names = class_names(f.classes);
  o.prefer_average = !f.no_average;
  for (const std::string& text : f.renames) {
    const std::size_t equals = text.find('=');
    o.renames.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return o;
}

void print_json(const ImportedModel& m, const std::string& out) {
  const MatchReport& r = m.report;
  nlohmann::ordered_json json{
      {"out", out},
      {"architecture", m.model.config.architecture},
      {"shortcut", name_of(m.model.config.shortcut)},
      {"classes", m.model.config.classes},
      {"format", r.format},
      {"structural", r.structural},
      {"matched", nlohmann::json::array()},
      {"ignored", r.ignored},
      {"notes", r.notes},
  };
  for (const auto& match : r.matched) {
    json["matched"].push_back({{"file", match.file}, {"ours", match.ours}});
  }
  print_out("{}\n", AsIs{json_line(json)});
}

int run(const Flags& f) {
  require_extension("-o", f.out, {".safetensors"});
  require_no_name(f.file);
  const ImportedModel m = import_model(f.file, options_of(f));
  save_model(f.out, m.model);
  if (f.json) {
    print_json(m, f.out);
  } else {
    print_out("{}\n", AsIs{to_string(m.report, f.verbose)});
    print_out("{}: {} with {} classes\n", f.out, m.model.config.architecture,
              m.model.config.classes);
  }
  return kSuccess;
}

}  // namespace

void add_import(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command = add_command(
      app, "import", "Make a model file of weights from elsewhere",
      "  resnet import resnet50.pth -o resnet50.safetensors\n"
      "  resnet import resnet20.th --arch resnet20 --classes names.txt -o c10.safetensors\n"
      "  resnet import timm-folder/ -o model.safetensors     with timm's config.json\n"
      "  resnet import run.ckpt --prefix state_dict.student --rename trunk=layer1 -o "
      "m.safetensors\n"
      "`resnet weights show FILE` lists the tensors of a file.");
  command
      ->add_option("FILE", f->file,
                   "PyTorch, safetensors or ONNX, or a folder with a model.safetensors")
      ->required();
  command->add_option("-o,--out", f->out, "The model file to write")->required();
  command->add_option("--arch", f->options.architecture,
                      "Default: what config.json says, or the network that fits");
  command->add_option("--shortcut", f->shortcut, "A, B, C or none; default: the one that fits");
  command->add_option("--layers-per-skip", f->options.layers_per_skip, "Layers a skip jumps over");
  command->add_flag("--stride-on-first-1x1", f->options.stride_on_first_1x1,
                    "Bottlenecks with the paper's stride; shapes do not tell");
  const auto colour = [&](const char* name, std::optional<std::array<float, 3>>& value) {
    command->add_option_function<std::string>(
        name, [&value](const std::string& list) { value = per_channel(list); },
        "Of pixel values in 0 … 1: R,G,B, or one for all");
  };
  colour("--mean", f->options.mean);
  colour("--std", f->options.std);
  command->add_option("--image-size", f->image_size, "Side of the images that the network sees");
  command->add_option("--resize", f->resize, "Shorter side before the crop; 0: no resizing");
  command->add_option("--interpolation", f->interpolation, "nearest, bilinear or bicubic");
  command->add_option("--classes", f->classes, "A file with the name of a class on each line");
  command
      ->add_option("--rename", f->renames,
                   "OLD=NEW: change words of names (\"trunk.stem=conv1\"); may be repeated")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  command->add_option("--prefix", f->options.prefix, "Take only what lies below these keys");
  command
      ->add_option("--ignore", f->options.ignore,
                   "Leave out what lies below these words; may be repeated")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  command->add_flag("--no-average", f->no_average,
                    "Take the weights where their average (EMA) is in the file, too");
  command->add_flag("--allow-missing-head", f->options.allow_missing_head,
                    "Weights without a last layer get one of zeros, for transfer");
  command->add_option("--splice", f->options.splice,
                      "The layer after which the network was cut; with --arch");
  command->add_flag("--force", f->options.allow_broken,
                    "Take weights with NaN, infinity or negative variances, too");
  command->add_flag("--verbose", f->verbose, "List where every tensor went");
  add_json(*command, f->json, "One JSON object: architecture, matched, ignored, notes, …");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli

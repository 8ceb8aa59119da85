// resnet find-lr
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/train_flags.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json_line.h"
#include "formats/plot.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

namespace fs = std::filesystem;

struct Flags {
  TrainFlags train;
  LrFinderOptions finder;
  std::string out;
};

// The rates, and the losses up to where it stops being worth a look.
std::string draw(const LrFinderResult& r) {
  Plot plot;
  plot.title = "Learning-rate range test";
  plot.x.label = "learning rate";
  plot.x.log = true;
  plot.y.label = "training loss";
  const auto least = std::ranges::min_element(r.smoothed);
  const double before = *std::max_element(r.smoothed.begin(), least + 1);
  const double top = before + 0.5 * (before - *least);
  if (before > *least && std::ranges::max(r.loss) > top) plot.y.max = top;
  plot.series.push_back({.name = "of each step", .x = r.lr, .y = r.loss});
  plot.series.push_back({.name = "averaged", .x = r.lr, .y = r.smoothed});
  const auto mark = [&](const std::optional<double>& lr, const char* what) {
    if (!lr) return;
    const auto at = std::ranges::lower_bound(r.lr, *lr * (1 - 1e-9)) - r.lr.begin();
    const auto i = std::min(static_cast<std::size_t>(at), r.lr.size() - 1);
    plot.marks.push_back({*lr, r.smoothed[i], fmt::format("{} {:.2g}", what, *lr)});
  };
  mark(r.least, "least:");
  mark(r.highest, "highest:");
  mark(r.suggestion, "suggested:");
  return draw_svg(plot);
}

std::string table(const LrFinderResult& r) {
  std::string text = "lr,loss,smoothed\n";
  for (std::size_t i = 0; i < r.lr.size(); ++i) {
    text += fmt::format("{:.6g},{:.6g},{:.6g}\n", r.lr[i], r.loss[i], r.smoothed[i]);
  }
  return text;
}

nlohmann::json to_json(const Flags& f, const std::string& csv, const LrFinderResult& r) {
  const auto number = [](const std::optional<double>& v) {
    return v ? nlohmann::json(*v) : nlohmann::json(nullptr);
  };
  nlohmann::json skipped = nlohmann::json::array();
  for (const BadImage& b : r.skipped) skipped.push_back({{"name", b.name}, {"reason", b.reason}});
  return {{"out", f.out},
          {"csv", csv},
          {"lr", r.lr},
          {"loss", r.loss},
          {"smoothed", r.smoothed},
          {"least", number(r.least)},
          {"highest", number(r.highest)},
          {"own", r.own},
          {"suggestion", number(r.suggestion)},
          {"diverged", r.diverged},
          {"interrupted", r.interrupted},
          {"skipped", skipped}};
}

void print(const LrFinderResult& r) {
  if (!r.suggestion) {
    print_out("the loss did not fall; try more --steps{}\n",
              r.diverged ? " or a smaller --min-lr" : " or a larger --max-lr");
    return;
  }
  print_out("the loss is least at {:.2g}{}; train takes {:.2g} by itself\n", *r.least,
            r.highest ? fmt::format(" and back where it began above {:.2g}", *r.highest) : "",
            r.own);
  print_out("try: resnet train … --lr {:.2g}\n", *r.suggestion);
}

int run(const Flags& f) {
  TrainOptions options;
  if (!f.train.config.empty()) options = read_config(f.train.config);
  for (const auto& edit : f.train.edits) edit(options);
  if (!f.train.data.empty()) options.data.source = f.train.data;
  if (options.data.source.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "find-lr needs data: a folder of images, CIFAR in binary form, or galaxies "
         "(see resnet find-lr --help)");
  }
  const fs::path out = f.out;
  require_extension("-o", f.out, {".svg"});
  catch_signals();
  ProgressLine line;
  fetch_data(options.data, line);
  fetch_weights(options.transfer.weights, line, options.data.cache);
  Observer observer;
  observer.stop = &stop_requested();
  observer.warning = [&line](const std::string& text) { line.print("warning: " + text); };
  observer.started = [&](const RunInfo& info) {
    const TrainOptions& o = info.options;
    line.note(info.description);
    line.note(fmt::format("{}, images {}x{}, batch {}, {}, {} steps of rising rates",
                          o.model.architecture, o.model.image_size, o.model.image_size,
                          *o.batch_size * o.accumulate, name_of(o.optimizer.kind), f.finder.steps));
  };
  observer.progress = [&](const Progress& p) {
    line.show(static_cast<double>(p.step) / static_cast<double>(p.steps),
              fmt::format("step {}/{}  learning rate {:.2g}  loss {:.4f}  {:.0f} images/s  ETA {}",
                          p.step, p.steps, p.lr, p.loss, p.images_per_second,
                          format_seconds(p.eta_seconds)));
  };
  const LrFinderResult r = find_learning_rate(options, f.finder, observer);
  line.clear();
  print_skipped(r.skipped);
  if (r.lr.empty()) {
    fail(ErrorCode::kNumeric,
         "the loss was not finite at the first learning rate; try a smaller --min-lr than {:g}",
         f.finder.min_lr.value_or(r.own / 1000));
  }
  // A pipe has nothing beside it.
  const std::string csv = is_stream(out) ? "" : fs::path(out).replace_extension(".csv").string();
  if (!csv.empty()) write_file_atomic(csv, table(r));
  write_file_atomic(out, draw(r));
  if (f.train.json) {
    print_out("{}\n", AsIs{json_line(to_json(f, csv, r))});
  } else {
    print(r);
  }
  return r.interrupted ? kInterrupted : kSuccess;
}

}  // namespace

void add_find_lr(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command = add_command(
      app, "find-lr", "Find a learning rate by a short training with rising rates",
      "  resnet find-lr flowers/ -o lr.svg\n"
      "  resnet find-lr cifar-10-binary.tar.gz --arch resnet56 --optimizer adamw -o lr.svg\n"
      "  resnet find-lr --config runs/c10/config.json --max-lr 100 -o lr.svg\n"
      "Nothing is kept of the network. Ctrl-C ends early, with what there is.");
  const std::string group = "Test";
  command->add_option("-o,--out", f->out, "The chart, .svg; the numbers go into a .csv beside it")
      ->required()
      ->group(group);
  // Not the optional itself: CLI11 would take an empty value for none.
  const auto rate = [&](const char* name, const char* help, std::optional<double>& lr) {
    command
        ->add_option_function<double>(
            name, [&lr](double value) { lr = value; }, help)
        ->group(group);
  };
  rate("--min-lr", "First learning rate; default: a thousandth of what train takes by itself",
       f->finder.min_lr);
  rate("--max-lr", "Last learning rate; default: a hundred times what train takes by itself",
       f->finder.max_lr);
  command->add_option("--steps", f->finder.steps, "From the first to the last")
      ->capture_default_str()
      ->group(group);
  command->add_option("--smoothing", f->finder.smoothing, "Decay of the average of the losses")
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--config", f->train.config,
                   "Options from a file such as the config.json of a run; flags override it")
      ->group(group);
  add_json(*command, f->train.json, "The result as one JSON object")->group(group);
  add_data_flags(command, f->train);
  add_augmentation_flags(command, f->train);
  add_network_flags(command, f->train);
  add_transfer_flags(command, f->train);
  add_step_flags(command, f->train);
  add_machine_flags(command, f->train);
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli

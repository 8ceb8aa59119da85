// resnet plot
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/values.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json_line.h"
#include "train/curves.h"

namespace resnet::cli {
namespace {

namespace fs = std::filesystem;

struct Flags {
  std::vector<std::string> runs;
  std::string metrics = "val_top1", x = "epoch", title, out;
  bool log_y = false;
  bool json = false;
};

// A path that is there, whatever its name, or NAME=RUN[,RUN…], or RUN,RUN….
RunGroup group_of(const std::string& word) {
  std::error_code error;
  RunGroup group;
  const std::size_t equals = word.find('=');
  if (fs::exists(word, error)) {
    group.runs.emplace_back(word);
  } else {
    const std::string list = equals == std::string::npos ? word : word.substr(equals + 1);
    for (const std::string& run : items(list)) group.runs.emplace_back(run);
    if (equals != std::string::npos) group.name = word.substr(0, equals);
  }
  for (const fs::path& run : group.runs) {
    if (run.empty()) {
      fail(ErrorCode::kInvalidArgument, "expected RUN or NAME=RUN,RUN,…, got \"{}\"", word);
    }
  }
  return group;
}

// runs/flowers/, runs/flowers/metrics.csv: flowers
std::string short_name(const fs::path& run) {
  fs::path folder = run.filename() == "metrics.csv" ? run.parent_path() : run;
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.empty() || folder == "." ? run.string() : folder.filename().string();
}

std::vector<RunGroup> groups_of(const std::vector<std::string>& words) {
  std::vector<RunGroup> groups;
  for (const std::string& word : words) groups.push_back(group_of(word));
  std::map<std::string, int> wanted;
  for (const RunGroup& g : groups) {
    if (g.name.empty()) ++wanted[short_name(g.runs[0])];
  }
  for (RunGroup& g : groups) {
    if (!g.name.empty()) continue;
    const std::string name = short_name(g.runs[0]);
    g.name = (wanted[name] == 1 ? name : g.runs[0].string()) + (g.runs.size() > 1 ? ", …" : "");
  }
  return groups;
}

CurveAxis parse_x(const std::string& name) {
  if (name == "epoch") return CurveAxis::kEpoch;
  if (name == "step") return CurveAxis::kStep;
  if (name == "seconds") return CurveAxis::kSeconds;
  fail(ErrorCode::kInvalidArgument, "--x: expected epoch, step or seconds, got {}", name);
}

int run(const Flags& f) {
  require_extension("-o", f.out, {".svg"});
  const std::vector<std::string> metrics = items(f.metrics);
  const Curves curves = curves_of(groups_of(f.runs), metrics, parse_x(f.x));
  for (const std::string& text : curves.notes) note(text);

  Plot plot;
  plot.title = f.title;
  plot.x.label = f.x;
  plot.y = axis_of(metrics);
  plot.y.log = f.log_y;
  plot.series = curves.series;
  write_file_atomic(f.out, draw_svg(plot));
  if (!f.json) {
    print_out("{}\n", f.out);
    return kSuccess;
  }
  nlohmann::json object{{"out", f.out}, {"series", nlohmann::json::array()}};
  for (const PlotSeries& s : curves.series) {
    nlohmann::json row{{"name", s.name}, {f.x, s.x}, {"mean", s.y}};
    if (!s.low.empty()) row["min"] = s.low, row["max"] = s.high;
    object["series"].push_back(row);
  }
  print_out("{}\n", AsIs{json_line(object)});
  return kSuccess;
}

}  // namespace

void add_plot(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, "plot", "Draw the curves of runs, to compare them",
                  "  resnet plot runs/plain56 runs/resnet56 -o accuracy.svg\n"
                  "  resnet plot runs/flowers --metric train_loss,val_loss --log-y -o losses.svg\n"
                  "  resnet plot scratch=runs/s1,runs/s2,runs/s3 "
                  "pretrained=runs/p1,runs/p2,runs/p3 -o seeds.svg");
  command
      ->add_option("RUN", f->runs,
                   "Folders of runs. NAME=RUN,RUN,… draws several as one curve, their mean, with a "
                   "band from the least to the greatest")
      ->required();
  command
      ->add_option("--metric", f->metrics,
                   "Columns of metrics.csv, with commas: val_top1, val_top5, val_loss, train_loss, "
                   "train_accuracy, lr, …")
      ->capture_default_str();
  command->add_option("--x", f->x, "epoch, step or seconds")->capture_default_str();
  command->add_flag("--log-y", f->log_y, "Logarithmic axis");
  command->add_option("--title", f->title, "Above the chart");
  command->add_option("-o,--out", f->out, "The SVG file")->required();
  add_json(*command, f->json, "The drawn values as one JSON object");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli

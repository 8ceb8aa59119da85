#include "train/curves.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "core/check.h"
#include "formats/table.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kTitles{{
    {"lr", "learning rate"},
    {"train_loss", "training loss"},
    {"train_accuracy", "accuracy in training"},
    {"val_loss", "validation loss"},
    {"val_top1", "validation top-1"},
    {"val_top5", "validation top-5"},
    {"images_per_second", "images per second"},
    {"data_wait_share", "share of time waiting for data"},
    {"seconds", "seconds"},
}};

std::string title_of(const std::string& metric) {
  const auto* found = std::ranges::find(kTitles, metric, &decltype(kTitles)::value_type::first);
  return std::string(found == kTitles.end() ? metric : found->second);
}

bool is_share(const std::string& metric) {
  return metric.ends_with("accuracy") || metric.ends_with("top1") || metric.ends_with("top5") ||
         metric.ends_with("share");
}

struct Run {
  std::string file;
  Table table;
  const std::vector<double>& column(const std::string& name) const {
    const auto found = std::ranges::find(table.columns, name);
    if (found == table.columns.end()) {
      const auto some =
          std::span(table.columns).first(std::min<std::size_t>(20, table.columns.size()));
      fail(ErrorCode::kInvalidArgument, "{} has no column \"{}\"; it has {}", file, name,
           fmt::join(some, ", "));
    }
    return table.values[static_cast<std::size_t>(found - table.columns.begin())];
  }
};

Run read_run(const fs::path& path) {
  std::error_code error;
  const fs::path file = fs::is_directory(path, error) ? path / "metrics.csv" : path;
  if (!fs::exists(file, error)) {
    fail(ErrorCode::kNotFound, "{}: no {}; give the folder of a run", path.string(),
         file == path ? "such file or folder" : "metrics.csv in it");
  }
  Run run{file.string(), read_table(file)};
  if (run.table.rows() == 0) {
    fail(ErrorCode::kBadData, "{} has no epoch yet; wait for the first to end", run.file);
  }
  return run;
}

std::vector<double> positions(const Run& run, CurveAxis x) {
  if (x == CurveAxis::kEpoch) return run.column("epoch");
  if (x == CurveAxis::kStep) return run.column("step");
  std::vector<double> seconds = run.column("seconds");
  for (std::size_t i = 1; i < seconds.size(); ++i) seconds[i] += seconds[i - 1];
  return seconds;
}

}  // namespace

Curves curves_of(const std::vector<RunGroup>& groups, const std::vector<std::string>& metrics,
                 CurveAxis x) {
  Curves curves;
  for (const RunGroup& group : groups) {
    std::vector<Run> runs;
    for (const fs::path& path : group.runs) runs.push_back(read_run(path));
    RESNET_CHECK(!runs.empty());
    const auto length = [](const Run& run) { return run.table.rows(); };
    const std::size_t rows = length(*std::ranges::min_element(runs, {}, length));
    const std::size_t longest = length(*std::ranges::max_element(runs, {}, length));
    if (rows < longest) {
      curves.notes.push_back(
          fmt::format("{}: its runs have {} to {} epochs; the curve ends with the shortest",
                      group.name, rows, longest));
    }
    for (const std::string& metric : metrics) {
      PlotSeries s;
      s.name = metrics.size() == 1  ? group.name
               : groups.size() == 1 ? title_of(metric)
                                    : group.name + ", " + title_of(metric);
      s.x.assign(rows, 0);
      s.y.assign(rows, 0);
      for (const Run& run : runs) {
        const std::vector<double> at = positions(run, x);
        const std::vector<double>& values = run.column(metric);
        if (s.low.empty()) s.low = s.high = {values.begin(), values.begin() + std::ptrdiff_t(rows)};
        for (std::size_t i = 0; i < rows; ++i) {
          s.x[i] += at[i];
          s.y[i] += values[i];
          s.low[i] = std::min(s.low[i], values[i]);
          s.high[i] = std::max(s.high[i], values[i]);
        }
      }
      for (double& v : s.x) v /= static_cast<double>(runs.size());
      for (double& v : s.y) v /= static_cast<double>(runs.size());
      if (runs.size() == 1) s.low.clear(), s.high.clear();
      curves.series.push_back(std::move(s));
    }
  }
  return curves;
}

PlotAxis axis_of(const std::vector<std::string>& metrics) {
  PlotAxis axis;
  axis.percent = std::ranges::all_of(metrics, is_share);
  const auto is_loss = [](const std::string& m) { return m.ends_with("_loss"); };
  if (metrics.size() == 1) {
    axis.label = title_of(metrics.front());
  } else if (std::ranges::all_of(metrics, is_loss)) {
    axis.label = "loss";
  }
  return axis;
}

}  // namespace resnet

#include "train/run_folder.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/atomic_file.h"
#include "core/check.h"
#include "core/file.h"
#include "core/folder_entries.h"
#include "core/os_error.h"
#include "formats/csv.h"
#include "formats/image.h"
#include "formats/plot.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMetricsHeader =
    "epoch,step,lr,train_loss,train_accuracy,val_loss,val_top1,val_top5,images_per_second,"
    "data_wait_share,seconds\n";

// Files that only a run makes, or makes anew.
bool is_run_file(const std::string& name) {
  static constexpr std::array kNames = {"model.safetensors", "last.safetensors", "metrics.csv",
                                        "config.json",       "confusion.csv",    "confusion.png",
                                        "confusion.svg"};
  const bool epoch = name.starts_with("epoch-") && name.ends_with(".safetensors");
  return epoch || std::ranges::find(kNames, name) != kNames.end() ||
         name.starts_with("events.out.tfevents.");
}

// Of a killed process of an earlier version: "<name>.XXXXXX".
bool is_leftover(const std::string& name) {
  constexpr std::size_t kSuffix = 7;  // ".XXXXXX"
  return name.size() > kSuffix && name[name.size() - kSuffix] == '.' &&
         !name.starts_with("events.") && is_run_file(name.substr(0, name.size() - kSuffix));
}

// A run that ended before it had anything to keep, on bad data say: nothing is lost with it.
bool is_barren(const fs::path& folder, const std::vector<fs::path>& files) {
  const auto has_weights = [](const fs::path& p) { return p.extension() == ".safetensors"; };
  std::error_code error;
  const fs::path metrics = folder / "metrics.csv";
  return std::ranges::none_of(files, has_weights) && fs::exists(metrics, error) &&
         read_text_file(metrics) == kMetricsHeader;
}

[[noreturn]] void fail_folder(const fs::path& path, const std::error_code& error) {
  fail(ErrorCode::kIo, "cannot use {} as the folder of a run: {}", path.string(),
       os_error(error.value()));
}

}  // namespace

RunFolder::RunFolder(fs::path path, bool overwrite, bool resume) : path_(std::move(path)) {
  std::error_code error;
  fs::create_directories(path_, error);
  if (error) fail_folder(path_, error);
  std::vector<fs::path> old;
  const std::error_code unlisted = for_each_entry(path_, [&](const FolderEntry& entry) {
    const std::string name = entry.path().filename().string();
    if (remove_leftover(entry.path())) return true;
    if (is_leftover(name)) {
      fs::remove(entry.path(), error);
    } else if (is_run_file(name)) {
      old.push_back(entry.path());
    }
    return !error;
  });
  if (!error) error = unlisted;
  if (error) fail_folder(path_, error);
  if (resume || old.empty()) return;
  std::ranges::sort(old, {}, [](const fs::path& p) { return p.extension() != ".safetensors"; });
  if (!overwrite && !is_barren(path_, old)) {
    fail(ErrorCode::kInvalidArgument,
         "{} holds a run already ({}); continue it (--resume), replace it (--overwrite), or choose "
         "another folder (--out)",
         path_.string(), old.front().filename().string());
  }
  for (const fs::path& file : old) {
    fs::remove(file, error);
    if (error) fail_folder(path_, error);
  }
}

fs::path RunFolder::epoch(int number) const {
  return path_ / fmt::format("epoch-{:04}.safetensors", number);
}

void RunFolder::write_config(const TrainOptions& options) const {
  write_file_atomic(path_ / "config.json", to_json(options));
}

void RunFolder::begin_metrics(int finished_epochs) {
  metrics_ = kMetricsHeader;
  std::error_code error;
  if (finished_epochs > 0 && fs::exists(path_ / "metrics.csv", error)) {
    const std::string old = read_text_file(path_ / "metrics.csv");
    // The header and one line an epoch; a line too many was written after the checkpoint.
    std::size_t end = 0;
    for (int line = 0; line <= finished_epochs && end < old.size(); ++line) {
      const std::size_t newline = old.find('\n', end);
      if (newline == std::string::npos) break;
      end = newline + 1;
    }
    if (old.starts_with(kMetricsHeader)) metrics_ = old.substr(0, end);
  }
  write_file_atomic(path_ / "metrics.csv", metrics_);
}

void RunFolder::add_metrics(const EpochResult& r, std::int64_t step) {
  metrics_ +=
      fmt::format("{},{},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.1f},{:.4f},{:.2f}\n", r.epoch,
                  step, r.lr, r.train_loss, r.train_accuracy, r.val.loss, r.val.top1, r.val.top5,
                  r.images_per_second, r.data_wait_share, r.seconds);
  write_file_atomic(path_ / "metrics.csv", metrics_);
}

void RunFolder::write_confusion(const EvalResult& result) const {
  const std::size_t classes = result.class_names.size();
  std::string text = "true \\ predicted";
  for (const std::string& name : result.class_names) text += "," + csv_field(name);
  text += "\n";
  for (std::size_t row = 0; row < classes; ++row) {
    text += csv_field(result.class_names[row]);
    for (std::size_t c = 0; c < classes; ++c) {
      text += fmt::format(",{}", result.confusion[row * classes + c]);
    }
    text += "\n";
  }
  write_file_atomic(path_ / "confusion.csv", text);
  write_file_atomic(path_ / "confusion.png", encode_png(draw_confusion(result.confusion, classes)));
  write_file_atomic(path_ / "confusion.svg", draw_svg(MatrixPlot{.title = {},
                                                                 .rows = "true class",
                                                                 .columns = "prediction",
                                                                 .names = result.class_names,
                                                                 .counts = result.confusion}));
}

void RunFolder::curve(std::string_view tag, std::int64_t step, double value) {
  if (!events_) events_.emplace(path_);
  events_->scalar(tag, step, value);
}

void RunFolder::flush_curves() {
  if (events_) events_->flush();
}

Image draw_confusion(const std::vector<std::int64_t>& confusion, std::size_t classes) {
  RESNET_CHECK(classes > 0 && confusion.size() == classes * classes);
  const std::size_t cell = std::clamp<std::size_t>(512 / classes, 1, 48);
  const auto side = static_cast<int>(cell * classes);
  Image image(side, side, 3);
  for (std::size_t y = 0; y < static_cast<std::size_t>(side); ++y) {
    const std::size_t row = y / cell;
    std::int64_t total = 0;
    for (std::size_t c = 0; c < classes; ++c) total += confusion[row * classes + c];
    std::uint8_t* out = image.row(static_cast<int>(y));
    for (std::size_t x = 0; x < static_cast<std::size_t>(side); ++x) {
      const auto count = static_cast<double>(confusion[row * classes + x / cell]);
      // The square root lets rare confusions show.
      const double shade = total == 0 ? 0 : std::sqrt(count / static_cast<double>(total));
      constexpr std::array kBlue = {8.0, 48.0, 107.0};
      const bool line = cell >= 8 && (y % cell == 0 || x % cell == 0);
      for (std::size_t c = 0; c < 3; ++c) {
        const double value = line ? 208 : 255 + (kBlue[c] - 255) * shade;
        *out++ = static_cast<std::uint8_t>(std::lround(value));
      }
    }
  }
  return image;
}

}  // namespace resnet

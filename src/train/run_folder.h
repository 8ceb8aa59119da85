// The files of a run, apart from its checkpoints. Every one is written atomically.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "formats/tensorboard.h"
#include "resnet/image.h"
#include "resnet/train.h"

namespace resnet {

class RunFolder {
 public:
  /// Creates the folder. One that holds a run is kInvalidArgument unless `overwrite` (its files are
  /// removed; others stay) or `resume`. Throws kIo when it cannot be written to.
  RunFolder(std::filesystem::path path, bool overwrite, bool resume);

  std::filesystem::path model() const { return path_ / "model.safetensors"; }
  std::filesystem::path last() const { return path_ / "last.safetensors"; }
  std::filesystem::path epoch(int number) const;

  void write_config(const TrainOptions& options) const;
  /// Starts metrics.csv, or keeps what it has up to `finished_epochs`.
  void begin_metrics(int finished_epochs);
  void add_metrics(const EpochResult& result, std::int64_t step);
  /// confusion.csv and confusion.png.
  void write_confusion(const EvalResult& result) const;

  /// A point of a TensorBoard curve; the event file is made by the first.
  void curve(std::string_view tag, std::int64_t step, double value);
  void flush_curves();

 private:
  std::filesystem::path path_;
  std::string metrics_;
  std::optional<EventsWriter> events_;
};

/// White to blue by the share of each row; one square a pair of classes.
Image draw_confusion(const std::vector<std::int64_t>& confusion, std::size_t classes);

}  // namespace resnet

// The curves of finished or running runs, from their metrics.csv, ready to be drawn.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/plot.h"

namespace resnet {

/// Runs that make one curve: the mean of them, with a band from their least to their greatest.
struct RunGroup {
  std::string name;
  std::vector<std::filesystem::path> runs;  ///< Folders, or metrics.csv files.
};

enum class CurveAxis : std::uint8_t {
  kEpoch,
  kStep,
  kSeconds,  ///< Of training and validation since the start, summed up over resumed parts.
};

struct Curves {
  std::vector<PlotSeries> series;  ///< A group has one for each metric.
  std::vector<std::string> notes;  ///< One line each: runs of a group that are of different length.
};

/// A metric is a column of metrics.csv. A group ends with its shortest run. Throws kNotFound for a
/// run without metrics.csv, kInvalidArgument for a metric that is not there,
/// kBadData for a damaged file or one without an epoch.
Curves curves_of(const std::vector<RunGroup>& groups, const std::vector<std::string>& metrics,
                 CurveAxis x);

/// The axis for these metrics: what they have in common, in per cent where they are shares.
PlotAxis axis_of(const std::vector<std::string>& metrics);

}  // namespace resnet

// Line charts as SVG: one self-contained text that browsers and Markdown pages show.
//
// Colours are those of Okabe & Ito (2008), which people with any kind of colour vision tell apart;
// a series beyond them repeats a colour with dashes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace resnet {

struct PlotAxis {
  std::string label = {};
  bool log = false;      ///< Values of 0 or less are left out, as those that are not finite are.
  bool percent = false;  ///< 0.5 is written "50 %".
  std::optional<double> min = {}, max = {};  ///< Unset: from the data. What lies beyond is cut off.
};

struct PlotSeries {
  std::string name = {};  ///< In the legend; one without a name is not listed.
  std::vector<double> x, y;
  std::vector<double> low = {}, high = {};  ///< A band around the line, or both empty.
  bool points = false;                      ///< Each by itself, without a line.
};

/// A point to be seen, with its name beside it.
struct PlotMark {
  double x = 0, y = 0;
  std::string text = {};
};

struct Plot {
  std::string title = {};
  PlotAxis x, y;
  std::vector<PlotSeries> series;
  std::vector<PlotMark> marks = {};
  int width = 720, height = 440;
};

/// Texts may be anything: what XML cannot hold is replaced.
std::string draw_svg(const Plot& plot);

/// How often rows met columns, as a square chart: the darker, the larger the share of its row.
struct MatrixPlot {
  std::string title = {}, rows = {}, columns = {};  ///< `rows` and `columns` name the axes
  std::vector<std::string> names;                   ///< Of the n rows and the n columns.
  std::vector<std::int64_t> counts;                 ///< [n, n]
};

/// Counts are written into the cells of up to 30 rows.
std::string draw_svg(const MatrixPlot& plot);

}  // namespace resnet

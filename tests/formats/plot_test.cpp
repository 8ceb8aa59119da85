#include "formats/plot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

namespace resnet {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Fails unless every element is closed in order and no bare "&" or "<" is left.
void expect_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (std::size_t i = 0; i < svg.size(); ++i) {
    if (svg[i] == '&') {
      const std::string name = svg.substr(i + 1, svg.find(';', i) - i - 1);
      EXPECT_TRUE((std::set<std::string>{"amp", "lt", "gt", "quot"}.contains(name))) << name;
    }
    if (svg[i] != '<') continue;
    const std::size_t end = svg.find('>', i);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = svg.substr(i + 1, end - i - 1);
    EXPECT_EQ(std::ranges::count(tag, '"') % 2, 0) << tag;
    if (tag.starts_with('/')) {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(tag.substr(1), open.back());
      open.pop_back();
    } else if (!tag.ends_with('/')) {
      open.push_back(tag.substr(0, tag.find(' ')));
    }
  }
  EXPECT_TRUE(open.empty());
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

// The texts that stand at the ticks of the x axis.
std::vector<std::string> x_ticks(const std::string& svg) {
  std::vector<std::string> ticks;
  const std::string before = "v5\" stroke=\"#222\"/><text ";
  for (std::size_t at = svg.find(before); at != std::string::npos; at = svg.find(before, at + 1)) {
    const std::size_t begin = svg.find('>', at + before.size()) + 1;
    ticks.push_back(svg.substr(begin, svg.find('<', begin) - begin));
  }
  return ticks;
}

std::vector<std::string> x_ticks(double min, double max, PlotAxis axis = {}) {
  Plot plot;
  plot.x = std::move(axis);
  plot.series.push_back({.name = "s", .x = {min, max}, .y = {0, 1}});
  const std::string svg = draw_svg(plot);
  expect_well_formed(svg);
  return x_ticks(svg);
}

using Texts = std::vector<std::string>;

TEST(Plot, TicksAreRoundNumbers) {
  EXPECT_EQ(x_ticks(1, 10), (Texts{"2", "4", "6", "8", "10"}));
  EXPECT_EQ(x_ticks(0, 0.3), (Texts{"0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"}));
  EXPECT_EQ(x_ticks(-1, 1), (Texts{"-1.0", "-0.5", "0.0", "0.5", "1.0"}));
  EXPECT_EQ(x_ticks(0.5, 1, {.percent = true}),
            (Texts{"50 %", "60 %", "70 %", "80 %", "90 %", "100 %"}));
  EXPECT_EQ(x_ticks(0, 5e6), (Texts{"0", "1e+06", "2e+06", "3e+06", "4e+06", "5e+06"}));
  EXPECT_EQ(x_ticks(7, 7), (Texts{"6.5", "7.0", "7.5"}));
  EXPECT_FALSE(x_ticks(1, 1 + 1e-15).empty());
}

TEST(Plot, LogTicksAreDecades) {
  const PlotAxis log{.log = true};
  EXPECT_EQ(x_ticks(1e-5, 10, log), (Texts{"10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1", "10"}));
  EXPECT_EQ(x_ticks(0.1, 5, log), (Texts{"0.1", "0.2", "0.5", "1", "2", "5"}));
  EXPECT_EQ(x_ticks(1e-12, 1e12, log).size(), 9U) << "not each of 25";
  EXPECT_GE(x_ticks(3, 4, log).size(), 3U) << "within a decade, plain steps";
}

TEST(Plot, PointsLieWhereTheirValuesSay) {
  Plot plot;
  plot.x = {.log = true, .min = 0.1, .max = 10};
  plot.y = {.min = -1, .max = 1};
  plot.series.push_back({.name = "s", .x = {0.1, 1, 10}, .y = {-1, 0, 1}});
  const std::string svg = draw_svg(plot);
  double x[3], y[3];
  const std::size_t path = svg.find("<path d=\"", svg.find("<g clip-path"));
  ASSERT_EQ(std::sscanf(svg.c_str() + path, "<path d=\"M%lf %lfL%lf %lfL%lf %lf", &x[0], &y[0],
                        &x[1], &y[1], &x[2], &y[2]),
            6);
  double left = 0, top = 0, width = 0, height = 0;
  const std::size_t area = svg.find("<clipPath");
  ASSERT_EQ(std::sscanf(svg.c_str() + area,
                        "<clipPath id=\"area\"><rect x=\"%lf\" y=\"%lf\" width=\"%lf\" "
                        "height=\"%lf\"",
                        &left, &top, &width, &height),
            4);
  // The area to be seen is 3 pixels larger on each side; numbers are written to 0.1.
  EXPECT_NEAR(x[0], left + 3, 0.11);
  EXPECT_NEAR(x[2], left + width - 3, 0.21);
  EXPECT_NEAR(x[1], (x[0] + x[2]) / 2, 0.011);
  EXPECT_NEAR(y[0], top + height - 3, 0.21);
  EXPECT_NEAR(y[2], top + 3, 0.11);
  EXPECT_NEAR(y[1], (y[0] + y[2]) / 2, 0.011);
}

TEST(Plot, WhatIsNoNumberIsAGap) {
  Plot plot;
  plot.series.push_back({.name = "s", .x = {1, 2, 3, 4, 5}, .y = {1, 2, kNan, 1, 2}});
  EXPECT_EQ(count(draw_svg(plot), "<title>s</title>"), 2U);
  plot.series[0].y = {0, 2, 3, -1, 2};
  EXPECT_EQ(count(draw_svg(plot), "<title>s</title>"), 1U);
  plot.y.log = true;
  EXPECT_EQ(count(draw_svg(plot), "<title>s</title>"), 2U);
  plot.series[0].y = {kNan, kNan, kNan, kNan, kNan};
  expect_well_formed(draw_svg(plot));
  plot.series.clear();
  expect_well_formed(draw_svg(plot));
}

TEST(Plot, BandsAndMarksAreDrawn) {
  Plot plot;
  plot.series.push_back({.name = "", .x = {1, 2}, .y = {1, 2}, .low = {0.5, 1}, .high = {1.5, 3}});
  plot.series.push_back({.name = "b", .x = {1, 2}, .y = {1, 2}});
  plot.marks.push_back({.x = 1.5, .y = 1.5, .text = "here"});
  const std::string svg = draw_svg(plot);
  expect_well_formed(svg);
  EXPECT_EQ(count(svg, "fill-opacity"), 1U);
  EXPECT_EQ(count(svg, ">b</text>"), 1U) << "in the legend";
  EXPECT_EQ(count(svg, "></text>"), 0U) << "a series without a name is not in the legend";
  EXPECT_EQ(count(svg, ">here</text>"), 1U);
  EXPECT_EQ(count(svg, ">3.0</text>"), 1U) << "the axis has room for the band";
}

TEST(Plot, SeriesDiffer) {
  Plot plot;
  for (int i = 0; i < 21; ++i) {
    plot.series.push_back({.name = "s" + std::to_string(i), .x = {0, 1}, .y = {0, 1.0 * i}});
  }
  const std::string svg = draw_svg(plot);
  std::set<std::string> samples;
  for (std::size_t at = svg.find("h26\" "); at != std::string::npos;
       at = svg.find("h26\" ", at + 1)) {
    samples.insert(svg.substr(at, svg.find("/>", at) - at));
  }
  EXPECT_EQ(samples.size(), 21U);
}

TEST(Plot, TextsMayBeAnything) {
  Plot plot;
  plot.title = "a<b>&\"c\" \x01\xff\xc0\xaf\xed\xa0\x80 größer";
  plot.x.label = plot.y.label = plot.title;
  plot.series.push_back({.name = plot.title, .x = {0, 1}, .y = {0, 1}});
  plot.marks.push_back({.x = 1, .y = 1, .text = plot.title});
  const std::string svg = draw_svg(plot);
  expect_well_formed(svg);
  const std::string bad = "\ufffd";
  EXPECT_NE(svg.find("a&lt;b&gt;&amp;&quot;c&quot; " + bad + bad + bad + bad + bad + bad + bad +
                     " größer"),
            std::string::npos);
}

TEST(MatrixPlot, NamesRowsAndColumns) {
  const std::string svg = draw_svg(MatrixPlot{.title = "a < b",
                                              .rows = "true class",
                                              .columns = "prediction",
                                              .names = {"cat", "<dog>", "\x1b\xff"},
                                              .counts = {98, 2, 0, 0, 7, 0, 0, 0, 0}});
  expect_well_formed(svg);
  EXPECT_EQ(count(svg, ">cat</text>"), 2U);
  EXPECT_EQ(count(svg, ">&lt;dog&gt;</text>"), 2U);
  EXPECT_EQ(count(svg, ">true class</text>"), 1U);
  EXPECT_EQ(count(svg, ">prediction</text>"), 1U);
  EXPECT_EQ(count(svg, ">a &lt; b</text>"), 1U);
  EXPECT_EQ(count(svg, ">98</text>"), 1U);
  EXPECT_EQ(count(svg, "fill-opacity"), 3U) << "cells with nothing in them are left white";
  EXPECT_EQ(count(svg, "fill-opacity=\"1.000\""), 1U);
  EXPECT_EQ(count(svg, "nan"), 0U);
}

TEST(MatrixPlot, ManyClassesHaveNoNumbers) {
  MatrixPlot plot;
  for (int i = 0; i < 100; ++i) plot.names.push_back("c" + std::to_string(i));
  plot.counts.assign(100 * 100, 12345);
  const std::string svg = draw_svg(plot);
  expect_well_formed(svg);
  EXPECT_EQ(count(svg, "fill-opacity"), 10'000U);
  EXPECT_EQ(count(svg, "12345"), 0U);
  EXPECT_EQ(count(svg, ">c99</text>"), 2U);
}

}  // namespace
}  // namespace resnet

#include "formats/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/text.h"

namespace resnet {
namespace {

constexpr std::array<std::string_view, 7> kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#56b4e9", "#e69f00", "#000000"};
constexpr std::array<std::string_view, 3> kDashes = {"", " stroke-dasharray=\"7 3\"",
                                                     " stroke-dasharray=\"2 3\""};
constexpr double kTextHeight = 13;
constexpr double kRight = 18, kTop = 12, kBottom = 50;
constexpr std::size_t kMostDots = 40;  // a series with no more points shows each of them

std::string_view colour(std::size_t i) { return kColours[i % kColours.size()]; }
std::string_view dash(std::size_t i) { return kDashes[i / kColours.size() % kDashes.size()]; }

// The length of the UTF-8 character at the start, 0 if there is none that XML can hold.
std::size_t xml_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return byte(0) >= 0x20 && byte(0) != 0x7f ? 1 : 0;
  const std::size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) return 0;
  std::uint32_t code = byte(0) & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  return overlong || surrogate || code > 0x10ffff || (code & 0xfffeU) == 0xfffe ? 0 : length;
}

std::string escaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t length = xml_character(text);
    if (length == 0) {
      out += "\ufffd";
    } else if (text[0] == '&') {
      out += "&amp;";
    } else if (text[0] == '<') {
      out += "&lt;";
    } else if (text[0] == '>') {
      out += "&gt;";
    } else if (text[0] == '"') {
      out += "&quot;";
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(1, length));
  }
  return out;
}

// Nobody knows the reader's font: 0.58 of its height a character is a little more than the average
// of the usual ones.
double text_width(std::string_view text) {
  const auto characters = std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80; });
  return 0.58 * kTextHeight * static_cast<double>(characters);
}

std::string superscript(int number) {
  static constexpr std::array kDigits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out;
  for (const char c : std::to_string(number)) {
    out += c == '-' ? "⁻" : kDigits[static_cast<std::size_t>(c - '0')];
  }
  return out;
}

struct Tick {
  double at = 0;
  std::string text;
};

struct Range {
  double min = std::numeric_limits<double>::infinity(), max = -min;
  void add(double v) {
    min = std::min(min, v);
    max = std::max(max, v);
  }
  bool empty() const { return !(min <= max); }
};

// One direction of the chart: which values it spans, and where they lie in pixels.
class Scale {
 public:
  Scale(const PlotAxis& axis, Range data, bool loose) : axis_(axis) {
    if (axis.min) data.min = *axis.min;
    if (axis.max) data.max = *axis.max;
    if (data.empty()) data = axis.log ? Range{1, 10} : Range{0, 1};
    // A single value, as far as numbers can tell: make room around it.
    if (data.max - data.min <= 1e-9 * std::max(std::abs(data.min), std::abs(data.max))) {
      const double room = data.min == 0 ? 1 : std::abs(data.min) / 10;
      data = axis.log ? Range{data.min / 2, data.max * 2} : Range{data.min - room, data.max + room};
    }
    range_ = data;
    if (axis.log) log_ticks();
    if (ticks_.size() < 2) {  // not logarithmic, or within a decade
      ticks_.clear();
      linear_ticks(loose && !axis.log);
    }
  }

  void place(double from, double to) { from_ = from, to_ = to; }
  const std::vector<Tick>& ticks() const { return ticks_; }
  bool shows(double v) const { return std::isfinite(v) && (!axis_.log || v > 0); }
  double pixel(double v) const {
    const auto t = [&](double x) { return axis_.log ? std::log10(x) : x; };
    const double share = (t(v) - t(range_.min)) / (t(range_.max) - t(range_.min));
    return from_ + share * (to_ - from_);
  }

 private:
  // Steps of 1, 2 or 5 times a power of ten (Heckbert 1990). A loose axis ends at ticks.
  void linear_ticks(bool loose) {
    constexpr double kWanted = 6;
    const double unit = std::pow(10, std::floor(std::log10((range_.max - range_.min) / kWanted)));
    double step = unit;
    for (const double factor : {2.0, 5.0, 10.0}) {
      if ((range_.max - range_.min) / step > kWanted) step = factor * unit;
    }
    if (loose && !axis_.min) range_.min = std::floor(range_.min / step + 1e-9) * step;
    if (loose && !axis_.max) range_.max = std::ceil(range_.max / step - 1e-9) * step;
    const double shown = axis_.percent ? 100 * step : step;
    const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(shown) + 1e-9)));
    const double first = std::ceil(range_.min / step - 1e-9), last = range_.max / step + 1e-9;
    for (double i = first; i <= last; ++i) {
      const double value = i == 0 ? 0 : i * step;  // no "-0"
      if (axis_.percent) {
        ticks_.push_back({value, fmt::format("{:.{}f} %", 100 * value, decimals)});
      } else if (std::max(std::abs(range_.min), std::abs(range_.max)) >= 1e6 || decimals > 5) {
        ticks_.push_back({value, fmt::format("{:g}", value)});
      } else {
        ticks_.push_back({value, fmt::format("{:.{}f}", value, decimals)});
      }
    }
  }

  // Powers of ten, every one or every few; where there are less than three, 2 and 5 times them too.
  void log_ticks() {
    const int low = static_cast<int>(std::floor(std::log10(range_.min) + 1e-9));
    const int high = static_cast<int>(std::ceil(std::log10(range_.max) - 1e-9));
    const int step = 1 + (high - low) / 9;
    for (int decade = low; decade <= high; decade += step) {
      for (const int factor : {1, 2, 5}) {
        if (factor > 1 && high - low >= 3) break;
        const double value = factor * std::pow(10, decade);
        if (value < range_.min * (1 - 1e-9) || value > range_.max * (1 + 1e-9)) continue;
        ticks_.push_back({value, log_text(factor, decade, value)});
      }
    }
  }

  std::string log_text(int factor, int decade, double value) const {
    if (axis_.percent) return fmt::format("{:g} %", 100 * value);
    if (decade >= -3 && decade <= 3) return fmt::format("{:g}", value);
    return (factor == 1 ? "" : fmt::format("{}·", factor)) + "10" + superscript(decade);
  }

  PlotAxis axis_;
  Range range_;
  double from_ = 0, to_ = 1;
  std::vector<Tick> ticks_;
};

// The values of one direction that the chart has to have room for.
Range range_of(const PlotAxis& axis, const Plot& plot, bool of_y) {
  Range range;
  const auto add = [&](const std::vector<double>& values) {
    for (const double v : values) {
      if (std::isfinite(v) && (!axis.log || v > 0)) range.add(v);
    }
  };
  for (const PlotSeries& s : plot.series) {
    add(of_y ? s.y : s.x);
    if (of_y) add(s.low), add(s.high);
  }
  for (const PlotMark& m : plot.marks) add({of_y ? m.y : m.x});
  return range;
}

class Drawing {
 public:
  explicit Drawing(const Plot& plot)
      : plot_(plot),
        x_(plot.x, range_of(plot.x, plot, false), false),
        y_(plot.y, range_of(plot.y, plot, true), true) {}

  std::string draw() {
    out_ = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{0}\" height=\"{1}\" "
        "viewBox=\"0 0 {0} {1}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" "
        "font-size=\"{2}\" fill=\"#222\">\n<title>{3}</title>\n"
        "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n",
        plot_.width, plot_.height, kTextHeight, escaped(plot_.title));
    top_ = kTop;
    if (!plot_.title.empty()) {
      top_ += kTextHeight + 4;
      out_ += fmt::format(
          "<text x=\"{}\" y=\"{:.1f}\" font-size=\"15\" font-weight=\"bold\">{}"
          "</text>\n",
          kLegendLeft, top_, escaped(plot_.title));
      top_ += 10;
    }
    draw_legend();
    place();
    draw_grid();
    out_ += fmt::format(
        "<clipPath id=\"area\"><rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"/>"
        "</clipPath>\n<g clip-path=\"url(#area)\">\n",
        left_ - kDot, top_ - kDot, right_ - left_ + 2 * kDot, bottom_ - top_ + 2 * kDot);
    for (std::size_t i = 0; i < plot_.series.size(); ++i) draw_band(i);
    for (std::size_t i = 0; i < plot_.series.size(); ++i) draw_line(i);
    out_ += "</g>\n";
    for (const PlotMark& mark : plot_.marks) draw_mark(mark);
    return std::move(out_) + "</svg>\n";
  }

 private:
  static constexpr double kLegendLeft = 16, kSample = 26, kRow = 20, kDot = 3;

  // Above the chart, in rows.
  void draw_legend() {
    double x = kLegendLeft;
    bool any = false;
    for (std::size_t i = 0; i < plot_.series.size(); ++i) {
      const std::string& name = plot_.series[i].name;
      if (name.empty()) continue;
      const double width = kSample + 6 + text_width(name) + 18;
      if (x > kLegendLeft && x + width > plot_.width) {
        x = kLegendLeft;
        top_ += kRow;
      }
      const double middle = top_ + kRow / 2;
      if (plot_.series[i].points) {
        out_ += fmt::format(
            "<path d=\"M{:.1f} {:.1f}h0\" stroke=\"{}\" stroke-width=\"7\" "
            "stroke-linecap=\"round\"/><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
            x + kSample / 2, middle, colour(i), x + kSample + 6, middle + 4.5, escaped(name));
        x += width;
        any = true;
        continue;
      }
      out_ += fmt::format(
          "<path d=\"M{:.1f} {:.1f}h{}\" stroke=\"{}\" stroke-width=\"2.5\"{}/>"
          "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
          x, middle, kSample, colour(i), dash(i), x + kSample + 6, middle + 4.5, escaped(name));
      x += width;
      any = true;
    }
    if (any) top_ += kRow;
    top_ += 12;
  }

  void place() {
    double labels = 0;
    for (const Tick& tick : y_.ticks()) labels = std::max(labels, text_width(tick.text));
    left_ = labels + (plot_.y.label.empty() ? 16 : 40);
    right_ = plot_.width - kRight;
    bottom_ = plot_.height - (plot_.x.label.empty() ? kBottom - 20 : kBottom);
    x_.place(left_, right_);
    y_.place(bottom_, top_);
  }

  void draw_grid() {
    for (const Tick& tick : y_.ticks()) {
      const double y = y_.pixel(tick.at);
      out_ += fmt::format(
          "<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"#ddd\"/>"
          "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
          left_, y, right_, left_ - 7, y + 4.5, tick.text);
    }
    for (const Tick& tick : x_.ticks()) {
      const double x = x_.pixel(tick.at);
      out_ += fmt::format(
          "<path d=\"M{0:.1f} {1:.1f}V{2:.1f}\" stroke=\"#eee\"/>"
          "<path d=\"M{0:.1f} {2:.1f}v5\" stroke=\"#222\"/>"
          "<text x=\"{0:.1f}\" y=\"{3:.1f}\" text-anchor=\"middle\">{4}</text>\n",
          x, top_, bottom_, bottom_ + 19, tick.text);
    }
    out_ += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"#222\"/>\n", left_, bottom_,
                        right_);
    if (!plot_.x.label.empty()) {
      out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                          (left_ + right_) / 2, plot_.height - 12.0, escaped(plot_.x.label));
    }
    if (!plot_.y.label.empty()) {
      const double middle = (top_ + bottom_) / 2;
      out_ += fmt::format(
          "<text transform=\"rotate(-90 18 {0:.1f})\" x=\"18\" y=\"{0:.1f}\" "
          "text-anchor=\"middle\">{1}</text>\n",
          middle, escaped(plot_.y.label));
    }
  }

  // Runs `draw(first, last)` for every longest stretch of points that can be shown.
  template <class Shown, class Draw>
  static void for_stretches(std::size_t points, const Shown& shown, const Draw& draw) {
    for (std::size_t begin = 0; begin < points;) {
      std::size_t end = begin;
      while (end < points && shown(end)) ++end;
      if (end > begin) draw(begin, end);
      begin = end + 1;
    }
  }

  std::string point(double x, double y) const {
    // A pixel far outside is as good as any other, and a short number.
    const double pixel = std::clamp(y_.pixel(y), -10.0 * plot_.height, 10.0 * plot_.height);
    return fmt::format("{:.2f} {:.2f}", x_.pixel(x), pixel);
  }

  void draw_band(std::size_t i) {
    const PlotSeries& s = plot_.series[i];
    RESNET_CHECK(s.low.size() == s.high.size() && (s.low.empty() || s.low.size() == s.x.size()));
    const auto shown = [&](std::size_t k) {
      return x_.shows(s.x[k]) && y_.shows(s.low[k]) && y_.shows(s.high[k]);
    };
    for_stretches(s.low.size(), shown, [&](std::size_t begin, std::size_t end) {
      std::string path;
      for (std::size_t k = begin; k < end; ++k) {
        path += (k == begin ? "M" : "L") + point(s.x[k], s.high[k]);
      }
      for (std::size_t k = end; k-- > begin;) path += "L" + point(s.x[k], s.low[k]);
      out_ += fmt::format("<path d=\"{}Z\" fill=\"{}\" fill-opacity=\"0.18\"/>\n", path, colour(i));
    });
  }

  void draw_line(std::size_t i) {
    const PlotSeries& s = plot_.series[i];
    RESNET_CHECK(s.x.size() == s.y.size());
    const auto shown = [&](std::size_t k) { return x_.shows(s.x[k]) && y_.shows(s.y[k]); };
    const bool dots = s.points || s.x.size() <= kMostDots;
    for_stretches(s.x.size(), shown, [&](std::size_t begin, std::size_t end) {
      std::string path, circles;
      for (std::size_t k = begin; k < end; ++k) {
        path += (k == begin ? "M" : "L") + point(s.x[k], s.y[k]);
        // A line of no length and round ends is a dot.
        if (dots || end == begin + 1) circles += "M" + point(s.x[k], s.y[k]) + "h0";
      }
      if (!s.points) {
        out_ += fmt::format(
            "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" "
            "stroke-linejoin=\"round\"{}><title>{}</title></path>\n",
            path, colour(i), dash(i), escaped(s.name));
      }
      if (circles.empty()) return;
      out_ += fmt::format(
          "<path d=\"{}\" stroke=\"{}\" stroke-width=\"5.5\" "
          "stroke-linecap=\"round\"/>\n",
          circles, colour(i));
    });
  }

  // A ring; its name stands where there is room.
  void draw_mark(const PlotMark& mark) {
    if (!x_.shows(mark.x) || !y_.shows(mark.y)) return;
    const double x = x_.pixel(mark.x), y = y_.pixel(mark.y);
    const bool on_left = x + 10 + text_width(mark.text) > right_;
    out_ += fmt::format(
        "<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"5\" fill=\"#fff\" stroke=\"#222\" "
        "stroke-width=\"2\"/><text x=\"{2:.1f}\" y=\"{3:.1f}\" text-anchor=\"{4}\" "
        "stroke=\"#fff\" stroke-width=\"4\" stroke-linejoin=\"round\" paint-order=\"stroke\">{5}"
        "</text>\n",
        x, y, on_left ? x - 10 : x + 10, y - 7, on_left ? "end" : "start", escaped(mark.text));
  }

  const Plot& plot_;
  Scale x_, y_;
  double left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;
  std::string out_;
};

}  // namespace

std::string draw_svg(const Plot& plot) { return Drawing(plot).draw(); }

std::string draw_svg(const MatrixPlot& plot) {
  constexpr std::size_t kWritten = 30;
  constexpr std::size_t kLongestName = 24;
  constexpr double kAxis = 26;  // room for the name of an axis
  const std::size_t n = plot.names.size();
  RESNET_CHECK(n > 0 && plot.counts.size() == n * n);
  const double cell = std::clamp(640.0 / static_cast<double>(n), 8.0, 40.0);
  const double text = std::min(kTextHeight, cell - 1);
  std::vector<std::string> names;
  double longest = 0;
  for (const std::string& name : plot.names) {
    names.push_back(printable(name, kLongestName));
    longest = std::max(longest, text_width(names.back()) * text / kTextHeight);
  }
  const double left = kAxis + longest + 8;
  const double top = (plot.title.empty() ? 0 : 24) + kAxis + longest + 8;
  const double side = cell * static_cast<double>(n);
  const double width = left + side + kRight;
  const double height = top + side + kTop;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" font-family=\"sans-serif\" font-size=\"{2:.1f}\" fill=\"#222\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      width, height, text);
  const auto label = [&](double x, double y, double size, std::string_view extra,
                         std::string_view words) {
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"{:.1f}\"{}>{}</text>\n", x, y,
                       size, extra, escaped(words));
  };
  const auto turned = [](double x, double y) {
    return fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", x, y);
  };
  constexpr std::string_view kMiddle = " text-anchor=\"middle\"";
  if (!plot.title.empty()) label(width / 2, 18, 15, kMiddle, plot.title);
  label(left + side / 2, top - longest - 16, kTextHeight, kMiddle, plot.columns);
  label(16, top + side / 2, kTextHeight, turned(16, top + side / 2) + std::string(kMiddle),
        plot.rows);
  for (std::size_t r = 0; r < n; ++r) {
    const double at = cell * static_cast<double>(r);
    const double middle = at + cell / 2 + text * 0.35;
    label(left - 6, top + middle, text, " text-anchor=\"end\"", names[r]);
    label(left + middle, top - 6, text, turned(left + middle, top - 6), names[r]);
    double total = 0;
    for (std::size_t c = 0; c < n; ++c) total += static_cast<double>(plot.counts[r * n + c]);
    for (std::size_t c = 0; c < n; ++c) {
      const std::int64_t count = plot.counts[r * n + c];
      if (count == 0) continue;
      // The square root lets rare ones show.
      const double shade = std::sqrt(static_cast<double>(count) / total);
      const double x = left + cell * static_cast<double>(c);
      out += fmt::format(
          "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"#08306b\" "
          "fill-opacity=\"{:.3f}\"/>\n",
          x, top + at, cell, cell, shade);
      if (n > kWritten) continue;
      const std::string number = std::to_string(count);
      const double fitting = (cell - 2) / (0.58 * static_cast<double>(number.size()));
      label(x + cell / 2, top + middle, std::min(text, fitting),
            fmt::format("{} fill=\"{}\"", kMiddle, shade > 0.6 ? "#fff" : "#222"), number);
    }
  }
  out += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"none\" "
      "stroke=\"#222\"/>\n</svg>\n",
      left, top, side, side);
  return out;
}

}  // namespace resnet

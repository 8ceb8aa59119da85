// Going over all images once: statistics, and what is wrong with them.
#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "core/guard.h"
#include "data/parallel_for.h"
#include "data/readable.h"
#include "resnet/data.h"

namespace resnet {
namespace {

std::uint64_t hash_of(const Image& image) {
  const std::string_view bytes(reinterpret_cast<const char*>(image.pixels.data()),
                               image.pixels.size());
  return std::hash<std::string_view>{}(bytes) ^ (static_cast<std::uint64_t>(image.width) << 32 |
                                                 static_cast<std::uint32_t>(image.channels));
}

bool same_pixels(const Image& a, const Image& b) {
  return a.width == b.width && a.height == b.height && a.channels == b.channels &&
         a.pixels == b.pixels;
}

struct Examined {
  PartReport report;
  std::vector<std::uint64_t> hashes;  // by index; of readable images
  std::vector<bool> readable;
  std::vector<char> clipped;
};

Examined examine(const Dataset& dataset, int threads, Scale16Bit scale) {
  const auto n = static_cast<std::size_t>(dataset.size());
  Examined result;
  PartReport& report = result.report;
  report.class_counts.resize(dataset.class_names().size());
  result.hashes.resize(n);
  result.readable.assign(n, true);
  result.clipped.assign(n, 0);
  std::vector<Image> images(static_cast<std::size_t>(std::max(1, threads)));
  std::mutex mutex;
  parallel_for(dataset.size(), threads, [&](std::int64_t i, std::size_t worker) {
    Image& image = images[worker];
    std::string reason;
    const bool ok = try_image(reason, [&] { dataset.read_part(i, {.scale_16bit = scale}, image); });
    const std::uint64_t hash = ok ? hash_of(image) : 0;
    const std::lock_guard lock(mutex);
    const auto index = static_cast<std::size_t>(i);
    ++report.class_counts[static_cast<std::size_t>(dataset.label(i))];
    result.hashes[index] = hash;
    result.readable[index] = ok;
    if (!ok) {
      report.bad.push_back({i, dataset.name(i), without_name(reason, dataset.name(i))});
      return;
    }
    result.clipped[index] = image.clipped ? 1 : 0;
    ImageSize& low = report.smallest;
    ImageSize& high = report.largest;
    if (low.width == 0) low = {image.width, image.height};
    low = {std::min(low.width, image.width), std::min(low.height, image.height)};
    high = {std::max(high.width, image.width), std::max(high.height, image.height)};
  });
  for (std::size_t i = 0; i < n; ++i) {
    if (result.clipped[i] != 0) report.clipped.add(dataset.name(static_cast<std::int64_t>(i)));
  }
  std::sort(report.bad.begin(), report.bad.end(),
            [](const BadImage& a, const BadImage& b) { return a.index < b.index; });
  return result;
}

}  // namespace

Statistics measure_statistics(const Dataset& dataset, int threads, Scale16Bit scale_16bit) try {
  using Histograms = std::array<std::array<std::uint64_t, 256>, 3>;
  struct Worker {
    Image image;
    Histograms counts{};
    std::int64_t images = 0;
    std::int64_t unreadable = 0;
  };
  std::vector<Worker> workers(static_cast<std::size_t>(std::max(1, threads)));
  std::vector<char> clipped(static_cast<std::size_t>(dataset.size()));
  parallel_for(dataset.size(), threads, [&](std::int64_t i, std::size_t which) {
    Worker& w = workers[which];
    std::string reason;
    if (!try_image(reason, [&] { dataset.read_part(i, {.scale_16bit = scale_16bit}, w.image); })) {
      ++w.unreadable;
      return;
    }
    ++w.images;
    if (w.image.clipped) clipped[static_cast<std::size_t>(i)] = 1;
    const auto channels = static_cast<std::size_t>(w.image.channels);
    const std::vector<std::uint8_t>& pixels = w.image.pixels;
    for (std::size_t at = 0; at < pixels.size(); at += channels) {
      for (std::size_t c = 0; c < 3; ++c) ++w.counts[c][pixels[at + (channels >= 3 ? c : 0)]];
    }
  });

  Statistics statistics;
  Histograms total{};
  for (const Worker& w : workers) {
    statistics.images += w.images;
    statistics.unreadable += w.unreadable;
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t v = 0; v < 256; ++v) total[c][v] += w.counts[c][v];
    }
  }
  for (std::size_t i = 0; i < clipped.size(); ++i) {
    if (clipped[i] != 0) statistics.clipped.add(dataset.name(static_cast<std::int64_t>(i)));
  }
  if (statistics.images == 0) {
    fail(ErrorCode::kBadData,
         "none of {} images can be read, so there is no mean to measure; see `resnet data check`",
         dataset.size());
  }
  for (std::size_t c = 0; c < 3; ++c) {
    std::uint64_t count = 0;
    std::uint64_t sum = 0;  // exact up to 7e16 pixels
    for (std::size_t v = 0; v < 256; ++v) {
      count += total[c][v];
      sum += v * total[c][v];
    }
    const double mean = static_cast<double>(sum) / static_cast<double>(count);
    double squares = 0;
    for (std::size_t v = 0; v < 256; ++v) {
      const double d = static_cast<double>(v) - mean;
      squares += d * d * static_cast<double>(total[c][v]);
    }
    statistics.mean[c] = mean / 255.0;
    statistics.std[c] = std::sqrt(squares / static_cast<double>(count)) / 255.0;
  }
  return statistics;
} catch (...) {
  throw_as_error();
}

DataReport check_data(const DataSplits& splits, int threads, Scale16Bit scale_16bit) try {
  const Examined train = examine(*splits.train, threads, scale_16bit);
  const Examined val = examine(*splits.val, threads, scale_16bit);
  DataReport report{train.report, val.report, {}};

  std::unordered_multimap<std::uint64_t, std::int64_t> known;
  for (std::size_t i = 0; i < train.hashes.size(); ++i) {
    if (train.readable[i]) known.emplace(train.hashes[i], static_cast<std::int64_t>(i));
  }
  for (std::size_t i = 0; i < val.hashes.size(); ++i) {
    if (!val.readable[i]) continue;
    const auto index = static_cast<std::int64_t>(i);
    auto [it, end] = known.equal_range(val.hashes[i]);
    if (it == end) continue;
    const auto read = [&](const Dataset& part, std::int64_t which) {
      Image image;
      part.read_part(which, {.scale_16bit = scale_16bit}, image);
      return image;
    };
    const Image image = read(*splits.val, index);
    std::int64_t twin = -1;  // the first of several, whatever the order of the map
    for (; it != end; ++it) {
      if ((twin < 0 || it->second < twin) && same_pixels(image, read(*splits.train, it->second))) {
        twin = it->second;
      }
    }
    if (twin >= 0) report.duplicates.push_back({splits.train->name(twin), splits.val->name(index)});
  }
  return report;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

// Whole networks against PyTorch: the formula of weights and images, and the golden files that
// make_golden.py wrote. README.md in this folder documents the format.
//
//   const golden::Network g = golden::load(RESNET_SOURCE_DIR "/tests/golden/resnet20.json");
//   golden::fill("conv1.weight", shape, tensor.as<float>());   // every parameter and running
//   statistic golden::fill(g.image, {g.batch, 3, g.image_size, g.image_size}, image.as<float>());
//   EXPECT_EQ(golden::compare("conv1.weight", gradient.as<float>(), g.gradients.at("conv1.weight"),
//                             g.gradients_error), "");
#pragma once

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace resnet::golden {

// --- The formula: every operation is exact or rounds once, so Python computes the same bits. ---

constexpr std::uint64_t fnv1a64(std::string_view text) {
  std::uint64_t value = 0xCBF29CE484222325ULL;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return value;
}

constexpr std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// Element i of the stream of a name: in [-1, 1), a multiple of 2^-23.
constexpr double unit(std::uint64_t hash, std::uint64_t i) {
  return static_cast<double>(splitmix64(hash + i) >> 40) * 0x1p-23 - 1.0;
}

/// The golden value of a tensor, by its name and shape, in row-major order.
inline void fill(std::string_view name, std::span<const std::int64_t> shape, std::span<float> out) {
  const std::uint64_t hash = fnv1a64(name);
  const bool weight = name.ends_with(".weight");
  double fan_in = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) fan_in *= static_cast<double>(shape[d]);
  const double bound = std::sqrt(6.0 / fan_in);  // He uniform
  for (std::size_t i = 0; i < out.size(); ++i) {
    const double u = unit(hash, i);
    double v = u;  // images
    if (weight && shape.size() >= 2) {
      v = bound * u;
    } else if (weight) {  // gamma
      v = 0.375 + u / 32;
    } else if (name.ends_with(".running_var")) {
      v = 1 + u / 2;
    } else if (name.ends_with(".running_mean") || name == "fc.bias") {
      v = u / 8;
    } else if (name.ends_with(".bias")) {  // beta
      v = (i % 4 == 3 ? -1.0 : 1.0) + u / 8;
    }
    out[i] = static_cast<float>(v);
  }
}

/// Class of each image.
inline std::vector<std::int64_t> labels(std::size_t batch, std::uint64_t classes) {
  std::vector<std::int64_t> out(batch);
  for (std::size_t i = 0; i < batch; ++i) {
    out[i] = static_cast<std::int64_t>((splitmix64(fnv1a64("label") + i) >> 40) % classes);
  }
  return out;
}

// --- The files. ---

/// A few numbers: PyTorch in f64, PyTorch in f32, and the largest difference of its f32 runs.
struct Values {
  std::vector<double> values;
  std::vector<double> float32;
  double error = 0;
};

/// What is kept of a tensor computed in f64.
struct Summary {
  std::size_t count = 0;
  double norm = 0;                     ///< L2
  double probe = 0;                    ///< sum of x[i] * unit(fnv1a64(name + ".probe"), i)
  std::array<double, 8> samples = {};  ///< x at splitmix64(fnv1a64(name + ".at") + k) % count
  double error_l2 = 0;   ///< largest |f32 - f64| / |f64| (L2 norms) of PyTorch's f32 runs
  double error_max = 0;  ///< largest |f32 - f64| of an element in PyTorch's f32 runs
};
using Summaries = std::map<std::string, Summary>;

struct Network {
  std::string network;
  std::int64_t classes = 0;
  std::int64_t batch = 0;
  std::int64_t image_size = 0;
  std::string image;                 ///< name to `fill` the image by: f32 [n, 3, side, side]
  std::vector<std::int64_t> labels;  ///< [n]
  double relu_margin = 0;            ///< smallest |x| before any ReLU of the training pass
  double lr = 0, momentum = 0, weight_decay = 0;
  std::map<std::string, std::vector<double>> formula;  ///< first 4 values of a few tensors; last 4
                                                       ///< of the image
  Values eval_logits;      ///< with the running statistics, [n, classes]
  Values training_logits;  ///< with the batch's, [n, classes]
  Values losses;           ///< before each of ten steps of SGD on the same batch
  Summaries gradients;     ///< of the first loss, by parameter
  Summaries running;       ///< running statistics after the first step
  Summaries updates;       ///< parameter after ten steps minus parameter before
  double gradients_error = 0, running_error = 0, updates_error = 0;  ///< medians of error_l2
};

inline Network load(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot open the golden file " + path);
  const nlohmann::json j = nlohmann::json::parse(file);
  if (j.at("format") != "resnet-golden-1") throw std::runtime_error("unknown format: " + path);

  const auto values = [&j](const char* key) {
    const nlohmann::json& v = j.at(key);
    return Values{v.at("values").get<std::vector<double>>(),
                  v.at("float32").get<std::vector<double>>(), v.at("error").get<double>()};
  };
  const auto summaries = [&j](const char* key) {
    Summaries out;
    for (const auto& [name, s] : j.at(key).items()) {
      out[name] = {s.at("count").get<std::size_t>(), s.at("norm").get<double>(),
                   s.at("probe").get<double>(),      s.at("samples").get<std::array<double, 8>>(),
                   s.at("error_l2").get<double>(),   s.at("error_max").get<double>()};
    }
    return out;
  };
  const auto median_error = [](const Summaries& all) {
    std::vector<double> errors;
    for (const auto& [name, s] : all) errors.push_back(s.error_l2);
    const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
    std::nth_element(errors.begin(), middle, errors.end());
    return *middle;
  };

  Network g;
  j.at("network").get_to(g.network);
  j.at("classes").get_to(g.classes);
  j.at("batch").get_to(g.batch);
  j.at("image_size").get_to(g.image_size);
  j.at("image").get_to(g.image);
  j.at("labels").get_to(g.labels);
  j.at("relu_margin").get_to(g.relu_margin);
  j.at("sgd").at("lr").get_to(g.lr);
  j.at("sgd").at("momentum").get_to(g.momentum);
  j.at("sgd").at("weight_decay").get_to(g.weight_decay);
  j.at("formula").get_to(g.formula);
  g.eval_logits = values("eval_logits");
  g.training_logits = values("training_logits");
  g.losses = values("losses");
  g.gradients = summaries("gradients");
  g.running = summaries("running");
  g.updates = summaries("updates");
  g.gradients_error = median_error(g.gradients);
  g.running_error = median_error(g.running);
  g.updates_error = median_error(g.updates);
  return g;
}

// --- Comparison. ---

/// How many times PyTorch's own f32 error another f32 implementation may show; README.md derives
/// it.
inline constexpr double kFactor = 10;
/// Relative rounding error of one f32 operation.
inline constexpr double kEps = 0x1p-24;

/// Empty if the tensor agrees with its summary, else a line that says what differs. `typical_error`
/// is the median of the group (Network::gradients_error): the error of one tensor is one draw and
/// may be small by luck. For a computation in f64 on the reference device give `factor` = 0: then
/// the tolerance is 1e-9.
template <class T>
std::string compare(const std::string& name, std::span<const T> x, const Summary& golden,
                    double typical_error, double factor = kFactor) {
  if (x.size() != golden.count) {
    return name + ": " + std::to_string(x.size()) + " elements, expected " +
           std::to_string(golden.count);
  }
  const double relative =
      factor > 0 ? factor * std::max({golden.error_l2, typical_error, kEps}) : 1e-9;
  const double rms = golden.norm / std::sqrt(static_cast<double>(golden.count));
  // An element may err more than the rms error; so much more as PyTorch's did, or 4 sigma.
  const double element =
      factor > 0 ? std::max(factor * golden.error_max, 4 * relative * rms) : relative * golden.norm;
  const auto differs = [&name](const std::string& what, double found, double expected,
                               double allowed) -> std::string {
    if (std::abs(found - expected) <= allowed) return "";  // false for NaN
    char line[160];
    std::snprintf(line, sizeof line, ": %s is %.9g, expected %.9g; differs by %.2e, allowed %.2e",
                  what.c_str(), found, expected, std::abs(found - expected), allowed);
    return name + line;
  };

  double sum = 0, probe = 0;
  const std::uint64_t hash = fnv1a64(name + ".probe");
  for (std::size_t i = 0; i < x.size(); ++i) {
    const auto v = static_cast<double>(x[i]);
    sum += v * v;
    probe += v * unit(hash, i);
  }
  const double allowed = relative * golden.norm;
  if (auto d = differs("norm", std::sqrt(sum), golden.norm, allowed); !d.empty()) return d;
  // |sum d u| is about |d| / sqrt(3) for independent errors, at most |d| |u|.
  if (auto d = differs("probe", probe, golden.probe, 2 * allowed); !d.empty()) return d;
  const std::uint64_t at = fnv1a64(name + ".at");
  for (std::size_t k = 0; k < golden.samples.size(); ++k) {
    const std::size_t i = splitmix64(at + k) % x.size();
    auto d = differs("element " + std::to_string(i), static_cast<double>(x[i]), golden.samples[k],
                     element);
    if (!d.empty()) return d;
  }
  return "";
}

/// The tolerance of single numbers such as logits and losses.
inline double tolerance(const Values& golden, double factor = kFactor) {
  double largest = 0;
  for (const double v : golden.values) largest = std::max(largest, std::abs(v));
  return factor > 0 ? factor * std::max(golden.error, 4 * kEps * largest) : 1e-9 * largest;
}

}  // namespace resnet::golden

#include "support/tolerance.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "backends/reference/reference.h"
#include "core/check.h"
#include "support/executor.h"

namespace resnet::test {
namespace {

// Below the smallest normal number f32 may flush to zero; a few such steps are no error.
constexpr double kTiny = 0x1p-120;
constexpr double kExp = 8;  // E of rule 5

using Spans = std::vector<std::span<const double>>;

/// The node under test with what the rules need.
struct Site {
  const Graph& graph;
  const Node& node;
  const std::vector<Tensor>& inputs;
  const std::vector<Tensor>& results;
  bool winograd;

  template <class T>
  const T& attributes() const {
    return std::get<T>(node.attributes);
  }
  std::span<const double> in(std::size_t i) const { return inputs[i].as<double>(); }
  std::span<const double> result(std::size_t i) const { return results[i].as<double>(); }
  const Shape& shape(std::size_t i) const { return inputs[i].shape(); }

  /// The reference op on other inputs, without ReLU.
  std::vector<Tensor> run(const std::vector<Tensor>& with) const {
    Node plain = node;
    if (auto* a = std::get_if<ConvAttributes>(&plain.attributes)) a->relu = false;
    const auto reference = make_reference_target();
    return run_node(*reference, graph, plain, with);
  }
};

Tensor map(const Tensor& t, double (*f)(double)) {
  if (t.dtype() != DType::kF64) return t;
  Tensor result = t.clone();
  for (double& v : result.as<double>()) v = f(v);
  return result;
}
Tensor absolute(const Tensor& t) {
  return map(t, [](double v) { return std::abs(v); });
}
Tensor negative(const Tensor& t) {
  return map(t, [](double v) { return -std::abs(v); });
}
Tensor scaled(const Tensor& t, double factor) {
  Tensor result = t.clone();
  for (double& v : result.as<double>()) v = std::abs(v) * factor + (factor > 0 ? kTiny : 0);
  return result;
}
Tensor zeros_like(const Tensor& t) { return Tensor::zeros(DType::kF64, t.shape()); }

bool power_of_two(double v) {
  int exponent = 0;
  return std::frexp(v, &exponent) == 0.5;
}

/// Rule 1: gamma(k) times the op on absolute values; 0 for integers whose sums stay exact.
/// Division by a power of two (`divisor`) rounds no integer either.
std::vector<Tensor> sum_of_products(const Site& s, double k, double divisor = 1) {
  std::vector<Tensor> magnitudes;
  bool integers = power_of_two(divisor);
  for (const Tensor& t : s.inputs) {
    magnitudes.push_back(absolute(t));
    if (t.dtype() != DType::kF64) continue;
    for (const double v : t.as<double>()) integers = integers && v == std::floor(v);
  }
  std::vector<Tensor> bounds;
  for (const Tensor& t : s.run(magnitudes)) {
    double largest = 0;
    for (const double v : t.as<double>()) largest = std::max(largest, v);
    const bool exact = integers && largest * divisor < 0x1p24;
    bounds.push_back(scaled(t, exact ? 0 : gamma_k(k)));
  }
  return bounds;
}

/// Rule 1 for formulas whose terms have the signs `flip` gives the inputs (true: negative).
std::vector<Tensor> signed_sum(const Site& s, double k, const std::vector<std::size_t>& flip) {
  std::vector<Tensor> magnitudes;
  for (std::size_t i = 0; i < s.inputs.size(); ++i) {
    const bool minus = std::find(flip.begin(), flip.end(), i) != flip.end();
    magnitudes.push_back(minus ? negative(s.inputs[i]) : absolute(s.inputs[i]));
  }
  std::vector<Tensor> bounds = s.run(magnitudes);
  for (Tensor& t : bounds) t = scaled(t, gamma_k(k));
  return bounds;
}

std::vector<Tensor> equal(const Site& s) {
  std::vector<Tensor> bounds;
  for (const Tensor& t : s.results) bounds.push_back(zeros_like(t));
  return bounds;
}

/// A relative error of k roundings of every result.
std::vector<Tensor> relative(const Site& s, double k) {
  std::vector<Tensor> bounds;
  for (const Tensor& t : s.results) bounds.push_back(scaled(t, gamma_k(k)));
  return bounds;
}

double max_abs(std::span<const double> v, std::int64_t first, std::int64_t count) {
  double m = 0;
  for (std::int64_t i = first; i < first + count; ++i) {
    m = std::max(m, std::abs(v[static_cast<std::size_t>(i)]));
  }
  return m;
}

/// Rule 7: adds the Winograd bound where a kernel of that kind exists (3x3, stride 1).
void allow_winograd(const Site& s, const Shape& x, const Shape& w, std::vector<Tensor>& bounds) {
  const auto& a = s.attributes<ConvAttributes>();
  const bool possible = w[2] == 3 && w[3] == 3 && a.stride_h == 1 && a.stride_w == 1 &&
                        a.dilation_h == 1 && a.dilation_w == 1 && a.groups == 1;
  if (!s.winograd || !possible) return;
  constexpr double kC = 3700;
  const Shape& out = bounds[0].shape();
  auto b = bounds[0].as<double>();
  const std::int64_t inner = out[2] * out[3];
  if (s.node.op == Op::kConv2dBackwardWeights) {
    // F(3, 4): one product for each image and tile.
    const Shape& dy = s.shape(1);
    const auto tiles = static_cast<double>(((dy[2] + 3) / 4) * ((dy[3] + 3) / 4));
    for (std::int64_t m = 0; m < w[0]; ++m) {
      for (std::int64_t c = 0; c < w[1]; ++c) {
        double sum = 0;
        for (std::int64_t n = 0; n < x[0]; ++n) {
          sum += max_abs(s.in(0), (n * x[1] + c) * x[2] * x[3], x[2] * x[3]) *
                 max_abs(s.in(1), (n * dy[1] + m) * dy[2] * dy[3], dy[2] * dy[3]);
        }
        const double k = static_cast<double>(x[0]) * tiles + 24;
        for (std::int64_t i = 0; i < inner; ++i) {
          b[static_cast<std::size_t>((m * w[1] + c) * inner + i)] += gamma_k(k) * kC * sum * tiles;
        }
      }
    }
    return;
  }
  const bool forward = s.node.op == Op::kConv2d;
  const auto data = s.in(0);
  const Shape& d = s.shape(0);
  const std::int64_t terms = forward ? w[1] : w[0];
  for (std::int64_t n = 0; n < out[0]; ++n) {
    for (std::int64_t o = 0; o < out[1]; ++o) {
      double sum = 0;
      for (std::int64_t c = 0; c < terms; ++c) {
        const std::int64_t kernel = forward ? o * w[1] + c : c * w[1] + o;
        sum += max_abs(data, (n * d[1] + c) * d[2] * d[3], d[2] * d[3]) *
               max_abs(s.in(1), kernel * 9, 9);
      }
      for (std::int64_t i = 0; i < inner; ++i) {
        b[static_cast<std::size_t>((n * out[1] + o) * inner + i)] +=
            gamma_k(static_cast<double>(terms) + 24) * kC * sum;
      }
    }
  }
}

/// Calls f(i) for every element of channel c of [n, channels, h, w] data.
template <class F>
void each_in_channel(const Shape& s, std::int64_t c, F&& f) {
  for (std::int64_t n = 0; n < s[0]; ++n) {
    for (std::int64_t i = 0; i < s[2] * s[3]; ++i) {
      f(static_cast<std::size_t>((n * s[1] + c) * s[2] * s[3] + i));
    }
  }
}

/// Rules 2 and 3.
std::vector<Tensor> norm_forward(const Site& s) {
  const auto& a = s.attributes<NormAttributes>();
  const bool batch = s.node.op == Op::kBatchNorm;
  const Shape& shape = s.shape(0);
  const auto x = s.in(0), gamma = s.in(1), beta = s.in(2);
  const auto mean = batch ? s.result(1) : s.in(3), var = batch ? s.result(2) : s.in(4);
  const auto m = static_cast<double>(shape[0] * shape[2] * shape[3]);
  std::vector<Tensor> bounds = equal(s);
  for (std::int64_t channel = 0; channel < shape[1]; ++channel) {
    const auto c = static_cast<std::size_t>(channel);
    double dm = 0, dv = 0;
    if (batch) {
      double sum = 0;
      each_in_channel(shape, channel, [&](std::size_t i) { sum += std::abs(x[i]); });
      dm = gamma_k(m + 2) * sum / m;
      const double first = x[static_cast<std::size_t>(channel * shape[2] * shape[3])];
      const double q = std::abs(mean[c] - first), squares = var[c] + q * q;
      dv = gamma_k(m + 5) * (squares + dm * dm) + gamma_k(2 * m + 6) * q * std::sqrt(squares) +
           dm * dm;
      bounds[1].as<double>()[c] = dm + kTiny;
      bounds[2].as<double>()[c] = dv + kTiny;
    }
    const double r = 1 / std::sqrt(var[c] + a.eps);
    const double rr = 1 / std::sqrt(1 - std::min(0.99, dv * r * r)) - 1 + 4 * kUnit;
    each_in_channel(shape, channel, [&](std::size_t i) {
      const double g = std::abs(gamma[c]) * r;
      const double residual = a.residual ? std::abs(s.in(batch ? 3 : 5)[i]) : 0;
      bounds[0].as<double>()[i] =
          g * (std::abs(x[i] - mean[c]) * rr + dm * (1 + rr)) +
          gamma_k(8) * (g * (std::abs(x[i]) + std::abs(mean[c])) + std::abs(beta[c]) + residual) +
          kTiny;
    });
  }
  return bounds;
}

/// Rule 4.
std::vector<Tensor> norm_backward(const Site& s) {
  const auto& a = s.attributes<NormAttributes>();
  const bool batch = s.node.op == Op::kBatchNormBackward;
  const bool stored_sum =
      s.graph.type(s.node.inputs[0]).dtype == DType::kBF16 && a.residual && a.second_gradient;
  const std::size_t first = a.second_gradient ? 2 : 1;
  const Shape& shape = s.shape(0);
  const auto x = s.in(first), gamma = s.in(first + 1), beta = s.in(first + 2);
  const auto mean = s.in(first + 3), var = s.in(first + 4);
  const auto m = static_cast<double>(shape[0] * shape[2] * shape[3]);
  std::vector<Tensor> bounds = equal(s);
  for (std::int64_t channel = 0; channel < shape[1]; ++channel) {
    const auto c = static_cast<std::size_t>(channel);
    const double r = 1 / std::sqrt(var[c] + a.eps);
    const auto g = [&](std::size_t i) {
      double z = 1;
      if (a.relu) z = a.residual ? s.in(first + 5)[i] : gamma[c] * (x[i] - mean[c]) * r + beta[c];
      if (z <= 0) return 0.0;
      return std::abs(s.in(0)[i]) + (a.second_gradient ? std::abs(s.in(1)[i]) : 0.0);
    };
    const auto xhat = [&](std::size_t i) { return r * (std::abs(x[i]) + std::abs(mean[c])); };
    double sum = 0, weighted = 0;
    each_in_channel(shape, channel, [&](std::size_t i) {
      sum += g(i);
      weighted += g(i) * xhat(i);
    });
    const double db = gamma_k(m + 2) * sum, dg = gamma_k(m + 8) * weighted;
    bounds[1].as<double>()[c] = dg + kTiny;
    bounds[2].as<double>()[c] = db + kTiny;
    const double dgamma = std::abs(s.result(1)[c]), dbeta = std::abs(s.result(2)[c]);
    each_in_channel(shape, channel, [&](std::size_t i) {
      double b = gamma_k(12) * g(i);
      if (stored_sum) b += kBf16Unit * g(i);
      if (batch) b += gamma_k(12) * (dbeta + xhat(i) * dgamma) / m + db / m + xhat(i) * dg / m;
      bounds[0].as<double>()[i] = std::abs(gamma[c]) * r * b + kTiny;
      if (a.residual) bounds[3].as<double>()[i] = a.second_gradient ? gamma_k(1) * g(i) : 0;
    });
  }
  return bounds;
}

/// Rule 5.
std::vector<Tensor> softmax(const Site& s) {
  const bool loss = s.node.op == Op::kSoftmaxCrossEntropy;
  const std::int64_t n = s.shape(0)[0], c = s.shape(0)[1];
  const double smoothing = loss ? s.attributes<LossAttributes>().label_smoothing : 0;
  const bool weighted = loss && s.inputs.size() == 3;
  const auto p = s.result(loss ? 1 : 0);
  std::vector<Tensor> bounds = equal(s);
  double error = 0, denominator = 0;
  for (std::int64_t row = 0; row < n; ++row) {
    const auto first = static_cast<std::size_t>(row * c);
    const auto z = s.in(0).subspan(first, static_cast<std::size_t>(c));
    const double largest = *std::max_element(z.begin(), z.end());
    double total = 0, ds = gamma_k(static_cast<double>(c));
    for (std::size_t k = 0; k < z.size(); ++k) {
      total += std::exp(z[k] - largest);
      ds += p[first + k] * (std::abs(z[k] - largest) + kExp) * kUnit;
    }
    for (std::size_t k = 0; k < z.size(); ++k) {
      const double d = std::abs(z[k] - largest);
      bounds[loss ? 1 : 0].as<double>()[first + k] =
          p[first + k] * (d * kUnit + (kExp + 2) * kUnit + ds) + kTiny;
      if (!loss) continue;
      const double t = s.in(1)[first + k];
      const double w = weighted ? s.in(2)[k] : 1;
      const double target = w * ((1 - smoothing) * t + smoothing / static_cast<double>(c));
      error += target * (gamma_k(static_cast<double>(n * c) + 8) * (std::log(total) + d) + ds +
                         kExp * kUnit);
      denominator += weighted ? w * t : 1 / static_cast<double>(c);
    }
  }
  if (loss && denominator == 0) {  // no target has a weight: 0 exactly
    bounds[0].as<double>()[0] = 0;
  } else if (loss) {
    bounds[0].as<double>()[0] = error / denominator +
                                gamma_k(static_cast<double>(n * c) + 2) * std::abs(s.result(0)[0]) +
                                kTiny;
  }
  return bounds;
}

std::vector<Tensor> loss_backward(const Site& s) {
  const std::int64_t n = s.shape(1)[0], c = s.shape(1)[1];
  const double smoothing = s.attributes<LossAttributes>().label_smoothing;
  const bool weighted = s.inputs.size() == 4;
  const auto p = s.in(1), t = s.in(2);
  const auto a = [&](std::size_t i) {
    const double w = weighted ? s.in(3)[i % static_cast<std::size_t>(c)] : 1;
    return w * ((1 - smoothing) * t[i] + smoothing / static_cast<double>(c));
  };
  double denominator = weighted ? 0 : static_cast<double>(n);
  for (std::size_t i = 0; weighted && i < t.size(); ++i) {
    denominator += s.in(3)[i % static_cast<std::size_t>(c)] * t[i];
  }
  std::vector<Tensor> bounds = equal(s);
  if (denominator == 0) return bounds;
  const double k = gamma_k(static_cast<double>(n * c + c) + 8) * std::abs(s.in(0)[0]) / denominator;
  for (std::size_t i = 0; i < t.size(); ++i) {
    const std::size_t row = i - i % static_cast<std::size_t>(c);
    double sum = 0;
    for (std::size_t j = row; j < row + static_cast<std::size_t>(c); ++j) sum += a(j);
    bounds[0].as<double>()[i] = k * (p[i] * sum + a(i)) + kTiny;
  }
  return bounds;
}

/// Optimizers: rule 1 on a step that adds to the weight, |w| + |lr| |step|. Rule 6 for LARS.
std::vector<Tensor> optimizer(const Site& s) {
  const bool adam = s.node.op == Op::kAdamW, lars = s.node.op == Op::kLars;
  const std::size_t last = adam ? 6 : 4;
  if (s.inputs.size() > last && s.in(last)[0] == 0) return equal(s);  // nothing may change
  const auto size = static_cast<double>(s.inputs[0].size());
  if (lars) return signed_sum(s, size + 24, {1, 3});  // v = momentum v + lr ...: both negative
  return signed_sum(s, 24, {adam ? 4U : 3U});
}

/// Rule 8.
std::vector<Tensor> quantized(const Site& s) {
  // The reference with real results in units of y, and the same on absolute values.
  const auto& a = s.attributes<QuantizedAttributes>();
  Node real = s.node;
  auto& r = std::get<QuantizedAttributes>(real.attributes);
  r.dtype = real.outputs[0].dtype = DType::kF32;
  if (a.dtype != DType::kF32) {
    for (float& w : r.w_scales) w /= a.y_scale;
  }
  Graph graph;
  std::vector<Value> sources;
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < s.inputs.size(); ++i) {
    TensorType type = s.graph.type(s.node.inputs[i]);
    Tensor t = s.inputs[i].cast(DType::kF64);
    if (i == 3 && a.dtype != DType::kF32) {  // a residual of integers, in units of y
      type.dtype = DType::kF32;
      for (double& v : t.as<double>()) v *= static_cast<double>(a.residual_scale) / a.y_scale;
    }
    sources.push_back(graph.input(fmt::format("{}", i), type.shape, type.dtype));
    inputs.push_back(t);
  }
  real.inputs = sources;
  const auto reference = make_reference_target();
  const Tensor y = run_node(*reference, graph, real, inputs)[0];  // not yet rounded
  Graph magnitudes;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    inputs[i] = absolute(inputs[i]);
    TensorType type = graph.type(sources[i]);
    if (i == 0 && type.dtype == DType::kI8) type.dtype = DType::kU8;  // |-128| = 128
    real.inputs[i] = magnitudes.input(fmt::format("{}", i), type.shape, type.dtype);
  }
  const Tensor magnitude = run_node(*reference, magnitudes, real, inputs)[0];
  Tensor bound = scaled(magnitude, gamma_k(12));
  if (a.dtype != DType::kF32) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(y.size()); ++i) {
      const double v = y.as<double>()[i];
      const double to_tie = std::abs(v - std::floor(v) - 0.5);
      double& b = bound.as<double>()[i];
      b = to_tie <= b ? 1 : 0;
    }
  }
  return {bound};
}

}  // namespace

double winograd_rms(const Graph& graph, const Node& node) {
  constexpr double kA = 4.78, kB = 20.0;
  const Shape &x = graph.shape(node.inputs[0]), &second = graph.shape(node.inputs[1]);
  std::int64_t terms = node.op == Op::kConv2d ? second[1] : second[0];
  if (node.op == Op::kConv2dBackwardWeights) {
    terms = x[0] * ((second[2] + 3) / 4) * ((second[3] + 3) / 4);
  }
  const double sums = (static_cast<double>(terms) + 3) / 2;
  return kUnit / std::sqrt(3) * std::sqrt((16 + sums) * kA * kA + 8 * (kB * kA + kB) + 2);
}

std::vector<Tensor> error_bounds(const Graph& graph, const Node& node,
                                 const std::vector<Tensor>& inputs,
                                 const std::vector<Tensor>& results, bool winograd) {
  const Site s{graph, node, inputs, results, winograd};
  const auto count = [](const Shape& shape, std::size_t first = 0) {
    return static_cast<double>(
        element_count(Shape(shape.begin() + static_cast<std::ptrdiff_t>(first), shape.end())));
  };
  switch (node.op) {
    case Op::kInput:
    case Op::kParameter: break;
    case Op::kRelu:
    case Op::kReluBackward:
    case Op::kMaxPool:
    case Op::kReshape:
    case Op::kPadShortcut:
    case Op::kPadShortcutBackward:
    case Op::kConcat:
    case Op::kSliceChannels:
    case Op::kClear:
    case Op::kCast:
    case Op::kQuantize: return equal(s);
    case Op::kDequantize: return relative(s, 1);
    case Op::kQuantizedConv2d:
    case Op::kQuantizedLinear: return quantized(s);
    case Op::kFill: return relative(s, 1);
    case Op::kScale: return relative(s, 2);  // the factor is rounded, and the product

    case Op::kConv2d: {
      auto bounds = sum_of_products(s, count(s.shape(1), 1) + 2);
      allow_winograd(s, s.shape(0), s.shape(1), bounds);
      return bounds;
    }
    case Op::kConv2dBackwardData: {
      const Shape& w = s.shape(1);
      auto bounds = sum_of_products(s, static_cast<double>(w[0] * w[2] * w[3]));
      allow_winograd(s, results[0].shape(), w, bounds);
      return bounds;
    }
    case Op::kConv2dBackwardWeights: {
      const Shape& y = s.shape(1);
      auto bounds = sum_of_products(s, static_cast<double>(y[0] * y[2] * y[3]));
      allow_winograd(s, s.shape(0), results[0].shape(), bounds);
      return bounds;
    }
    case Op::kChannelSum:
      return sum_of_products(s, count(s.shape(0)) / static_cast<double>(s.shape(0)[1]));
    case Op::kLinear: return sum_of_products(s, static_cast<double>(s.shape(0)[1]) + 1);
    case Op::kLinearBackwardData: return sum_of_products(s, static_cast<double>(s.shape(0)[1]));
    case Op::kLinearBackwardWeights: return sum_of_products(s, static_cast<double>(s.shape(0)[0]));
    case Op::kAdd:
    case Op::kMul: return sum_of_products(s, 1);
    case Op::kMaxPoolBackward:
    case Op::kAvgPool:
    case Op::kAvgPoolBackward: {
      const auto& a = s.attributes<PoolAttributes>();
      const auto window = static_cast<double>(a.kernel_h * a.kernel_w);
      if (node.op == Op::kMaxPoolBackward) return sum_of_products(s, window);
      return sum_of_products(s, window + 2, a.count_padding ? window : 3);
    }
    case Op::kGlobalAvgPool:
    case Op::kGlobalAvgPoolBackward: {
      if (!is_floating(s.graph.type(node.inputs[0]).dtype)) return relative(s, 4);
      const Shape& x = node.op == Op::kGlobalAvgPool ? s.shape(0) : results[0].shape();
      const auto area = static_cast<double>(x[2] * x[3]);
      return sum_of_products(s, area + 2, area);
    }
    case Op::kDropout: return relative(s, 3);
    case Op::kAccumulate: return sum_of_products(s, 3, 1 / s.attributes<UpdateAttributes>().scale);
    case Op::kRunningAverage: return signed_sum(s, 6, {});
    case Op::kFoldWeights: return relative(s, 8);
    case Op::kFoldBias: return signed_sum(s, 10, {2});

    case Op::kSigmoid: return relative(s, kExp + 4);
    case Op::kSigmoidBackward: return relative(s, 4);
    case Op::kBatchNorm:
    case Op::kNormalize: return norm_forward(s);
    case Op::kBatchNormBackward:
    case Op::kNormalizeBackward: return norm_backward(s);
    case Op::kSoftmax:
    case Op::kSoftmaxCrossEntropy: return softmax(s);
    case Op::kSoftmaxCrossEntropyBackward: return loss_backward(s);
    case Op::kSgd:
    case Op::kAdamW:
    case Op::kLars: return optimizer(s);
    case Op::kClipScale: {
      double elements = 0;
      for (const Tensor& t : inputs) elements += static_cast<double>(t.size());
      return relative(s, elements + 8);
    }
  }
  throw std::logic_error(fmt::format("no error bound for {}", name_of(node.op)));
}

}  // namespace resnet::test

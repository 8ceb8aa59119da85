// Softmax and its cross-entropy with label smoothing (Szegedy et al., CVPR 2016, section 7), soft
// targets and class weights.
//
// With t' = (1 - s) t + s / c for a row t of target probabilities over c classes, and class weights
// w (1 where none are given):
//   loss = sum over n, k of w_k t'_k (-log p_k) / D,   D = sum over n, k of w_k t_k,
// and D = n, the batch, without class weights. For hard labels this is
// torch.nn.functional.cross_entropy(..., weight, label_smoothing) with its mean reduction. Where D
// is 0, because no target has a weight, PyTorch's is NaN; here loss and gradient are 0.
#include <algorithm>
#include <cmath>

#include "backends/reference/kernels.h"

namespace resnet::reference {
namespace {

/// log of the sum of e^z over one row, without overflow.
double log_sum_exp(const double* z, std::int64_t c) {
  const double largest = *std::max_element(z, z + c);
  double sum = 0;
  for (std::int64_t k = 0; k < c; ++k) sum += std::exp(z[k] - largest);
  return largest + std::log(sum);
}

struct Targets {
  std::int64_t n, c;
  double smoothing;
  const double* t;        // [n, c]
  const double* weights;  // [c] or null

  double weight(std::int64_t k) const { return weights != nullptr ? weights[k] : 1; }
  /// w_k t'_k of row i
  double smoothed(std::int64_t i, std::int64_t k) const {
    return weight(k) * ((1 - smoothing) * t[i * c + k] + smoothing / static_cast<double>(c));
  }
  double denominator() const {
    if (weights == nullptr) return static_cast<double>(n);
    double sum = 0;
    for (std::int64_t i = 0; i < n * c; ++i) sum += weights[i % c] * t[i];
    return sum;
  }
};

/// x / d, and 0 where d is 0, unless x is not finite
double ratio(double x, double d) { return d == 0 ? 0 * x : x / d; }

}  // namespace

/// z [n, c] -> p = e^z / sum of e^z over a row
Compute softmax(const Site& site) {
  const std::int64_t n = site.inputs[0][0], c = site.inputs[0][1];
  return [=](const KernelArgs& args) {
    for (std::int64_t i = 0; i < n; ++i) {
      const double* z = input(args, 0) + i * c;
      const double total = log_sum_exp(z, c);
      for (std::int64_t k = 0; k < c; ++k) output(args, 0)[i * c + k] = std::exp(z[k] - total);
    }
  };
}

/// logits [n, c], targets [n, c] [, class weights [c]] -> loss [1], p [n, c]
Compute softmax_cross_entropy(const Site& site) {
  const std::int64_t n = site.inputs[0][0], c = site.inputs[0][1];
  const double smoothing = site.attributes<LossAttributes>().label_smoothing;
  const bool weighted = site.inputs.size() == 3;
  return [=](const KernelArgs& args) {
    const Targets t{n, c, smoothing, input(args, 1), weighted ? input(args, 2) : nullptr};
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double* z = input(args, 0) + i * c;
      const double total = log_sum_exp(z, c);
      for (std::int64_t k = 0; k < c; ++k) {
        sum += t.smoothed(i, k) * (total - z[k]);
        output(args, 1)[i * c + k] = std::exp(z[k] - total);
      }
    }
    output(args, 0)[0] = ratio(sum, t.denominator());
  };
}

/// dloss [1], p, targets [, class weights] -> dz_k = dloss (p_k sum_j w_j t'_j - w_k t'_k) / D
Compute softmax_cross_entropy_backward(const Site& site) {
  const std::int64_t n = site.inputs[1][0], c = site.inputs[1][1];
  const double smoothing = site.attributes<LossAttributes>().label_smoothing;
  const bool weighted = site.inputs.size() == 4;
  return [=](const KernelArgs& args) {
    const double dloss = input(args, 0)[0];
    const double* p = input(args, 1);
    const Targets t{n, c, smoothing, input(args, 2), weighted ? input(args, 3) : nullptr};
    const double denominator = t.denominator();
    for (std::int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::int64_t k = 0; k < c; ++k) sum += t.smoothed(i, k);
      for (std::int64_t k = 0; k < c; ++k) {
        output(args, 0)[i * c + k] =
            ratio(dloss * (p[i * c + k] * sum - t.smoothed(i, k)), denominator);
      }
    }
  };
}

std::span<const KernelRow> loss_kernels() {
  static constexpr KernelRow kRows[] = {
      {Op::kSoftmax, softmax, takes::f32},
      {Op::kSoftmaxCrossEntropy, softmax_cross_entropy, takes::f32},
      {Op::kSoftmaxCrossEntropyBackward, softmax_cross_entropy_backward, takes::f32},
  };
  return kRows;
}

}  // namespace resnet::reference

// Batch norm, fused with the skip addition and ReLU: own kernels, because oneDNN 2.6 cannot fuse
// the addition and sweeps more often. Passes over the activation (bench/norm_bench.cpp):
//   forward   read x; read x [, residual], write y
//   backward  read dy [, dy2], x [, y] [, write dresidual]; read dy [, dy2], x [, y], write dx
// Sums over a tile are in float with several accumulators, across tiles in double, in a fixed
// order: results do not depend on the number of threads.
#include <algorithm>
#include <cmath>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/simd.h"
#include "graph/norm_operands.h"

namespace resnet {
namespace {

// Per-channel arrays of `padded` floats and per-tile sums, laid out in the node's scratch memory.
class Workspace {
 public:
  enum Array : std::uint8_t { kMean, kScale, kBeta, kSlope, kOffset, kShift, kArrays };

  Workspace(const BlockedShape& s, void* memory)
      : padded_(s.padded()),
        tiles_(s.tiles()),
        block_(s.block),
        data_(static_cast<float*>(memory)) {}
  static std::size_t bytes(const BlockedShape& s) {
    return static_cast<std::size_t>(kArrays * s.padded() + 2 * s.tiles() * s.block) * sizeof(float);
  }
  float* array(Array a) { return data_ + a * padded_; }
  float* first(std::int64_t tile) { return data_ + kArrays * padded_ + tile * block_; }
  float* second(std::int64_t tile) { return first(tiles_ + tile); }

 private:
  std::int64_t padded_, tiles_, block_;
  float* data_;
};

// Results beyond this size have left the caches before anyone reads them.
constexpr std::int64_t kStreamBytes = std::int64_t{24} << 20;

template <class T>
simd::Store store_of(const BlockedShape& s) {
  const auto bytes = s.size() * static_cast<std::int64_t>(sizeof(T));
  return bytes >= kStreamBytes ? simd::Store::kStream : simd::Store::kCached;
}

// Total of a per-tile sum over the images, for channel c.
double total(const BlockedShape& s, const float* sums, std::int64_t c) {
  double t = 0;
  for (std::int64_t n = 0; n < s.n; ++n) t += static_cast<double>(sums[n * s.padded() + c]);
  return t;
}

// Forward coefficients; padded channels get zeros, so that their output is zero.
void set_coefficients(Workspace& w, const BlockedShape& s, double eps, const float* gamma,
                      const float* beta, const float* mean, const float* var) {
  for (std::int64_t c = 0; c < s.padded(); ++c) {
    const bool real = c < s.channels;
    w.array(Workspace::kMean)[c] = real ? mean[c] : 0;
    w.array(Workspace::kScale)[c] =
        real ? static_cast<float>(static_cast<double>(gamma[c]) /
                                  std::sqrt(static_cast<double>(var[c]) + eps))
             : 0;
    w.array(Workspace::kBeta)[c] = real ? beta[c] : 0;
  }
}

template <class T>
void apply(Workspace& w, const BlockedShape& s, const T* x, const T* residual, T* y, bool relu) {
  const float* mean = w.array(Workspace::kMean);
  const float* scale = w.array(Workspace::kScale);
  const float* beta = w.array(Workspace::kBeta);
#pragma omp parallel for schedule(static)
  for (std::int64_t t = 0; t < s.tiles(); ++t) {
    const std::int64_t c = t % s.blocks * s.block, at = t * s.tile();
    simd::kernels<T>().tile_normalize(x + at, residual != nullptr ? residual + at : nullptr, y + at,
                                      mean + c, scale + c, beta + c, relu, store_of<T>(s),
                                      s.pixels(), s.block);
  }
}

template <class T>
class BatchNorm final : public Kernel {
 public:
  BatchNorm(BlockedShape s, const NormAttributes& a) : s_(s), a_(a) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const T*>(args.in[0]);
    auto* mean = static_cast<float*>(args.out[1]);
    auto* var = static_cast<float*>(args.out[2]);
    Workspace w(s_, args.scratch);
    // Squares are summed around each channel's first value: no cancellation when |mean| >> std.
    float* shift = w.array(Workspace::kShift);
    for (std::int64_t b = 0; b < s_.blocks; ++b) {
      simd::kernels<T>().tile_sum(x + b * s_.tile(), 1, s_.block, shift + b * s_.block);
    }
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      simd::kernels<T>().tile_moments(x + t * s_.tile(), shift + t % s_.blocks * s_.block,
                                      s_.pixels(), s_.block, w.first(t), w.second(t));
    }
    const auto m = static_cast<double>(s_.n * s_.pixels());
    for (std::int64_t c = 0; c < s_.channels; ++c) {
      const double d = total(s_, w.first(0), c) / m;
      mean[c] = static_cast<float>(static_cast<double>(shift[c]) + d);
      var[c] = static_cast<float>(std::max(0.0, total(s_, w.second(0), c) / m - d * d));
    }
    const NormInputs in(Op::kBatchNorm, a_);
    set_coefficients(w, s_, a_.eps, static_cast<const float*>(args.in[in.gamma]),
                     static_cast<const float*>(args.in[in.beta]), mean, var);
    apply(w, s_, x, a_.residual ? static_cast<const T*>(args.in[in.residual]) : nullptr,
          static_cast<T*>(args.out[0]), a_.relu);
  }

 private:
  BlockedShape s_;
  NormAttributes a_;
};

template <class T>
class Normalize final : public Kernel {
 public:
  Normalize(BlockedShape s, const NormAttributes& a) : s_(s), a_(a) {}
  void run(const KernelArgs& args) const override {
    Workspace w(s_, args.scratch);
    const NormInputs in(Op::kNormalize, a_);
    const auto channels = [&](std::size_t k) { return static_cast<const float*>(args.in[k]); };
    set_coefficients(w, s_, a_.eps, channels(in.gamma), channels(in.beta), channels(in.mean),
                     channels(in.var));
    apply(w, s_, static_cast<const T*>(args.in[in.x]),
          a_.residual ? static_cast<const T*>(args.in[in.residual]) : nullptr,
          static_cast<T*>(args.out[0]), a_.relu);
  }

 private:
  BlockedShape s_;
  NormAttributes a_;
};

// dy [, dy2], x, gamma, beta, mean, var [, y] -> dx, dgamma, dbeta [, dresidual]
template <class T>
class NormBackward final : public Kernel {
 public:
  NormBackward(BlockedShape s, const NormAttributes& a, bool batch_statistics)
      : s_(s), a_(a), batch_statistics_(batch_statistics) {}
  void run(const KernelArgs& args) const override {
    const NormBackwardInputs in(a_);
    const auto data = [&](std::size_t k) { return static_cast<const T*>(args.in[k]); };
    const auto channels = [&](std::size_t k) { return static_cast<const float*>(args.in[k]); };
    const T* x = data(in.x);
    const float* var = channels(in.var);
    auto* dx = static_cast<T*>(args.out[0]);
    auto* dgamma = static_cast<float*>(args.out[1]);
    auto* dbeta = static_cast<float*>(args.out[2]);
    T* dresidual = a_.residual ? static_cast<T*>(args.out[3]) : nullptr;
    Workspace w(s_, args.scratch);
    set_coefficients(w, s_, a_.eps, channels(in.gamma), channels(in.beta), channels(in.mean), var);

    const simd::Mask mask = !a_.relu      ? simd::Mask::kNone
                            : a_.residual ? simd::Mask::kFromY
                                          : simd::Mask::kFromX;
    const auto tile = [&](std::int64_t t) {
      const std::int64_t at = t * s_.tile(), c = t % s_.blocks * s_.block;
      simd::NormGradientTile<T> g;
      g.dy = data(in.dy) + at;
      g.dy2 = a_.second_gradient ? data(in.dy2) + at : nullptr;
      g.x = x + at;
      g.y = mask == simd::Mask::kFromY ? data(in.y) + at : nullptr;
      g.mask = mask;
      g.mean = w.array(Workspace::kMean) + c;
      g.scale = w.array(Workspace::kScale) + c;
      g.beta = w.array(Workspace::kBeta) + c;
      return g;
    };
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      simd::kernels<T>().tile_norm_gradient_sums(
          tile(t), a_.residual ? dresidual + t * s_.tile() : nullptr, store_of<T>(s_), s_.pixels(),
          s_.block, w.first(t), w.second(t));
    }

    // dx = scale (g - mean(g) - (x - mean) mean(g (x - mean)) / (var + eps)); the two means are
    // zero when the statistics are constants.
    const auto m = static_cast<double>(s_.n * s_.pixels());
    float* slope = w.array(Workspace::kSlope);
    float* offset = w.array(Workspace::kOffset);
    for (std::int64_t c = 0; c < s_.padded(); ++c) {
      slope[c] = offset[c] = 0;
      if (c >= s_.channels) continue;
      const double sum = total(s_, w.first(0), c), product = total(s_, w.second(0), c);
      const double variance = static_cast<double>(var[c]) + a_.eps;
      dbeta[c] = static_cast<float>(sum);
      dgamma[c] = static_cast<float>(product / std::sqrt(variance));
      if (!batch_statistics_) continue;
      const auto scale = static_cast<double>(w.array(Workspace::kScale)[c]);
      slope[c] = static_cast<float>(-scale * product / (variance * m));
      offset[c] = static_cast<float>(-scale * sum / m);
    }
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      simd::NormGradientTile<T> g = tile(t);
      if (a_.residual) {  // the first sweep has stored the masked sum
        g.dy = dresidual + t * s_.tile();
        g.dy2 = nullptr;
        g.mask = simd::Mask::kNone;
      }
      const std::int64_t c = t % s_.blocks * s_.block;
      simd::kernels<T>().tile_norm_gradient(g, dx + t * s_.tile(), slope + c, offset + c,
                                            store_of<T>(s_), s_.pixels(), s_.block);
    }
  }

 private:
  BlockedShape s_;
  NormAttributes a_;
  bool batch_statistics_;
};

// dy [n, c, h, w] blocked -> [c]
template <class T>
class ChannelSum final : public Kernel {
 public:
  explicit ChannelSum(BlockedShape s) : s_(s) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const T*>(args.in[0]);
    auto* y = static_cast<float*>(args.out[0]);
    Workspace w(s_, args.scratch);
#pragma omp parallel for schedule(static)
    for (std::int64_t t = 0; t < s_.tiles(); ++t) {
      simd::kernels<T>().tile_sum(x + t * s_.tile(), s_.pixels(), s_.block, w.first(t));
    }
    for (std::int64_t c = 0; c < s_.channels; ++c) {
      y[c] = static_cast<float>(total(s_, w.first(0), c));
    }
  }

 private:
  BlockedShape s_;
};

// dy [n, c] -> [c]
class ColumnSum final : public Kernel {
 public:
  explicit ColumnSum(const Shape& s) : rows_(s[0]), columns_(s[1]) {}
  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.in[0]);
    auto* y = static_cast<float*>(args.out[0]);
    for (std::int64_t c = 0; c < columns_; ++c) {
      double sum = 0;
      for (std::int64_t n = 0; n < rows_; ++n) sum += static_cast<double>(x[n * columns_ + c]);
      y[c] = static_cast<float>(sum);
    }
  }

 private:
  std::int64_t rows_, columns_;
};

// w [o, ...], gamma, var -> w * gamma / sqrt(var + eps)
class FoldWeights final : public Kernel {
 public:
  FoldWeights(const Shape& w, double eps)
      : filters_(w[0]), per_filter_(w[0] > 0 ? element_count(w) / w[0] : 0), eps_(eps) {}
  void run(const KernelArgs& args) const override {
    const auto* w = static_cast<const float*>(args.in[0]);
    const auto* gamma = static_cast<const float*>(args.in[1]);
    const auto* var = static_cast<const float*>(args.in[2]);
    auto* y = static_cast<float*>(args.out[0]);
#pragma omp parallel for schedule(static) if (filters_ * per_filter_ >= kParallel)
    for (std::int64_t o = 0; o < filters_; ++o) {
      const double scale =
          static_cast<double>(gamma[o]) / std::sqrt(static_cast<double>(var[o]) + eps_);
      for (std::int64_t i = o * per_filter_; i < (o + 1) * per_filter_; ++i) {
        y[i] = static_cast<float>(static_cast<double>(w[i]) * scale);
      }
    }
  }

 private:
  static constexpr std::int64_t kParallel = 1 << 15;  // weights that are worth waking threads
  std::int64_t filters_, per_filter_;
  double eps_;
};

// gamma, beta, mean, var [, bias] -> beta + (bias - mean) * gamma / sqrt(var + eps)
class FoldBias final : public Kernel {
 public:
  FoldBias(std::int64_t filters, double eps) : filters_(filters), eps_(eps) {}
  void run(const KernelArgs& args) const override {
    const auto in = [&](std::size_t k, std::int64_t o) {
      return static_cast<double>(static_cast<const float*>(args.in[k])[o]);
    };
    auto* y = static_cast<float*>(args.out[0]);
    for (std::int64_t o = 0; o < filters_; ++o) {
      const double bias = args.in.size() == 5 ? in(4, o) : 0;
      y[o] =
          static_cast<float>(in(1, o) + (bias - in(2, o)) * in(0, o) / std::sqrt(in(3, o) + eps_));
    }
  }

 private:
  std::int64_t filters_;
  double eps_;
};

// The kernels of activations of type T.
template <class T>
KernelChoice make_activation_norm(const NodeView& v) {
  const BlockedShape s = v.target.blocked(v.in(0));
  const std::size_t scratch = Workspace::bytes(s);
  if (v.node.op == Op::kChannelSum) {
    return own_kernel(v, std::make_unique<ChannelSum<T>>(s), scratch);
  }
  const auto& a = v.attributes<NormAttributes>();
  if (v.node.op == Op::kBatchNorm) {
    return own_kernel(v, std::make_unique<BatchNorm<T>>(s, a), scratch,
                      {a.residual ? 3 : 0, -1, -1});
  }
  if (v.node.op == Op::kNormalize) {
    return own_kernel(v, std::make_unique<Normalize<T>>(s, a), scratch, {a.residual ? 5 : 0});
  }
  // dx may replace dy. dresidual may replace dy2: each tile is read before it is written.
  std::vector<int> in_place{0, -1, -1};
  if (a.residual) in_place.push_back(a.second_gradient ? 1 : -1);
  return own_kernel(v, std::make_unique<NormBackward<T>>(s, a, v.node.op == Op::kBatchNormBackward),
                    scratch, in_place);
}

KernelChoice make_norm(const NodeView& v) {
  switch (v.node.op) {
    case Op::kFoldWeights:
      return plain_kernel(
          v, std::make_unique<FoldWeights>(v.in_shape(0), v.attributes<NormAttributes>().eps));
    case Op::kFoldBias:
      return plain_kernel(
          v, std::make_unique<FoldBias>(v.in_shape(0)[0], v.attributes<NormAttributes>().eps));
    case Op::kChannelSum:
      if (v.in_shape(0).size() != 4) {
        return plain_kernel(v, std::make_unique<ColumnSum>(v.in_shape(0)));
      }
      break;
    default: break;
  }
  return v.in(0).dtype == DType::kBF16 ? make_activation_norm<simd::Bf16>(v)
                                       : make_activation_norm<float>(v);
}

}  // namespace

std::span<const CpuKernelRow> norm_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kBatchNorm, make_norm, takes::bf16},
      {Op::kNormalize, make_norm, takes::bf16},
      {Op::kBatchNormBackward, make_norm, takes::bf16},
      {Op::kNormalizeBackward, make_norm, takes::bf16},
      {Op::kChannelSum, make_norm, takes::bf16},
      {Op::kFoldWeights, make_norm, takes::f32},
      {Op::kFoldBias, make_norm, takes::f32},
  };
  return kRows;
}

}  // namespace resnet

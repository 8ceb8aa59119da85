#include "backends/cpu/winograd.h"

#include <omp.h>

#include <algorithm>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/winograd_kernels.h"
#include "core/check.h"

namespace resnet {
namespace {

using winograd::Geometry;

Geometry geometry_of(const WinogradWeights& w) {
  Geometry g;
  g.m = w.m, g.block = w.block, g.x_blocks = w.x_blocks, g.y_blocks = w.y_blocks;
  return g;
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

class TransformWeights final : public Kernel {
 public:
  explicit TransformWeights(const WinogradWeights& w)
      : geometry_(geometry_of(w)), backward_(w.backward) {}
  void run(const KernelArgs& args) const override {
    const auto* w = static_cast<const float*>(args.in[0]);
    auto* transformed = static_cast<float*>(args.out[0]);
#pragma omp parallel for schedule(static)
    for (std::int64_t k = 0; k < geometry_.y_blocks; ++k) {
      winograd::transform_weights(geometry_, w, backward_, k, k + 1, transformed);
    }
  }

 private:
  Geometry geometry_;
  bool backward_;
};

// The work is a grid: groups of tiles by groups of output channels. Few channel groups save input
// transforms, few tile groups save reading weights.
struct Grid {
  std::int64_t tile_groups, y_groups, tiles, y_blocks;  // numbers of groups; largest sizes of one

  Grid(const Geometry& g, std::int64_t threads) {
    // Tiles at once: as many as their transforms have room for in a core's cache (2 MiB where this
    // was measured); with many channels more, because then the weights are what has to be read.
    const std::int64_t channels = std::max(g.x_blocks, g.y_blocks) * g.block;
    const std::int64_t best = std::max<std::int64_t>(28, channels * 7 / 16);
    const std::int64_t pairs = divide_up(g.y_blocks, 2);  // the kernels take blocks by twos
    y_groups = std::min({threads, pairs, divide_up(threads * best, g.tiles())});
    tile_groups = std::max(divide_up(g.tiles(), best), divide_up(threads, y_groups));
    tile_groups = std::min(divide_up(tile_groups, threads) * threads, g.tiles());
    tiles = divide_up(g.tiles(), tile_groups);
    y_blocks = std::min(g.y_blocks, 2 * divide_up(pairs, y_groups));
  }
};

class Convolve final : public Kernel {
 public:
  Convolve(const Geometry& g, bool bias, bool residual, bool relu, int threads)
      : geometry_(g),
        bias_(bias),
        residual_(residual),
        relu_(relu),
        threads_(threads),
        grid_(g, threads),
        scratch_(divide_up(winograd::scratch_floats(g, grid_.tiles, grid_.y_blocks), 16) * 16) {}

  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(threads_ * scratch_) * sizeof(float);
  }

  void run(const KernelArgs& args) const override {
    const auto in = [&](std::size_t i) { return static_cast<const float*>(args.in[i]); };
    winograd::Tail tail;
    if (bias_) tail.bias = in(2);
    if (residual_) tail.residual = in(args.in.size() - 1);
    tail.relu = relu_;
    const std::int64_t pairs = divide_up(geometry_.y_blocks, 2);
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
    for (std::int64_t i = 0; i < grid_.tile_groups * grid_.y_groups; ++i) {
      const std::int64_t t = i / grid_.y_groups, k = i % grid_.y_groups;
      winograd::Part part;
      part.tile = geometry_.tiles() * t / grid_.tile_groups;
      part.tiles = geometry_.tiles() * (t + 1) / grid_.tile_groups - part.tile;
      part.y_block = pairs * k / grid_.y_groups * 2;
      part.y_blocks =
          std::min(geometry_.y_blocks, pairs * (k + 1) / grid_.y_groups * 2) - part.y_block;
      winograd::convolve(geometry_, part, in(0), in(1), tail, static_cast<float*>(args.out[0]),
                         static_cast<float*>(args.scratch) + omp_get_thread_num() * scratch_);
    }
  }

 private:
  Geometry geometry_;
  bool bias_, residual_, relu_;
  int threads_;
  Grid grid_;
  std::int64_t scratch_;  // floats of one thread
};

// The gradient of the weights. Each part of the grid's threads sums its own tiles for its own
// output channels; what several threads have for the same channels is added up at the end.
class Correlate final : public Kernel {
 public:
  Correlate(const Geometry& g, int threads) : geometry_(g) {
    // Sums are read and written once for each group of tiles, so groups are large.
    const std::int64_t channels = std::max(g.x_blocks, g.y_blocks) * g.block;
    const std::int64_t best = std::max<std::int64_t>(56, channels / 2);
    pairs_ = divide_up(g.y_blocks, 2);
    // Channels are split among threads while the sums, 4 times the weights, are large.
    y_groups_ = channels >= 256 ? std::min<std::int64_t>(threads, pairs_) : 1;
    copies_ = std::clamp<std::int64_t>(threads / y_groups_, 1, g.tiles());
    steps_ = divide_up(divide_up(g.tiles(), copies_), best);
    const std::int64_t tiles = divide_up(g.tiles(), copies_ * steps_);
    const std::int64_t y_blocks = std::min(g.y_blocks, 2 * divide_up(pairs_, y_groups_));
    sums_ = divide_up(winograd::sums_floats(g, y_blocks), 16) * 16;
    scratch_ = sums_ + divide_up(winograd::scratch_floats(g, tiles, y_blocks), 16) * 16;
  }

  std::size_t scratch_bytes() const {
    return static_cast<std::size_t>(y_groups_ * copies_ * scratch_) * sizeof(float);
  }

  void run(const KernelArgs& args) const override {
    const auto* x = static_cast<const float*>(args.in[0]);
    const auto* dy = static_cast<const float*>(args.in[1]);
    auto* dw = static_cast<float*>(args.out[0]);
    auto* scratch = static_cast<float*>(args.scratch);
    const std::int64_t groups = y_groups_ * copies_;
#pragma omp parallel for schedule(static, 1)
    for (std::int64_t i = 0; i < groups; ++i) {
      float* sums = scratch + i * scratch_;
      winograd::Part part = channels(i / copies_);
      std::fill_n(sums, winograd::sums_floats(geometry_, part.y_blocks), 0.0F);
      const std::int64_t parts = copies_ * steps_, first = i % copies_ * steps_;
      for (std::int64_t t = first; t < first + steps_; ++t) {
        part.tile = geometry_.tiles() * t / parts;
        part.tiles = geometry_.tiles() * (t + 1) / parts - part.tile;
        winograd::correlate(geometry_, part, x, dy, sums, sums + sums_);
      }
    }
#pragma omp parallel for schedule(static)
    for (std::int64_t k = 0; k < geometry_.y_blocks; ++k) {
      std::int64_t group = 0;
      while (channels(group).y_block + channels(group).y_blocks <= k) ++group;
      const winograd::Part part = channels(group);
      winograd::gradient_of_weights(geometry_, part, k - part.y_block,
                                    scratch + group * copies_ * scratch_, copies_, scratch_, dw);
    }
  }

 private:
  winograd::Part channels(std::int64_t group) const {
    winograd::Part part;
    part.y_block = pairs_ * group / y_groups_ * 2;
    part.y_blocks =
        std::min(geometry_.y_blocks, pairs_ * (group + 1) / y_groups_ * 2) - part.y_block;
    return part;
  }

  Geometry geometry_;
  std::int64_t pairs_ = 0, y_groups_ = 0, copies_ = 0, steps_ = 0;
  std::int64_t sums_ = 0, scratch_ = 0;  // floats of one group's sums; of all that it needs
};

}  // namespace

std::size_t WinogradWeights::bytes() const {
  return static_cast<std::size_t>(geometry_of(*this).weights()) * sizeof(float);
}

bool winograd_fits(std::int64_t block) { return winograd::lanes() == block; }

std::unique_ptr<Kernel> make_winograd_weights(const WinogradWeights& format) {
  return std::make_unique<TransformWeights>(format);
}

KernelChoice make_winograd_gradient(const NodeView& v) {
  const auto& a = v.attributes<ConvAttributes>();
  const Shape &x = v.in_shape(0), &y = v.in_shape(1);
  const std::int64_t block = v.target.block();
  RESNET_CHECK(x[1] % block == 0 && y[1] % block == 0);
  Geometry g = geometry_of({4, false, block, x[1] / block, y[1] / block});
  g.n = x[0];
  g.x_height = x[2], g.x_width = x[3];
  g.y_height = y[2], g.y_width = y[3];
  g.pad_top = a.pad_top, g.pad_left = a.pad_left;
  auto kernel = std::make_unique<Correlate>(g, omp_get_max_threads());
  const std::size_t scratch = kernel->scratch_bytes();
  KernelChoice choice = own_kernel(v, std::move(kernel), scratch);
  choice.name = "own:winograd4";
  choice.outputs[0] = kPlainLayout;
  return choice;
}

KernelChoice make_winograd(const NodeView& v, int m) {
  const auto& a = v.attributes<ConvAttributes>();
  const bool backward = v.node.op == Op::kConv2dBackwardData;
  const Shape &x = v.in_shape(0), &y = v.out_shape();
  const std::int64_t block = v.target.block();
  RESNET_CHECK(x[1] % block == 0 && y[1] % block == 0);
  const WinogradWeights weights{m, backward, block, x[1] / block, y[1] / block};
  Geometry g = geometry_of(weights);
  g.n = x[0];
  g.x_height = x[2], g.x_width = x[3];
  g.y_height = y[2], g.y_width = y[3];
  // The gradient of a convolution is one with turned filters and the rest of the padding.
  g.pad_top = backward ? 2 - a.pad_top : a.pad_top;
  g.pad_left = backward ? 2 - a.pad_left : a.pad_left;
  auto kernel = std::make_unique<Convolve>(g, a.bias && !backward, a.residual && !backward,
                                           a.relu && !backward, omp_get_max_threads());
  const std::size_t scratch = kernel->scratch_bytes();
  KernelChoice choice = own_kernel(v, std::move(kernel), scratch);
  choice.name = m == 4 ? "own:winograd4" : "own:winograd2";
  choice.inputs[1] = v.target.intern(weights);
  if (a.residual && !backward) choice.in_place = {static_cast<int>(v.node.inputs.size()) - 1};
  return choice;
}

}  // namespace resnet

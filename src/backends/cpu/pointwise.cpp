// Our own 1x1 convolutions, forward. With one image oneDNN's leave a third of the processor's
// arithmetic unused (docs/PERFORMANCE.md).
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "backends/cpu/cpu_target.h"
#include "backends/cpu/pointwise_kernels.h"

namespace resnet {
namespace {

class Pointwise final : public Kernel {
 public:
  Pointwise(const BlockedShape& x, const BlockedShape& y, const ConvAttributes& a, int threads)
      : x_(x), y_(y), a_(a), threads_(threads) {
    // Either each thread reads all weights and its part of the pixels, or the other way round.
    const std::int64_t pairs = y.blocks / 2;
    if (y.pixels() < y.channels) y_groups_ = std::min<std::int64_t>(threads, pairs);
    if (y.n % threads != 0) {
      pixel_groups_ = std::min((threads + y_groups_ - 1) / y_groups_, y.pixels());
    }
  }

  // Strided inputs are gathered.
  std::size_t scratch_bytes() const {
    if (!strided()) return 0;
    return static_cast<std::size_t>(x_.tiles() * y_.tile()) * sizeof(float);
  }

  void run(const KernelArgs& args) const override {
    const auto in = [&](std::size_t i) { return static_cast<const float*>(args.in[i]); };
    const float* x = in(0);
    if (strided()) {
      gather(x, static_cast<float*>(args.scratch));
      x = static_cast<const float*>(args.scratch);
    }
    auto* y = static_cast<float*>(args.out[0]);
    const std::int64_t groups = pixel_groups_ * y_groups_, pairs = y_.blocks / 2;
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (std::int64_t i = 0; i < y_.n * groups; ++i) {
      const std::int64_t n = i / groups, p = i % groups / y_groups_, k = i % y_groups_;
      pointwise::Part part;
      part.x_blocks = x_.blocks, part.x_stride = part.y_stride = y_.tile();
      part.pixel = y_.pixels() * p / pixel_groups_;
      part.pixels = y_.pixels() * (p + 1) / pixel_groups_ - part.pixel;
      part.y_pair = pairs * k / y_groups_;
      part.y_pairs = pairs * (k + 1) / y_groups_ - part.y_pair;
      const std::int64_t at = n * y_.blocks * y_.tile();
      pointwise::Tail tail;
      if (a_.bias) tail.bias = in(2);
      if (a_.residual) tail.residual = in(args.in.size() - 1) + at;
      tail.relu = a_.relu;
      pointwise::convolve(part, x + n * x_.blocks * y_.tile(), in(1), tail, y + at);
    }
  }

 private:
  bool strided() const { return a_.stride_h > 1 || a_.stride_w > 1; }

  void gather(const float* x, float* to) const {
    const auto bytes = static_cast<std::size_t>(x_.block) * sizeof(float);
#pragma omp parallel for schedule(static) num_threads(threads_)
    for (std::int64_t t = 0; t < x_.tiles(); ++t) {
      float* at = to + t * y_.tile();
      for (std::int64_t i = 0; i < y_.height; ++i) {
        const float* row = x + t * x_.tile() + i * a_.stride_h * x_.width * x_.block;
        for (std::int64_t j = 0; j < y_.width; ++j, at += x_.block) {
          std::memcpy(at, row + j * a_.stride_w * x_.block, bytes);
        }
      }
    }
  }

  BlockedShape x_, y_;
  ConvAttributes a_;
  std::int64_t threads_, y_groups_ = 1, pixel_groups_ = 1;
};

}  // namespace

bool pointwise_fits(std::int64_t block) { return pointwise::lanes() == block; }

KernelChoice make_pointwise_conv(const NodeView& v) {
  const auto& a = v.attributes<ConvAttributes>();
  const BlockedShape x = v.target.blocked(v.in(0)), y = v.target.blocked(v.out());
  auto kernel = std::make_unique<Pointwise>(x, y, a, omp_get_max_threads());
  const std::size_t scratch = kernel->scratch_bytes();
  KernelChoice choice = own_kernel(v, std::move(kernel), scratch);
  choice.name = "own:pointwise";
  const Shape& w = v.in_shape(1);
  const auto tag =
      x.block == 16 ? dnnl::memory::format_tag::ABcd16b32a : dnnl::memory::format_tag::ABcd16b16a;
  choice.inputs[1] =
      v.target.intern(dnnl::memory::desc({w.begin(), w.end()}, dnnl::memory::data_type::f32, tag));
  if (a.residual) choice.in_place = {static_cast<int>(v.node.inputs.size()) - 1};
  return choice;
}

}  // namespace resnet

// Linear layers: three matrix products by oneDNN.
#include <oneapi/dnnl/dnnl.h>

#include "backends/cpu/cpu_target.h"
#include "core/check.h"

namespace resnet {
namespace {

// c [m, n] = op(a) op(b), row-major, op a transposition or nothing.
class Product final : public Kernel {
 public:
  Product(char ta, char tb, std::int64_t m, std::int64_t n, std::int64_t k, std::size_t a,
          std::size_t b, bool bias)
      : ta_(ta), tb_(tb), m_(m), n_(n), k_(k), a_(a), b_(b), bias_(bias) {}
  void run(const KernelArgs& args) const override {
    auto* c = static_cast<float*>(args.out[0]);
    if (bias_) {
      const auto* bias = static_cast<const float*>(args.in[2]);
      for (std::int64_t i = 0; i < m_; ++i) std::copy_n(bias, n_, c + i * n_);
    }
    const dnnl_status_t status = dnnl_sgemm(
        ta_, tb_, m_, n_, k_, 1.0F, static_cast<const float*>(args.in[a_]), ta_ == 'N' ? k_ : m_,
        static_cast<const float*>(args.in[b_]), tb_ == 'N' ? n_ : k_, bias_ ? 1.0F : 0.0F, c, n_);
    RESNET_CHECK(status == dnnl_success);
  }

 private:
  char ta_, tb_;
  std::int64_t m_, n_, k_;
  std::size_t a_, b_;
  bool bias_;
};

KernelChoice make_linear(const NodeView& v) {
  const Shape &p = v.in_shape(0), &q = v.in_shape(1);
  switch (v.node.op) {
    case Op::kLinear:  // x [n, k] w [m, k]'
      return plain_kernel(v, std::make_unique<Product>('N', 'T', p[0], q[0], p[1], 0, 1,
                                                       v.node.inputs.size() == 3));
    case Op::kLinearBackwardData:  // dy [n, m] w [m, k]
      return plain_kernel(v, std::make_unique<Product>('N', 'N', p[0], q[1], q[0], 0, 1, false));
    default:  // dy [n, m]' x [n, k]
      return plain_kernel(v, std::make_unique<Product>('T', 'N', q[1], p[1], p[0], 1, 0, false));
  }
}

}  // namespace

std::span<const CpuKernelRow> linear_kernels() {
  static constexpr CpuKernelRow kRows[] = {
      {Op::kLinear, make_linear, takes::f32},
      {Op::kLinearBackwardData, make_linear, takes::f32},
      {Op::kLinearBackwardWeights, make_linear, takes::f32},
  };
  return kRows;
}

}  // namespace resnet

// Our own Winograd convolutions (3x3, stride 1), as kernels of graph nodes: forward with bias,
// residual and ReLU, backward with respect to the input and to the weights. Transformed weights are
// a layout of their own, so that the compiler transforms them as it would reorder them: once where
// they do not change, else in every run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "compile/target.h"

namespace resnet {

struct NodeView;

/// Weights [out][in][3][3] transformed for F(m x m, 3 x 3), or for its backward pass.
struct WinogradWeights {
  int m = 4;
  bool backward = false;
  std::int64_t block = 16, x_blocks = 0, y_blocks = 0;  ///< channel blocks read and written

  std::size_t bytes() const;
  bool operator==(const WinogradWeights&) const = default;
};

/// True if the kernels have vectors of exactly one channel block.
bool winograd_fits(std::int64_t block);
/// For kConv2d and kConv2dBackwardData of 3x3 filters, stride 1, whole channel blocks; m is 2 or 4.
KernelChoice make_winograd(const NodeView& v, int m);
/// For kConv2dBackwardWeights of such filters, by F(4 x 4, 3 x 3).
KernelChoice make_winograd_gradient(const NodeView& v);
std::unique_ptr<Kernel> make_winograd_weights(const WinogradWeights& format);

}  // namespace resnet

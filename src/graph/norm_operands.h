// The operands of batch norm by name: where each stands among the inputs and outputs of a node.
// Optional ones (a residual, a second gradient) move those behind them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "resnet/ir.h"

namespace resnet {

/// Inputs of kBatchNorm and kNormalize.
struct NormInputs {
  std::size_t x = 0, gamma = 1, beta = 2;
  std::size_t mean = 3, var = 4;  ///< of kNormalize
  std::size_t residual;           ///< if the attributes say so
  std::size_t count;

  constexpr NormInputs(Op op, const NormAttributes& a)
      : residual(op == Op::kBatchNorm ? 3 : 5), count(residual + (a.residual ? 1 : 0)) {}
};

/// Outputs of kBatchNorm; kNormalize has y alone.
struct NormOutputs {
  std::int32_t y = 0, mean = 1, var = 2;
};

/// Inputs of kBatchNormBackward and kNormalizeBackward.
struct NormBackwardInputs {
  std::size_t dy = 0, dy2 = 1;  ///< dy2: if the attributes say so
  std::size_t x, gamma, beta, mean, var;
  std::size_t y;  ///< where ReLU follows a residual
  bool reads_y;
  std::size_t count;

  constexpr explicit NormBackwardInputs(const NormAttributes& a)
      : x(a.second_gradient ? 2 : 1),
        gamma(x + 1),
        beta(x + 2),
        mean(x + 3),
        var(x + 4),
        y(x + 5),
        reads_y(a.relu && a.residual),
        count(y + (reads_y ? 1 : 0)) {}
};

/// Their outputs.
struct NormBackwardOutputs {
  std::int32_t dx = 0, dgamma = 1, dbeta = 2;
  std::int32_t dresidual = 3;  ///< if there was a residual
};

}  // namespace resnet

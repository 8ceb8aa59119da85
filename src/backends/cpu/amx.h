// Our own kernel for the matrix units of a processor (AMX): the gradient of a convolution's weights
// in bf16, which oneDNN 2.6 computes at a tenth of the speed of the forward pass.
#pragma once

#include "compile/target.h"

namespace resnet {

struct NodeView;

/// Whether the processor has the units and the operating system lets this process use them.
bool has_amx();
/// For kConv2dBackwardWeights of bf16 activations without groups and dilation.
KernelChoice make_amx_backward_weights(const NodeView& v);

}  // namespace resnet

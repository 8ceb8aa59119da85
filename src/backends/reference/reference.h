// The reference device: every op in naive loops and double precision.
//
// It is the specification. Each kernel is the op's formula written down as directly as C++ allows,
// one loop per index, and is never optimised; gradients are proven here by finite differences, and
// every other device is compared with it. All layouts are plain; f32 values are stored as f64.
#pragma once

#include <memory>

#include "compile/target.h"

namespace resnet {

std::unique_ptr<Target> make_reference_target();

}  // namespace resnet

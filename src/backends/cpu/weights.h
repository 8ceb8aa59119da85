// Weights on their way from plain f32 to what oneDNN's kernels of bf16 read. Training does this for
// every convolution in every step, and oneDNN's own reorders take several times as long.
#pragma once

#include <memory>
#include <oneapi/dnnl/dnnl.hpp>

#include "compile/target.h"

namespace resnet {

/// Weights [o, i, kh, kw] as a convolution backward to its input reads them when it is computed as
/// one forward: [i, o, kh, kw], each filter turned by 180 degrees, in a format of oneDNN's.
struct TurnedWeights {
  dnnl::memory::desc desc;
  bool operator==(const TurnedWeights&) const = default;
};

/// From plain f32 weights to bf16 in the format `to`; null if that is not one that this can write.
std::unique_ptr<Kernel> make_weight_packing(const dnnl::memory::desc& to, bool turned);

}  // namespace resnet

// The CPU device: oneDNN for convolutions, pooling and matrix products, kernels of our own
// (Highway) for everything that is bound by memory, OpenMP threads for both.
#pragma once

#include <memory>

#include "compile/target.h"

namespace resnet {

struct CpuOptions {
  int threads = 0;       ///< 0: OpenMP's default
  bool winograd = true;  ///< allow Winograd convolutions where the table in conv.cpp says so
};

std::unique_ptr<Target> make_cpu_target(const CpuOptions& options);

}  // namespace resnet

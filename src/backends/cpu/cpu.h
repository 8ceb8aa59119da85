// The CPU device: oneDNN for convolutions, pooling and matrix products, kernels of our own
// (Highway) for everything that is bound by memory, OpenMP threads for both.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "compile/target.h"

namespace resnet {

struct CpuOptions {
  int threads = 0;       ///< 0: OpenMP's default
  bool winograd = true;  ///< allow Winograd convolutions
  /// The tuner's table, read and extended; empty: kernels are chosen by shapes alone.
  std::filesystem::path kernels = {};
  /// The candidate of conv.cpp that is taken wherever it can compute a node: for tests.
  std::string prefer = {};
};

std::unique_ptr<Target> make_cpu_target(const CpuOptions& options);

}  // namespace resnet

// The roofs of a machine, for telling how far a kernel is from them.
#pragma once

#include <cstddef>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

/// How fast memory is for a working set of that size, all threads together, in bytes a second.
struct Bandwidth {
  std::size_t bytes = 0;
  double read = 0;   ///< a sum of everything
  double triad = 0;  ///< a = b + s c (McCalpin 1995), counted as two reads and a write
};

/// What this machine does at most, measured with kernels that do nothing else.
struct MachinePeaks {
  int threads = 0;
  /// Multiplications and additions a second, all threads together: fused multiply-adds, and the
  /// machine's instructions for bf16 and int8 (AMX, VNNI), or f32's where it has none.
  double f32 = 0, bf16 = 0, int8 = 0;
  std::vector<Bandwidth> bandwidth;  ///< By rising size.

  /// Operations a second on values of this type.
  double operations(DType dtype) const;
  /// The better of read and triad for a working set, between the measured sizes interpolated.
  double bytes_per_second(double working_set) const;
  /// The least time (Williams, Waterman & Patterson 2009, "Roofline"): of the multiplications, or
  /// of moving all bytes once, whichever is longer. `flops` are a direct computation's: Winograd's
  /// fewer multiplications may stay below.
  double floor_seconds(DType dtype, double flops, double bytes) const;
};

}  // namespace resnet

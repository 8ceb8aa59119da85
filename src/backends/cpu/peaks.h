// What the processor can do at most, measured: kernels that do nothing else.
#pragma once

#include "resnet/peaks.h"

namespace resnet {

/// As `measure_peaks`; threads > 0.
MachinePeaks measure_cpu_peaks(int threads);

}  // namespace resnet

#include "runtime/devices.h"

#include "backends/cpu/cpu.h"
#include "backends/cpu/peaks.h"
#include "backends/reference/reference.h"
#include "core/check.h"
#include "core/guard.h"
#include "core/processors.h"

namespace resnet {

std::unique_ptr<Target> make_target(const CompileOptions& options) {
  switch (options.device) {
    case Device::kCpu:
      return make_cpu_target(
          {.threads = options.threads, .winograd = options.winograd, .kernels = options.kernels});
    case Device::kReference: return make_reference_target();
  }
  fail(ErrorCode::kInvalidArgument, "unknown device");
}

MachinePeaks measure_peaks(int threads) try {
  return measure_cpu_peaks(threads > 0 ? threads : default_threads(usable_processors()));
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

#include "runtime/devices.h"

#include "backends/cpu/cpu.h"
#include "backends/reference/reference.h"
#include "core/check.h"

namespace resnet {

std::unique_ptr<Target> make_target(const CompileOptions& options) {
  switch (options.device) {
    case Device::kCpu:
      return make_cpu_target({.threads = options.threads, .winograd = options.winograd});
    case Device::kReference: return make_reference_target();
  }
  fail(ErrorCode::kInvalidArgument, "unknown device");
}

}  // namespace resnet

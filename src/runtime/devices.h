// The one place that names concrete backends.
#pragma once

#include <memory>

#include "compile/target.h"
#include "resnet/program.h"

namespace resnet {

std::unique_ptr<Target> make_target(const CompileOptions& options);

}  // namespace resnet

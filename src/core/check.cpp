#include "core/check.h"

#include <cstring>

namespace resnet {

void check_failed(const char* file, int line, const char* condition) {
  const char* name = std::strrchr(file, '/');
  fail(ErrorCode::kInternal,
       "internal error at {}:{}: expected {}; this is a bug, please report it",
       name != nullptr ? name + 1 : file, line, condition);
}

}  // namespace resnet

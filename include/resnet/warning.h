// What goes on but should be known: the library prints nothing itself.
#pragma once

#include <functional>
#include <string>

namespace resnet {

/// Who hears of it when a file system cannot do what files need to survive a crash, one line each;
/// of each kind once in a process. Nobody by default. Thread-safe; `handler` may be called from any
/// thread that works, and one at a time.
void set_warning_handler(std::function<void(const std::string&)> handler);

}  // namespace resnet

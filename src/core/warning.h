// Warnings of the rooms that have no observer to tell.
#pragma once

#include <string>
#include <string_view>

namespace resnet {

/// Tells the handler of `set_warning_handler`, for each `kind` the first time only.
void warn_once(std::string_view kind, const std::string& text);

}  // namespace resnet

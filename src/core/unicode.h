// Text that looks the same.
#pragma once

#include <string>
#include <string_view>

namespace resnet {

/// The canonical decomposition of UTF-8 (Unicode's NFD): "é" as one character and as "e" with an
/// accent, which look the same and name different files on Linux, become the same bytes. Bytes that
/// are not UTF-8 stay as they are.
std::string decomposed(std::string_view text);

}  // namespace resnet

// Windows of convolutions and pools.
#pragma once

#include <cstdint>

namespace resnet {

/// Output size of a window that slides over a padded dimension.
constexpr std::int64_t window_output(std::int64_t size, std::int64_t pad, std::int64_t kernel,
                                     std::int64_t stride, std::int64_t dilation = 1) {
  return (size + pad - (dilation * (kernel - 1) + 1)) / stride + 1;
}

}  // namespace resnet

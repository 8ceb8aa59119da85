// How far tensors are apart as a whole.
#pragma once

#include <cmath>
#include <cstddef>

#include "resnet/tensor.h"

namespace resnet {

/// Root mean square of the difference of two f64 tensors over that of b.
inline double relative(const Tensor& a, const Tensor& b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(b.size()); ++i) {
    difference += std::pow(a.as<double>()[i] - b.as<double>()[i], 2);
    size += std::pow(b.as<double>()[i], 2);
  }
  return std::sqrt(difference / size);
}

}  // namespace resnet

// The tensors that a program keeps from run to run.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "resnet/tensor.h"

namespace resnet {

/// Named tensors that live across runs and are shared between programs: weights, running
/// statistics, optimizer state. Row-major; f32 on the CPU, f64 on the reference device.
/// Not thread-safe: one writer, or several readers.
class Variables {
 public:
  /// Adds or replaces.
  void set(const std::string& name, Tensor tensor);
  bool contains(std::string_view name) const { return tensors_.find(name) != tensors_.end(); }
  /// Throws kNotFound.
  const Tensor& at(std::string_view name) const;
  const std::map<std::string, Tensor, std::less<>>& all() const { return tensors_; }
  /// Copies values into the tensor of that name; shapes must agree.
  void assign(std::string_view name, const Tensor& value);
  /// Deep copy with every floating tensor cast to `dtype`.
  Variables cast(DType dtype) const;

  /// A number that no other state of any Variables has: programs see by it that values changed.
  std::uint64_t version() const { return version_; }
  /// Says that values changed, after writing to a tensor directly.
  void touch();

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::uint64_t version_ = 0;
};

}  // namespace resnet

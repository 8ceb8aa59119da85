#include <atomic>
#include <cstring>

#include "core/check.h"
#include "resnet/variables.h"

namespace resnet {

void Variables::touch() {
  static std::atomic<std::uint64_t> last{0};
  version_ = ++last;
}

void Variables::set(const std::string& name, Tensor tensor) {
  tensors_[name] = std::move(tensor);
  touch();
}

const Tensor& Variables::at(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(ErrorCode::kNotFound, "there is no variable {}", name);
  return found->second;
}

void Variables::assign(std::string_view name, const Tensor& value) {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail(ErrorCode::kNotFound, "there is no variable {}", name);
  Tensor& t = found->second;
  if (t.shape() != value.shape()) {
    fail(ErrorCode::kInvalidArgument, "variable {} has shape {}, the new value {}", name,
         to_string(t.shape()), to_string(value.shape()));
  }
  const Tensor converted = value.cast(t.dtype());
  if (!t.empty()) std::memcpy(t.raw(), converted.raw(), t.bytes());
  touch();
}

Variables Variables::cast(DType dtype) const {
  Variables result;
  for (const auto& [name, tensor] : tensors_) {
    const bool floating = tensor.dtype() == DType::kF32 || tensor.dtype() == DType::kF64;
    result.set(name, floating && tensor.dtype() != dtype ? tensor.cast(dtype) : tensor.clone());
  }
  return result;
}

}  // namespace resnet

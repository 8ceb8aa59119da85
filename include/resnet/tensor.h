// Host tensors: a dtype, a shape and a shared buffer in row-major order, 64-byte aligned unless it
// is part of a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace resnet {

enum class DType : std::uint8_t { kF32, kF64, kF16, kBF16, kI8, kU8, kI32, kI64, kBool };

/// Bytes of one element.
std::size_t size_of(DType dtype);
/// "f32", "bf16", …
std::string_view name_of(DType dtype);

/// f16, bf16, f32, f64.
bool is_floating(DType dtype);

/// Dimensions, outermost first: `{n, c, h, w}`. `{}` is a scalar.
using Shape = std::vector<std::int64_t>;

/// Product of the dimensions. Throws `kInvalidArgument` on a negative dimension or on overflow.
std::int64_t element_count(const Shape& shape);
/// "[32, 3, 224, 224]"
std::string to_string(const Shape& shape);

/// Order of the dimensions of a batch of images at the library's interface.
enum class DataLayout : std::uint8_t { kNCHW, kNHWC };

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kF64;
};
template <>
struct DTypeOf<std::int8_t> {
  static constexpr DType value = DType::kI8;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::kU8;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<std::int64_t> {
  static constexpr DType value = DType::kI64;
};

/// A value type with shared storage: copies are cheap and see the same elements; `clone()` copies.
/// Distinct tensors may be used from distinct threads; the elements themselves are not guarded.
class Tensor {
 public:
  Tensor() = default;  ///< Empty: no storage, shape `{0}`.
  /// Uninitialised storage. Throws `kInvalidArgument` on a bad shape.
  Tensor(DType dtype, Shape shape);

  static Tensor zeros(DType dtype, Shape shape);
  static Tensor full(Shape shape, float value);  ///< f32
  /// Read-only elements in a mapped file, aligned for their type; `memory` keeps the mapping. They
  /// come into memory when they are read. Writing to them ends the program: `clone()` first.
  static Tensor mapped(DType dtype, Shape shape, std::shared_ptr<std::byte[]> memory);
  /// Throws `kInvalidArgument` when the number of values is not the shape's.
  template <class T>
  static Tensor from(Shape shape, std::span<const T> values);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(std::size_t i) const { return shape_.at(i); }
  std::int64_t size() const { return size_; }  ///< number of elements
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * size_of(dtype_); }
  bool empty() const { return size_ == 0; }
  bool is_mapped() const { return mapped_; }
  /// Gives back the memory of elements in a mapped file; they are read from it again when somebody
  /// needs them. Other tensors keep theirs.
  void release_memory() const;

  std::byte* raw() { return storage_.get(); }
  const std::byte* raw() const { return storage_.get(); }

  /// Typed access. Throws `kInvalidArgument` when `T` is not the tensor's dtype.
  template <class T>
  std::span<T> as() {
    require(DTypeOf<T>::value);
    return {reinterpret_cast<T*>(storage_.get()), static_cast<std::size_t>(size_)};
  }
  template <class T>
  std::span<const T> as() const {
    require(DTypeOf<T>::value);
    return {reinterpret_cast<const T*>(storage_.get()), static_cast<std::size_t>(size_)};
  }

  Tensor clone() const;
  /// Same elements under another shape of equal size.
  Tensor reshaped(Shape shape) const;
  /// Converts element by element. f16 and bf16 round to nearest even.
  Tensor cast(DType dtype) const;

 private:
  void require(DType dtype) const;
  void require_size(std::size_t values) const;

  DType dtype_ = DType::kF32;
  Shape shape_{0};
  std::int64_t size_ = 0;
  std::shared_ptr<std::byte[]> storage_;
  bool mapped_ = false;
};

template <class T>
Tensor Tensor::from(Shape shape, std::span<const T> values) {
  Tensor t(DTypeOf<T>::value, std::move(shape));
  t.require_size(values.size());
  auto out = t.as<T>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = values[i];
  return t;
}

}  // namespace resnet

#include "resnet/tensor.h"

#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/check.h"
#include "core/half.h"

namespace resnet {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line and an AVX-512 vector

std::shared_ptr<std::byte[]> allocate(std::size_t bytes) {
  const std::size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (rounded == 0) return nullptr;
  auto* p = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
  if (p == nullptr) throw std::bad_alloc();
  return {p, [](std::byte* q) { std::free(q); }};
}

template <class T>
double load(const std::byte* p, std::int64_t i) {
  return static_cast<double>(reinterpret_cast<const T*>(p)[i]);
}

double load(DType dtype, const std::byte* p, std::int64_t i) {
  switch (dtype) {
    case DType::kF32: return load<float>(p, i);
    case DType::kF64: return load<double>(p, i);
    case DType::kF16: return half_to_float(reinterpret_cast<const std::uint16_t*>(p)[i]);
    case DType::kBF16: return bfloat16_to_float(reinterpret_cast<const std::uint16_t*>(p)[i]);
    case DType::kI8: return load<std::int8_t>(p, i);
    case DType::kU8: return load<std::uint8_t>(p, i);
    case DType::kI32: return load<std::int32_t>(p, i);
    case DType::kI64: return load<std::int64_t>(p, i);
    case DType::kBool: return load<std::uint8_t>(p, i) != 0 ? 1.0 : 0.0;
  }
  return 0;
}

void store(DType dtype, std::byte* p, std::int64_t i, double v) {
  switch (dtype) {
    case DType::kF32: reinterpret_cast<float*>(p)[i] = static_cast<float>(v); break;
    case DType::kF64: reinterpret_cast<double*>(p)[i] = v; break;
    case DType::kF16:
      reinterpret_cast<std::uint16_t*>(p)[i] = float_to_half(static_cast<float>(v));
      break;
    case DType::kBF16:
      reinterpret_cast<std::uint16_t*>(p)[i] = float_to_bfloat16(static_cast<float>(v));
      break;
    case DType::kI8: reinterpret_cast<std::int8_t*>(p)[i] = static_cast<std::int8_t>(v); break;
    case DType::kU8: reinterpret_cast<std::uint8_t*>(p)[i] = static_cast<std::uint8_t>(v); break;
    case DType::kI32: reinterpret_cast<std::int32_t*>(p)[i] = static_cast<std::int32_t>(v); break;
    case DType::kI64: reinterpret_cast<std::int64_t*>(p)[i] = static_cast<std::int64_t>(v); break;
    case DType::kBool: reinterpret_cast<std::uint8_t*>(p)[i] = v != 0 ? 1 : 0; break;
  }
}

}  // namespace

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64: return 8;
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kF16:
    case DType::kBF16: return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool: return 1;
  }
  return 0;
}

bool is_floating(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32 ||
         dtype == DType::kF64;
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "f32";
    case DType::kF64: return "f64";
    case DType::kF16: return "f16";
    case DType::kBF16: return "bf16";
    case DType::kI8: return "i8";
    case DType::kU8: return "u8";
    case DType::kI32: return "i32";
    case DType::kI64: return "i64";
    case DType::kBool: return "bool";
  }
  return "?";
}

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t d : shape) {
    if (d < 0 || __builtin_mul_overflow(count, d, &count)) {
      fail(ErrorCode::kInvalidArgument, "shape {} has no valid number of elements",
           to_string(shape));
    }
  }
  return count;
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Tensor::Tensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), size_(element_count(shape_)) {
  if (size_ > static_cast<std::int64_t>(PTRDIFF_MAX / 8)) {
    fail(ErrorCode::kInvalidArgument, "a tensor of shape {} does not fit in memory",
         to_string(shape_));
  }
  storage_ = allocate(bytes());
}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor t(dtype, std::move(shape));
  if (!t.empty()) std::memset(t.raw(), 0, t.bytes());
  return t;
}

Tensor Tensor::full(Shape shape, float value) {
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.as<float>()) x = value;
  return t;
}

Tensor Tensor::mapped(DType dtype, Shape shape, std::shared_ptr<std::byte[]> memory) {
  Tensor t;
  t.dtype_ = dtype;
  t.shape_ = std::move(shape);
  t.size_ = element_count(t.shape_);
  t.storage_ = std::move(memory);
  t.mapped_ = true;
  return t;
}

void Tensor::release_memory() const {
  if (!mapped_ || empty()) return;
  // Whole pages: a neighbour's part of one is read again, too.
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(raw()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(raw()) + bytes();
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Tensor Tensor::clone() const {
  Tensor t(dtype_, shape_);
  if (!empty()) std::memcpy(t.raw(), raw(), bytes());
  return t;
}

Tensor Tensor::reshaped(Shape shape) const {
  if (element_count(shape) != size_) {
    fail(ErrorCode::kInvalidArgument, "cannot view a tensor of shape {} as {}", to_string(shape_),
         to_string(shape));
  }
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::cast(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t(dtype, shape_);
  for (std::int64_t i = 0; i < size_; ++i) store(dtype, t.raw(), i, load(dtype_, raw(), i));
  return t;
}

void Tensor::require(DType dtype) const {
  if (dtype != dtype_) {
    fail(ErrorCode::kInvalidArgument, "a tensor of {} was read as {}", name_of(dtype_),
         name_of(dtype));
  }
}

void Tensor::require_size(std::size_t values) const {
  if (values != static_cast<std::size_t>(size_)) {
    fail(ErrorCode::kInvalidArgument, "a tensor of shape {} cannot be made of {} values",
         to_string(shape_), values);
  }
}

}  // namespace resnet

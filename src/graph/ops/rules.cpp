#include "graph/ops/rules.h"

#include "graph/window.h"

namespace resnet {
namespace {

// Of strides and the like: below it no sum or product in these rules overflows. Padding may be
// twice what Graph::conv2d takes.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 21;

constexpr float kMinScale = 0x1p-40F, kMaxScale = 0x1p40F;

}  // namespace

void ShapeRule::wrong_attributes() const {
  fail(ErrorCode::kInternal, "layer {} ({}): attributes of the wrong kind", layer, name_of(op));
}

[[noreturn]] void bad(const ShapeRule& r, const std::string& what) {
  fail(ErrorCode::kInvalidArgument, "layer {} ({}): {}", r.layer, name_of(r.op), what);
}

void expect(const ShapeRule& r, bool condition, const std::string& what) {
  if (!condition) bad(r, what);
}

void expect_rank(const ShapeRule& r, std::size_t input, std::size_t rank) {
  expect(r, r.shape(input).size() == rank,
         fmt::format("input {} must have {} dimensions, it has shape {}", input, rank,
                     to_string(r.shape(input))));
}

void expect_shape(const ShapeRule& r, std::size_t input, const Shape& shape) {
  expect(r, r.shape(input) == shape,
         fmt::format("input {} must have shape {}, it has {}", input, to_string(shape),
                     to_string(r.shape(input))));
}

void expect_type(const ShapeRule& r, std::size_t input, const Shape& shape) {
  expect_shape(r, input, shape);
  expect(r, r.inputs[input].dtype == r.inputs[0].dtype,
         fmt::format("input {} must be of {}, it is of {}", input, name_of(r.inputs[0].dtype),
                     name_of(r.inputs[input].dtype)));
}

void expect_channels_of(const ShapeRule& r) {
  const std::size_t rank = r.shape(0).size();
  expect(r, rank == 2 || rank == 4,
         fmt::format("needs data [n, c] or [n, c, h, w], got {}", to_string(r.shape(0))));
}

bool is_integer(DType dtype) { return dtype == DType::kU8 || dtype == DType::kI8; }

void expect_scale(const ShapeRule& r, float scale) {
  expect(r, scale >= kMinScale && scale <= kMaxScale,
         fmt::format("scales must be between 2^-40 and 2^40, one is {}", scale));
}

Types same(const ShapeRule& r) { return {r.inputs[0]}; }

Types elementwise(const ShapeRule& r) {
  for (std::size_t i = 1; i < r.inputs.size(); ++i) expect_type(r, i, r.shape(0));
  return same(r);
}

Types no_outputs(const ShapeRule&) { return {}; }

Types like(const ShapeRule& r, Shape shape) { return {{r.inputs[0].dtype, std::move(shape)}}; }

Types f32(Shape shape) { return {{DType::kF32, std::move(shape)}}; }

Shape conv_output(const ShapeRule& r, const Shape& x, const Shape& w, const ConvAttributes& a) {
  expect(r, x.size() == 4 && w.size() == 4,
         fmt::format("needs 4-D data and weights, got {} and {}", to_string(x), to_string(w)));
  expect(r,
         a.stride_h > 0 && a.stride_w > 0 && a.dilation_h > 0 && a.dilation_w > 0 && a.groups > 0 &&
             a.pad_top >= 0 && a.pad_left >= 0 && a.pad_bottom >= 0 && a.pad_right >= 0,
         "strides, dilations and groups must be positive, padding not negative");
  for (const std::int64_t v : {a.stride_h, a.stride_w, a.dilation_h, a.dilation_w, a.groups,
                               a.pad_top, a.pad_left, a.pad_bottom, a.pad_right}) {
    expect(r, v <= kMaxExtent, "strides, dilations, groups and padding must be at most 2^21");
  }
  expect(r, x[1] == w[1] * a.groups,
         fmt::format("data {} has {} channels, weights {} with {} group(s) want {}", to_string(x),
                     x[1], to_string(w), a.groups, w[1] * a.groups));
  expect(r, w[0] % a.groups == 0,
         fmt::format("{} filters cannot be split into {} groups", w[0], a.groups));
  const Shape y{x[0], w[0],
                window_output(x[2], a.pad_top + a.pad_bottom, w[2], a.stride_h, a.dilation_h),
                window_output(x[3], a.pad_left + a.pad_right, w[3], a.stride_w, a.dilation_w)};
  const bool fits = x[2] + a.pad_top + a.pad_bottom >= a.dilation_h * (w[2] - 1) + 1 &&
                    x[3] + a.pad_left + a.pad_right >= a.dilation_w * (w[3] - 1) + 1;
  expect(r, fits,
         fmt::format("the image {} is smaller than the kernel {}; use a larger image "
                     "size or a network with fewer strides",
                     to_string(x), to_string(w)));
  return y;
}

Value GradientRule::emit(Op op, std::vector<Value> inputs, Attributes attributes) {
  return graph.append({.op = op,
                       .name = node.name + ".grad",
                       .inputs = std::move(inputs),
                       .attributes = std::move(attributes),
                       .derivative = true});
}

void GradientRule::unsupported(std::string_view what) const {
  fail(ErrorCode::kUnsupported, "layer {}: {} {}", node.name, name_of(node.op), what);
}

std::int64_t bounded_product(std::int64_t a, std::int64_t b) {
  constexpr std::int64_t kBound = std::int64_t{1} << 48;
  std::int64_t p = 0;
  return __builtin_mul_overflow(a, b, &p) || p > kBound ? kBound : p;
}

std::int64_t convolution_cost(const Shape& y, const Shape& w) {
  return bounded_product(element_count(y), element_count({w[1], w[2], w[3]}));
}

}  // namespace resnet

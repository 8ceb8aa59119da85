#include "graph/ops/rules.h"

namespace resnet {
namespace {

// Products of 8-bit integers whose sums fit 32 bits: each is at most 255 * 128.
constexpr std::int64_t kMaxExactProducts = 65536;

Types quantize(const ShapeRule& r) {
  const auto& a = r.as<QuantizeAttributes>();
  expect_scale(r, a.scale);
  expect(r, is_integer(a.dtype) && r.inputs[0].dtype == DType::kF32,
         "makes 8-bit integers of f32 only");
  return {{a.dtype, r.shape(0)}};
}

Types dequantize(const ShapeRule& r) {
  expect_scale(r, r.as<QuantizeAttributes>().scale);
  expect(r, is_integer(r.inputs[0].dtype), "needs 8-bit integers");
  return f32(r.shape(0));
}

// What convolutions and linear layers have in common; `filters` outputs.
Types quantized_layer(const ShapeRule& r, Shape y, std::int64_t filters) {
  const auto& a = r.as<QuantizedAttributes>();
  expect(r, r.inputs[1].dtype == DType::kI8, "needs weights of i8");
  expect(r, r.inputs[0].dtype == DType::kF32 || is_integer(r.inputs[0].dtype),
         "needs data of u8, i8 or f32");
  expect(r, is_integer(a.x_dtype) && (is_integer(a.dtype) || a.dtype == DType::kF32),
         "data becomes u8 or i8, results u8, i8 or f32");
  expect(r, std::ssize(a.w_scales) == filters,
         fmt::format("has {} scales of weights for {} filters", a.w_scales.size(), filters));
  expect_scale(r, a.x_scale);
  expect_scale(r, a.y_scale);
  expect_scale(r, a.residual_scale);
  for (const float scale : a.w_scales) expect_scale(r, scale);
  expect_shape(r, 2, {filters});
  expect(r, element_count(r.shape(1)) / filters <= kMaxExactProducts,
         fmt::format("has more than {} weights a filter", kMaxExactProducts));
  return {{a.dtype, std::move(y)}};
}

Types quantized_conv2d(const ShapeRule& r) {
  const auto& a = r.as<QuantizedAttributes>();
  Shape y = conv_output(r, r.shape(0), r.shape(1), a.conv);
  expect(r, r.inputs.size() == (a.conv.residual ? 4U : 3U), "wrong number of inputs");
  if (a.conv.residual) {
    expect_shape(r, 3, y);
    const DType residual = r.inputs[3].dtype;
    expect(r, is_integer(residual) == is_integer(a.dtype) && residual != DType::kI32,
           "integers take a residual of integers, f32 one of f32");
  }
  return quantized_layer(r, std::move(y), r.shape(1)[0]);
}

Types quantized_linear(const ShapeRule& r) {
  expect_rank(r, 0, 2);
  expect_rank(r, 1, 2);
  const Shape &x = r.shape(0), &w = r.shape(1);
  expect(r, x[1] == w[1], fmt::format("data has {} features, weights want {}", x[1], w[1]));
  const auto& a = r.as<QuantizedAttributes>();
  expect(r, a.dtype == DType::kF32 && a.conv == ConvAttributes{}, "linear layers make f32");
  return quantized_layer(r, {x[0], w[0]}, w[0]);
}

}  // namespace

std::span<const OpInfo> quantized_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kQuantize,
       .name = "quantize",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = quantize},
      {.op = Op::kDequantize,
       .name = "dequantize",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = dequantize},
      {.op = Op::kQuantizedConv2d,
       .name = "quantized_conv2d",
       .kind = OpKind::kForward,
       .min_inputs = 3,
       .max_inputs = 4,
       .infer = quantized_conv2d,
       .multiply_adds = [](const CostRule& c) { return convolution_cost(c.y(), c.x(1)); }},
      {.op = Op::kQuantizedLinear,
       .name = "quantized_linear",
       .kind = OpKind::kForward,
       .min_inputs = 3,
       .max_inputs = 3,
       .infer = quantized_linear,
       .multiply_adds =
           [](const CostRule& c) { return bounded_product(element_count(c.y()), c.x(0)[1]); }},
  };
  return kRows;
}

}  // namespace resnet

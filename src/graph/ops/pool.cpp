#include "graph/ops/rules.h"
#include "graph/window.h"

namespace resnet {
namespace {

Shape pool_output(const ShapeRule& r, const Shape& x, const PoolAttributes& a) {
  expect(r, x.size() == 4, fmt::format("needs 4-D data, got {}", to_string(x)));
  expect(r, a.kernel_h > 0 && a.kernel_w > 0 && a.stride_h > 0 && a.stride_w > 0,
         "kernel and stride must be positive");
  expect(r, a.kernel_h < 256 && a.kernel_w < 256 && a.kernel_h * a.kernel_w < 256,
         "windows of 256 or more elements are not supported");
  expect(r,
         a.pad_top >= 0 && a.pad_left >= 0 && a.pad_bottom >= 0 && a.pad_right >= 0 &&
             a.pad_top < a.kernel_h && a.pad_bottom < a.kernel_h && a.pad_left < a.kernel_w &&
             a.pad_right < a.kernel_w,
         "padding must be smaller than the kernel");
  expect(r,
         x[2] + a.pad_top + a.pad_bottom >= a.kernel_h &&
             x[3] + a.pad_left + a.pad_right >= a.kernel_w,
         fmt::format("the image {} is smaller than the window; use a larger image size",
                     to_string(x)));
  return {x[0], x[1], window_output(x[2], a.pad_top + a.pad_bottom, a.kernel_h, a.stride_h),
          window_output(x[3], a.pad_left + a.pad_right, a.kernel_w, a.stride_w)};
}

Types max_pool(const ShapeRule& r) {
  const Shape y = pool_output(r, r.shape(0), r.as<PoolAttributes>());
  // Nothing is differentiated through integers: no positions.
  if (is_integer(r.inputs[0].dtype)) return like(r, y);
  return {{r.inputs[0].dtype, y}, {DType::kU8, y}};
}

Types avg_pool(const ShapeRule& r) {
  return like(r, pool_output(r, r.shape(0), r.as<PoolAttributes>()));
}

Types pool_backward(const ShapeRule& r) {
  const auto& a = r.as<PoolAttributes>();
  const Shape y = pool_output(r, a.input_shape, a);
  for (std::size_t i = 0; i < r.inputs.size(); ++i) expect_shape(r, i, y);
  return like(r, a.input_shape);
}

Types global_avg_pool(const ShapeRule& r) {
  expect_rank(r, 0, 4);
  if (is_integer(r.inputs[0].dtype)) expect_scale(r, r.as<QuantizeAttributes>().scale);
  return f32({r.shape(0)[0], r.shape(0)[1]});
}

Types global_avg_pool_backward(const ShapeRule& r) {
  const auto& a = r.as<ShapeAttributes>();
  const Shape& x = a.shape;
  expect(r, x.size() == 4, "needs the shape of 4-D data");
  expect_shape(r, 0, {x[0], x[1]});
  return {{a.dtype, x}};
}

void max_pool_gradient(GradientRule& r) {
  auto a = r.attributes<PoolAttributes>();
  a.input_shape = r.shape(0);
  r.dx[0] = r.emit(Op::kMaxPoolBackward, {r.dy, r.y(1)}, a);
}

void avg_pool_gradient(GradientRule& r) {
  auto a = r.attributes<PoolAttributes>();
  a.input_shape = r.shape(0);
  r.dx[0] = r.emit(Op::kAvgPoolBackward, {r.dy}, a);
}

void global_avg_pool_gradient(GradientRule& r) {
  r.dx[0] = r.emit(Op::kGlobalAvgPoolBackward, {r.dy},
                   ShapeAttributes{r.shape(0), r.graph.type(r.x(0)).dtype});
}

}  // namespace

std::span<const OpInfo> pool_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kMaxPool,
       .name = "max_pool",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = max_pool,
       .gradient = max_pool_gradient},
      {.op = Op::kAvgPool,
       .name = "avg_pool",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = avg_pool,
       .gradient = avg_pool_gradient},
      {.op = Op::kGlobalAvgPool,
       .name = "global_avg_pool",
       .kind = OpKind::kForward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = global_avg_pool,
       .gradient = global_avg_pool_gradient},
      {.op = Op::kMaxPoolBackward,
       .name = "max_pool_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 2,
       .max_inputs = 2,
       .infer = pool_backward},
      {.op = Op::kAvgPoolBackward,
       .name = "avg_pool_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = pool_backward},
      {.op = Op::kGlobalAvgPoolBackward,
       .name = "global_avg_pool_backward",
       .kind = OpKind::kBackward,
       .min_inputs = 1,
       .max_inputs = 1,
       .infer = global_avg_pool_backward},
  };
  return kRows;
}

}  // namespace resnet

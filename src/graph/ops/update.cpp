#include "graph/ops/rules.h"

namespace resnet {
namespace {

// Variables and the gradient have one shape; learning rate, step and scale are [1].
template <std::size_t kState>
Types update(const ShapeRule& r) {
  for (std::size_t i = 1; i <= kState; ++i) expect_shape(r, i, r.shape(0));
  for (std::size_t i = kState + 1; i < r.inputs.size(); ++i) expect_shape(r, i, {1});
  return {};
}

Types accumulate(const ShapeRule& r) {
  expect_shape(r, 1, r.shape(0));
  return {};
}

Types clip_scale(const ShapeRule& r) {
  const double max_norm = r.as<ClipAttributes>().max_norm;
  expect(r, max_norm > 0, fmt::format("the norm must be positive, it is {}", max_norm));
  return f32({1});
}

}  // namespace

std::span<const OpInfo> update_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kAccumulate,
       .name = "accumulate",
       .kind = OpKind::kUpdate,
       .min_inputs = 2,
       .max_inputs = 2,
       .updated_inputs = 1,
       .infer = accumulate},
      {.op = Op::kRunningAverage,
       .name = "running_average",
       .kind = OpKind::kUpdate,
       .min_inputs = 2,
       .max_inputs = 2,
       .updated_inputs = 1,
       .infer = accumulate},
      {.op = Op::kSgd,
       .name = "sgd",
       .kind = OpKind::kUpdate,
       .min_inputs = 4,
       .max_inputs = 5,
       .updated_inputs = 2,
       .infer = update<2>},
      {.op = Op::kAdamW,
       .name = "adamw",
       .kind = OpKind::kUpdate,
       .min_inputs = 6,
       .max_inputs = 7,
       .updated_inputs = 3,
       .infer = update<3>},
      {.op = Op::kLars,
       .name = "lars",
       .kind = OpKind::kUpdate,
       .min_inputs = 4,
       .max_inputs = 5,
       .updated_inputs = 2,
       .infer = update<2>},
      {.op = Op::kClear,
       .name = "clear",
       .kind = OpKind::kUpdate,
       .min_inputs = 1,
       .max_inputs = 1,
       .updated_inputs = 1,
       .infer = no_outputs},
      {.op = Op::kClipScale,
       .name = "clip_scale",
       .kind = OpKind::kHelper,
       .min_inputs = 1,
       .max_inputs = -1,
       .infer = clip_scale},
  };
  return kRows;
}

}  // namespace resnet

#include "graph/ops/rules.h"

namespace resnet {
namespace {

Types source(const ShapeRule&) { return {}; }  // inputs and parameters carry their own type

Types fill(const ShapeRule& r) { return f32(r.as<FillAttributes>().shape); }

}  // namespace

std::span<const OpInfo> source_ops() {
  static constexpr OpInfo kRows[] = {
      {.op = Op::kInput, .name = "input", .kind = OpKind::kSource, .infer = source},
      {.op = Op::kParameter, .name = "parameter", .kind = OpKind::kSource, .infer = source},
      {.op = Op::kFill, .name = "fill", .kind = OpKind::kSource, .infer = fill},
  };
  return kRows;
}

}  // namespace resnet

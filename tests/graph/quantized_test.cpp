// The rules of int8 ops.
#include <gtest/gtest.h>

#include <limits>

#include "core/check.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

struct Layer {
  Graph graph{Mode::kInference};
  Value x = graph.input("x", {2, 3, 8, 8}, DType::kU8);
  Value w = graph.parameter("w", {4, 3, 3, 3}, {}, DType::kI8);
  Value bias = graph.parameter("bias", {4}, {});
  QuantizedAttributes a;

  Layer() { a.w_scales.assign(4, 0.01F); }
  Value conv(std::vector<Value> more = {}) {
    std::vector<Value> inputs{x, w, bias};
    inputs.insert(inputs.end(), more.begin(), more.end());
    return graph.append(Op::kQuantizedConv2d, "conv1", inputs, a);
  }
  std::string error(std::vector<Value> more = {}) {
    try {
      conv(std::move(more));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      return e.what();
    }
    return "";
  }
};

TEST(QuantizedRules, InferTypes) {
  Layer l;
  EXPECT_EQ(l.graph.type(l.conv()), (TensorType{DType::kU8, {2, 4, 6, 6}}));
  l.a.dtype = DType::kF32;
  EXPECT_EQ(l.graph.type(l.conv()), (TensorType{DType::kF32, {2, 4, 6, 6}}));
  const Value pooled = l.graph.append(Op::kMaxPool, "pool", {l.x}, PoolAttributes{});
  EXPECT_EQ(l.graph.node(pooled).outputs, (std::vector<TensorType>{{DType::kU8, {2, 3, 4, 4}}}));
  verify(l.graph);
}

TEST(QuantizedRules, RefuseScalesThatMakeNoSense) {
  for (const float bad : {0.0F, -1.0F, 1e-20F, 1e20F, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    Layer l;
    l.a.w_scales[2] = bad;
    EXPECT_NE(l.error().find("layer conv1 (quantized_conv2d): scales"), std::string::npos) << bad;
    Layer m;
    m.a.y_scale = bad;
    EXPECT_NE(m.error().find("scales"), std::string::npos) << bad;
    EXPECT_THROW(m.graph.append(Op::kDequantize, "d", {m.x}, QuantizeAttributes{.scale = bad}),
                 Error);
  }
  Layer l;
  l.a.w_scales.pop_back();
  EXPECT_NE(l.error().find("3 scales of weights for 4 filters"), std::string::npos);
}

TEST(QuantizedRules, RefuseOperandsOfOtherTypes) {
  Layer l;
  EXPECT_NE(l.error({l.bias}).find("inputs"), std::string::npos);
  l.a.conv.residual = true;
  const Value real = l.graph.input("residual", {2, 4, 6, 6});
  EXPECT_NE(l.error({real}).find("integers take a residual of integers"), std::string::npos);
  l.a.conv.residual = false;
  l.w = l.graph.parameter("real", {4, 3, 3, 3}, {});
  EXPECT_NE(l.error().find("weights of i8"), std::string::npos);
}

TEST(QuantizedRules, RefuseSumsThatDoNotFit) {
  Layer l;
  l.x = l.graph.input("wide", {1, 8192, 3, 3}, DType::kU8);
  l.w = l.graph.parameter("wide_w", {4, 8192, 3, 3}, {}, DType::kI8);
  EXPECT_NE(l.error().find("more than 65536 weights a filter"), std::string::npos);
}

TEST(QuantizedRules, HaveNoGradient) {
  Layer l;
  l.a.dtype = DType::kF32;
  const Value loss = l.graph.global_avg_pool(l.conv());
  const Value flat = l.graph.append(Op::kReshape, "flat", {loss}, ShapeAttributes{{1, 8}});
  const Value scalar =
      l.graph.append(Op::kLinear, "loss", {flat, l.graph.input("direction", {1, 8})});
  try {
    gradients(l.graph, scalar, std::vector<Value>{l.bias});
    FAIL() << "a gradient through integers";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
    EXPECT_NE(std::string(e.what()).find("layer conv1: quantized_conv2d has no gradient"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace resnet

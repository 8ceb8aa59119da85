// Sizes from files and hosts: whatever they are, an Error comes before any overflow.
#include <gtest/gtest.h>

#include <limits>

#include "graph/cost.h"
#include "resnet/error.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 62;

TEST(Sizes, AbsurdShapesAreErrors) {
  Graph g;
  for (const Shape& s : {Shape{kHuge, 8}, Shape{1, 3, 1 << 20, 1 << 20}, Shape{0, 3, 8, 8},
                         Shape{1, -3, 8, 8}, Shape{std::numeric_limits<std::int64_t>::min()}}) {
    EXPECT_THROW(g.input("x", s), Error) << to_string(s);
    EXPECT_THROW(g.parameter("p", s, {}), Error) << to_string(s);
  }
}

TEST(Sizes, AbsurdLayersAreErrors) {
  Graph g;
  const Value x = g.input("x", {1, 8, 8, 8});
  for (const std::int64_t v : {kHuge, std::int64_t{-1}, std::int64_t{0}, std::int64_t{1} << 32}) {
    EXPECT_THROW(g.conv2d("c", x, {.filters = v}), Error) << v;
    EXPECT_THROW(g.conv2d("c", x, {.filters = 8, .kernel = v}), Error) << v;
    for (const Padding p : {Padding::kFixed, Padding::kSame, Padding::kExplicit}) {
      EXPECT_THROW(g.conv2d("c", x, {.filters = 8, .stride = v, .padding = p}), Error) << v;
      EXPECT_THROW(g.max_pool(x, {.kernel = v, .padding = p}), Error) << v;
      EXPECT_THROW(g.avg_pool(x, {.stride = v, .padding = p}), Error) << v;
    }
    EXPECT_THROW(g.conv2d("c", x, {.filters = 8, .dilation = v}), Error) << v;
    EXPECT_THROW(g.conv2d("c", x, {.filters = 8, .groups = v}), Error) << v;
  }
  EXPECT_THROW(g.conv2d("c", x, {.filters = 8, .padding = Padding::kExplicit, .pad = kHuge}),
               Error);
  EXPECT_THROW(g.pad_shortcut(x, kHuge, 1), Error);
  EXPECT_THROW(g.append(Op::kReshape, "r", {x}, ShapeAttributes{{kHuge, 16}}), Error);
  EXPECT_THROW(g.append(Op::kMaxPool, "p", {x},
                        PoolAttributes{.kernel_h = std::int64_t{1} << 32,
                                       .kernel_w = std::int64_t{1} << 32}),
               Error);
}

TEST(Sizes, ValuesThatDoNotExistAreErrors) {
  Graph g;
  const Value none = g.find("nothing");
  EXPECT_THROW(g.relu(none), Error);
  EXPECT_THROW(g.conv2d("c", none, {.filters = 1}), Error);
  EXPECT_THROW(g.linear("l", none, 1), Error);
  EXPECT_THROW(g.flatten(none), Error);
  EXPECT_THROW(g.mark_output("y", none), Error);
  const Value x = g.input("x", {1, 8, 8, 8});
  EXPECT_THROW(g.relu({x.node, 1}), Error);
}

TEST(Sizes, ChannelsHaveTwoOrFourDimensions) {
  Graph g;
  const Value x = g.input("x", {2, 3, 4});
  EXPECT_THROW(g.concat(std::vector<Value>{x, x}), Error);
  EXPECT_THROW(g.append(Op::kSliceChannels, "s", {x}, SliceAttributes{0, 1}), Error);
  EXPECT_THROW(g.append(Op::kChannelSum, "s", {x}), Error);
}

TEST(Sizes, CostsOfLargeLayersAreBounded) {
  Graph g;
  const Value y = g.linear("l", g.input("x", {1 << 20, 1 << 20}), 1 << 20);
  EXPECT_EQ(multiply_adds(g, g.node(y)), std::int64_t{1} << 48);
}

// The gradient of what nothing depends on needs no rule of the op that made it.
TEST(Sizes, GradientsByAValueInTheMiddle) {
  Graph g(Mode::kTraining);
  const Value p = g.softmax(g.input("x", {1, 4}));  // has no gradient rule
  const Value loss = g.linear("fc", p, 1);
  const std::vector<Value> d = gradients(g, loss, std::vector<Value>{p});
  ASSERT_TRUE(d[0]);
  EXPECT_EQ(g.node(d[0]).op, Op::kLinearBackwardData);
}

}  // namespace
}  // namespace resnet

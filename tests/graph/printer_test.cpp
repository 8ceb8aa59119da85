// Graphs as text.
#include <gtest/gtest.h>

#include "resnet/graph.h"

namespace resnet {
namespace {

TEST(Printer, WritesOneLineANode) {
  Graph g(Mode::kTraining);
  Value x = g.input("image", {2, 3, 8, 8});
  x = g.conv2d("conv1", x, {.filters = 4, .kernel = 3, .stride = 2, .bias = true});
  x = g.relu(g.batch_norm("bn1", x));
  x = g.max_pool(x, {.kernel = 2, .stride = 2});
  g.set_scope("head");
  x = g.dropout(g.flatten(x), 0.25);
  x = g.linear("fc", x, 5, false);
  const Value loss = g.softmax_cross_entropy(x, g.input("targets", {2, 5}), 0.1);
  g.mark_output("loss", loss);
  EXPECT_EQ(to_string(g), R"(%0 = input "image" () [2, 3, 8, 8]
%1 = parameter "conv1.weight" () [4, 3, 3, 3]
%2 = parameter "conv1.bias" () [4]
%3 = conv2d "conv1" (%0, %1, %2) stride=2x2 pad=1,1,1,1 [2, 4, 4, 4]
%4 = parameter "bn1.weight" () [4]
%5 = parameter "bn1.bias" () [4]
%6 = parameter "bn1.running_mean" () [4]
%7 = parameter "bn1.running_var" () [4]
%8 = batch_norm "bn1" (%3, %4, %5) eps=1e-05 [2, 4, 4, 4] [4] [4]
%9 = running_average "bn1.running_mean" (%6, %8.1) momentum=0.1 scale=1 weight_decay=0
%10 = running_average "bn1.running_var" (%7, %8.2) momentum=0.1 scale=1.032258064516129 weight_decay=0
%11 = relu "relu" (%8) [2, 4, 4, 4]
%12 = max_pool "maxpool" (%11) kernel=2x2 stride=2x2 pad=0,0,0,0 [2, 4, 2, 2] u8[2, 4, 2, 2]
%13 = reshape "head.flatten" (%12) [2, 16]
%14 = dropout "head.dropout" (%13) p=0.25 stream=13828194288565586610 [2, 16]
%15 = parameter "fc.weight" () [5, 16]
%16 = linear "fc" (%14, %15) [2, 5]
%17 = input "targets" () [2, 5]
%18 = softmax_cross_entropy "loss" (%16, %17) label_smoothing=0.1 [1] [2, 5]
output "loss" = %18
)");
}

}  // namespace
}  // namespace resnet

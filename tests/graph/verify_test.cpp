// The verifier finds every broken invariant.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "resnet/error.h"
#include "resnet/graph.h"

namespace resnet {
namespace {

Graph small() {
  Graph g(Mode::kTraining);
  Value x = g.input("x", {2, 3, 8, 8});
  x = g.relu(g.batch_norm("bn", g.conv2d("conv", x, {.filters = 4, .kernel = 3})));
  x = g.linear("fc", g.global_avg_pool(x), 5);
  const Value loss = g.softmax_cross_entropy(x, g.input("targets", {2, 5}));
  const std::vector<Value> wrt = g.trainable();
  gradients(g, loss, wrt);
  g.mark_output("loss", loss);
  return g;
}

std::size_t find(const Graph& g, Op op) {
  for (std::size_t i = 0; i < g.nodes().size(); ++i) {
    if (g.nodes()[i].op == op) return i;
  }
  throw std::logic_error("no such node");
}

/// Breaks the first node of an op and expects the verifier to say so, with that node.
void expect_broken(Op op, const std::function<void(Node&)>& break_it, const std::string& rule) {
  Graph g = small();
  // Only a pass can break a graph: the builder cannot. So the test reaches into it.
  auto& nodes = const_cast<std::vector<Node>&>(g.nodes());
  Node& node = nodes[find(g, op)];
  const std::string name = node.name;
  break_it(node);
  try {
    verify(g);
    ADD_FAILURE() << "not noticed: " << rule;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(rule), std::string::npos) << e.what();
  }
}

TEST(Verify, AcceptsWhatTheBuilderMakes) {
  EXPECT_NO_THROW(verify(small()));
  EXPECT_NO_THROW(verify(Graph()));
}

TEST(Verify, WantsInputsFirst) {
  expect_broken(
      Op::kRelu, [](Node& n) { n.inputs[0].node = 9999; }, "an input that follows it");
  expect_broken(
      Op::kRelu, [](Node& n) { n.inputs[0].node = -1; }, "an input that follows it");
}

TEST(Verify, WantsExistingOutputs) {
  expect_broken(
      Op::kRelu, [](Node& n) { n.inputs[0].output = 3; }, "an input that does not exist");
  expect_broken(
      Op::kRelu, [](Node& n) { n.inputs[0].output = -1; }, "an input that does not exist");
}

TEST(Verify, ChecksTheNumberOfInputs) {
  expect_broken(
      Op::kRelu, [](Node& n) { n.inputs.clear(); }, "wrong number of inputs");
  expect_broken(
      Op::kRelu, [](Node& n) { n.inputs.push_back(n.inputs[0]); }, "wrong number of inputs");
}

TEST(Verify, InfersTypesAgain) {
  const std::string rule = "output types that do not follow from the inputs";
  expect_broken(
      Op::kRelu, [](Node& n) { n.outputs[0].shape[1] = 5; }, rule);
  expect_broken(
      Op::kRelu, [](Node& n) { n.outputs[0].dtype = DType::kU8; }, rule);
  expect_broken(
      Op::kBatchNorm, [](Node& n) { n.outputs.pop_back(); }, rule);
}

TEST(Verify, RunsTheShapeRules) {
  expect_broken(
      Op::kConv2d, [](Node& n) { std::get<ConvAttributes>(n.attributes).groups = 2; },
      "layer conv");
  expect_broken(
      Op::kConv2d, [](Node& n) { n.attributes = NormAttributes{}; },
      "attributes of the wrong kind");
}

TEST(Verify, UpdatesParametersOnly) {
  expect_broken(
      Op::kRunningAverage, [](Node& n) { n.inputs[0] = n.inputs[1]; },
      "an update of something that is not a parameter");
}

TEST(Verify, ChecksSources) {
  expect_broken(
      Op::kParameter, [](Node& n) { n.name = "x"; }, "a name that is taken");
  expect_broken(
      Op::kParameter, [](Node& n) { n.attributes = {}; }, "a parameter without attributes");
  expect_broken(
      Op::kInput, [](Node& n) { n.outputs.clear(); }, "a source with other than one output");
}

TEST(Verify, PrintsTheNode) {
  expect_broken(
      Op::kRelu, [](Node& n) { n.outputs[0].shape[1] = 5; }, "relu \"relu\" (%");
}

}  // namespace
}  // namespace resnet

// Ops that a program registers, with nothing but the public headers.
#include "resnet/custom_op.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "resnet/error.h"
#include "resnet/graph.h"
#include "resnet/models.h"
#include "resnet/program.h"

namespace resnet {
namespace {

// y = x sigmoid(beta x): Ramachandran et al. 2017, "Searching for activation functions".
OpDefinition swish_definition(std::string name) {
  return {
      .name = std::move(name),
      .gradient =
          [](GradientRule& r) {
            const double beta = attribute<double>(r.node.attributes, "beta");
            const Value scaled = r.emit(Op::kScale, {r.x(0)}, ScaleAttributes{beta});
            const Value s = r.emit(Op::kSigmoid, {scaled});
            // dy s + beta dy x s (1 - s)
            const Value through =
                r.emit(Op::kSigmoidBackward, {r.emit(Op::kMul, {r.dy, r.x(0)}), s});
            const Value inner = r.emit(Op::kScale, {through}, ScaleAttributes{beta});
            r.dx[0] = r.emit(Op::kAdd, {r.emit(Op::kMul, {r.dy, s}), inner});
          },
      .multiply_adds = [](const CostRule& c) { return 2 * element_count(c.y()); },
      .compute =
          [](const OpArguments<double>& a) {
            const double beta = attribute<double>(a.attributes, "beta");
            for (std::int64_t i = 0; i < a.size(0); ++i) {
              a.out[0][i] = a.in[0][i] / (1 + std::exp(-beta * a.in[0][i]));
            }
          },
  };
}

Op swish() {
  static const Op op = register_op(swish_definition("swish"));
  return op;
}

Value add_swish(Graph& g, const std::string& name, Value x, double beta = 1.5) {
  return g.append(swish(), name, {x}, CustomAttributes{{{"beta", beta}}});
}

// The code and message of the Error that `f` throws.
std::string error_of(ErrorCode code, const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  return "no error";
}

Tensor waves(const Shape& shape) {
  Tensor t(DType::kF32, shape);
  float i = 0;
  for (float& x : t.as<float>()) x = 2 * std::sin(++i);
  return t;
}

TEST(CustomOp, ItsGradientIsThatOfItsFormula) {
  Graph g(Mode::kTraining);
  const Value x = g.parameter("x", {2, 3, 4, 4}, {});
  const Value y = add_swish(g, "swish", x);
  const Value row = g.append(Op::kReshape, "row", {y}, ShapeAttributes{{1, 96}});
  const Value loss = g.linear("direction", row, 1, false);
  const std::vector<Value> dx = gradients(g, loss, std::vector<Value>{x});
  g.mark_output("loss", loss);
  g.mark_output("dx", dx[0]);
  verify(g);

  auto variables = std::make_shared<Variables>();
  variables->set("x", waves({2, 3, 4, 4}).cast(DType::kF64));
  variables->set("direction.weight", waves({1, 96}).cast(DType::kF64));
  Session p(g, variables, {.device = Device::kReference});
  p.run();
  const Tensor analytic = p.output("dx").clone();
  Tensor values = variables->at("x");
  for (std::size_t i = 0; i < values.as<double>().size(); ++i) {
    const double at = values.as<double>()[i];
    const auto loss_at = [&](double v) {
      values.as<double>()[i] = v;
      variables->touch();
      p.run();
      return p.scalar("loss");
    };
    // The third derivative is below 10, which makes an error of 1e-10 * 10 / 6. Rounding of 96
    // sums below 100 makes one of 96 * 100 * 2^-53, over the step: 1.1e-7.
    constexpr double kStep = 1e-5;
    const double numeric = (loss_at(at + kStep) - loss_at(at - kStep)) / (2 * kStep);
    loss_at(at);
    EXPECT_NEAR(analytic.as<double>()[i], numeric, 2e-7) << i;
  }
}

// The best that a linear network can do about "exclusive or" is to know nothing: a loss of ln 2.
TEST(CustomOp, TrainsOnTheCpu) {
  Graph g(Mode::kTraining);
  const Value x = g.input("x", {4, 2});
  const Value hidden = add_swish(g, "hidden.swish", g.linear("hidden", x, 16));
  const Value loss = g.softmax_cross_entropy(g.linear("fc", hidden, 2), g.input("targets", {4, 2}));
  const std::vector<Value> weights = g.trainable();
  const std::vector<Value> d = gradients(g, loss, weights);
  const Value lr = g.input("lr", {1});
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::string name = g.node(weights[i]).name;
    const Value momentum =
        g.parameter("momentum." + name, g.shape(weights[i]), {.role = Role::kOptimizer});
    g.append(Op::kSgd, name, {weights[i], momentum, d[i], lr}, UpdateAttributes{.momentum = 0.9});
  }
  g.mark_output("loss", loss);
  EXPECT_EQ(g.node(find_layer(g, "hidden.swish")).op, swish());

  for (const bool passes : {true, false}) {
    auto variables = std::make_shared<Variables>();
    initialise(g, *variables, 1);
    Session p(g, variables, {.threads = 1, .passes = passes});
    constexpr std::array<float, 8> kInputs{0, 0, 0, 1, 1, 0, 1, 1},
        kTargets{1, 0, 0, 1, 0, 1, 1, 0};
    p.set_input("x", Tensor::from<float>({4, 2}, kInputs));
    p.set_input("targets", Tensor::from<float>({4, 2}, kTargets));
    p.set_input("lr", 0.1);
    for (int i = 0; i < 300; ++i) p.run();
    EXPECT_LT(p.scalar("loss"), 0.5 * std::log(2.0));
    bool found = false;
    for (const StepProfile& s : p.profile()) {
      if (s.op != "swish") continue;
      found = true;
      EXPECT_EQ(s.flops, 2.0 * 2 * 4 * 16);
    }
    EXPECT_TRUE(found);
  }
}

// relu and the convolution have their data in blocks of channels on the cpu device.
TEST(CustomOp, ReadsAndWritesRowMajorBetweenOtherOps) {
  Graph g;
  const Value x = g.relu(g.input("x", {2, 5, 3, 4}));
  g.mark_output("y", g.max_pool(add_swish(g, "swish", x), {.kernel = 1, .stride = 1}));
  const Tensor data = waves({2, 5, 3, 4});
  Session cpu(g, std::make_shared<Variables>(), {.threads = 1});
  Session reference(g, std::make_shared<Variables>(), {.device = Device::kReference});
  for (Session* p : {&cpu, &reference}) {
    p->set_input("x", data);
    p->run();
  }
  const Tensor y = cpu.output("y").cast(DType::kF64);
  const Tensor expected = reference.output("y").cast(DType::kF64);
  for (std::size_t i = 0; i < y.as<double>().size(); ++i) {
    // The same formula of the same numbers, rounded to f32 at the end.
    EXPECT_NEAR(y.as<double>()[i], expected.as<double>()[i],
                0x1p-24 * std::abs(expected.as<double>()[i]));
  }
}

TEST(CustomOp, TheCpuRunsTheFunctionForF32IfThereIsOne) {
  static const Op op = register_op({
      .name = "two_or_three_times",
      .compute = [](const OpArguments<double>& a) { a.out[0][0] = 2 * a.in[0][0]; },
      .compute_f32 = [](const OpArguments<float>& a) { a.out[0][0] = 3 * a.in[0][0]; },
  });
  Graph g;
  g.mark_output("y", g.append(op, "y", {g.input("x", {1})}));
  for (const Device device : {Device::kCpu, Device::kReference}) {
    Session p(g, std::make_shared<Variables>(), {.device = device, .threads = 1});
    p.set_input("x", 7);
    p.run();
    EXPECT_EQ(p.scalar("y"), device == Device::kCpu ? 21 : 14);
  }
}

// A gradient may use a backward op of one's own, and an op may have several inputs and outputs.
TEST(CustomOp, HasShapesAndABackwardOpOfItsOwn) {
  static const Op outer_backward = register_op({
      .name = "outer_backward",
      .kind = OpKind::kBackward,
      .min_inputs = 2,
      .max_inputs = 2,
      .shapes = [](const ShapeRule& r) { return std::vector<Shape>{{r.shape(0)[0]}}; },
      .compute =
          [](const OpArguments<double>& a) {
            const Shape& s = a.inputs[0].shape;
            for (std::int64_t i = 0; i < s[0]; ++i) {
              a.out[0][i] = 0;
              for (std::int64_t j = 0; j < s[1]; ++j) {
                a.out[0][i] += a.in[0][i * s[1] + j] * a.in[1][j];
              }
            }
          },
  });
  static const Op outer = register_op({
      .name = "outer",
      .min_inputs = 2,
      .max_inputs = 2,
      .shapes =
          [](const ShapeRule& r) {
            return std::vector<Shape>{{r.shape(0)[0], r.shape(1)[0]}, {1}};
          },
      .gradient =
          [](GradientRule& r) {
            if (r.needs(0)) r.dx[0] = r.emit(outer_backward, {r.dy, r.x(1)});
            if (r.needs(1)) r.unsupported("has no gradient by its second input");
          },
      .compute =
          [](const OpArguments<double>& a) {
            for (std::int64_t i = 0; i < a.size(0); ++i) {
              for (std::int64_t j = 0; j < a.size(1); ++j) {
                a.out[0][i * a.size(1) + j] = a.in[0][i] * a.in[1][j];
              }
            }
            a.out[1][0] = a.in[0][0];
          },
  });
  Graph g(Mode::kTraining);
  const Value x = g.input("x", {1}), w = g.input("w", {2});
  const Value y = g.append(outer, "outer", {x, w});
  EXPECT_EQ(g.shape(y), (Shape{1, 2}));
  const Value loss = g.append(Op::kLinear, "loss", {y, g.input("direction", {1, 2})});
  const std::vector<Value> d = gradients(g, loss, std::vector<Value>{x});
  g.mark_output("first", {y.node, 1});
  g.mark_output("dx", d[0]);
  Session p(g, std::make_shared<Variables>(), {.threads = 1});
  p.set_input("x", 5);
  p.set_input("w", Tensor::from<float>({2}, std::array<float, 2>{2, 3}));
  p.set_input("direction", Tensor::from<float>({1, 2}, std::array<float, 2>{10, 100}));
  p.run();
  EXPECT_EQ(p.scalar("first"), 5);
  EXPECT_EQ(p.scalar("dx"), 2 * 10 + 3 * 100);
  EXPECT_EQ(error_of(ErrorCode::kUnsupported, [&] { gradients(g, loss, std::vector<Value>{w}); }),
            "layer outer: outer has no gradient by its second input");
  EXPECT_NE(error_of(ErrorCode::kUnsupported,
                     [&] {
                       gradients(g, {y.node, 1}, std::vector<Value>{x});
                     }),
            "no error");
}

TEST(CustomOp, RegistrationSaysWhatIsWrong) {
  swish();
  const auto error = [](OpDefinition d) {
    return error_of(ErrorCode::kInvalidArgument, [&] { register_op(std::move(d)); });
  };
  EXPECT_EQ(error(swish_definition("swish")), "an op is called swish already");
  EXPECT_EQ(error(swish_definition("relu")), "an op is called relu already");
  EXPECT_EQ(error(swish_definition("")), "cannot register op '': it needs a name");
  OpDefinition d = swish_definition("empty");
  d.compute = nullptr;
  EXPECT_EQ(error(d), "cannot register op 'empty': it needs the function that computes it");
  d = swish_definition("update");
  d.kind = OpKind::kUpdate;
  EXPECT_NE(error(d), "no error");
  d = swish_definition("backwards");
  d.min_inputs = 2;
  EXPECT_NE(error(d), "no error");
}

TEST(CustomOp, GraphsSayWhatIsWrong) {
  Graph g(Mode::kTraining);
  const Value x = g.input("x", {1, 3});
  EXPECT_EQ(error_of(ErrorCode::kInvalidArgument,
                     [&] {
                       g.append(swish(), "s", {x, x});
                     }),
            "layer s (swish): does not take 2 input(s)");
  EXPECT_NE(error_of(ErrorCode::kInvalidArgument, [&] { g.append(Op{4000}, "s", {x}); }),
            "no error");
  const Value y = add_swish(g, "s", x, 0.5);
  EXPECT_NE(to_string(g).find("swish \"s\" (%0) beta=0.5 [1, 3]"), std::string::npos)
      << to_string(g);

  static const Op plain = register_op({
      .name = "without_gradient",
      .compute = [](const OpArguments<double>& a) { a.out[0][0] = a.in[0][0]; },
  });
  static const Op wrong = register_op({
      .name = "with_a_wrong_gradient",
      .gradient =
          [](GradientRule& r) {
            r.dx[0] = r.emit(Op::kReshape, {r.dy}, ShapeAttributes{{3, 1}});
          },
      .compute = [](const OpArguments<double>& a) { a.out[0][0] = a.in[0][0]; },
  });
  const auto gradient_of = [&](Op op) {
    return error_of(op == plain ? ErrorCode::kUnsupported : ErrorCode::kInvalidArgument, [&] {
      const Value loss = g.linear(std::string(name_of(op)) + ".fc", g.append(op, "layer", {y}), 1);
      gradients(g, loss, std::vector<Value>{x});
    });
  };
  EXPECT_EQ(gradient_of(plain), "layer layer: without_gradient has no gradient");
  EXPECT_EQ(gradient_of(wrong),
            "layer layer: the gradient of with_a_wrong_gradient by input 0 must have shape [1, 3], "
            "it has [3, 1]");

  // An attribute that is missing is told when the op runs.
  Graph h;
  h.mark_output("y", h.append(swish(), "s", {h.input("x", {1})},
                              CustomAttributes{{{"beta", std::int64_t{1}}}}));
  Session p(h, std::make_shared<Variables>(), {.device = Device::kReference});
  p.set_input("x", 1);
  EXPECT_EQ(error_of(ErrorCode::kInvalidArgument, [&] { p.run(); }),
            "the attribute 'beta' is of another type");
}

// A name says nothing about a node: this layer is one, whatever it is called.
TEST(CustomOp, LayersMayBeCalledLikeGradients) {
  Graph g(Mode::kTraining);
  const Value y = add_swish(g, "head.grad", g.input("x", {1, 3}));
  gradients(g, g.linear("fc", y, 1), g.trainable());
  EXPECT_EQ(find_layer(g, "head.grad"), y);
}

}  // namespace
}  // namespace resnet

// The reference device: gradients by finite differences, and values that others computed.
#include "backends/reference/reference.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "core/random.h"
#include "support/device_check.h"
#include "support/executor.h"

namespace resnet::test {
namespace {

std::vector<OpCase> differentiable(const std::vector<OpCase>& cases) {
  std::vector<OpCase> result;
  for (const OpCase& c : cases) {
    if (c.loss) result.push_back(c);
  }
  return result;
}

class ReferenceGradients : public ::testing::TestWithParam<OpCase> {};

TEST_P(ReferenceGradients, AgreeWithDifferences) { expect_gradients(GetParam()); }

const auto kName = [](const auto& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(Ops, ReferenceGradients, ::testing::ValuesIn(differentiable(op_cases())),
                         kName);
INSTANTIATE_TEST_SUITE_P(Networks, ReferenceGradients,
                         ::testing::ValuesIn(differentiable(network_cases())), kName);

// A gradient check that passes wrong gradients would be worth nothing.
TEST(GradientCheck, NoticesAWrongGradient) {
  OpCase c;
  c.name = "wrong";
  const Value x = c.graph.input("x", {1, 6});
  c.sources["x"] = {};
  c.sources["w"] = {};
  const Value y = c.graph.relu(x);
  c.loss = c.graph.append(Op::kLinear, "loss", {y, c.graph.input("w", {1, 6})});
  c.wrt = {x};
  c.gradients = {c.graph.add(x, x)};
  ::testing::TestPartResultArray failures;
  {
    const ::testing::ScopedFakeTestPartResultReporter reporter(
        ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    expect_gradients(c);
  }
  EXPECT_GT(failures.size(), 0);
}

// --- Values and gradients that PyTorch 2 computed in float64.
//
// Inputs are wave(shape, phase): sin(0.7 i + phase) in row-major order, the incoming gradient is
// wave(shape of y, 1.1), and a result counts by checksum: sum of r_i sin(1.3 i + 0.1).

Tensor wave(const Shape& shape, double phase = 0.3) {
  Tensor t(DType::kF64, shape);
  auto v = t.as<double>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(0.7 * static_cast<double>(i) + phase);
  return t;
}

double checksum(const Tensor& t) {
  const auto v = t.as<double>();
  double sum = 0;
  for (std::size_t i = 0; i < v.size(); ++i)
    sum += v[i] * std::sin(1.3 * static_cast<double>(i) + 0.1);
  return sum;
}

/// A graph with its values, run on the reference.
struct Bench {
  std::unique_ptr<Target> target = make_reference_target();
  Graph g{Mode::kTraining};
  std::map<std::string, Tensor> values;
  std::unique_ptr<Executor> executor;

  Value input(const std::string& name, const Tensor& value) {
    values[name] = value;
    return g.input(name, value.shape());
  }
  Value parameter(const std::string& name, const Tensor& value) {
    values[name] = value;
    return g.parameter(name, value.shape(), {});
  }
  Value op(Op op, std::vector<Value> inputs, Attributes a = {}) {
    return g.append(op, std::string(name_of(op)), std::move(inputs), std::move(a));
  }
  void run(RunContext context = {}) {
    executor = std::make_unique<Executor>(*target, g);
    executor->run(values, context);
  }
  Tensor value(Value v) const { return executor->value(v); }
  double checksum_of(Value v) const { return checksum(value(v)); }

  /// Runs and compares y and the gradients by `wrt` with their checksums.
  void expect(Value y, const std::vector<Value>& wrt, const std::vector<double>& golden) {
    const std::int64_t size = element_count(g.shape(y));
    const Value row = op(Op::kReshape, {y}, ShapeAttributes{{1, size}});
    const Value loss = op(Op::kLinear, {row, input("dy", wave({1, size}, 1.1))});
    std::vector<Value> all = gradients(g, loss, wrt);
    all.insert(all.begin(), y);
    run();
    ASSERT_EQ(all.size(), golden.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_NEAR(checksum_of(all[i]), golden[i], 1e-11) << "result " << i;
    }
  }
};

// conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
TEST(ReferenceValues, Convolution) {
  Bench b;
  const std::vector<Value> in{b.input("x", wave({2, 4, 7, 6})),
                              b.input("w", wave({6, 2, 3, 3}, 0.9)), b.input("b", wave({6}, 2.0))};
  const Value y = b.op(Op::kConv2d, in,
                       ConvAttributes{.stride_h = 2,
                                      .pad_top = 1,
                                      .pad_left = 2,
                                      .pad_bottom = 1,
                                      .pad_right = 2,
                                      .dilation_w = 2,
                                      .groups = 2,
                                      .bias = true});
  EXPECT_EQ(b.g.shape(y), (Shape{2, 6, 4, 6}));
  b.expect(y, in,
           {-0.6147360757378975, -0.7059872438476169, 30.30712994760152, -2.768699303146345});
}

// max_pool2d(x, (3, 2), (2, 1), (1, 1)), avg_pool2d with the same arguments
TEST(ReferenceValues, Pooling) {
  PoolAttributes a{.kernel_h = 3,
                   .kernel_w = 2,
                   .stride_h = 2,
                   .stride_w = 1,
                   .pad_top = 1,
                   .pad_left = 1,
                   .pad_bottom = 1,
                   .pad_right = 1};
  const auto check = [&](Op op, const std::vector<double>& golden) {
    Bench b;
    const Value x = b.input("x", wave({2, 3, 7, 6}));
    b.expect(b.op(op, {x}, a), {x}, golden);
  };
  check(Op::kMaxPool, {2.3017076307909172, 4.699354076907232});
  check(Op::kAvgPool, {0.1815983501642597, 0.6435690720477844});
  a.count_padding = false;
  check(Op::kAvgPool, {0.16772118147526455, 1.5781474460302576});
}

// relu(batch_norm(x, ..., training=True) + residual), and its running statistics
TEST(ReferenceValues, BatchNorm) {
  Bench b;
  const std::vector<Value> in{b.input("x", wave({3, 2, 4, 5})), b.input("gamma", wave({2}, 0.5)),
                              b.input("beta", wave({2}, 0.7)),
                              b.input("residual", wave({3, 2, 4, 5}, 2.2))};
  const Value y = b.op(Op::kBatchNorm, in, NormAttributes{.relu = true, .residual = true});
  const Value mean = b.parameter("mean", Tensor::zeros(DType::kF64, {2}));
  const Value var = b.parameter("var", Tensor::full({2}, 1).cast(DType::kF64));
  b.op(Op::kRunningAverage, {mean, {y.node, 1}}, UpdateAttributes{.momentum = 0.1});
  b.op(Op::kRunningAverage, {var, {y.node, 2}},
       UpdateAttributes{.momentum = 0.1, .scale = 60.0 / 59});
  b.expect(y, in,
           {1.9880629675154755, -0.287221216805163, 17.33524740212748, 17.23075119577846,
            0.12184295256084082});
  EXPECT_NEAR(b.checksum_of(mean), 0.0029299323039915265, 1e-14);
  EXPECT_NEAR(b.checksum_of(var), 1.0346386233116869, 1e-14);
}

// relu(batch_norm(x, ..., training=False))
TEST(ReferenceValues, Normalize) {
  Bench b;
  Tensor var = wave({2}, 1.0);
  for (double& v : var.as<double>()) v = std::abs(v) + 0.5;
  const std::vector<Value> wrt{b.input("x", wave({3, 2, 4, 5})), b.input("gamma", wave({2}, 0.5)),
                               b.input("beta", wave({2}, 0.7))};
  std::vector<Value> in = wrt;
  in.push_back(b.input("mean", wave({2}, 0.2)));
  in.push_back(b.input("var", var));
  b.expect(b.op(Op::kNormalize, in, NormAttributes{.relu = true}), wrt,
           {0.6968214711386439, 0.029023162475901088, 2.218364112755803, 13.30436420612709});
}

// cross_entropy(logits, targets, weight, label_smoothing=...)
TEST(ReferenceValues, CrossEntropy) {
  Tensor logits = wave({4, 5});
  for (double& v : logits.as<double>()) v *= 3;
  Tensor hard = Tensor::zeros(DType::kF64, {4, 5});
  for (const std::size_t i : {1, 9, 10, 17}) hard.as<double>()[i] = 1;  // labels 1, 4, 0, 2
  Tensor weights = wave({5});
  for (double& v : weights.as<double>()) v = std::abs(v) + 0.2;

  const auto check = [&](double smoothing, bool weighted, const Tensor& targets, double loss,
                         double gradient) {
    Bench b;
    std::vector<Value> in{b.input("logits", logits), b.input("targets", targets)};
    if (weighted) in.push_back(b.input("weights", weights));
    const Value y = b.op(Op::kSoftmaxCrossEntropy, in, LossAttributes{smoothing});
    const Value wrt[] = {in[0]};
    const Value d = gradients(b.g, y, wrt)[0];
    b.run();
    EXPECT_NEAR(b.value(y).as<double>()[0], loss, 1e-13);
    EXPECT_NEAR(b.checksum_of(d), gradient, 1e-13);
  };
  check(0, false, hard, 1.6200200816856105, -0.17703536977525125);
  check(0.1, false, hard, 1.725636418386711, -0.1618010714573916);
  check(0, true, hard, 2.1970627904982156, -0.29677325121366777);
  check(0.1, true, hard, 2.2535356611621333, -0.2808825905581587);
  Bench soft;
  const Value t = soft.op(Op::kSoftmax, {soft.input("x", wave({4, 5}, 4.0))});
  soft.run();
  check(0.1, false, soft.value(t), 3.497992866240104, -0.02619202336655687);
}

/// Three steps on wave({7}) with gradients wave({7}, 1 + step).
double three_steps(Op op, const UpdateAttributes& a, int states, double lr) {
  Tensor w = wave({7});
  std::vector<Tensor> state(static_cast<std::size_t>(states), Tensor::zeros(DType::kF64, {7}));
  for (int step = 0; step < 3; ++step) {
    Bench b;
    std::vector<Value> in{b.parameter("w", w)};
    for (int i = 0; i < states; ++i) {
      in.push_back(b.parameter("state" + std::to_string(i), state[static_cast<std::size_t>(i)]));
    }
    in.push_back(b.input("gradient", wave({7}, 1.0 + step)));
    const double rate[] = {lr}, number[] = {step + 1.0};
    in.push_back(b.input("lr", Tensor::from<double>({1}, rate)));
    if (op == Op::kAdamW) in.push_back(b.input("step", Tensor::from<double>({1}, number)));
    b.op(op, in, a);
    b.run();
    w = b.value(in[0]);
    for (int i = 0; i < states; ++i) {
      state[static_cast<std::size_t>(i)] = b.value(in[static_cast<std::size_t>(i) + 1]);
    }
  }
  return checksum(w);
}

// torch.optim.SGD and AdamW
TEST(ReferenceValues, Optimizers) {
  UpdateAttributes a{.momentum = 0.9, .weight_decay = 0.01};
  EXPECT_NEAR(three_steps(Op::kSgd, a, 1, 0.1), -0.9985789694577669, 1e-14);
  a.nesterov = true;
  EXPECT_NEAR(three_steps(Op::kSgd, a, 1, 0.1), -1.2617444748667235, 1e-14);
  EXPECT_NEAR(three_steps(Op::kSgd, {.weight_decay = 0.01}, 1, 0.1), -0.7509260073114592, 1e-14);
  EXPECT_NEAR(
      three_steps(Op::kAdamW, {.weight_decay = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6}, 2,
                  0.01),
      -0.46267080923665105, 1e-14);
}

// clip_grad_norm_([wave(7, 1), wave(5, 2)], 1.5)
TEST(ReferenceValues, ClipScale) {
  Bench b;
  const Value a = b.input("a", wave({7}, 1.0)), c = b.input("c", wave({5}, 2.0));
  const Value clipped = b.op(Op::kClipScale, {a, c}, ClipAttributes{.max_norm = 1.5});
  const Value loose = b.op(Op::kClipScale, {a, c}, ClipAttributes{.max_norm = 1000});
  b.run();
  EXPECT_NEAR(b.value(clipped).as<double>()[0], 0.5670851523611335, 1e-14);
  EXPECT_EQ(b.value(loose).as<double>()[0], 1);
}

// --- Formulas.

TEST(Reference, LarsFollowsThePaper) {
  const double w0[] = {3, 4}, g0[] = {0.6, 0.8}, rate[] = {0.5};  // norms 5 and 1
  Bench b;
  const Value w = b.parameter("w", Tensor::from<double>({2}, w0));
  const Value v = b.parameter("v", Tensor::zeros(DType::kF64, {2}));
  b.op(Op::kLars,
       {w, v, b.input("g", Tensor::from<double>({2}, g0)),
        b.input("lr", Tensor::from<double>({1}, rate))},
       UpdateAttributes{.momentum = 0.9, .weight_decay = 0.1, .eps = 0, .trust = 0.01});
  b.run();
  const double local = 0.01 * 5 / (1 + 0.1 * 5);
  EXPECT_NEAR(b.value(v).as<double>()[0], local * 0.5 * (0.6 + 0.1 * 3), 1e-15);
  EXPECT_NEAR(b.value(w).as<double>()[1], 4 - local * 0.5 * (0.8 + 0.1 * 4), 1e-15);
}

// A gradient scale of 0 says that the gradient is unusable: not even 0 * NaN may arrive.
TEST(Reference, UpdatesSkipAnUnusableGradient) {
  const double not_a_number[] = {std::nan(""), INFINITY}, zero[] = {0}, one[] = {1};
  for (const auto& [op, states] :
       {std::pair{Op::kSgd, 1}, std::pair{Op::kAdamW, 2}, std::pair{Op::kLars, 1}}) {
    Bench b;
    std::vector<Value> in{b.parameter("w", wave({2}))};
    for (int i = 0; i < states; ++i) {
      in.push_back(b.parameter("state" + std::to_string(i), wave({2}, 2.0)));
    }
    in.push_back(b.input("gradient", Tensor::from<double>({2}, not_a_number)));
    const Value scale = b.op(Op::kClipScale, {in.back()}, ClipAttributes{.max_norm = 1});
    in.push_back(b.input("lr", Tensor::from<double>({1}, one)));
    if (op == Op::kAdamW) in.push_back(b.input("step", Tensor::from<double>({1}, one)));
    in.push_back(scale);
    b.op(op, in, UpdateAttributes{.momentum = 0.9, .weight_decay = 0.1});
    b.run();
    EXPECT_EQ(b.value(scale).as<double>()[0], zero[0]);
    EXPECT_EQ(b.checksum_of(in[0]), checksum(wave({2}))) << name_of(op);
    EXPECT_EQ(b.checksum_of(in[1]), checksum(wave({2}, 2.0))) << name_of(op);
  }
}

// Convolution and normalize equal one convolution with folded weights and bias.
TEST(Reference, FoldingKeepsTheFunction) {
  for (const bool bias : {false, true}) {
    Bench b;
    Tensor var_value = wave({6}, 1.0);
    for (double& v : var_value.as<double>()) v = std::abs(v) + 0.1;
    const Value x = b.input("x", wave({2, 3, 5, 5})), w = b.input("w", wave({6, 3, 3, 3}, 0.4));
    const Value gamma = b.input("gamma", wave({6}, 1.3)), beta = b.input("beta", wave({6}, 2.3));
    const Value mean = b.input("mean", wave({6}, 3.3)), var = b.input("var", var_value);
    ConvAttributes a{.stride_h = 2, .pad_top = 1, .pad_bottom = 1, .bias = bias};
    std::vector<Value> conv_in{x, w}, bias_in{gamma, beta, mean, var};
    if (bias) {
      conv_in.push_back(b.input("bias", wave({6}, 4.3)));
      bias_in.push_back(conv_in[2]);
    }
    const NormAttributes norm{.eps = 1e-3};
    const Value two =
        b.op(Op::kNormalize, {b.op(Op::kConv2d, conv_in, a), gamma, beta, mean, var}, norm);
    a.bias = true;
    const Value one = b.op(
        Op::kConv2d,
        {x, b.op(Op::kFoldWeights, {w, gamma, var}, norm), b.op(Op::kFoldBias, bias_in, norm)}, a);
    b.run();
    const Tensor expected = b.value(two), actual = b.value(one);
    for (std::size_t i = 0; i < expected.as<double>().size(); ++i) {
      EXPECT_NEAR(actual.as<double>()[i], expected.as<double>()[i], 1e-13);
    }
  }
}

// With second_gradient a norm's gradient takes dy as two terms.
TEST(Reference, TwoGradientsAreTheirSum) {
  for (const bool residual : {false, true}) {
    Bench b;
    const Shape shape{2, 3, 4, 4};
    const Value x = b.input("x", wave(shape)), gamma = b.input("gamma", wave({3}, 1.0));
    const Value beta = b.input("beta", wave({3}, 2.0));
    const Value dy = b.input("dy", wave(shape, 3.0)), dy2 = b.input("dy2", wave(shape, 5.5));
    NormAttributes a{.relu = true, .residual = residual};
    std::vector<Value> in{x, gamma, beta};
    if (residual) in.push_back(b.input("residual", wave(shape, 4.0)));
    const Value y = b.op(Op::kBatchNorm, in, a);
    std::vector<Value> rest{x, gamma, beta, {y.node, 1}, {y.node, 2}};
    if (residual) rest.push_back(y);
    std::vector<Value> one{b.g.add(dy, dy2)}, two{dy, dy2};
    one.insert(one.end(), rest.begin(), rest.end());
    two.insert(two.end(), rest.begin(), rest.end());
    const Value d1 = b.op(Op::kBatchNormBackward, one, a);
    a.second_gradient = true;
    const Value d2 = b.op(Op::kBatchNormBackward, two, a);
    b.run();
    for (std::int32_t i = 0; i < (residual ? 4 : 3); ++i) {
      EXPECT_EQ(b.checksum_of({d1.node, i}), b.checksum_of({d2.node, i})) << "result " << i;
      EXPECT_NE(b.checksum_of({d1.node, i}), 0);
    }
  }
}

TEST(Reference, MaxPoolTakesTheFirstMaximumAndShowsNan) {
  const double x[] = {1, 2, 2, 1, std::nan(""), 5, -1, -1};
  Bench b;
  const Value y =
      b.op(Op::kMaxPool, {b.input("x", Tensor::from<double>({1, 1, 2, 4}, x))}, PoolAttributes{});
  b.run();
  EXPECT_TRUE(std::isnan(b.value(y).as<double>()[0]));
  EXPECT_EQ(b.value(y).as<double>()[1], 2);
  const Tensor position = b.value({y.node, 1});
  EXPECT_EQ(position.as<std::uint8_t>()[0], 2);
  EXPECT_EQ(position.as<std::uint8_t>()[1], 0);
}

// Padding never wins against negative numbers.
TEST(Reference, MaxPoolIgnoresPadding) {
  const double x[] = {-1, -2, -3, -4};
  Bench b;
  const Value y =
      b.op(Op::kMaxPool, {b.input("x", Tensor::from<double>({1, 1, 2, 2}, x))},
           PoolAttributes{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1});
  b.run();
  const Tensor result = b.value(y);
  EXPECT_EQ(std::vector(result.as<double>().begin(), result.as<double>().end()),
            (std::vector<double>{-1, -2, -3, -4}));
}

TEST(Reference, DropoutKeepsTheShareAndTheMean) {
  Bench b;
  const Value x = b.input("x", Tensor::full({100, 1000}, 1).cast(DType::kF64));
  const Value y = b.op(Op::kDropout, {x}, DropoutAttributes{.p = 0.3, .stream = 4});
  const Value other = b.op(Op::kDropout, {x}, DropoutAttributes{.p = 0.3, .stream = 5});
  b.run({.seed = 1, .step = 2});
  const Tensor first = b.value(y), second = b.value(other);
  const auto a = first.as<double>(), c = second.as<double>();
  double kept = 0, both = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(a[i] == 0 || a[i] == 1 / 0.7);
    kept += a[i] != 0 ? 1 : 0;
    both += a[i] != 0 && c[i] != 0 ? 1 : 0;
  }
  const auto n = static_cast<double>(a.size());
  EXPECT_NEAR(kept / n, 0.7, 5 * std::sqrt(0.7 * 0.3 / n));
  EXPECT_NEAR(both / n, 0.49, 5 * std::sqrt(0.49 * 0.51 / n));  // streams are independent
  b.run({.seed = 1, .step = 3});
  EXPECT_NE(checksum(b.value(y)), checksum(first));
  b.run({.seed = 1, .step = 2});
  EXPECT_EQ(checksum(b.value(y)), checksum(first));
}

TEST(Reference, DropoutThresholdIsExact) {
  EXPECT_EQ(dropout_threshold(0), 0U);
  EXPECT_EQ(dropout_threshold(0.5), 1U << 23);
  EXPECT_EQ(dropout_threshold(0x1p-24), 1U);
  EXPECT_EQ(dropout_threshold(0x1.8p-24), 2U);
  for (const std::uint32_t bits : dropout_bits(1, 2, 3, 4)) EXPECT_LT(bits, 1U << 24);
}

TEST(Reference, PadShortcutCentresAndSubsamples) {
  Tensor x(DType::kF64, {1, 2, 3, 3});
  auto v = x.as<double>();
  std::iota(v.begin(), v.end(), 1.0);
  Bench b;
  const Value y = b.op(Op::kPadShortcut, {b.input("x", x)},
                       PadShortcutAttributes{.stride = 2, .out_channels = 4, .front = 1});
  b.run();
  const Tensor result = b.value(y);
  EXPECT_EQ(std::vector(result.as<double>().begin(), result.as<double>().end()),
            (std::vector<double>{0, 0, 0, 0, 1, 3, 7, 9, 10, 12, 16, 18, 0, 0, 0, 0}));
}

TEST(Reference, KeepsFloatsAsDoubles) {
  const auto target = make_reference_target();
  EXPECT_EQ(target->storage(DType::kF32), DType::kF64);
  EXPECT_EQ(target->storage(DType::kU8), DType::kU8);
  EXPECT_EQ(target->bytes({DType::kF32, {3, 5}}, kPlainLayout), 120U);
  EXPECT_EQ(target->bytes({DType::kU8, {3, 5}}, kPlainLayout), 15U);
}

}  // namespace
}  // namespace resnet::test

// The CPU device against the reference, on the whole table of op cases.
#include "backends/cpu/cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "support/device_check.h"

namespace resnet::test {
namespace {

class Cpu : public ::testing::TestWithParam<OpCase> {};

// Winograd has its own bounds and rounds integers, so the exact comparison goes without it.
std::unique_ptr<Target> direct(int threads = 2) {
  return make_cpu_target({.threads = threads, .winograd = false});
}
std::unique_ptr<Target> winograd() { return make_cpu_target({.threads = 2, .winograd = true}); }

TEST_P(Cpu, IsExactOnIntegers) {
  expect_matches_reference(*direct(), GetParam(), Numbers::kIntegers);
}

TEST_P(Cpu, StaysWithinTheErrorBounds) {
  expect_matches_reference(*direct(), GetParam(), Numbers::kReals);
}

TEST_P(Cpu, StaysWithinTheErrorBoundsOnOneThread) {
  expect_matches_reference(*direct(1), GetParam(), Numbers::kReals);
}

TEST_P(Cpu, StaysWithinTheErrorBoundsWithWinograd) {
  expect_matches_reference(*winograd(), GetParam(), Numbers::kReals, true);
}

TEST_P(Cpu, IsRepeatable) { expect_repeatable(*winograd(), GetParam()); }

const auto kName = [](const auto& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(Ops, Cpu, ::testing::ValuesIn(op_cases()), kName);
INSTANTIATE_TEST_SUITE_P(Networks, Cpu, ::testing::ValuesIn(network_cases()), kName);

// Mixed precision, on machines that have it.
class CpuBf16 : public ::testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    if (!direct()->computes(DType::kBF16)) GTEST_SKIP() << "this processor has no AVX-512";
  }
};

TEST_P(CpuBf16, IsExactOnIntegers) {
  expect_matches_reference(*direct(), GetParam(), Numbers::kIntegers);
}

TEST_P(CpuBf16, StaysWithinTheErrorBounds) {
  expect_matches_reference(*direct(), GetParam(), Numbers::kReals);
}

TEST_P(CpuBf16, StaysWithinTheErrorBoundsOnOneThread) {
  expect_matches_reference(*direct(1), GetParam(), Numbers::kReals);
}

TEST_P(CpuBf16, IsRepeatable) { expect_repeatable(*direct(), GetParam()); }

INSTANTIATE_TEST_SUITE_P(Cases, CpuBf16, ::testing::ValuesIn(bf16_cases()), kName);

// As the reference does: of equal ones the first counts, and a NaN is seen. 25 channels are two
// sizes of vectors and a rest.
TEST(CpuMaxPool, TakesTheFirstMaximumAndShowsNanInBf16) {
  const auto target = direct();
  if (!target->computes(DType::kBF16)) GTEST_SKIP() << "this processor has no AVX-512";
  constexpr std::size_t kChannels = 25;
  const double nan = std::nan("");
  const double pixels[2][4] = {{1, 2, nan, 5}, {2, 1, -1, nan}};  // two windows of 2x2
  std::vector<std::uint16_t> x;                                   // [1, 2, 4, channels]
  for (const auto& row : pixels) {
    for (const double pixel : row) {
      x.insert(x.end(), kChannels, float_to_bfloat16(static_cast<float>(pixel)));
    }
  }
  Graph g(Mode::kTraining);
  const Value image = g.input("x", {1, static_cast<std::int64_t>(kChannels), 2, 4}, DType::kBF16);
  const Value y = g.append(Op::kMaxPool, "pool", {image}, PoolAttributes{});
  const std::vector<Layout> have(1, kPlainLayout);
  const KernelChoice choice = target->choose(g, g.node(y), have);
  std::vector<std::uint16_t> maxima(2 * kChannels);
  std::vector<std::uint8_t> places(2 * kChannels);
  void* in[] = {x.data()};
  void* out[] = {maxima.data(), places.data()};
  choice.kernel->run({in, out, nullptr, {}});
  for (std::size_t c = 0; c < kChannels; ++c) {
    EXPECT_EQ(bfloat16_to_float(maxima[c]), 2) << c;
    EXPECT_EQ(places[c], 1) << c;
    EXPECT_TRUE(std::isnan(bfloat16_to_float(maxima[kChannels + c]))) << c;
    EXPECT_EQ(places[kChannels + c], 0) << c;
  }
}

// The sum of so many bytes does not fit in 32 bits.
TEST(CpuGlobalAvgPool, SumsLargeImagesOfBytes) {
  const Shape shape{1, 1, 2944, 2944};
  std::vector<std::uint8_t> x(2944U * 2944U, 255);
  Graph g(Mode::kInference);
  const Value image = g.input("x", shape, DType::kU8);
  const Value y =
      g.append(Op::kGlobalAvgPool, "pool", {image}, QuantizeAttributes{.scale = 1.0F / 255});
  const std::vector<Layout> have(1, kPlainLayout);
  const KernelChoice choice = direct()->choose(g, g.node(y), have);
  float mean = 0;
  void* in[] = {x.data()};
  void* out[] = {&mean};
  choice.kernel->run({in, out, nullptr, {}});
  EXPECT_FLOAT_EQ(mean, 1);
}

// Kernels that shapes alone do not choose, but a table of measurements may.
class CpuKernel : public ::testing::TestWithParam<std::string> {};

// Without this the tests below could pass on other kernels.
TEST(CpuKernels, AreThoseThatWerePreferred) {
  const auto chosen = [](const char* prefer, Op op) {
    const Shape x{1, 32, 14, 14}, w{32, 32, 3, 3};
    ConvAttributes a{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
    a.input_shape = x;
    a.weight_shape = w;
    Graph g(Mode::kTraining);
    const Value second = g.input("b", op == Op::kConv2dBackwardWeights ? x : w);
    const Value y = g.append(op, "conv", {g.input("a", x), second}, a);
    const std::vector<Layout> have(2, kPlainLayout);
    return make_cpu_target({.threads = 2, .prefer = prefer})->choose(g, g.node(y), have).name;
  };
  for (const Op op : {Op::kConv2d, Op::kConv2dBackwardData, Op::kConv2dBackwardWeights}) {
    SCOPED_TRACE(name_of(op));
    EXPECT_EQ(chosen("winograd-4", op), "own:winograd4");
    EXPECT_NE(chosen("blocked", op).rfind("own", 0), 0U);
  }
  EXPECT_EQ(chosen("winograd-2", Op::kConv2d), "own:winograd2");
  EXPECT_EQ(chosen("winograd-2", Op::kConv2dBackwardData), "own:winograd2");
}

TEST_P(CpuKernel, StaysWithinTheErrorBounds) {
  for (const OpCase& c : op_cases()) {
    if (c.name.rfind("conv_", 0) != 0) continue;
    SCOPED_TRACE(c.name);
    for (const int threads : {1, 2, 5}) {
      const auto target = make_cpu_target({.threads = threads, .prefer = GetParam()});
      expect_matches_reference(*target, c, Numbers::kReals, true);
    }
  }
}

TEST_P(CpuKernel, IsRepeatable) {
  for (const OpCase& c : op_cases()) {
    if (c.name.rfind("conv_3x3", 0) != 0) continue;
    SCOPED_TRACE(c.name);
    expect_repeatable(*make_cpu_target({.threads = 2, .prefer = GetParam()}), c);
  }
}

const auto kKernelName = [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
};

INSTANTIATE_TEST_SUITE_P(Candidates, CpuKernel,
                         ::testing::Values("winograd-4", "winograd-2", "dnnl-winograd", "pointwise",
                                           "plain"),
                         kKernelName);

// Programs with different numbers of threads live side by side: each must keep to its own, when it
// is compiled too, because kernels are shaped for it.
TEST(CpuThreads, OfAnotherTargetDoNotMatter) {
  const auto& cases = op_cases();
  const auto c = std::find_if(cases.begin(), cases.end(),
                              [](const OpCase& o) { return o.name == "conv_3x3_channels_5_64"; });
  ASSERT_NE(c, cases.end());
  const auto target = direct(2);
  const auto other = direct(1);
  expect_repeatable(*target, *c);
}

}  // namespace
}  // namespace resnet::test

// The checks themselves: a device that is wrong in a known way must fail them.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>

#include "backends/reference/reference.h"
#include "graph/ops.h"
#include "support/device_check.h"
#include "support/executor.h"

namespace resnet::test {
namespace {

using Spoil = std::function<void(const KernelArgs&)>;

class SpoiledKernel final : public Kernel {
 public:
  SpoiledKernel(std::unique_ptr<Kernel> good, Spoil spoil)
      : good_(std::move(good)), spoil_(std::move(spoil)) {}
  void run(const KernelArgs& args) const override {
    good_->run(args);
    spoil_(args);
  }

 private:
  std::unique_ptr<Kernel> good_;
  Spoil spoil_;
};

/// The reference, except that something happens after each convolution.
class SpoiledTarget final : public Target {
 public:
  explicit SpoiledTarget(Spoil spoil) : spoil_(std::move(spoil)) {}
  std::string_view name() const override { return "spoiled"; }
  DType storage(DType dtype) const override { return good_->storage(dtype); }
  bool supports(Op op, std::size_t i, const TensorType& type) const override {
    return good_->supports(op, i, type);
  }
  std::size_t bytes(const TensorType& type, Layout layout) const override {
    return good_->bytes(type, layout);
  }
  KernelChoice choose(const Graph& graph, const Node& node, std::span<const Layout> have) override {
    KernelChoice c = good_->choose(graph, node, have);
    if (node.op == Op::kConv2d) {
      c.kernel = std::make_unique<SpoiledKernel>(std::move(c.kernel), spoil_);
    }
    return c;
  }
  KernelChoice reorder(const TensorType& type, Layout from, Layout to) override {
    return good_->reorder(type, from, to);
  }
  std::string describe(Layout layout) const override { return good_->describe(layout); }

 private:
  std::unique_ptr<Target> good_ = make_reference_target();
  Spoil spoil_;
};

const OpCase& plain_convolution() {
  const auto& cases = op_cases();
  return *std::find_if(cases.begin(), cases.end(),
                       [](const OpCase& c) { return c.name == "conv_3x3_no_padding"; });
}

/// The failures of a check, joined; "" when it passed.
std::string failures_of(const std::function<void()>& check) {
  ::testing::TestPartResultArray failures;
  {
    const ::testing::ScopedFakeTestPartResultReporter reporter(
        ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    check();
  }
  std::string all;
  for (int i = 0; i < failures.size(); ++i) all += failures.GetTestPartResult(i).message();
  return all;
}

double* first_output(const KernelArgs& args) { return static_cast<double*>(args.out[0]); }

TEST(DeviceCheck, PassesTheReferenceItself) {
  SpoiledTarget target([](const KernelArgs&) {});
  expect_matches_reference(target, plain_convolution(), Numbers::kIntegers);
  expect_matches_reference(target, plain_convolution(), Numbers::kReals);
  expect_repeatable(target, plain_convolution());
}

TEST(DeviceCheck, NoticesOneWrongElement) {
  SpoiledTarget target([](const KernelArgs& args) { first_output(args)[5] += 1e-4; });
  const std::string message =
      failures_of([&] { expect_matches_reference(target, plain_convolution(), Numbers::kReals); });
  EXPECT_NE(message.find("1 of 256 elements are wrong; at 5"), std::string::npos) << message;
  EXPECT_NE(message.find("repro: test_backends --gtest_filter=DeviceCheck.NoticesOneWrongElement"),
            std::string::npos)
      << message;
}

TEST(DeviceCheck, AllowsNothingOnIntegers) {
  SpoiledTarget target([](const KernelArgs& args) { first_output(args)[5] += 1e-6; });
  EXPECT_EQ(
      failures_of([&] { expect_matches_reference(target, plain_convolution(), Numbers::kReals); }),
      "");  // far inside of the bound
  EXPECT_NE(failures_of(
                [&] { expect_matches_reference(target, plain_convolution(), Numbers::kIntegers); }),
            "");
}

TEST(DeviceCheck, NoticesNan) {
  SpoiledTarget target([](const KernelArgs& args) { first_output(args)[0] = std::nan(""); });
  EXPECT_NE(
      failures_of([&] { expect_matches_reference(target, plain_convolution(), Numbers::kReals); }),
      "");
}

TEST(DeviceCheck, NoticesResultsThatDoNotRepeat) {
  int calls = 0;
  SpoiledTarget target([&](const KernelArgs& args) { first_output(args)[0] += 1e-9 * ++calls; });
  EXPECT_NE(failures_of([&] {
              expect_repeatable(target, plain_convolution());
            }).find("a second run differs"),
            std::string::npos);
}

TEST(Executor, NoticesWritesOutside) {
  SpoiledTarget after([](const KernelArgs& args) { first_output(args)[256] = 0; });
  SpoiledTarget before([](const KernelArgs& args) { first_output(args)[-1] = 0; });
  SpoiledTarget input([](const KernelArgs& args) { static_cast<double*>(args.in[1])[0] = 0; });
  for (Target* target : {static_cast<Target*>(&after), static_cast<Target*>(&before),
                         static_cast<Target*>(&input)}) {
    EXPECT_THROW(expect_repeatable(*target, plain_convolution()), std::runtime_error);
  }
}

TEST(OpCases, AreManyAndCoverEveryOp) {
  EXPECT_GE(op_cases().size(), 80U);
  std::set<Op> seen;
  for (const auto* cases : {&op_cases(), &bf16_cases()}) {
    for (const OpCase& c : *cases) {
      for (const Node& node : c.graph.nodes()) seen.insert(node.op);
    }
  }
  for (const OpInfo* info : all_ops()) EXPECT_TRUE(seen.contains(info->op)) << info->name;
}

}  // namespace
}  // namespace resnet::test

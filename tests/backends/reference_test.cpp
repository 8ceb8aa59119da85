// The reference device: gradients by finite differences, and each op against numbers from outside.
#include "backends/reference/reference.h"

#include <gtest/gtest.h>

#include "support/device_check.h"

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

}  // namespace
}  // namespace resnet::test

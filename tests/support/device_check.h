// Comparison of a device with the reference, node by node, as gtest expectations.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "compile/target.h"
#include "support/op_cases.h"

namespace resnet::test {

/// Runs every node of the case on the reference and on `target`, both on the reference's values
/// rounded to f32, and expects results within error_bounds(). Results of more than 90 % zeros are
/// mistrusted: they fail unless the case says that they are right.
void expect_matches_reference(Target& target, const OpCase& c, Numbers numbers,
                              bool winograd = false);

struct NodeCheck {
  bool winograd = false;        ///< Rule 7 of tolerance.h.
  bool mistrust_zeros = false;  ///< Results of more than 90 % zeros fail.
  /// Nodes that run without being compared.
  std::function<bool(const Node&)> skip = {};
};
/// The same for any graph, with values for all its inputs and parameters.
void expect_nodes_match(Target& target, const Graph& graph,
                        const std::map<std::string, Tensor>& sources, const NodeCheck& check);

/// Expects the same bits from a second run, from a newly chosen kernel, from a run in place, and
/// from values that went through plain layout between kernels.
void expect_repeatable(Target& target, const OpCase& c);

/// Central differences against the case's gradients, on the reference.
void expect_gradients(const OpCase& c, double tolerance = 1e-6);

/// "repro: test_backends --gtest_filter=..." of the running test.
std::string repro();

}  // namespace resnet::test

// Whether a compiled program computes what its graph means, in three steps that need no tolerance
// of their own: passes keep the meaning in f64, kernels are within their error bounds, and a
// program has the bits of its kernels run one by one.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "resnet/program.h"

namespace resnet::test {

/// By name.
using Values = std::map<std::string, Tensor>;

/// Every subset of the passes on the reference, against the graph as it is. `sources` has f64
/// values for all inputs and parameters, which f32 holds.
void expect_passes_keep_the_meaning(const Graph& graph, const Values& sources);

/// Each kernel of the CPU's program, with passes and without, against the reference.
void expect_kernels_within_bounds(const Graph& graph, const Values& sources);

/// Shared memory, reused layouts, packed weights and kernels in place change no bit, in each of
/// several runs that update the parameters.
void expect_programs_have_the_bits_of_their_kernels(const Graph& graph, const Values& sources,
                                                    int runs);

/// All three.
void expect_agreement(const Graph& graph, const Values& sources);

/// A program on the CPU with these values for its inputs and variables.
std::unique_ptr<Session> program_of(const Graph& graph, const Values& sources,
                                    const CompileOptions& options);
/// Its outputs and variables.
Values results_of(const Graph& graph, Session& program);
void expect_same_bits(const Values& a, const Values& b);

}  // namespace resnet::test

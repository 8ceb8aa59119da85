// The one table of op cases. It drives the comparison of devices with the reference, the gradient
// checks, repeatability, and the micro-benchmarks: a case added here is tested everywhere.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "resnet/graph.h"
#include "resnet/tensor.h"

namespace resnet::test {

/// Which numbers a source of a case's graph receives.
struct Source {
  enum Domain {
    kReal,           ///< uniform in (-1, 1)
    kNonZero,        ///< ±(0.5, 2)
    kPositive,       ///< (0.5, 2)
    kOffset,         ///< value + (-1, 1)
    kWide,           ///< (-30, 30)
    kOneHot,         ///< rows with a single 1
    kProbabilities,  ///< positive rows that sum to 1
    kConstant,       ///< value everywhere
    kOneNan,         ///< as kReal, with a NaN in the middle
    kUnsigned8,      ///< integers 0 … 255
    kSigned8,        ///< integers −128 … 127
    kWeight8,        ///< integers −63 … 63: sums of pairs fit 16 bits, as old machines need
  };
  Domain domain = kReal;
  double value = 0;
};

/// A small graph around one op, or a small network. Differentiable cases end in a scalar loss and
/// its gradients, so that running all nodes of the graph runs the backward ops too.
struct OpCase {
  std::string name;
  Graph graph{Mode::kTraining};
  std::map<std::string, Source> sources;  ///< by name of the input or parameter
  Value loss = {};                        ///< invalid: the case has no gradients
  std::vector<Value> wrt = {};            ///< differentiated by these sources
  std::vector<Value> gradients = {};
  bool zeros_expected = false;  ///< results of mostly zeros are right here
};

/// Every case; names are unique and made of lower-case letters, digits and underscores.
const std::vector<OpCase>& op_cases();
/// Small networks: blocks of each family, several ops deep, with gradients.
const std::vector<OpCase>& network_cases();

/// The cases of both tables in mixed precision, as far as that changes them: activations of bf16,
/// with casts in front. They have no gradients of their own.
const std::vector<OpCase>& bf16_cases();

enum class Numbers {
  kIntegers,  ///< small integers: sums of products are exact in f32
  kReals,
};

/// Values for all sources, f64 holding numbers that f32 can represent. They keep `distance` from
/// ReLU kinks and from ties in max pooling (0: no care is taken), as far as the graph computes them
/// from reals. For integers only a norm's fused ReLU whose mask is recomputed stays away from its
/// kink.
std::map<std::string, Tensor> make_sources(const OpCase& c, Numbers numbers, double distance,
                                           std::uint64_t seed = 1);

/// Multiply-adds of the case's forward pass, roughly.
double forward_cost(const OpCase& c);

/// For gtest's parametrised names.
inline void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }
std::vector<std::string> names(const std::vector<OpCase>& cases);

}  // namespace resnet::test

// Ops that a program registered: their own formula.
#include "backends/reference/kernels.h"
#include "resnet/custom_op.h"

namespace resnet::reference {

Compute custom(const Site& site, const OpDefinition& definition) {
  std::vector<TensorType> inputs, outputs = site.node.outputs;
  for (std::size_t i = 0; i < site.inputs.size(); ++i) {
    inputs.push_back({site.dtypes[i], site.inputs[i]});
  }
  return [&definition, inputs, outputs, attributes = site.node.attributes](const KernelArgs& args) {
    std::vector<const double*> in;
    std::vector<double*> out;
    for (std::size_t i = 0; i < inputs.size(); ++i) in.push_back(input(args, i));
    for (std::size_t i = 0; i < outputs.size(); ++i) out.push_back(output(args, i));
    definition.compute({in, out, inputs, outputs, attributes});
  };
}

}  // namespace resnet::reference

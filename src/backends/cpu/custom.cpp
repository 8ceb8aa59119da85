// Ops that a program registered: its function for f32 if it gave one, else the one for f64 on
// converted operands. All lie plain.
#include <algorithm>

#include "backends/cpu/cpu_target.h"
#include "resnet/custom_op.h"

namespace resnet {
namespace {

class Custom final : public Kernel {
 public:
  Custom(const NodeView& v, const OpDefinition& definition)
      : definition_(definition), attributes_(v.node.attributes), outputs_(v.node.outputs) {
    for (std::size_t i = 0; i < v.node.inputs.size(); ++i) inputs_.push_back(v.in(i));
    in_.resize(inputs_.size());
    out_.resize(outputs_.size());
    wide_in_.resize(inputs_.size());
    wide_out_.resize(outputs_.size());
  }

  /// For every operand as f64.
  std::size_t scratch_bytes() const {
    if (definition_.compute_f32) return 0;
    std::int64_t elements = 0;
    for (const auto* types : {&inputs_, &outputs_}) {
      for (const TensorType& t : *types) elements += element_count(t.shape);
    }
    return static_cast<std::size_t>(elements) * sizeof(double);
  }

  void run(const KernelArgs& args) override {
    for (std::size_t i = 0; i < in_.size(); ++i) in_[i] = static_cast<const float*>(args.in[i]);
    for (std::size_t i = 0; i < out_.size(); ++i) out_[i] = static_cast<float*>(args.out[i]);
    if (definition_.compute_f32) {
      definition_.compute_f32({in_, out_, inputs_, outputs_, attributes_});
      return;
    }
    auto* next = static_cast<double*>(args.scratch);
    for (std::size_t i = 0; i < in_.size(); ++i) {
      wide_in_[i] = next;
      next = std::copy_n(in_[i], element_count(inputs_[i].shape), next);
    }
    for (std::size_t i = 0; i < out_.size(); ++i) {
      wide_out_[i] = next;
      next += element_count(outputs_[i].shape);
    }
    definition_.compute({wide_in_, wide_out_, inputs_, outputs_, attributes_});
    for (std::size_t i = 0; i < out_.size(); ++i) {
      std::transform(wide_out_[i], wide_out_[i] + element_count(outputs_[i].shape), out_[i],
                     [](double y) { return static_cast<float>(y); });
    }
  }

 private:
  const OpDefinition& definition_;  // which stays as long as the program runs
  Attributes attributes_;
  std::vector<TensorType> inputs_, outputs_;
  // Filled in every run; here, so that none takes memory.
  std::vector<const float*> in_;
  std::vector<float*> out_;
  std::vector<const double*> wide_in_;
  std::vector<double*> wide_out_;
};

}  // namespace

KernelChoice make_custom(const NodeView& v, const OpDefinition& definition) {
  auto kernel = std::make_unique<Custom>(v, definition);
  const std::size_t scratch = kernel->scratch_bytes();
  return plain_kernel(v, std::move(kernel), scratch);
}

}  // namespace resnet

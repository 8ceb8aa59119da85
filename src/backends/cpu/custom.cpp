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

  void run(const KernelArgs& args) const override {
    const std::unique_ptr<KernelState> own = args.state == nullptr ? make_state() : nullptr;
    auto& [in, out, wide_in, wide_out] =
        static_cast<State&>(args.state == nullptr ? *own : *args.state).pointers;
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<const float*>(args.in[i]);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float*>(args.out[i]);
    if (definition_.compute_f32) {
      definition_.compute_f32({in, out, inputs_, outputs_, attributes_});
      return;
    }
    auto* next = static_cast<double*>(args.scratch);
    for (std::size_t i = 0; i < in.size(); ++i) {
      wide_in[i] = next;
      next = std::copy_n(in[i], element_count(inputs_[i].shape), next);
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
      wide_out[i] = next;
      next += element_count(outputs_[i].shape);
    }
    definition_.compute({wide_in, wide_out, inputs_, outputs_, attributes_});
    for (std::size_t i = 0; i < out.size(); ++i) {
      std::transform(wide_out[i], wide_out[i] + element_count(outputs_[i].shape), out[i],
                     [](double y) { return static_cast<float>(y); });
    }
  }
  std::unique_ptr<KernelState> make_state() const override {
    auto state = std::make_unique<State>();
    auto& [in, out, wide_in, wide_out] = state->pointers;
    in.resize(inputs_.size());
    out.resize(outputs_.size());
    wide_in.resize(inputs_.size());
    wide_out.resize(outputs_.size());
    return state;
  }

 private:
  // Filled in every run; here, so that none takes memory.
  struct Pointers {
    std::vector<const float*> in;
    std::vector<float*> out;
    std::vector<const double*> wide_in;
    std::vector<double*> wide_out;
  };
  struct State final : KernelState {
    Pointers pointers;
  };

  const OpDefinition& definition_;  // which stays as long as the program runs
  Attributes attributes_;
  std::vector<TensorType> inputs_, outputs_;
};

}  // namespace

KernelChoice make_custom(const NodeView& v, const OpDefinition& definition) {
  auto kernel = std::make_unique<Custom>(v, definition);
  const std::size_t scratch = kernel->scratch_bytes();
  return plain_kernel(v, std::move(kernel), scratch);
}

}  // namespace resnet

#include "resnet/program.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>

#include "compile/compiler.h"
#include "core/check.h"
#include "core/guard.h"
#include "core/processors.h"
#include "graph/cost.h"
#include "runtime/arena.h"
#include "runtime/devices.h"

namespace resnet {
namespace {

// Pointers of one step, resolved once.
struct BoundStep {
  Step* step;
  std::vector<void*> in, out;
  void* scratch;
};

template <class T>
bool all_finite(const void* data, std::size_t bytes) {
  const T* p = static_cast<const T*>(data);
  for (std::size_t i = 0; i < bytes / sizeof(T); ++i) {
    if (!std::isfinite(p[i])) return false;
  }
  return true;
}

bool all_finite(DType storage, const void* data, std::size_t bytes) {
  if (storage == DType::kF32) return all_finite<float>(data, bytes);
  if (storage == DType::kF64) return all_finite<double>(data, bytes);
  if (storage == DType::kBF16) {
    const auto* p = static_cast<const std::uint16_t*>(data);
    return std::none_of(p, p + bytes / 2, [](auto h) { return (h & 0x7f80U) == 0x7f80U; });
  }
  return true;
}

// [n, h, w, c] <-> [n, c, h, w]; `shape` is the NCHW one.
template <class T>
void permute(const T* from, T* to, const Shape& shape, bool to_nchw) {
  const std::int64_t n = shape[0], c = shape[1], hw = shape[2] * shape[3];
  for (std::int64_t b = 0; b < n; ++b) {
    for (std::int64_t k = 0; k < c; ++k) {
      for (std::int64_t i = 0; i < hw; ++i) {
        const std::int64_t nchw = (b * c + k) * hw + i, nhwc = (b * hw + i) * c + k;
        if (to_nchw) {
          to[nchw] = from[nhwc];
        } else {
          to[nhwc] = from[nchw];
        }
      }
    }
  }
}

Shape nhwc(const Shape& s) { return {s[0], s[2], s[3], s[1]}; }

[[noreturn]] void wrong_shape(std::string_view input, const Shape& expected, const Shape& found) {
  fail(ErrorCode::kInvalidArgument, "input {} must have shape {}, it has {}", input,
       to_string(expected), to_string(found));
}

}  // namespace

struct Program::Impl {
  CompileOptions options;
  DataLayout host_layout = DataLayout::kNCHW;
  std::shared_ptr<Variables> variables;
  std::unique_ptr<Target> target;
  Plan plan;
  Arena arena, packed;
  std::map<std::string, Tensor, std::less<>> inputs;
  std::set<std::string, std::less<>> shared_inputs;  // whose memory is the host's
  std::map<std::string, std::int32_t, std::less<>> outputs;
  std::vector<BoundStep> packing, steps;
  RunContext context;
  std::optional<std::uint64_t> seen_version;  // of the variables that steps are bound to
  std::vector<std::pair<std::int32_t, void*>> bound_variables;  // buffer, address
  ProgramStats stats;

  void* address(std::int32_t id) { return address(plan.buffers[static_cast<std::size_t>(id)]); }
  void* address(const Buffer& b);
  std::vector<BoundStep> bind(std::vector<Step>& from);
  void pack();
  const Tensor& variable(const std::string& name, const TensorType& type) const;
  void bind_all();
  void prepare();
  void finish();
  Tensor& input(std::string_view name);
  Tensor& input(std::string_view name, const Tensor& value);
  void replace_input(std::string_view name, const Tensor& value);
  Tensor& own_input(std::string_view name, Tensor& t);
  static void execute(const BoundStep& s, RunContext context) {
    s.step->kernel->run({s.in, s.out, s.scratch, context});
  }
  const Buffer& output(std::string_view name) const;
  bool wants_permutation(const Shape& s) const {
    return host_layout == DataLayout::kNHWC && s.size() == 4;
  }
};

void* Program::Impl::address(const Buffer& b) {
  switch (b.storage) {
    case Storage::kInput: return inputs.find(b.name)->second.raw();
    case Storage::kVariable: return const_cast<std::byte*>(variable(b.name, b.type).raw());
    case Storage::kArena: return arena.data() + b.offset;
    case Storage::kPacked: return packed.data() + b.offset;
  }
  return nullptr;
}

std::vector<BoundStep> Program::Impl::bind(std::vector<Step>& from) {
  std::vector<BoundStep> bound;
  bound.reserve(from.size());
  for (Step& s : from) {
    BoundStep b{&s, {}, {}, arena.data() + s.scratch_offset};
    for (const std::int32_t i : s.in) b.in.push_back(address(i));
    for (const std::int32_t i : s.out) b.out.push_back(address(i));
    bound.push_back(std::move(b));
  }
  return bound;
}

const Tensor& Program::Impl::variable(const std::string& name, const TensorType& type) const {
  const Tensor& t = variables->at(name);
  if (t.shape() != type.shape) {
    fail(ErrorCode::kInvalidArgument, "parameter {} must have shape {}, it has {}", name,
         to_string(type.shape), to_string(t.shape()));
  }
  if (t.dtype() != target->storage(type.dtype)) {
    fail(ErrorCode::kInvalidArgument,
         "parameter {} must be stored as {} on device {}, it is {}; use Variables::cast", name,
         name_of(target->storage(type.dtype)), target->name(), name_of(t.dtype()));
  }
  return t;
}

void Program::Impl::bind_all() {
  bound_variables.clear();
  for (std::size_t i = 0; i < plan.buffers.size(); ++i) {
    if (plan.buffers[i].storage != Storage::kVariable) continue;
    const auto id = static_cast<std::int32_t>(i);
    bound_variables.emplace_back(id, address(id));
  }
  packing = bind(plan.packing);
  steps = bind(plan.steps);
}

// Weights into the kernels' own layouts. What they were made from is seldom needed again.
void Program::Impl::pack() {
  constexpr std::size_t kLarge = 1 << 16;
  for (const BoundStep& s : packing) {
    execute(s, context);
    for (const std::int32_t id : s.step->in) {
      const Buffer& b = plan.buffers[static_cast<std::size_t>(id)];
      if (b.storage == Storage::kVariable && b.bytes >= kLarge) {
        variable(b.name, b.type).release_memory();
      }
    }
  }
}

// After a change of variables from outside: finds those that were replaced, packs weights again.
void Program::Impl::prepare() {
  target->begin_run();
  if (seen_version == variables->version()) return;
  seen_version.reset();  // until all of this has succeeded
  const bool moved = std::any_of(bound_variables.begin(), bound_variables.end(),
                                 [&](const auto& b) { return address(b.first) != b.second; });
  if (moved) bind_all();
  pack();
  seen_version = variables->version();
}

// After a run: others must look at the variables again; what this program packed does not depend on
// those that it updates.
void Program::Impl::finish() {
  if (!plan.updates) return;
  variables->touch();
  seen_version = variables->version();
}

Program::Program(const Graph& graph, std::shared_ptr<Variables> variables,
                 const CompileOptions& options, DataLayout host_layout) try
    : impl_(std::make_unique<Impl>()) {
  Impl& p = *impl_;
  p.options = options;
  p.host_layout = host_layout;
  p.variables = std::move(variables);
  p.target = make_target(options);
  for (const Value v : graph.parameters()) p.variable(graph.node(v).name, graph.type(v));
  p.plan = make_plan(graph, *p.target,
                     {.passes = options.passes,
                      .plan_memory = options.plan_memory,
                      .recompute = options.recompute,
                      .dtype = options.dtype});
  const int threads = options.threads > 0 ? options.threads : usable_processors();
  p.arena = Arena(p.plan.arena_bytes, std::min(threads, 8));
  p.packed = Arena(p.plan.packed_bytes, std::min(threads, 8));
  for (const Buffer& b : p.plan.buffers) {
    if (b.storage == Storage::kInput) {
      p.inputs[b.name] = Tensor::zeros(p.target->storage(b.type.dtype), b.type.shape);
    }
    if (b.storage == Storage::kVariable) p.stats.variable_bytes += b.bytes;
  }
  for (const Step& s : p.plan.steps) {
    for (int i = 0; i < updated_inputs(s.op); ++i) {
      const Buffer& b = p.plan.buffers[static_cast<std::size_t>(s.in[static_cast<std::size_t>(i)])];
      if (b.storage == Storage::kVariable && p.variable(b.name, b.type).is_mapped()) {
        fail(ErrorCode::kInvalidArgument,
             "parameter {} is read-only, a part of a mapped file; load the model with load_model",
             b.name);
      }
    }
  }
  for (const auto& [name, buffer] : p.plan.outputs) p.outputs[name] = buffer;
  p.bind_all();
  p.stats.steps = p.steps.size();
  p.stats.arena_bytes = p.plan.arena_bytes;
  p.stats.packed_bytes = p.plan.packed_bytes;
  p.stats.unplanned_bytes = p.plan.unplanned_bytes;
} catch (...) {
  throw_as_error();
}

Program::~Program() = default;
Program::Program(Program&&) noexcept = default;
Program& Program::operator=(Program&&) noexcept = default;

Tensor& Program::Impl::input(std::string_view name) {
  const auto found = inputs.find(name);
  if (found == inputs.end()) {
    fail(ErrorCode::kInvalidArgument, "the program has no input {}", name);
  }
  return found->second;
}

// The input of that name, which takes values of that shape.
Tensor& Program::Impl::input(std::string_view name, const Tensor& value) {
  Tensor& t = input(name);
  const Shape &own = t.shape(), &given = value.shape();
  if (!wants_permutation(own)) {
    if (given != own) wrong_shape(name, own, given);
  } else if (const Shape expected = nhwc(own); given != expected) {
    wrong_shape(name, expected, given);
  }
  return t;
}

// Another tensor is the input; steps read it from now on.
void Program::Impl::replace_input(std::string_view name, const Tensor& value) {
  Tensor& t = inputs.find(name)->second;
  t = value;
  for (BoundStep& s : steps) {
    for (std::size_t i = 0; i < s.in.size(); ++i) {
      const Buffer& b = plan.buffers[static_cast<std::size_t>(s.step->in[i])];
      if (b.storage == Storage::kInput && b.name == name) s.in[i] = t.raw();
    }
  }
}

void Program::share_input(std::string_view name, const Tensor& value) try {
  Impl& p = *impl_;
  const Tensor& t = p.input(name, value);
  if (value.dtype() != t.dtype() || p.wants_permutation(t.shape())) return set_input(name, value);
  if (!p.shared_inputs.contains(name)) p.shared_inputs.emplace(name);
  p.replace_input(name, value);
} catch (...) {
  throw_as_error();
}

// What may be written to: the host's memory may not.
Tensor& Program::Impl::own_input(std::string_view name, Tensor& t) {
  const auto shared = shared_inputs.find(name);
  if (shared != shared_inputs.end()) {
    replace_input(name, Tensor(t.dtype(), t.shape()));
    shared_inputs.erase(shared);
  }
  return t;
}

void Program::set_input(std::string_view name, const Tensor& value) try {
  Tensor& t = impl_->own_input(name, impl_->input(name, value));
  if (value.dtype() != t.dtype()) return set_input(name, value.cast(t.dtype()));
  const bool permuted = impl_->wants_permutation(t.shape());
  if (value.empty()) return;
  if (permuted && t.dtype() == DType::kF32) {
    permute(value.as<float>().data(), t.as<float>().data(), t.shape(), true);
  } else if (permuted && t.dtype() == DType::kF64) {
    permute(value.as<double>().data(), t.as<double>().data(), t.shape(), true);
  } else {
    std::memcpy(t.raw(), value.raw(), t.bytes());
  }
} catch (...) {
  throw_as_error();
}

void Program::set_input(std::string_view name, double scalar) try {
  Tensor& t = impl_->input(name);
  if (t.shape().size() == 1 && t.size() == 1 && t.dtype() == DType::kF32) {
    impl_->own_input(name, t).as<float>()[0] = static_cast<float>(scalar);
  } else {
    set_input(name, Tensor::from<double>({1}, {{scalar}}));
  }
} catch (...) {
  throw_as_error();
}

void Program::set_random(std::uint64_t seed, std::uint64_t step) { impl_->context = {seed, step}; }

void Program::run() try {
  impl_->prepare();
  for (const BoundStep& s : impl_->steps) Impl::execute(s, impl_->context);
  impl_->finish();
} catch (...) {
  throw_as_error();
}

std::optional<std::string> Program::find_non_finite() try {
  Impl& p = *impl_;
  p.prepare();
  const auto finite = [&](std::int32_t buffer) {
    const Buffer& b = p.plan.buffers[static_cast<std::size_t>(buffer)];
    return all_finite(p.target->storage(b.type.dtype), p.address(buffer), b.bytes);
  };
  for (std::size_t i = 0; i < p.plan.buffers.size(); ++i) {
    const Buffer& b = p.plan.buffers[i];
    const bool source = b.storage == Storage::kVariable || b.storage == Storage::kInput;
    if (source && !finite(static_cast<std::int32_t>(i))) return b.name;
  }
  for (const BoundStep& s : p.steps) {
    if (updated_inputs(s.step->op) > 0) continue;
    Impl::execute(s, p.context);
    for (const std::int32_t out : s.step->out) {
      if (!finite(out)) return s.step->name;
    }
  }
  return std::nullopt;
} catch (...) {
  throw_as_error();
}

std::vector<StepProfile> Program::profile() try {
  Impl& p = *impl_;
  p.prepare();
  std::vector<StepProfile> profiles;
  for (const BoundStep& s : p.steps) {
    const auto start = std::chrono::steady_clock::now();
    Impl::execute(s, p.context);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    const Node& node = p.plan.graph.nodes()[static_cast<std::size_t>(s.step->node)];
    const auto buffer = [&](std::int32_t id) -> const Buffer& {
      return p.plan.buffers[static_cast<std::size_t>(id)];
    };
    StepProfile profile{.name = s.step->name,
                        .op = std::string(s.step->reorder ? "reorder" : name_of(s.step->op)),
                        .kernel = s.step->kernel_name,
                        .seconds = elapsed.count()};
    if (!s.step->in.empty()) profile.dtype = buffer(s.step->in[0]).type.dtype;
    for (const auto& operands : {s.step->in, s.step->out}) {
      for (const std::int32_t b : operands) profile.bytes += static_cast<double>(buffer(b).bytes);
    }
    if (!s.step->reorder) {
      profile.flops = 2.0 * static_cast<double>(multiply_adds(p.plan.graph, node));
    }
    profiles.push_back(std::move(profile));
  }
  p.finish();
  return profiles;
} catch (...) {
  throw_as_error();
}

const Buffer& Program::Impl::output(std::string_view name) const {
  const auto found = outputs.find(name);
  if (found == outputs.end()) {
    fail(ErrorCode::kInvalidArgument, "the program has no output {}", name);
  }
  return plan.buffers[static_cast<std::size_t>(found->second)];
}

Tensor Program::output(std::string_view name) const try {
  Impl& p = *impl_;
  const Buffer& b = p.output(name);
  Tensor t(p.target->storage(b.type.dtype), b.type.shape);
  if (t.empty()) return t;
  void* from = p.address(b);
  if (b.layout == kPlainLayout) {
    std::memcpy(t.raw(), from, t.bytes());
  } else {
    KernelChoice choice = p.target->reorder(b.type, b.layout, kPlainLayout);
    const Arena scratch(choice.scratch_bytes);
    void* to = t.raw();
    choice.kernel->run({{&from, 1}, {&to, 1}, scratch.data(), {}});
  }
  if (!p.wants_permutation(t.shape())) return t;
  Tensor permuted(t.dtype(), nhwc(t.shape()));
  if (t.dtype() == DType::kF64) {
    permute(t.as<double>().data(), permuted.as<double>().data(), t.shape(), false);
  } else if (t.dtype() == DType::kF32) {
    permute(t.as<float>().data(), permuted.as<float>().data(), t.shape(), false);
  } else {
    permute(t.as<std::uint8_t>().data(), permuted.as<std::uint8_t>().data(), t.shape(), false);
  }
  return permuted;
} catch (...) {
  throw_as_error();
}

double Program::scalar(std::string_view name) const {
  const Buffer& b = impl_->output(name);
  const bool plain_f32 =
      b.layout == kPlainLayout && impl_->target->storage(b.type.dtype) == DType::kF32;
  if (plain_f32 && element_count(b.type.shape) > 0) {
    return *static_cast<const float*>(impl_->address(b));
  }
  const Tensor t = output(name).cast(DType::kF64);
  return t.as<double>()[0];
}

const ProgramStats& Program::stats() const { return impl_->stats; }
Variables& Program::variables() const { return *impl_->variables; }

std::string Program::describe() const {
  const Impl& p = *impl_;
  std::string text;
  const auto operand = [&](std::int32_t id) {
    const Buffer& b = p.plan.buffers[static_cast<std::size_t>(id)];
    const char* kind = b.storage == Storage::kArena    ? "@"
                       : b.storage == Storage::kPacked ? "packed@"
                                                       : "";
    return fmt::format("%{}{}:{}[{}{}]", b.value.node,
                       b.value.output > 0 ? fmt::format(".{}", b.value.output) : "",
                       p.target->describe(b.layout), kind,
                       *kind != 0 ? fmt::format("{}", b.offset) : b.name);
  };
  const auto list = [&](const std::vector<Step>& steps, std::string_view title) {
    text += fmt::format("{}: {} steps\n", title, steps.size());
    for (const Step& s : steps) {
      text += fmt::format("  {} \"{}\" {}", s.reorder ? "reorder" : name_of(s.op), s.name,
                          s.kernel_name);
      for (const std::int32_t b : s.in) text += " " + operand(b);
      text += " ->";
      for (const std::int32_t b : s.out) text += " " + operand(b);
      if (s.scratch_bytes > 0) text += fmt::format(" scratch {}", s.scratch_bytes);
      text += "\n";
    }
  };
  list(p.plan.packing, "packing");
  list(p.plan.steps, "run");
  text += fmt::format("arena {} bytes (without sharing {}), packed {} bytes\n", p.plan.arena_bytes,
                      p.plan.unplanned_bytes, p.plan.packed_bytes);
  return text;
}

}  // namespace resnet

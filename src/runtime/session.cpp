#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <set>

#include "core/check.h"
#include "core/guard.h"
#include "core/processors.h"
#include "graph/cost.h"
#include "runtime/program_impl.h"

namespace resnet {
namespace {

// Pointers of one step, resolved once.
struct BoundStep {
  const Step* step;
  std::vector<void*> in, out;
  void* scratch;
  std::unique_ptr<KernelState> state;
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

// [n, h, w, c] -> [n, c, h, w]; `shape` is the latter.
template <class T>
void to_nchw(const T* from, T* to, const Shape& shape) {
  const std::int64_t n = shape[0], c = shape[1], hw = shape[2] * shape[3];
  for (std::int64_t b = 0; b < n; ++b) {
    for (std::int64_t k = 0; k < c; ++k) {
      for (std::int64_t i = 0; i < hw; ++i) to[(b * c + k) * hw + i] = from[(b * hw + i) * c + k];
    }
  }
}

Shape nhwc(const Shape& s) { return {s[0], s[2], s[3], s[1]}; }

[[noreturn]] void wrong_shape(std::string_view input, const Shape& expected, const Shape& found) {
  fail(ErrorCode::kInvalidArgument, "input {} must have shape {}, it has {}", input,
       to_string(expected), to_string(found));
}

}  // namespace

struct Session::Impl {
  Program handle;
  Program::Impl& program;
  Arena arena;
  std::map<std::string, Tensor, std::less<>> inputs;
  std::set<std::string, std::less<>> shared_inputs;  // whose memory is the host's
  std::vector<BoundStep> steps, packing;             // the latter once this session has packed
  RunContext context;
  std::optional<std::uint64_t> seen_version;  // of the variables that steps are bound to
  std::vector<std::pair<std::int32_t, void*>> bound_variables;  // buffer, address

  explicit Impl(Program p);
  void* address(std::int32_t id) { return address(program.buffer(id)); }
  void* address(const Buffer& b) {
    if (b.storage == Storage::kInput) return inputs.find(b.name)->second.raw();
    return program.address(b, arena.data());
  }
  void append(const std::vector<Step>& from, std::vector<BoundStep>& to);
  void bind();
  void bind(std::vector<BoundStep>& list);
  void pack(std::uint64_t version);
  void prepare();
  void finish();
  Tensor& input(std::string_view name);
  Tensor& input(std::string_view name, const Tensor& value);
  void replace_input(std::string_view name, const Tensor& value);
  Tensor& own_input(std::string_view name, Tensor& t);
  void execute(const BoundStep& s) const {
    s.step->kernel->run({s.in, s.out, s.scratch, context, s.state.get()});
  }
  const Buffer& output(std::string_view name) const;
  bool finite(const Buffer& b) { return all_finite(program.storage(b), address(b), b.bytes); }
  bool wants_permutation(const Shape& s) const {
    return program.host_layout == DataLayout::kNHWC && s.size() == 4;
  }
};

Session::Impl::Impl(Program p) : handle(std::move(p)), program(*handle.impl_) {
  const int threads = program.options.threads;
  arena = Arena(program.plan.arena_bytes, std::min(threads > 0 ? threads : usable_processors(), 8));
  for (const Buffer& b : program.plan.buffers) {
    if (b.storage != Storage::kInput) continue;
    inputs[b.name] = Tensor::zeros(program.storage(b), b.type.shape);
  }
  append(program.plan.steps, steps);
  bind();
}

void Session::Impl::append(const std::vector<Step>& from, std::vector<BoundStep>& to) {
  to.reserve(from.size());
  for (const Step& s : from) {
    to.push_back({&s, {}, {}, arena.data() + s.scratch_offset, s.kernel->make_state()});
  }
}

void Session::Impl::bind() {
  bound_variables.clear();
  for (std::size_t i = 0; i < program.plan.buffers.size(); ++i) {
    if (program.plan.buffers[i].storage != Storage::kVariable) continue;
    const auto id = static_cast<std::int32_t>(i);
    bound_variables.emplace_back(id, address(id));
  }
  bind(steps);
  bind(packing);
}

void Session::Impl::bind(std::vector<BoundStep>& list) {
  for (BoundStep& b : list) {
    b.in.clear(), b.out.clear();
    for (const std::int32_t i : b.step->in) b.in.push_back(address(i));
    for (const std::int32_t i : b.step->out) b.out.push_back(address(i));
  }
}

// Puts weights into the kernels' own layouts, unless another session has. What lies in the arena is
// lost.
void Session::Impl::pack(std::uint64_t version) {
  const auto lock = program.packing(version);
  if (!lock) return;
  if (packing.empty()) {
    append(program.plan.packing, packing);
    bind(packing);
  }
  constexpr std::size_t kLarge = 1 << 16;
  for (const BoundStep& s : packing) {
    execute(s);
    for (const std::int32_t i : s.step->in) {  // what they were made from is seldom needed again
      const Buffer& b = program.buffer(i);
      if (b.storage == Storage::kVariable && b.bytes >= kLarge) {
        program.variable(b.name, b.type).release_memory();
      }
    }
  }
  program.packed(version);
}

// After a change of variables from outside: finds those that were replaced, packs weights again.
void Session::Impl::prepare() {
  program.target->begin_run();
  const std::uint64_t version = program.variables->version();
  if (seen_version == version) return;
  seen_version.reset();  // until all of this has succeeded
  const bool moved = std::any_of(bound_variables.begin(), bound_variables.end(),
                                 [&](const auto& b) { return address(b.first) != b.second; });
  if (moved) bind();
  pack(version);
  seen_version = version;
}

// After a run: others must look at the variables again; what this program packed does not depend on
// those that it updates.
void Session::Impl::finish() {
  if (!program.plan.updates) return;
  program.variables->touch();
  seen_version = program.variables->version();
  program.packed(*seen_version);
}

Session::Session(Program program) try : impl_(std::make_unique<Impl>(std::move(program))) {
} catch (...) {
  throw_as_error();
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const Program& Session::program() const { return impl_->handle; }

Tensor& Session::Impl::input(std::string_view name) {
  const auto found = inputs.find(name);
  if (found == inputs.end()) {
    fail(ErrorCode::kInvalidArgument, "the program has no input {}", name);
  }
  return found->second;
}

// The input of that name, which takes values of that shape.
Tensor& Session::Impl::input(std::string_view name, const Tensor& value) {
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
void Session::Impl::replace_input(std::string_view name, const Tensor& value) {
  Tensor& t = inputs.find(name)->second;
  t = value;
  for (BoundStep& s : steps) {
    for (std::size_t i = 0; i < s.in.size(); ++i) {
      const Buffer& b = program.buffer(s.step->in[i]);
      if (b.storage == Storage::kInput && b.name == name) s.in[i] = t.raw();
    }
  }
}

void Session::share_input(std::string_view name, const Tensor& value) try {
  Impl& p = *impl_;
  const Tensor& t = p.input(name, value);
  if (value.dtype() != t.dtype() || p.wants_permutation(t.shape())) return set_input(name, value);
  if (!p.shared_inputs.contains(name)) p.shared_inputs.emplace(name);
  p.replace_input(name, value);
} catch (...) {
  throw_as_error();
}

// What may be written to: the host's memory may not.
Tensor& Session::Impl::own_input(std::string_view name, Tensor& t) {
  const auto shared = shared_inputs.find(name);
  if (shared != shared_inputs.end()) {
    replace_input(name, Tensor(t.dtype(), t.shape()));
    shared_inputs.erase(shared);
  }
  return t;
}

void Session::set_input(std::string_view name, const Tensor& value) try {
  Tensor& t = impl_->own_input(name, impl_->input(name, value));
  if (value.dtype() != t.dtype()) return set_input(name, value.cast(t.dtype()));
  const bool permuted = impl_->wants_permutation(t.shape());
  if (value.empty()) return;
  if (permuted && t.dtype() == DType::kF32) {
    to_nchw(value.as<float>().data(), t.as<float>().data(), t.shape());
  } else if (permuted && t.dtype() == DType::kF64) {
    to_nchw(value.as<double>().data(), t.as<double>().data(), t.shape());
  } else {
    std::memcpy(t.raw(), value.raw(), t.bytes());
  }
} catch (...) {
  throw_as_error();
}

void Session::set_input(std::string_view name, double scalar) try {
  Tensor& t = impl_->input(name);
  if (t.shape().size() == 1 && t.size() == 1 && t.dtype() == DType::kF32) {
    impl_->own_input(name, t).as<float>()[0] = static_cast<float>(scalar);
  } else {
    set_input(name, Tensor::from<double>({1}, {{scalar}}));
  }
} catch (...) {
  throw_as_error();
}

void Session::set_random(std::uint64_t seed, std::uint64_t step) { impl_->context = {seed, step}; }

void Session::run() try {
  impl_->prepare();
  for (const BoundStep& s : impl_->steps) impl_->execute(s);
  impl_->finish();
} catch (...) {
  throw_as_error();
}

void Session::run(const std::function<bool(const StepRun&)>& observer, bool updates) try {
  Impl& s = *impl_;
  s.prepare();
  for (const BoundStep& b : s.steps) {
    if (!updates && updated_inputs(b.step->op) > 0) continue;
    const auto start = std::chrono::steady_clock::now();
    s.execute(b);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (!observer(StepRun(&s, &b, elapsed.count()))) break;
  }
  if (updates) s.finish();
} catch (...) {
  throw_as_error();
}

namespace {

const BoundStep& bound(const void* step) { return *static_cast<const BoundStep*>(step); }

}  // namespace

std::string_view StepRun::name() const { return bound(step_).step->name; }
std::string_view StepRun::kernel() const { return bound(step_).step->kernel_name; }
std::size_t StepRun::outputs() const { return bound(step_).out.size(); }
double StepRun::seconds() const { return seconds_; }

std::string_view StepRun::op() const {
  const Step& s = *bound(step_).step;
  return s.reorder ? "reorder" : name_of(s.op);
}

DType StepRun::dtype() const {
  const Step& s = *bound(step_).step;
  const auto& session = *static_cast<const Session::Impl*>(session_);
  return s.in.empty() ? DType::kF32 : session.program.buffer(s.in[0]).type.dtype;
}

double StepRun::flops() const {
  const Step& s = *bound(step_).step;
  if (s.reorder) return 0;
  const Graph& graph = static_cast<const Session::Impl*>(session_)->program.plan.graph;
  const Node& node = graph.nodes()[static_cast<std::size_t>(s.node)];
  return 2.0 * static_cast<double>(multiply_adds(graph, node));
}

double StepRun::bytes() const {
  const Step& s = *bound(step_).step;
  const Program::Impl& program = static_cast<const Session::Impl*>(session_)->program;
  double bytes = 0;
  for (const auto& operands : {s.in, s.out}) {
    for (const std::int32_t b : operands) bytes += static_cast<double>(program.buffer(b).bytes);
  }
  return bytes;
}

Tensor StepRun::output(std::size_t i) const try {
  const BoundStep& b = bound(step_);
  if (i >= b.out.size()) {
    fail(ErrorCode::kInvalidArgument, "layer {} has {} outputs, not {}", name(), b.out.size(),
         i + 1);
  }
  Program::Impl& program = static_cast<const Session::Impl*>(session_)->program;
  return program.read(program.buffer(b.step->out[i]), b.out[i]);
} catch (...) {
  throw_as_error();
}

bool StepRun::finite() const {
  const BoundStep& b = bound(step_);
  const Program::Impl& program = static_cast<const Session::Impl*>(session_)->program;
  for (std::size_t i = 0; i < b.out.size(); ++i) {
    const Buffer& buffer = program.buffer(b.step->out[i]);
    if (!all_finite(program.storage(buffer), b.out[i], buffer.bytes)) return false;
  }
  return true;
}

std::optional<std::string> Session::find_non_finite() try {
  Impl& s = *impl_;
  s.prepare();
  for (const Buffer& b : s.program.plan.buffers) {
    const bool source = b.storage == Storage::kVariable || b.storage == Storage::kInput;
    if (source && !s.finite(b)) return b.name;
  }
  std::optional<std::string> found;
  run(
      [&](const StepRun& step) {
        if (!step.finite()) found = step.name();
        return !found;
      },
      /*updates=*/false);
  return found;
} catch (...) {
  throw_as_error();
}

std::vector<StepProfile> Session::profile() {
  std::vector<StepProfile> profiles;
  run([&](const StepRun& s) {
    profiles.push_back({.name = std::string(s.name()),
                        .op = std::string(s.op()),
                        .kernel = std::string(s.kernel()),
                        .dtype = s.dtype(),
                        .seconds = s.seconds(),
                        .flops = s.flops(),
                        .bytes = s.bytes()});
    return true;
  });
  return profiles;
}

const Buffer& Session::Impl::output(std::string_view name) const {
  const auto found = program.outputs.find(name);
  if (found == program.outputs.end()) {
    fail(ErrorCode::kInvalidArgument, "the program has no output {}", name);
  }
  return program.buffer(found->second);
}

Tensor Session::output(std::string_view name) const try {
  const Buffer& b = impl_->output(name);
  return impl_->program.read(b, impl_->address(b));
} catch (...) {
  throw_as_error();
}

double Session::scalar(std::string_view name) const {
  const Buffer& b = impl_->output(name);
  const bool plain_f32 = b.layout == kPlainLayout && impl_->program.storage(b) == DType::kF32;
  if (plain_f32 && element_count(b.type.shape) > 0) {
    return *static_cast<const float*>(impl_->address(b));
  }
  const Tensor t = output(name).cast(DType::kF64);
  return t.as<double>()[0];
}

}  // namespace resnet

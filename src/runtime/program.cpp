#include "resnet/program.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/guard.h"
#include "core/processors.h"
#include "runtime/devices.h"
#include "runtime/program_impl.h"

namespace resnet {

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

void* Program::Impl::address(const Buffer& b, std::byte* arena) const {
  switch (b.storage) {
    case Storage::kInput: break;
    case Storage::kVariable: return const_cast<std::byte*>(variable(b.name, b.type).raw());
    case Storage::kArena: return arena + b.offset;
    case Storage::kPacked: return packed_memory.data() + b.offset;
  }
  return nullptr;
}

std::unique_lock<std::mutex> Program::Impl::packing(std::uint64_t version) {
  if (packed_version_.load(std::memory_order_acquire) == version) return {};
  std::unique_lock lock(packing_);
  if (packed_version_.load() == version) return {};
  packed_version_.store(kNever);  // until all of this has succeeded
  return lock;
}

namespace {

// [n, c, h, w] -> [n, h, w, c]
template <class T>
void to_nhwc(const T* from, T* to, const Shape& shape) {
  const std::int64_t n = shape[0], c = shape[1], hw = shape[2] * shape[3];
  for (std::int64_t b = 0; b < n; ++b) {
    for (std::int64_t k = 0; k < c; ++k) {
      for (std::int64_t i = 0; i < hw; ++i) to[(b * hw + i) * c + k] = from[(b * c + k) * hw + i];
    }
  }
}

}  // namespace

Tensor Program::Impl::read(const Buffer& b, void* from) {
  Tensor t(storage(b), b.type.shape);
  if (t.empty()) return t;
  if (b.layout == kPlainLayout) {
    std::memcpy(t.raw(), from, t.bytes());
  } else {
    const KernelChoice* reader = nullptr;
    {
      const std::lock_guard lock(reordering_);
      const auto id = static_cast<std::int32_t>(&b - plan.buffers.data());
      auto found = readers.find(id);
      if (found == readers.end()) {
        found = readers.emplace(id, target->reorder(b.type, b.layout, kPlainLayout)).first;
      }
      reader = &found->second;
    }
    const Arena scratch(reader->scratch_bytes);
    void* to = t.raw();
    reader->kernel->run({{&from, 1}, {&to, 1}, scratch.data(), {}});
  }
  if (host_layout != DataLayout::kNHWC || t.shape().size() != 4) return t;
  const Shape& s = t.shape();
  Tensor permuted(t.dtype(), {s[0], s[2], s[3], s[1]});
  if (t.dtype() == DType::kF64) {
    to_nhwc(t.as<double>().data(), permuted.as<double>().data(), s);
  } else if (t.dtype() == DType::kF32) {
    to_nhwc(t.as<float>().data(), permuted.as<float>().data(), s);
  } else {
    to_nhwc(t.as<std::uint8_t>().data(), permuted.as<std::uint8_t>().data(), s);
  }
  return permuted;
}

Program::Program(const Graph& graph, std::shared_ptr<Variables> variables,
                 const CompileOptions& options, DataLayout host_layout) try
    : impl_(std::make_shared<Impl>()) {
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
  p.packed_memory = Arena(p.plan.packed_bytes, std::min(threads, 8));
  for (const Buffer& b : p.plan.buffers) {
    if (b.storage == Storage::kVariable) p.stats.variable_bytes += b.bytes;
  }
  for (const Step& s : p.plan.steps) {
    for (int i = 0; i < updated_inputs(s.op); ++i) {
      const Buffer& b = p.buffer(s.in[static_cast<std::size_t>(i)]);
      if (b.storage == Storage::kVariable && p.variable(b.name, b.type).is_mapped()) {
        fail(ErrorCode::kInvalidArgument,
             "parameter {} is read-only, a part of a mapped file; load the model with load_model",
             b.name);
      }
    }
  }
  for (const auto& [name, buffer] : p.plan.outputs) p.outputs[name] = buffer;
  p.stats.steps = p.plan.steps.size();
  p.stats.arena_bytes = p.plan.arena_bytes;
  p.stats.packed_bytes = p.plan.packed_bytes;
  p.stats.unplanned_bytes = p.plan.unplanned_bytes;
} catch (...) {
  throw_as_error();
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

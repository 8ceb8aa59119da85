#include "compile/compiler.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "compile/passes.h"
#include "compile/planner.h"
#include "compile/takes.h"
#include "core/check.h"

namespace resnet {
namespace {

// Every input of every node is of a type that the target has a kernel for.
void expect_supported(const Graph& graph, const Target& target) {
  for (const Node& n : graph.nodes()) {
    for (std::size_t i = 0; i < n.inputs.size(); ++i) {
      const TensorType& type = graph.type(n.inputs[i]);
      if (target.supports(n.op, i, type)) continue;
      const char* hint = takes::is_integer(type)      ? "; dequantise it first"
                         : type.dtype == DType::kBF16 ? "; cast it first"
                                                      : "";
      fail(ErrorCode::kUnsupported,
           "layer {} ({}): input {} is of {}, for which device {} has no kernel{}", n.name,
           name_of(n.op), i, name_of(type.dtype), target.name(), hint);
    }
  }
}

Graph run_passes(const Graph& graph, const Target& target, const PassOptions& options) {
  Graph g = graph;
  if (options.passes) {
    g = fuse(g);
    g = fold_batch_norm(g);
    g = schedule_updates(g);
    if (options.recompute) g = recompute_activations(g);
  }
  if (options.dtype != DType::kF32) g = lower_precision(g, options.dtype, target);
  verify(g);
  return g;
}

class Planner {
 public:
  Planner(Plan& plan, Target& target) : plan_(plan), target_(target) {}

  void select_kernels();
  void share_memory(bool plan_memory);

 private:
  std::int32_t add_buffer(Value v, Layout layout, Storage storage, std::string name = "");
  // The buffer that holds v in a layout, with a reorder in front if there is none yet.
  std::int32_t in_layout(Value v, Layout layout);
  bool is_constant(std::int32_t buffer) const;
  void add_step(Step step);
  std::size_t place_packing(bool plan_memory);

  Plan& plan_;
  Target& target_;
  std::map<std::pair<Value, std::int32_t>, std::int32_t> by_layout_;  // value, layout -> buffer
  std::map<Value, std::int32_t> home_;                                // where it was produced
  std::set<std::int32_t> written_;  // variables (buffers) that the program updates
  std::map<std::size_t, std::vector<int>> in_place_;  // step -> the kernel's offer
};

std::int32_t Planner::add_buffer(Value v, Layout layout, Storage storage, std::string name) {
  const TensorType& type = plan_.graph.type(v);
  plan_.buffers.push_back(
      {v, type, layout, storage, std::move(name), target_.bytes(type, layout), 0});
  const auto id = static_cast<std::int32_t>(plan_.buffers.size()) - 1;
  by_layout_[{v, layout.id}] = id;
  home_.try_emplace(v, id);
  return id;
}

bool Planner::is_constant(std::int32_t buffer) const {
  const Storage s = plan_.buffers[static_cast<std::size_t>(buffer)].storage;
  return s == Storage::kPacked || (s == Storage::kVariable && !written_.contains(buffer));
}

void Planner::add_step(Step step) {
  // What follows from unchanging variables alone is computed once, not in every run.
  const bool constant =
      !step.in.empty() && updated_inputs(step.op) == 0 &&
      std::all_of(step.in.begin(), step.in.end(), [&](std::int32_t b) { return is_constant(b); });
  if (constant) {
    for (const std::int32_t b : step.out) {
      plan_.buffers[static_cast<std::size_t>(b)].storage = Storage::kPacked;
    }
    plan_.packing.push_back(std::move(step));
  } else {
    plan_.steps.push_back(std::move(step));
  }
}

std::int32_t Planner::in_layout(Value v, Layout layout) {
  const auto found = by_layout_.find({v, layout.id});
  if (found != by_layout_.end()) return found->second;
  const std::int32_t home = home_.at(v);
  const Buffer from = plan_.buffers[static_cast<std::size_t>(home)];
  KernelChoice choice = target_.reorder(from.type, from.layout, layout);
  Step step;
  step.kernel = std::move(choice.kernel);
  step.name = plan_.graph.node(v).name;
  step.op = Op::kReshape;
  step.reorder = true;
  step.node = v.node;
  step.kernel_name = std::move(choice.name);
  step.in = {home};
  step.out = {add_buffer(v, layout, Storage::kArena)};
  step.scratch_bytes = choice.scratch_bytes;
  const std::int32_t result = step.out[0];
  add_step(std::move(step));
  return result;
}

void Planner::select_kernels() {
  const auto& nodes = plan_.graph.nodes();
  for (std::size_t id = 0; id < nodes.size(); ++id) {
    const Value v{static_cast<std::int32_t>(id), 0};
    if (nodes[id].op == Op::kInput) add_buffer(v, kPlainLayout, Storage::kInput, nodes[id].name);
    if (nodes[id].op == Op::kParameter) {
      add_buffer(v, kPlainLayout, Storage::kVariable, nodes[id].name);
    }
  }
  for (const Node& n : nodes) {
    for (int i = 0; i < updated_inputs(n.op); ++i) {
      written_.insert(home_.at(n.inputs[static_cast<std::size_t>(i)]));
    }
  }
  plan_.updates = !written_.empty();

  for (std::size_t id = 0; id < nodes.size(); ++id) {
    const Node& n = nodes[id];
    if (n.op == Op::kInput || n.op == Op::kParameter) continue;
    std::vector<Layout> have;
    for (const Value v : n.inputs) {
      have.push_back(plan_.buffers[static_cast<std::size_t>(home_.at(v))].layout);
    }
    KernelChoice choice = target_.choose(plan_.graph, n, have);
    RESNET_CHECK(choice.kernel != nullptr && choice.inputs.size() == n.inputs.size() &&
                 choice.outputs.size() == n.outputs.size());
    Step step;
    step.kernel = std::move(choice.kernel);
    step.name = n.name;
    step.op = n.op;
    step.node = static_cast<std::int32_t>(id);
    step.kernel_name = std::move(choice.name);
    step.scratch_bytes = choice.scratch_bytes;
    for (std::size_t i = 0; i < n.inputs.size(); ++i) {
      step.in.push_back(in_layout(n.inputs[i], choice.inputs[i]));
    }
    for (std::size_t i = 0; i < n.outputs.size(); ++i) {
      step.out.push_back(add_buffer({static_cast<std::int32_t>(id), static_cast<std::int32_t>(i)},
                                    choice.outputs[i], Storage::kArena));
    }
    const std::size_t before = plan_.steps.size();
    add_step(std::move(step));
    if (plan_.steps.size() > before) in_place_[before] = std::move(choice.in_place);

    // A changed variable invalidates its copies in other layouts.
    for (int i = 0; i < updated_inputs(n.op); ++i) {
      const Value v = n.inputs[static_cast<std::size_t>(i)];
      const std::int32_t home = home_.at(v);
      const auto first = by_layout_.lower_bound({v, 0});
      const auto last = by_layout_.upper_bound({v, std::numeric_limits<std::int32_t>::max()});
      by_layout_.erase(first, last);
      by_layout_[{v, kPlainLayout.id}] = home;
    }
  }
  for (const auto& [name, v] : plan_.graph.outputs()) {
    plan_.outputs.emplace_back(name, home_.at(v));
  }
}

// Packing steps run before the first step, so what only they read, and their scratch, may sit in
// the arena. Returns how much of it they take.
std::size_t Planner::place_packing(bool plan_memory) {
  std::set<std::int32_t> kept;
  for (const Step& s : plan_.steps) kept.insert(s.in.begin(), s.in.end());
  for (const auto& [name, b] : plan_.outputs) kept.insert(b);
  std::map<std::int32_t, std::size_t> which;  // buffer -> interval
  std::vector<Interval> intervals;
  std::vector<std::size_t*> offsets;
  for (std::size_t s = 0; s < plan_.packing.size(); ++s) {
    Step& step = plan_.packing[s];
    const auto at = static_cast<std::int32_t>(s);
    for (const std::int32_t b : step.out) {
      if (kept.contains(b)) continue;
      Buffer& buffer = plan_.buffers[static_cast<std::size_t>(b)];
      buffer.storage = Storage::kArena;
      which[b] = intervals.size();
      intervals.push_back({buffer.bytes, at, at, 0});
      offsets.push_back(&buffer.offset);
    }
    for (const std::int32_t b : step.in) {
      if (which.contains(b)) intervals[which[b]].last = at;
    }
    if (step.scratch_bytes > 0) {
      intervals.push_back({step.scratch_bytes, at, at, 0});
      offsets.push_back(&step.scratch_offset);
    }
  }
  const std::size_t bytes = plan_memory ? plan_offsets(intervals) : plan_without_sharing(intervals);
  for (std::size_t i = 0; i < intervals.size(); ++i) *offsets[i] = intervals[i].offset;
  return bytes;
}

void Planner::share_memory(bool plan_memory) {
  const std::size_t count = plan_.buffers.size();
  const auto last_step = static_cast<std::int32_t>(plan_.steps.size());
  std::vector<std::int32_t> first(count, -1), last(count, -1);
  for (std::int32_t s = 0; s < last_step; ++s) {
    const Step& step = plan_.steps[static_cast<std::size_t>(s)];
    for (const std::int32_t b : step.out) {
      first[static_cast<std::size_t>(b)] = s;
      last[static_cast<std::size_t>(b)] = s;
    }
    for (const std::int32_t b : step.in) last[static_cast<std::size_t>(b)] = s;
  }
  for (const auto& [name, b] : plan_.outputs) last[static_cast<std::size_t>(b)] = last_step;

  // A kernel that offers it writes over an input that nobody reads later. `owner` follows chains.
  std::vector<std::int32_t> owner(count);
  for (std::size_t b = 0; b < count; ++b) owner[b] = static_cast<std::int32_t>(b);
  const auto arena = [&](std::int32_t b) {
    return plan_.buffers[static_cast<std::size_t>(b)].storage == Storage::kArena;
  };
  if (plan_memory) {
    for (const auto& [s, offers] : in_place_) {
      Step& step = plan_.steps[s];
      std::set<std::int32_t> taken;
      for (std::size_t i = 0; i < offers.size(); ++i) {
        if (offers[i] < 0) continue;
        const std::int32_t in = step.in[static_cast<std::size_t>(offers[i])];
        const std::int32_t out = step.out[i];
        const auto reads = std::count(step.in.begin(), step.in.end(), in);
        const std::int32_t root = owner[static_cast<std::size_t>(in)];
        if (!arena(in) || reads != 1 || taken.contains(root) ||
            last[static_cast<std::size_t>(root)] != static_cast<std::int32_t>(s) ||
            plan_.buffers[static_cast<std::size_t>(in)].bytes !=
                plan_.buffers[static_cast<std::size_t>(out)].bytes) {
          continue;
        }
        taken.insert(root);
        owner[static_cast<std::size_t>(out)] = root;
        last[static_cast<std::size_t>(root)] = last[static_cast<std::size_t>(out)];
      }
    }
  }

  const std::size_t packing_bytes = place_packing(plan_memory);

  std::vector<Interval> intervals;
  std::vector<std::pair<std::int32_t, bool>> what;  // buffer or step, is it scratch
  for (std::size_t b = 0; b < count; ++b) {
    Buffer& buffer = plan_.buffers[b];
    if (buffer.storage == Storage::kPacked) {
      buffer.offset = plan_.packed_bytes;
      plan_.packed_bytes += (buffer.bytes + 63) / 64 * 64;
    }
    if (buffer.storage != Storage::kArena || owner[b] != static_cast<std::int32_t>(b)) continue;
    if (first[b] < 0) continue;  // written by nobody
    intervals.push_back({buffer.bytes, first[b], last[b], 0});
    what.emplace_back(static_cast<std::int32_t>(b), false);
  }
  for (std::size_t s = 0; s < plan_.steps.size(); ++s) {
    if (plan_.steps[s].scratch_bytes == 0) continue;
    const auto at = static_cast<std::int32_t>(s);
    intervals.push_back({plan_.steps[s].scratch_bytes, at, at, 0});
    what.emplace_back(at, true);
  }
  std::vector<Interval> unshared = intervals;
  plan_.unplanned_bytes = std::max(plan_without_sharing(unshared), packing_bytes);
  if (plan_memory) {
    plan_.arena_bytes = std::max(plan_offsets(intervals), packing_bytes);
  } else {
    intervals = unshared;
    plan_.arena_bytes = plan_.unplanned_bytes;
  }
  for (std::size_t i = 0; i < what.size(); ++i) {
    const auto [index, scratch] = what[i];
    if (scratch) {
      plan_.steps[static_cast<std::size_t>(index)].scratch_offset = intervals[i].offset;
    } else {
      plan_.buffers[static_cast<std::size_t>(index)].offset = intervals[i].offset;
    }
  }
  for (std::size_t b = 0; b < count; ++b) {
    plan_.buffers[b].offset = plan_.buffers[static_cast<std::size_t>(owner[b])].offset;
  }
}

}  // namespace

Plan make_plan(const Graph& graph, Target& target, const PassOptions& options) {
  verify(graph);
  if (options.dtype != DType::kF32 && !target.computes(options.dtype)) {
    fail(ErrorCode::kUnsupported, "device {} cannot compute with {} here: {}; use f32",
         target.name(), name_of(options.dtype), target.needs(options.dtype));
  }
  Plan plan;
  plan.graph = run_passes(graph, target, options);
  expect_supported(plan.graph, target);
  Planner planner(plan, target);
  planner.select_kernels();
  planner.share_memory(options.plan_memory);
  return plan;
}

}  // namespace resnet

#include "support/executor.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "core/check.h"

namespace resnet::test {
namespace {

constexpr std::byte kGuardByte{0xA5};

[[noreturn]] void broken(const std::string& what) { throw std::runtime_error(what); }

DeviceValue make_value(Target& target, const TensorType& type, Layout layout) {
  return {type, layout, std::make_shared<GuardedBuffer>(target.bytes(type, layout))};
}

DeviceValue reordered(Target& target, const DeviceValue& from, Layout to) {
  if (from.layout == to) return from;
  KernelChoice choice = target.reorder(from.type, from.layout, to);
  DeviceValue result = make_value(target, from.type, to);
  GuardedBuffer scratch(choice.scratch_bytes);
  void* const in[] = {from.buffer->data()};
  void* const out[] = {result.buffer->data()};
  choice.kernel->run({in, out, scratch.data(), {}});
  result.buffer->check("reorder's output");
  scratch.check("reorder's scratch");
  return result;
}

}  // namespace

GuardedBuffer::GuardedBuffer(std::size_t bytes)
    : storage_(bytes + 2 * kGuard + 64, kGuardByte), size_(bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(storage_.data()) + kGuard;
  data_ = storage_.data() + kGuard + (64 - address % 64) % 64;
  std::fill_n(data_, size_, std::byte{0xFF});
}

void GuardedBuffer::check(const std::string& what) const {
  const auto intact = [](const std::byte* first, const std::byte* last) {
    return std::all_of(first, last, [](std::byte b) { return b == kGuardByte; });
  };
  if (!intact(storage_.data(), data_)) broken(what + ": bytes before the buffer were written");
  if (!intact(data_ + size_, storage_.data() + storage_.size())) {
    broken(what + ": bytes after the buffer were written");
  }
}

DeviceValue upload(Target& target, const TensorType& type, const Tensor& plain, Layout layout) {
  if (plain.shape() != type.shape) {
    broken(fmt::format("a value of shape {} was given {}", to_string(type.shape),
                       to_string(plain.shape())));
  }
  const Tensor stored = plain.cast(target.storage(type.dtype));
  DeviceValue v = make_value(target, type, kPlainLayout);
  if (v.buffer->size() != stored.bytes()) broken("plain values must be stored without padding");
  std::memcpy(v.buffer->data(), stored.raw(), stored.bytes());
  return reordered(target, v, layout);
}

Tensor download(Target& target, const DeviceValue& value) {
  const DeviceValue plain = reordered(target, value, kPlainLayout);
  Tensor stored(target.storage(value.type.dtype), value.type.shape);
  std::memcpy(stored.raw(), plain.buffer->data(), stored.bytes());
  return is_floating(stored.dtype()) ? stored.cast(DType::kF64) : stored;
}

NodeRunner::NodeRunner(Target& target, const Graph& graph, const Node& node,
                       std::vector<Layout> have)
    : target_(target),
      node_(node),
      have_(std::move(have)),
      choice_(target.choose(graph, node, have_)) {
  for (const Value v : node.inputs) types_.push_back(graph.type(v));
  if (choice_.kernel == nullptr || choice_.inputs.size() != node.inputs.size() ||
      choice_.outputs.size() != node.outputs.size()) {
    broken("the target's choice does not fit the node");
  }
  for (int i = 0; i < updated_inputs(node.op); ++i) {
    if (!(choice_.inputs[static_cast<std::size_t>(i)] == kPlainLayout)) {
      broken("an updated variable must be plain");
    }
  }
}

bool NodeRunner::offers_in_place() const {
  return std::any_of(choice_.in_place.begin(), choice_.in_place.end(),
                     [](int i) { return i >= 0; });
}

std::vector<DeviceValue> NodeRunner::run(const std::vector<DeviceValue>& inputs, RunContext context,
                                         bool in_place) {
  target_.begin_run();
  const std::string who = fmt::format("{} ({})", node_.name, name_of(node_.op));
  std::vector<DeviceValue> in, out;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    DeviceValue v = reordered(target_, inputs[i], choice_.inputs[i]);
    if (in_place && static_cast<int>(i) >= updated_inputs(node_.op)) {
      // A copy that may be overwritten.
      auto copy = std::make_shared<GuardedBuffer>(v.buffer->size());
      std::memcpy(copy->data(), v.buffer->data(), copy->size());
      v.buffer = copy;
    }
    in.push_back(v);
  }
  std::vector<bool> may_change(inputs.size(), false);
  for (int i = 0; i < updated_inputs(node_.op); ++i) may_change[static_cast<std::size_t>(i)] = true;
  for (std::size_t i = 0; i < node_.outputs.size(); ++i) {
    DeviceValue v = make_value(target_, node_.outputs[i], choice_.outputs[i]);
    const int donor = in_place && i < choice_.in_place.size() ? choice_.in_place[i] : -1;
    if (donor >= 0 && in[static_cast<std::size_t>(donor)].buffer->size() == v.buffer->size()) {
      v.buffer = in[static_cast<std::size_t>(donor)].buffer;
      may_change[static_cast<std::size_t>(donor)] = true;
    }
    out.push_back(v);
  }

  GuardedBuffer scratch(choice_.scratch_bytes);
  std::vector<void*> in_pointers, out_pointers;
  std::vector<std::vector<std::byte>> before;
  for (const DeviceValue& v : in) {
    in_pointers.push_back(v.buffer->data());
    before.emplace_back(v.buffer->data(), v.buffer->data() + v.buffer->size());
  }
  for (const DeviceValue& v : out) out_pointers.push_back(v.buffer->data());
  choice_.kernel->run({in_pointers, out_pointers, scratch.data(), context});

  scratch.check(who + " scratch");
  for (std::size_t i = 0; i < in.size(); ++i) {
    in[i].buffer->check(fmt::format("{} input {}", who, i));
    if (!may_change[i] &&
        std::memcmp(before[i].data(), in[i].buffer->data(), before[i].size()) != 0) {
      broken(fmt::format("{} changed its input {}", who, i));
    }
  }
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].buffer->check(fmt::format("{} output {}", who, i));
  }
  return out;
}

std::vector<Tensor> run_node(Target& target, const Graph& graph, const Node& node,
                             const std::vector<Tensor>& inputs, RunContext context) {
  std::vector<DeviceValue> in;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    in.push_back(upload(target, graph.type(node.inputs[i]), inputs[i]));
  }
  NodeRunner runner(target, graph, node, std::vector<Layout>(inputs.size()));
  std::vector<Tensor> result;
  for (const DeviceValue& v : runner.run(in, context)) result.push_back(download(target, v));
  for (int i = 0; i < updated_inputs(node.op); ++i) {
    result.push_back(download(target, in[static_cast<std::size_t>(i)]));
  }
  return result;
}

Executor::Executor(Target& target, const Graph& graph, bool round_trip)
    : target_(target),
      graph_(graph),
      round_trip_(round_trip),
      runners_(graph.nodes().size()),
      values_(graph.nodes().size()) {}

Executor::~Executor() = default;

void Executor::run(const std::map<std::string, Tensor>& sources, RunContext context,
                   std::int32_t last) {
  const auto& nodes = graph_.nodes();
  const std::size_t count = last < 0 ? nodes.size() : static_cast<std::size_t>(last) + 1;
  for (std::size_t id = 0; id < count; ++id) {
    const Node& node = nodes[id];
    if (node.op == Op::kInput || node.op == Op::kParameter) {
      const auto found = sources.find(node.name);
      if (found == sources.end()) broken("no value for " + node.name);
      values_[id] = {upload(target_, node.outputs[0], found->second)};
      continue;
    }
    std::vector<DeviceValue> in;
    std::vector<Layout> have;
    for (const Value v : node.inputs) {
      DeviceValue x = values_[static_cast<std::size_t>(v.node)][static_cast<std::size_t>(v.output)];
      if (round_trip_) x = upload(target_, x.type, download(target_, x), x.layout);
      have.push_back(x.layout);
      in.push_back(std::move(x));
    }
    if (runners_[id] == nullptr) {
      runners_[id] = std::make_unique<NodeRunner>(target_, graph_, node, have);
    }
    values_[id] = runners_[id]->run(in, context);
    for (int i = 0; i < updated_inputs(node.op); ++i) {  // the round trip made a copy
      const Value v = node.inputs[static_cast<std::size_t>(i)];
      values_[static_cast<std::size_t>(v.node)][0] = in[static_cast<std::size_t>(i)];
    }
  }
}

Tensor Executor::value(Value v) const {
  return download(target_,
                  values_[static_cast<std::size_t>(v.node)][static_cast<std::size_t>(v.output)]);
}

}  // namespace resnet::test

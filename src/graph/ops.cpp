#include "graph/ops.h"

#include <array>
#include <atomic>
#include <deque>
#include <mutex>

#include "graph/ops/rules.h"

namespace resnet {
namespace {

// Numbers from here on are handed out by register_op.
constexpr std::size_t kFirstRegistered = 256;
constexpr std::size_t kMaxOps = 4096;

// The rows by the number of their op. They are never removed, so that reading takes no lock.
class Table {
 public:
  Table() {
    for (const auto& rows :
         {source_ops(), conv_ops(), norm_ops(), pool_ops(), linear_ops(), elementwise_ops(),
          shape_ops(), loss_ops(), update_ops(), quantized_ops()}) {
      for (const OpInfo& row : rows) {
        auto& place = rows_.at(static_cast<std::size_t>(row.op));
        RESNET_CHECK(place == nullptr);  // two rows of one op
        place = &row;
      }
    }
  }

  const OpInfo* find(Op op) const {
    const auto at = static_cast<std::size_t>(op);
    return at < kMaxOps ? rows_[at].load(std::memory_order_acquire) : nullptr;
  }

  std::vector<const OpInfo*> all() const {
    std::vector<const OpInfo*> result;
    for (const auto& place : rows_) {
      if (const OpInfo* row = place.load(std::memory_order_acquire)) result.push_back(row);
    }
    return result;
  }

  /// A row for a definition, with a number of its own.
  Op add(OpDefinition definition, OpInfo row) {
    const std::scoped_lock lock(mutex_);
    for (const OpInfo* other : all()) {
      if (other->name == definition.name) {
        fail(ErrorCode::kInvalidArgument, "an op is called {} already", definition.name);
      }
    }
    const std::size_t number = kFirstRegistered + registered_.size();
    if (number >= kMaxOps) {
      fail(ErrorCode::kInvalidArgument, "cannot register {}: there are {} ops already",
           definition.name, registered_.size());
    }
    Registered& entry = registered_.emplace_back(Registered{std::move(definition), row});
    entry.row.op = static_cast<Op>(number);
    entry.row.name = entry.definition.name;
    entry.row.custom = &entry.definition;
    rows_[number].store(&entry.row, std::memory_order_release);
    return entry.row.op;
  }

 private:
  struct Registered {
    OpDefinition definition;
    OpInfo row;
  };
  std::array<std::atomic<const OpInfo*>, kMaxOps> rows_{};
  std::mutex mutex_;
  std::deque<Registered> registered_;  // which keeps its elements where they are
};

Table& table() {
  static Table all;
  return all;
}

// The rules of registered ops, as functions that the table can hold.

const OpDefinition& definition_of(Op op) { return *op_info(op).custom; }

std::vector<TensorType> registered_types(const ShapeRule& r) {
  const OpDefinition& d = definition_of(r.op);
  if (!d.shapes) return {{DType::kF32, r.shape(0)}};
  std::vector<TensorType> result;
  for (Shape& shape : d.shapes(r)) result.push_back({DType::kF32, std::move(shape)});
  return result;
}

void registered_gradient(GradientRule& r) {
  const Op op = r.node.op;
  definition_of(op).gradient(r);
  for (std::size_t i = 0; i < r.dx.size(); ++i) {
    if (!r.dx[i] || r.graph.shape(r.dx[i]) == r.shape(i)) continue;
    fail(ErrorCode::kInvalidArgument,
         "layer {}: the gradient of {} by input {} must have shape {}, it has {}", r.node.name,
         name_of(op), i, to_string(r.shape(i)), to_string(r.graph.shape(r.dx[i])));
  }
}

std::int64_t registered_cost(const CostRule& c) { return definition_of(c.op).multiply_adds(c); }

}  // namespace

const OpInfo& op_info(Op op) {
  const OpInfo* row = table().find(op);
  if (row == nullptr) {
    fail(ErrorCode::kInvalidArgument, "there is no op {}", static_cast<std::uint16_t>(op));
  }
  return *row;
}

std::vector<const OpInfo*> all_ops() { return table().all(); }

Op register_op(OpDefinition d) {
  const auto refuse = [&](std::string_view what) {
    fail(ErrorCode::kInvalidArgument, "cannot register op '{}': {}", d.name, what);
  };
  if (d.name.empty()) refuse("it needs a name");
  if (d.kind != OpKind::kForward && d.kind != OpKind::kBackward) {
    refuse("it must be a forward or a backward op");
  }
  if (d.min_inputs < 1 || (d.max_inputs >= 0 && d.max_inputs < d.min_inputs)) {
    refuse("it must read at least one input, and max_inputs is not below min_inputs");
  }
  if (!d.compute) refuse("it needs the function that computes it");
  OpInfo row{.op = {}, .name = {}, .kind = d.kind};
  row.min_inputs = d.min_inputs;
  row.max_inputs = d.max_inputs;
  row.infer = registered_types;
  if (d.gradient) row.gradient = registered_gradient;
  if (d.multiply_adds) row.multiply_adds = registered_cost;
  return table().add(std::move(d), row);
}

template <class T>
const T& attribute(const Attributes& attributes, const std::string& name) {
  if (const auto* custom = std::get_if<CustomAttributes>(&attributes)) {
    const auto found = custom->values.find(name);
    if (found != custom->values.end()) {
      if (const T* value = std::get_if<T>(&found->second)) return *value;
      fail(ErrorCode::kInvalidArgument, "the attribute '{}' is of another type", name);
    }
  }
  fail(ErrorCode::kInvalidArgument, "there is no attribute '{}'", name);
}

template const std::int64_t& attribute(const Attributes&, const std::string&);
template const double& attribute(const Attributes&, const std::string&);
template const std::string& attribute(const Attributes&, const std::string&);
template const std::vector<std::int64_t>& attribute(const Attributes&, const std::string&);

std::vector<TensorType> infer(const ShapeRule& r) {
  const OpInfo& info = op_info(r.op);
  const auto count = static_cast<int>(r.inputs.size());
  const bool fits = count >= info.min_inputs && (info.max_inputs < 0 || count <= info.max_inputs);
  if (info.custom != nullptr) expect(r, fits, fmt::format("does not take {} input(s)", count));
  RESNET_CHECK(fits);
  return info.infer(r);
}

std::string_view name_of(Op op) { return op_info(op).name; }

bool is_layer(const Node& node) {
  return op_info(node.op).kind == OpKind::kForward && !node.derivative;
}

int updated_inputs(Op op) { return op_info(op).updated_inputs; }

}  // namespace resnet

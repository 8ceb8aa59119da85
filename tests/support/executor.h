// A device under test, one node at a time.
//
// The executor has none of the compiler's cleverness: every value has memory of its own, and a
// reorder stands wherever a kernel wants another layout. What it adds is suspicion. Outputs and
// scratch are filled with NaN before each call, every buffer has guard bytes on both sides, and an
// input that changes without being updated is an error. All of it throws std::runtime_error.
//
// Host tensors are row-major and f64 for the IR's f32 (u8 and i32 stay), whatever the device
// stores.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compile/target.h"

namespace resnet::test {

/// 64-byte aligned bytes between guards, filled with 0xFF: NaN in every floating format.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(std::size_t bytes);
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  /// Throws when somebody wrote outside; `what` names the buffer.
  void check(const std::string& what) const;

 private:
  static constexpr std::size_t kGuard = 128;
  std::vector<std::byte> storage_;
  std::byte* data_;
  std::size_t size_;
};

/// A value as a device holds it.
struct DeviceValue {
  TensorType type;
  Layout layout;
  std::shared_ptr<GuardedBuffer> buffer;
};

DeviceValue upload(Target& target, const TensorType& type, const Tensor& plain,
                   Layout layout = kPlainLayout);
Tensor download(Target& target, const DeviceValue& value);

/// One node's kernel with the reorders in front of it, ready to be run many times.
class NodeRunner {
 public:
  NodeRunner(Target& target, const Graph& graph, const Node& node, std::vector<Layout> have);

  /// Runs on values in the layouts `have`; the outputs lie where the kernel left them. Updates
  /// write to `inputs`. With `in_place` an output takes the memory of an input wherever the kernel
  /// offers that.
  std::vector<DeviceValue> run(const std::vector<DeviceValue>& inputs, RunContext context,
                               bool in_place = false);

  const std::string& kernel_name() const { return choice_.name; }
  /// Whether `in_place` changes anything.
  bool offers_in_place() const;

 private:
  Target& target_;
  const Node node_;
  std::vector<TensorType> types_;
  std::vector<Layout> have_;
  KernelChoice choice_;
};

/// Runs one node on host tensors in plain layouts: outputs, then the updated inputs.
std::vector<Tensor> run_node(Target& target, const Graph& graph, const Node& node,
                             const std::vector<Tensor>& inputs, RunContext context = {});

/// Runs a whole graph.
class Executor {
 public:
  /// With `round_trip` every value is brought into plain layout and back before it is read: results
  /// must not change, or a kernel left rubbish in the padding of a blocked layout.
  Executor(Target& target, const Graph& graph, bool round_trip = false);
  ~Executor();

  /// Values by name for all inputs and parameters. Stops after node `last` (-1: runs everything).
  void run(const std::map<std::string, Tensor>& sources, RunContext context = {},
           std::int32_t last = -1);
  /// A value of the last run; parameters as the updates left them.
  Tensor value(Value v) const;

 private:
  Target& target_;
  const Graph& graph_;
  bool round_trip_;
  std::vector<std::unique_ptr<NodeRunner>> runners_;  // by node; made when first needed
  std::vector<std::vector<DeviceValue>> values_;      // by node and output
};

}  // namespace resnet::test

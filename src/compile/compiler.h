// From a graph to a plan: passes, then one walk that asks the target for kernels and layouts, then
// liveness and memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "compile/target.h"
#include "resnet/graph.h"

namespace resnet {

struct PassOptions {
  bool passes = true;
  bool plan_memory = true;
  bool recompute = true;
  DType dtype = DType::kF32;  ///< of activations
};

/// Where a buffer's memory comes from.
enum class Storage : std::uint8_t {
  kInput,     ///< graph input: its own memory, written by the host
  kVariable,  ///< a tensor of Variables
  kArena,     ///< shared memory at `offset`
  kPacked,    ///< memory of its own, filled when variables change (packed weights), at `offset`
};

/// One value in one layout.
struct Buffer {
  Value value;
  TensorType type;
  Layout layout;
  Storage storage = Storage::kArena;
  std::string name;  ///< of an input or a variable
  std::size_t bytes = 0;
  std::size_t offset = 0;  ///< in the arena or in the packed memory
};

/// One kernel with its operands.
struct Step {
  std::unique_ptr<Kernel> kernel;
  std::string name;  ///< layer
  Op op = Op::kInput;
  bool reorder = false;    ///< a change of layout that the compiler inserted
  std::int32_t node = -1;  ///< in Plan::graph; of the value for a reorder
  std::string kernel_name;
  std::vector<std::int32_t> in, out;  ///< buffers
  std::size_t scratch_bytes = 0;
  std::size_t scratch_offset = 0;  ///< in the arena
};

struct Plan {
  Graph graph;  ///< after the passes
  std::vector<Buffer> buffers;
  std::vector<Step> packing;  ///< depends on variables alone: run when they have changed
  std::vector<Step> steps;
  std::vector<std::pair<std::string, std::int32_t>> outputs;  ///< name, buffer
  std::size_t arena_bytes = 0;
  std::size_t packed_bytes = 0;
  std::size_t unplanned_bytes = 0;  ///< the arena without sharing
  bool updates = false;             ///< the program writes variables
};

/// Throws Error for a graph that the target cannot run. The target must outlive the plan.
Plan make_plan(const Graph& graph, Target& target, const PassOptions& options);

}  // namespace resnet

// What the compiler needs to know of a device. A backend implements Target; the compiler walks the
// graph once, asks it for a kernel for every node, and lays out memory for what it says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/graph.h"
#include "resnet/tensor.h"

namespace resnet {

/// How a value's elements lie in memory. 0 is plain row-major; a target numbers others as it likes.
struct Layout {
  std::int32_t id = 0;
  bool operator==(const Layout&) const = default;
};
inline constexpr Layout kPlainLayout{};

/// The changing part of a run.
struct RunContext {
  std::uint64_t seed = 0;
  std::uint64_t step = 0;
};

/// What a kernel needs from run to run in one session, such as a library's handles.
class KernelState {
 public:
  virtual ~KernelState() = default;
};

/// Pointers in the order of the node's inputs and outputs. Update ops write through `in`.
struct KernelArgs {
  std::span<void* const> in;
  std::span<void* const> out;
  void* scratch = nullptr;
  RunContext context;
  KernelState* state = nullptr;  ///< the kernel's `make_state`; null: made for this run alone
};

/// One compiled operation, shared by all sessions of a program. `run` takes no memory by itself
/// (what a library takes and gives back within a call aside, and on the reference device, which is
/// not made to be fast). It throws std::bad_alloc, kInternal when a library refuses what it took
/// while compiling, and whatever the function of a registered op throws. Any number of threads may
/// run it at the same time, each with scratch and state of its own.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual void run(const KernelArgs& args) const = 0;
  /// Null for a kernel that needs none.
  virtual std::unique_ptr<KernelState> make_state() const { return nullptr; }
};

/// A target's answer for one node.
struct KernelChoice {
  std::unique_ptr<Kernel> kernel;
  std::string name;            ///< the implementation, for profiles: "jit:avx512_core", "ours"
  std::vector<Layout> inputs;  ///< wanted; the compiler inserts reorders where they differ
  std::vector<Layout> outputs;
  std::size_t scratch_bytes = 0;
  /// Output i may take over the memory of input in_place[i] if nobody reads that later; -1: never.
  std::vector<int> in_place;
};

class Target {
 public:
  virtual ~Target() = default;
  virtual std::string_view name() const = 0;
  /// How a dtype of the IR is stored: the reference keeps f32 values as f64.
  virtual DType storage(DType dtype) const = 0;
  /// Whether activations may be of this type; if not, what the machine lacks, for the message.
  virtual bool computes(DType dtype) const { return dtype == DType::kF32; }
  virtual std::string_view needs(DType) const { return "it has kernels for f32 alone"; }
  /// Whether a kernel of the op takes a value of this type as its input `i`.
  virtual bool supports(Op op, std::size_t i, const TensorType& type) const = 0;
  /// Memory of a value in a layout.
  virtual std::size_t bytes(const TensorType& type, Layout layout) const = 0;
  /// Chooses a kernel for `node`, whose inputs lie in the layouts `have` at present.
  /// Throws kUnsupported naming the layer when the target has none.
  virtual KernelChoice choose(const Graph& graph, const Node& node,
                              std::span<const Layout> have) = 0;
  /// A kernel with one input and one output that changes the layout.
  virtual KernelChoice reorder(const TensorType& type, Layout from, Layout to) = 0;
  /// Called at the start of every run, on the thread that runs.
  virtual void begin_run() const {}
  /// "nChw16c", for descriptions.
  virtual std::string describe(Layout layout) const = 0;
};

}  // namespace resnet

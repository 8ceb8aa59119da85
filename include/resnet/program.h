// Compiled graphs: passes, layouts and one arena of memory planned ahead of time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/graph.h"
#include "resnet/peaks.h"
#include "resnet/tensor.h"
#include "resnet/variables.h"

namespace resnet {

enum class Device : std::uint8_t {
  kCpu,        ///< f32, oneDNN and our own kernels, OpenMP threads
  kReference,  ///< every op in naive loops and f64: the oracle, never fast
};

struct CompileOptions {
  Device device = Device::kCpu;
  int threads = 0;          ///< 0: all processors that this process may use
  bool passes = true;       ///< folding and fusion
  bool plan_memory = true;  ///< false: every value gets memory of its own (for debugging)
  bool recompute = true;    ///< recompute cheap activations in the backward pass
  /// Of activations and their gradients: kF32, or kBF16 for mixed precision. Variables, statistics,
  /// sums, the head and the loss stay f32. Throws kUnsupported on a processor without AVX-512.
  DType dtype = DType::kF32;
  bool winograd = true;  ///< allow Winograd kernels for 3x3 convolutions where they are faster
  /// Autotuning: the kernel of each convolution is looked up in this file, and what it lacks is
  /// measured while compiling (0.1 s or so a kernel) and added. A missing or damaged file counts as
  /// empty. Empty path: kernels are chosen by shapes alone. Results differ by rounding only.
  std::filesystem::path kernels = {};
};

/// What a compiled program costs.
struct ProgramStats {
  std::size_t steps = 0;         ///< kernels per run
  std::size_t arena_bytes = 0;   ///< activations, gradients, scratch
  std::size_t packed_bytes = 0;  ///< weights kept in the kernels' own layout
  std::size_t variable_bytes = 0;
  std::size_t unplanned_bytes = 0;  ///< what the arena would take without sharing
};

/// One kernel of a program with its time in the last profiled run.
struct StepProfile {
  std::string name;  ///< layer
  std::string op;
  std::string kernel;         ///< the implementation chosen
  DType dtype = DType::kF32;  ///< of its first input
  double seconds = 0;
  double flops = 0;  ///< 2 x multiply-adds, by the textbook definition
  double bytes = 0;  ///< inputs read and outputs written once, as they lie in memory
};

/// What this machine does at most. Takes about two seconds and 256 MiB. 0 threads: all processors.
MachinePeaks measure_peaks(int threads = 0);

/// A graph ready to run on one device. From the second run on, `run()`, `set_input()` of values as
/// the program keeps them and `scalar()` do not allocate; oneDNN does for the length of a call. Not
/// thread-safe; programs that share Variables may run at the same time only if none of them
/// updates.
class Program {
 public:
  /// `variables` must hold every parameter of the graph with its shape (see `initialise`).
  /// The layout describes 4-D graph inputs and outputs as the host passes them.
  Program(const Graph& graph, std::shared_ptr<Variables> variables,
          const CompileOptions& options = {}, DataLayout host_layout = DataLayout::kNCHW);
  ~Program();
  Program(Program&&) noexcept;
  Program& operator=(Program&&) noexcept;

  /// Copies a host tensor (f32 or f64) into a graph input. Throws kInvalidArgument on another
  /// shape.
  void set_input(std::string_view name, const Tensor& value);
  void set_input(std::string_view name, double scalar);
  /// As set_input, without a copy where the tensor is as the program reads it (f32, and its layout
  /// that of the graph): then its memory is the input until the next one is set, and runs see what
  /// is written there between them.
  void share_input(std::string_view name, const Tensor& value);
  /// `seed` and `step` select the dropout masks.
  void set_random(std::uint64_t seed, std::uint64_t step);
  void run();
  /// Runs with a check after every kernel; the name of the first layer that wrote a NaN or an
  /// infinity, if any did. Updates are not carried out.
  std::optional<std::string> find_non_finite();
  /// Runs and times every kernel.
  std::vector<StepProfile> profile();

  /// The named output as a row-major host tensor (f32; f64 on the reference device).
  Tensor output(std::string_view name) const;
  /// Its first element.
  double scalar(std::string_view name) const;

  const ProgramStats& stats() const;
  Variables& variables() const;
  /// The steps in order with kernels, layouts and memory offsets, as text.
  std::string describe() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace resnet

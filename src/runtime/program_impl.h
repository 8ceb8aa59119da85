// What a program is made of, for its sessions.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "compile/compiler.h"
#include "resnet/program.h"
#include "runtime/arena.h"

namespace resnet {

struct Program::Impl {
  CompileOptions options;
  DataLayout host_layout = DataLayout::kNCHW;
  std::shared_ptr<Variables> variables;
  std::unique_ptr<Target> target;
  Plan plan;
  Arena packed_memory;
  std::map<std::string, std::int32_t, std::less<>> outputs;  // buffers
  std::map<std::int32_t, KernelChoice> readers;              // of outputs that do not lie row-major
  ProgramStats stats;

  const Tensor& variable(const std::string& name, const TensorType& type) const;
  /// Of a buffer of a variable, or in the arena or the packed memory.
  void* address(const Buffer& b, std::byte* arena) const;
  const Buffer& buffer(std::int32_t id) const { return plan.buffers[static_cast<std::size_t>(id)]; }
  DType storage(const Buffer& b) const { return target->storage(b.type.dtype); }

  /// Held if the variables of this version have not been put into the kernels' own layouts yet:
  /// then the caller runs the packing steps and says that it did.
  std::unique_lock<std::mutex> packing(std::uint64_t version);
  void packed(std::uint64_t version) { packed_version_.store(version, std::memory_order_release); }

  /// A value of that layout as a row-major tensor. Any number of threads may call it.
  Tensor read(const Buffer& b, void* from);

 private:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  std::atomic<std::uint64_t> packed_version_ = kNever;  // of the variables
  std::mutex packing_, reordering_;
};

}  // namespace resnet

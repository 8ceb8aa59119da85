// The autotuner: which of several kernels is the fastest for a node, found by running them once,
// kept in a file for the next program.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "compile/target.h"
#include "formats/kernel_table.h"

namespace resnet {

struct NodeView;

/// One way to compute a node.
struct KernelCandidate {
  std::string_view name;               ///< in the tuner's table; never reused for another kernel
  std::function<KernelChoice()> make;  ///< throws dnnl::error where the library has no such kernel
};

class Tuner {
 public:
  /// Reads the table; a file that is missing or damaged counts as empty. Without a file nothing is
  /// measured or known.
  explicit Tuner(std::filesystem::path file = {});

  /// The name of the fastest of `list` for what `key()` names: from the table, else measured and
  /// added to it. What the table has is never measured again, so that choices stay. Empty when
  /// there is no file, or when no candidate can be made.
  std::string fastest(const NodeView& v, const std::function<std::string()>& key,
                      const std::vector<KernelCandidate>& list);

 private:
  void remember(const std::string& key, const std::string& kernel);

  std::filesystem::path file_;
  KernelTable table_;
};

/// What results of measurements depend on besides the work: processor, instructions, libraries.
std::string machine_key();

}  // namespace resnet

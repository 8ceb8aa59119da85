// The file in which an autotuner keeps what it measured: for each piece of work, named by a key,
// the kernel that was fastest. A line of text each, so that a person can read and edit it:
//     resnet kernels 1
//     KEY <tab> KERNEL
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace resnet {

using KernelTable = std::map<std::string, std::string, std::less<>>;

/// Throws `kBadData` on another version, a line that is no pair of printable words, a key that
/// stands twice, or more than 100,000 lines.
KernelTable parse_kernel_table(std::string_view text, std::string_view name);
std::string format_kernel_table(const KernelTable& table);

}  // namespace resnet

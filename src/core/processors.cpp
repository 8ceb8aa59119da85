#include "core/processors.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace fs = std::filesystem;

namespace resnet {
namespace {

// A mask too small for a machine is refused by the kernel.
int allowed_processors() {
  for (int most = 1024; most <= (1 << 20); most *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(most));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(most));
    const bool known = ::sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known && count > 0) return count;
  }
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

bool lists(std::string_view list, std::string_view name) {
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    if (list.substr(at, end - at) == name) return true;
    at = end + 1;
  }
  return false;
}

/// The first number in the file, or nothing ("max", "-1", no file).
std::optional<double> number_in(const std::string& word) {
  double value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || value <= 0) return {};
  return value;
}

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

std::optional<double> share(std::optional<double> quota, std::optional<double> period) {
  return quota && period ? std::optional(*quota / *period) : std::nullopt;
}

std::optional<double> quota_v2(const fs::path& group) {
  const std::vector<std::string> words = words_of(text_of(group / "cpu.max"));
  return words.size() == 2 ? share(number_in(words[0]), number_in(words[1])) : std::nullopt;
}

std::optional<double> quota_v1(const fs::path& group) {
  return share(number_in(text_of(group / "cpu.cfs_quota_us")),
               number_in(text_of(group / "cpu.cfs_period_us")));
}

/// Where a hierarchy is mounted, and which group of it is seen there.
struct Mount {
  bool v2 = false;
  fs::path point, group;
};

/// A line of mountinfo: "31 23 0:28 GROUP POINT rw - TYPE SOURCE OPTIONS".
std::optional<Mount> mount_of(const std::string& line) {
  const std::vector<std::string> words = words_of(line);
  const auto dash = std::ranges::find(words, "-");
  if (words.size() < 6 || words.end() - dash < 4) return {};
  const std::string& type = dash[1];
  if (type != "cgroup2" && !(type == "cgroup" && lists(dash[3], "cpu"))) return {};
  return Mount{type == "cgroup2", words[4], words[3]};
}

/// The least of a group and those above it.
std::optional<double> least_quota(const Mount& mount, const fs::path& root, const fs::path& group) {
  std::optional<double> least;
  // What is seen at the mount point may be the group itself, as in a container.
  fs::path below = group.lexically_relative(mount.group);
  if (below.empty() || *below.begin() == "..") below = ".";
  const fs::path top = root / mount.point.relative_path();
  for (fs::path at = below.lexically_normal();; at = at.parent_path()) {
    const fs::path folder = at == "." ? top : top / at;
    const auto quota = mount.v2 ? quota_v2(folder) : quota_v1(folder);
    if (quota && (!least || *quota < *least)) least = quota;
    if (at.empty() || at == ".") return least;
  }
}

}  // namespace

std::optional<double> processor_quota(const fs::path& root) {
  std::vector<Mount> mounts;
  std::ifstream table(root / "proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {
    if (auto mount = mount_of(line)) mounts.push_back(*std::move(mount));
  }
  std::optional<double> least;
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/a/b" or "4:cpu,cpuacct:/a/b"
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && !lists(controllers, "cpu")) continue;
    for (const Mount& mount : mounts) {
      if (mount.v2 != v2) continue;
      const auto quota = least_quota(mount, root, line.substr(second + 1));
      if (quota && (!least || *quota < *least)) least = quota;
    }
  }
  return least;
}

int within_quota(int processors, const fs::path& root) {
  const std::optional<double> quota = processor_quota(root);
  if (!quota) return std::max(1, processors);
  return std::max(1, static_cast<int>(std::min<double>(processors, std::ceil(*quota))));
}

int usable_processors(const fs::path& root) { return within_quota(allowed_processors(), root); }

int default_threads(int processors, const fs::path& root) {
  // A list is one of nested regions; the first is ours.
  const char* wanted = std::getenv("OMP_NUM_THREADS");
  const long threads = wanted == nullptr ? 0 : std::strtol(wanted, nullptr, 10);
  constexpr long kMost = 1024;
  return threads > 0 ? static_cast<int>(std::min(threads, kMost)) : within_quota(processors, root);
}

}  // namespace resnet

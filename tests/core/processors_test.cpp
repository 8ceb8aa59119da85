#include "core/processors.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <utility>

namespace resnet {
namespace {

namespace fs = std::filesystem;

// A machine's files below a folder of its own.
class Quota : public testing::Test {
 protected:
  Quota() {
    std::string name = (fs::temp_directory_path() / "cgroup-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    root = name;
  }
  ~Quota() override { fs::remove_all(root); }
  void put(const std::string& path, const std::string& text) const {
    fs::create_directories((root / path).parent_path());
    std::ofstream(root / path) << text;
  }
  fs::path root;
};

constexpr const char* kMountV2 =
    "24 1 0:22 / /sys rw - sysfs sysfs rw\n"
    "31 24 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST_F(Quota, NothingIsNoLimit) {
  EXPECT_EQ(processor_quota(root), std::nullopt);
  put("proc/self/mountinfo", kMountV2);
  put("proc/self/cgroup", "0::/user.slice\n");
  EXPECT_EQ(processor_quota(root), std::nullopt);
  put("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
  EXPECT_EQ(processor_quota(root), std::nullopt);
}

TEST_F(Quota, Version2) {
  put("proc/self/mountinfo", kMountV2);
  put("proc/self/cgroup", "0::/user.slice/job\n");
  put("sys/fs/cgroup/user.slice/job/cpu.max", "150000 100000\n");
  EXPECT_EQ(processor_quota(root), 1.5);
  put("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
  EXPECT_EQ(processor_quota(root), std::nullopt);
}

TEST_F(Quota, LimitsEveryCount) {
  put("proc/self/mountinfo", kMountV2);
  put("proc/self/cgroup", "0::/job\n");
  const auto grant = [&](const char* limit) { put("sys/fs/cgroup/job/cpu.max", limit); };
  const int all = usable_processors(root);  // by affinity alone
  ::unsetenv("OMP_NUM_THREADS");
  for (const auto& [limit, of_8] : {std::pair("150000 100000\n", 2),
                                    {"50000 100000\n", 1},
                                    {"200000 100000\n", 2},
                                    {"1600000 100000\n", 8},
                                    {"max 100000\n", 8}}) {
    grant(limit);
    EXPECT_EQ(within_quota(8, root), of_8) << limit;
    EXPECT_EQ(default_threads(8, root), of_8) << limit;
    EXPECT_EQ(usable_processors(root), std::min(all, of_8 == 8 ? all : of_8)) << limit;
  }
  grant("50000 100000\n");
  ::setenv("OMP_NUM_THREADS", "3", 1);
  EXPECT_EQ(default_threads(8, root), 3) << "it keeps its meaning";
  ::unsetenv("OMP_NUM_THREADS");
}

TEST_F(Quota, AGroupAboveMayBeStricter) {
  put("proc/self/mountinfo", kMountV2);
  put("proc/self/cgroup", "0::/a/b/c\n");
  put("sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
  put("sys/fs/cgroup/a/cpu.max", "50000 100000\n");
  EXPECT_EQ(processor_quota(root), 0.5);
}

TEST_F(Quota, AContainerSeesItsGroupAsTheRoot) {
  put("proc/self/mountinfo", kMountV2);
  put("proc/self/cgroup", "0::/\n");
  put("sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(processor_quota(root), 2);
  // Of the host's names, when they are not hidden: the mount begins at the group.
  put("proc/self/mountinfo", "31 24 0:28 /docker/f00 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  put("proc/self/cgroup", "0::/docker/f00\n");
  EXPECT_EQ(processor_quota(root), 2);
}

TEST_F(Quota, Version1) {
  put("proc/self/mountinfo",
      "31 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
      "32 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n");
  put("proc/self/cgroup", "5:cpuset:/other\n4:cpu,cpuacct:/docker/f00\n0::/\n");
  const std::string group = "sys/fs/cgroup/cpu,cpuacct/docker/f00/";
  put(group + "cpu.cfs_period_us", "100000\n");
  put(group + "cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(processor_quota(root), std::nullopt);
  put(group + "cpu.cfs_quota_us", "300000\n");
  EXPECT_EQ(processor_quota(root), 3);
}

TEST_F(Quota, NonsenseIsNoLimit) {
  put("proc/self/mountinfo", std::string("- - -\n\n") + kMountV2);
  put("proc/self/cgroup", "x\n0:\n::\n0::/../..\n");
  for (const char* text : {"", "max", "100000", "0 0", "-5 100000", "a b", "1e400 1", "5 0"}) {
    put("sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(processor_quota(root), std::nullopt) << text;
  }
}

// What a child process with these settings answers.
int in_child(const std::function<int()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(work());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Processors, AffinityLimitsThem) {
  EXPECT_GE(usable_processors(), 1);
  EXPECT_EQ(in_child([] {
              cpu_set_t allowed, one;
              if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 100;
              CPU_ZERO(&one);
              for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
                if (CPU_ISSET(i, &allowed)) CPU_SET(i, &one);
              }
              if (::sched_setaffinity(0, sizeof one, &one) != 0) return 101;
              return usable_processors();
            }),
            1);
}

TEST(Processors, TheVariableOfOpenMPKeepsItsMeaning) {
  const auto with = [](const char* value) {
    return in_child([value] {
      ::unsetenv("OMP_NUM_THREADS");
      if (value != nullptr) ::setenv("OMP_NUM_THREADS", value, 1);
      return default_threads(1);
    });
  };
  EXPECT_EQ(with("3"), 3);
  EXPECT_EQ(with("4,2"), 4);
  EXPECT_EQ(with(nullptr), 1);
  EXPECT_EQ(with("many"), 1);
  EXPECT_EQ(with("0"), 1);
}

}  // namespace
}  // namespace resnet

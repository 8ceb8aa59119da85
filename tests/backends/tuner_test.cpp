// The autotuner: what it measures is kept, what is kept decides, and damage does no harm.
#include <gtest/gtest.h>
#include <unistd.h>

#include "backends/cpu/cpu.h"
#include "core/check.h"
#include "core/file.h"
#include "formats/kernel_table.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;

class Tuner : public ::testing::Test {
 protected:
  Tuner() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(::testing::TempDir()) / fmt::format("tuner_{}_{}", info->name(), ::getpid());
    fs::remove_all(folder_);
    file_ = folder_ / "deep" / "kernels.txt";
  }
  ~Tuner() override { fs::remove_all(folder_); }

  // The kernel that a new target with this table takes for a convolution that several could do.
  std::string chosen(std::int64_t channels = 32) const {
    Graph g(Mode::kInference);
    const Value x = g.input("x", {1, channels, 8, 8}), w = g.input("w", {32, channels, 3, 3});
    const Value y =
        g.append(Op::kConv2d, "conv", {x, w},
                 ConvAttributes{.pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1});
    const auto target = make_cpu_target({.threads = 2, .kernels = file_});
    const std::vector<Layout> have(2, kPlainLayout);
    return target->choose(g, g.node(y), have).name;
  }
  KernelTable table() const { return parse_kernel_table(read_text_file(file_), file_.string()); }

  fs::path folder_, file_;
};

TEST_F(Tuner, KeepsWhatItMeasured) {
  const std::string first = chosen();
  const KernelTable kept = table();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_NE(kept.begin()->first.find("conv2d f32 x [1, 32, 8, 8] w [32, 32, 3, 3]"),
            std::string::npos)
      << kept.begin()->first;
  EXPECT_EQ(chosen(), first);
  EXPECT_EQ(table(), kept);
  chosen(64);  // other work is added
  EXPECT_EQ(table().size(), 2U);
}

TEST_F(Tuner, ObeysTheTable) {
  chosen();
  KernelTable edited = table();
  for (const auto& [name, kernel] :
       {std::pair{"winograd-4", "own:winograd4"}, std::pair{"winograd-2", "own:winograd2"}}) {
    edited.begin()->second = name;
    write_file_atomic(file_, format_kernel_table(edited));
    EXPECT_EQ(chosen(), kernel);
  }
  edited.begin()->second = "blocked";
  write_file_atomic(file_, format_kernel_table(edited));
  EXPECT_NE(chosen().rfind("own", 0), 0U);
}

TEST_F(Tuner, MeasuresAgainWhatIsDamagedOrUnknown) {
  chosen();
  KernelTable edited = table();
  edited.begin()->second = "a kernel of the future";
  write_file_atomic(file_, format_kernel_table(edited));
  chosen();
  EXPECT_NE(table().begin()->second, "a kernel of the future");
  write_file_atomic(file_, std::string_view("\x7f"
                                            "ELF"));
  chosen();
  EXPECT_EQ(table().size(), 1U);
}

TEST_F(Tuner, WorksWhereNothingCanBeWritten) {
  fs::create_directories(folder_);
  write_file_atomic(folder_ / "deep", std::string_view("a file where the folder should be"));
  EXPECT_FALSE(chosen().empty());
}

}  // namespace
}  // namespace resnet::test

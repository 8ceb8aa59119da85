#include "layers/layers.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace resnet::layers {
namespace {

using Findings = std::vector<std::string>;

TEST(Layers, TheTreeKeepsThem) {
  int files = 0;
  const Findings findings = check_tree(RESNET_SOURCE_DIR, &files);
  EXPECT_GT(files, 10);  // it did look at the sources
  for (const std::string& finding : findings) ADD_FAILURE() << finding;
}

// Names from elsewhere are escaped by what prints, so there is one place.
TEST(Layers, OneFileOfTheCommandLinePrints) {
  namespace fs = std::filesystem;
  int files = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(RESNET_SOURCE_DIR) / "src/cli")) {
    const std::string name = entry.path().filename().string();
    std::ifstream in(entry.path());
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    ++files;
    const bool prints = text.find("fmt::print(") != std::string::npos ||
                        text.find("fputs(") != std::string::npos ||
                        text.find("printf(") != std::string::npos ||
                        text.find("std::cout <<") != std::string::npos ||
                        text.find("std::cerr <<") != std::string::npos;
    EXPECT_EQ(prints, name == "print.h") << name << ": use print_out or print_err";
  }
  EXPECT_GT(files, 10);
}

// So that every header is compiled alone; those without a .cpp are by tests/CMakeLists.txt.
TEST(Layers, AFileIncludesItsOwnHeaderFirst) {
  namespace fs = std::filesystem;
  const fs::path src = fs::path(RESNET_SOURCE_DIR) / "src";
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(src)) {
    const fs::path header = fs::path(entry.path()).replace_extension(".h");
    if (entry.path().extension() != ".cpp" || !fs::exists(header)) continue;
    std::ifstream in(entry.path());
    std::string line;
    while (std::getline(in, line) && !line.starts_with("#include")) {
    }
    EXPECT_EQ(line, "#include \"" + fs::relative(header, src).string() + "\"") << entry.path();
    ++files;
  }
  EXPECT_GT(files, 50);
}

TEST(Layers, FindsABadFileInATree) {
  namespace fs = std::filesystem;
  const fs::path root = fs::path(testing::TempDir()) / "layers_tree";
  fs::remove_all(root);
  fs::create_directories(root / "src/backends/cpu");
  fs::create_directories(root / "include/resnet");
  std::ofstream(root / "src/backends/cpu/conv.cpp") << "#include \"train/loop.h\"\n";
  std::ofstream(root / "src/backends/cpu/notes.txt") << "#include \"train/loop.h\"\n";
  std::ofstream(root / "include/resnet/tensor.h") << "#include <vector>\n";
  int files = 0;
  EXPECT_EQ(
      check_tree(root, &files),
      Findings{"src/backends/cpu/conv.cpp:1: backends (level 3) includes train/loop.h of train "
               "(level 5)"});
  EXPECT_EQ(files, 2);
  fs::remove_all(root);
}

TEST(Layers, AcceptsWhatTheRulesAllow) {
  EXPECT_EQ(check_file("src/graph/ops.cpp",
                       "#include \"graph/ops.h\"\n#include <vector>\n"
                       "#include \"core/check.h\"\n"
                       "#include \"resnet/tensor.h\"\n"),
            Findings{});
  EXPECT_EQ(check_file("src/runtime/devices.cpp",
                       "#include \"backends/cpu/cpu.h\"\n"
                       "#include \"resnet/program.h\"\n"),
            Findings{});
  EXPECT_EQ(check_file("src/data/kernels.cpp", "#include \"hwy/highway.h\"\n"), Findings{});
  EXPECT_EQ(check_file("src/formats/events.cpp", "#include \"events.pb.h\"\n"), Findings{});
  EXPECT_EQ(check_file("src/backends/cpu/conv.cpp",
                       "#include <dnnl.hpp>\n"
                       "#include \"backends/backend.h\"\n"
                       "#include \"backends/cpu/cpu.h\"\n"),
            Findings{});
  EXPECT_EQ(
      check_file("include/resnet/program.h", "#include <vector>\n#include \"resnet/graph.h\"\n"),
      Findings{});
  EXPECT_EQ(check_file("src/cli/main.cpp", "#include <iostream>\nint main() { std::cout << 1; }\n"),
            Findings{});
}

TEST(Layers, RefusesUpwardAndSidewaysIncludes) {
  EXPECT_EQ(
      check_file("src/core/tensor.cpp", "\n#include \"graph/ops.h\"\n"),
      Findings{"src/core/tensor.cpp:2: core (level 0) includes graph/ops.h of graph (level 1)"});
  EXPECT_EQ(check_file("src/data/loader.cpp", "#include \"compile/target.h\"\n").size(), 1U);
  EXPECT_EQ(check_file("src/models/resnet.cpp", "#include \"resnet/train.h\"\n").size(), 1U);
  EXPECT_EQ(check_file("src/models/resnet.cpp", "  #  include <resnet/train.h>\n").size(), 1U);
  EXPECT_EQ(check_file("include/resnet/graph.h", "#include \"resnet/program.h\"\n").size(), 1U);
}

TEST(Layers, KeepsBackendsApart) {
  EXPECT_EQ(check_file("src/backends/cpu/x.cpp", "#include \"backends/reference/y.h\"\n").size(),
            1U);
  EXPECT_EQ(check_file("src/backends/backend.cpp", "#include \"backends/cpu/y.h\"\n").size(), 1U);
  EXPECT_EQ(check_file("src/train/loop.cpp", "#include \"backends/cpu/y.h\"\n").size(), 1U);
  EXPECT_EQ(check_file("src/train/loop.cpp", "#include \"backends/backend.h\"\n"), Findings{});
}

TEST(Layers, KeepsLibrariesWhereTheyBelong) {
  EXPECT_EQ(check_file("src/train/loop.cpp", "#include <dnnl.hpp>\n").size(), 1U);
  EXPECT_EQ(check_file("src/train/loop.cpp", "#include \"dnnl.hpp\"\n").size(), 1U);
  EXPECT_EQ(
      check_file("src/backends/reference/conv.cpp", "#include <oneapi/dnnl/dnnl.hpp>\n").size(),
      1U);
  EXPECT_EQ(check_file("src/backends/cpu/conv.cpp", "#include <cuda_runtime.h>\n").size(), 1U);
  EXPECT_EQ(check_file("src/train/loop.cpp", "#include <mpi.h>\n").size(), 1U);
  EXPECT_EQ(check_file("src/train/loop.cpp", "#include \"events.pb.h\"\n").size(), 1U);
  EXPECT_EQ(check_file("include/resnet/tensor.h", "#include <fmt/format.h>\n").size(), 1U);
  EXPECT_EQ(check_file("include/resnet/tensor.h", "#include <zlib.h>\n").size(), 1U);
  EXPECT_EQ(check_file("include/resnet/tensor.h", "#include \"core/check.h\"\n").size(), 1U);
}

TEST(Layers, RefusesWhatItDoesNotKnow) {
  EXPECT_EQ(check_file("include/resnet/surprise.h", "").size(), 1U);
  EXPECT_EQ(check_file("src/train/loop.cpp", "#include \"resnet/surprise.h\"\n").size(), 1U);
  EXPECT_EQ(check_file("src/surprise/a.cpp", "").size(), 1U);
  EXPECT_EQ(check_file("src/stray.cpp", "").size(), 1U);
  EXPECT_EQ(check_file("src/graph/ops.cpp", "#include \"ops.h\"\n").size(), 1U);
  EXPECT_EQ(check_file("src/graph/ops.cpp", "#include \"../core/check.h\"\n").size(), 1U);
}

TEST(Layers, OnlyTheCommandLinePrintsOrExits) {
  for (const char* bad :
       {"std::cout << x;", "  std::cerr << x;", "printf(\"x\");", "std::printf(\"x\");", "exit(1);",
        "{ std::exit(1); }", "std::abort();", "fprintf(stderr, \"x\");", "fmt::print(\"x\");",
        "::puts(\"x\");", "if (x) abort();"}) {
    EXPECT_EQ(check_file("src/train/loop.cpp", bad).size(), 1U) << bad;
    EXPECT_EQ(check_file("src/cli/train.cpp", bad), Findings{}) << bad;
  }
  for (const char* good :
       {"std::snprintf(b, 9, \"x\");", "// then exit(1)", "/* std::cout\n exit(1) */ int x;",
        "fail(\"print to stderr, exit(1)\");", "scope_exit(f);", "int stdout_width;", "on.exit();",
        "R\"(exit(1))\";", "int x = 1'000; char c = '\"';"}) {
    EXPECT_EQ(check_file("src/train/loop.cpp", good), Findings{}) << good;
  }
}

TEST(Layers, OnlyNetworksKnowNamesOfLayers) {
  for (const char* bad : {"if (name.starts_with(\"layer\")) return;", "x = find(\"fc\");",
                          "last = \"fc.3.\";", "stage = \"layer2\";"}) {
    EXPECT_EQ(check_file("src/train/transfer.cpp", bad).size(), 1U) << bad;
    EXPECT_EQ(check_file("include/resnet/train.h", bad).size(), 1U) << bad;
    for (const char* room : {"models", "exchange", "cli"}) {
      EXPECT_EQ(check_file("src/" + std::string(room) + "/a.cpp", bad), Findings{}) << bad;
    }
  }
  for (const char* good : {"fail(\"layer {}: no\", name);", "int x;  // of \"layer2\"",
                           "v(\"layers_per_skip\", o.x);", "\"fchmod\""}) {
    EXPECT_EQ(check_file("src/train/transfer.cpp", good), Findings{}) << good;
  }
}

TEST(Layers, IgnoresIncludesInComments) {
  EXPECT_EQ(check_file("src/core/a.cpp",
                       "// #include \"graph/ops.h\"\n"
                       "/*\n#include \"graph/ops.h\"\n*/\n"),
            Findings{});
}

}  // namespace
}  // namespace resnet::layers

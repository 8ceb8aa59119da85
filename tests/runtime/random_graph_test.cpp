// Random graphs, for the combinations that nobody thought of. A failure names the seed.
#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "runtime/agreement.h"
#include "support/random_graph.h"

namespace resnet::test {
namespace {

constexpr std::uint64_t kSeeds = 40;  // RESNET_RANDOM_GRAPHS=4000 searches further

struct Named {
  std::uint64_t seed;
  Mode mode;
};
void PrintTo(const Named& graph, std::ostream* out) { *out << "seed " << graph.seed; }
std::string name_of(const testing::TestParamInfo<Named>& info) {
  return (info.param.mode == Mode::kTraining ? "Training" : "Inference") +
         std::to_string(info.param.seed);
}
std::vector<Named> all() {
  std::vector<Named> graphs;
  const char* more = std::getenv("RESNET_RANDOM_GRAPHS");
  const std::uint64_t seeds = more == nullptr ? kSeeds : std::stoull(more);
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    graphs.push_back({seed, seed % 4 == 3 ? Mode::kInference : Mode::kTraining});
  }
  return graphs;
}

class RandomGraph : public testing::TestWithParam<Named> {
 protected:
  const Graph graph_ = random_graph(GetParam().seed, GetParam().mode);
  const Values sources_ = random_sources(graph_, GetParam().seed);
};

TEST_P(RandomGraph, KeepsItsMeaningUnderEveryPass) {
  expect_passes_keep_the_meaning(graph_, sources_);
}
TEST_P(RandomGraph, KernelsAreWithinTheirErrorBounds) {
  expect_kernels_within_bounds(graph_, sources_);
}
TEST_P(RandomGraph, ProgramsHaveTheBitsOfTheirKernels) {
  expect_programs_have_the_bits_of_their_kernels(graph_, sources_, 2);
}

INSTANTIATE_TEST_SUITE_P(All, RandomGraph, testing::ValuesIn(all()), name_of);

// Programs of different graphs in threads of their own: nothing of one is another's.
TEST(RandomGraphs, RunSideBySide) {
  constexpr std::uint64_t kPrograms = 4;
  constexpr int kRuns = 20;
  const auto run = [](std::uint64_t seed) {
    const Graph graph = random_graph(seed, Mode::kTraining);
    const auto program = program_of(graph, random_sources(graph, seed), {.threads = 2});
    for (int i = 0; i < kRuns; ++i) program->run();
    return results_of(graph, *program);
  };
  std::vector<Values> alone, together(kPrograms);
  for (std::uint64_t i = 0; i < kPrograms; ++i) alone.push_back(run(100 + i));
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < kPrograms; ++i) {
    threads.emplace_back([&together, &run, i] { together[i] = run(100 + i); });
  }
  for (std::thread& t : threads) t.join();
  for (std::uint64_t i = 0; i < kPrograms; ++i) expect_same_bits(alone[i], together[i]);
}

}  // namespace
}  // namespace resnet::test

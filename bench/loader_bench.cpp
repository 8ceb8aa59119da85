// What a loader delivers: images a second of processor time (of all its threads) and of the
// clock.
//   loader_bench SECONDS DATA AUGMENTATION [IMAGE_SIZE [THREADS [BATCH]]]
//   loader_bench 5 cifar-10-binary.tar.gz cifar
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>

#include "resnet/data.h"

int main(int argc, char** argv) {
  using namespace resnet;
  if (argc < 4) return 2;
  const auto number = [&](int i, int otherwise) {
    return i < argc ? std::atoi(argv[i]) : otherwise;
  };
  const double seconds = std::atof(argv[1]);
  const DataSplits data = open_data({.source = argv[2]});
  const Preprocessing prep = default_preprocessing(*data.train, number(4, 0));
  Loader loader(data.train, prep, augmentation_preset(argv[3]),
                {.batch_size = number(6, 128), .threads = number(5, 0)});
  Batch batch;
  double images = 0;
  double passed = 0;
  const std::clock_t processor = std::clock();
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t epoch = 0; passed < seconds; ++epoch) {
    loader.start_epoch(epoch);
    while (passed < seconds && loader.next(batch)) {
      images += batch.count;
      passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
  }
  fmt::print("{:.0f} images/s of processor time, {:.0f} of the clock\n",
             images * CLOCKS_PER_SEC / static_cast<double>(std::clock() - processor),
             images / passed);
}

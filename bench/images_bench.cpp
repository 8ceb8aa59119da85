// Images a second of processor time, from files in memory: bench/images.py compares with
// others.
//   images_bench SECONDS FILE…    prints "STAGE IMAGES_PER_SECOND" lines
#include <fmt/format.h>

#include <cstdlib>
#include <ctime>
#include <vector>

#include "core/file.h"
#include "data/augment.h"
#include "formats/image.h"
#include "resnet/data.h"

int main(int argc, char** argv) {
  using namespace resnet;
  if (argc < 3) return 2;
  const double seconds = std::atof(argv[1]);
  std::vector<std::vector<std::byte>> files;
  std::vector<Image> images;
  for (int i = 2; i < argc; ++i) {
    files.push_back(read_file(argv[i]));
    images.push_back(decode_image(files.back(), argv[i], ColorMode::kRgb));
  }
  Preprocessing bicubic;
  bicubic.interpolation = Interpolation::kBicubic;
  std::vector<float> input(3 * 224 * 224);
  const auto time = [&](const char* stage, auto&& work) {
    std::size_t done = 0;
    const std::clock_t start = std::clock();
    double passed = 0;
    do {
      work(done++ % files.size());
      passed = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    } while (passed < seconds);
    fmt::print("{} {:.1f}\n", stage, static_cast<double>(done) / passed);
  };
  const auto decode = [&](std::size_t i) { return decode_image(files[i], "", ColorMode::kRgb); };
  time("decode", [&](std::size_t i) { decode(i); });
  time("resize+crop", [&](std::size_t i) { preprocess_pixels(images[i], {}); });
  time("decode+resize+crop", [&](std::size_t i) { preprocess_pixels(decode(i), {}); });
  time("decode+resize+crop bicubic", [&](std::size_t i) { preprocess_pixels(decode(i), bicubic); });
  time("all to tensor", [&](std::size_t i) { preprocess(decode(i), {}, input.data()); });

  // Training: random resized crops, of images that are decoded as a whole and as far as need be.
  const Augmenter augmenter({}, augmentation_preset("imagenet"));
  Augmenter::Scratch scratch;
  std::uint64_t n = 0;
  time("random crop, decoded whole", [&](std::size_t i) {
    augmenter(decode(i), Random(1, 2, n++), false, input.data(), DataLayout::kNCHW, scratch);
  });
  n = 0;
  time("random crop, decoded in part", [&](std::size_t i) {
    Random random(1, 2, n++);
    ImageOptions options;
    options.pick = [&](int width, int height, int orientation) {
      return augmenter.pick(width, height, orientation, random);
    };
    augmenter.finish(decode_image(files[i], "", ColorMode::kRgb, options), random, false,
                     input.data(), DataLayout::kNCHW, scratch);
  });
}

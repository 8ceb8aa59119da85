// What the tests of the data room share.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "formats/image.h"
#include "formats/support.h"
#include "resnet/data.h"

namespace resnet {

/// Noise with black, white and smooth stretches; make_golden.py has the same lines.
inline Image test_image(int width, int height, int channels, std::uint32_t state = 12345) {
  Image image(width, height, channels);
  std::uint8_t* out = image.pixels.data();
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        state = state * 1103515245U + 12345U;
        const std::uint32_t noise = state >> 24;
        const int stripe = (x / 5 + y / 7) % 3;
        *out++ = static_cast<std::uint8_t>(stripe == 0   ? (noise >= 128 ? 255 : 0)
                                           : stripe == 1 ? (3 * x + 5 * y + 40 * c) % 256
                                                         : static_cast<int>(noise));
      }
    }
  }
  return image;
}

inline std::vector<float> to_nchw(const std::vector<float>& nhwc, int channels) {
  const auto c = static_cast<std::size_t>(channels);
  const std::size_t plane = nhwc.size() / c;
  std::vector<float> out(nhwc.size());
  for (std::size_t i = 0; i < nhwc.size(); ++i) out[i % c * plane + i / c] = nhwc[i];
  return out;
}

/// `count` different images of one size, labels 0, 1, 2, 0, …
inline DatasetPtr test_dataset(int count, int side = 8, int channels = 3) {
  std::vector<Image> images;
  std::vector<int> labels;
  for (int i = 0; i < count; ++i) {
    images.push_back(test_image(side, side, channels, static_cast<std::uint32_t>(i) * 7919U));
    labels.push_back(i % 3);
  }
  return make_dataset(std::move(images), std::move(labels), {"a", "b", "c"});
}

/// A data set whose reading may be made to fail.
class Failing final : public Dataset {
 public:
  Failing(DatasetPtr base, std::function<void(std::int64_t)> before)
      : base_(std::move(base)), before_(std::move(before)) {}
  std::int64_t size() const override { return base_->size(); }
  const std::vector<std::string>& class_names() const override { return base_->class_names(); }
  int label(std::int64_t i) const override { return base_->label(i); }
  std::string name(std::int64_t i) const override { return base_->name(i); }
  void read(std::int64_t i, Image& out) const override {
    before_(i);
    base_->read(i, out);
  }
  void read_part(std::int64_t i, const ReadOptions& options, Image& out) const override {
    before_(options.shorter > 0 ? -options.shorter : i);
    base_->read_part(i, {.pick = options.pick}, out);
  }
  ImageSize image_size() const override { return base_->image_size(); }

 private:
  DatasetPtr base_;
  std::function<void(std::int64_t)> before_;
};

inline void write_png(const TemporaryFolder& folder, const std::string& name,
                      std::uint32_t seed = 1, int side = 8) {
  folder.write(name, encode_png(test_image(side, side, 3, seed)));
}

}  // namespace resnet

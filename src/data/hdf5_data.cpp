// Images and labels as two arrays of an HDF5 file, such as Galaxy10 DECaLS
// (https://github.com/henrysky/Galaxy10): `images` u8 [17736, 256, 256, 3], `ans` [17736].
//
// HDF5 stores compressed arrays in chunks, and h5py's own choice of chunks makes one hold parts of
// hundreds of images: to have one image, all these must be unpacked. So images are read in
// blocks of as many as share chunks, and blocks are kept while there is memory for them. A block is
// a shard to the loader, which therefore reads few at a time.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <span>
#include <utility>

#include "core/check.h"
#include "data/class_names.h"
#include "data/datasets.h"
#include "data/resample.h"
#include "data/sources.h"
#include "formats/hdf5.h"

namespace resnet {
namespace {

constexpr std::array<const char*, 4> kImageNames = {"images", "image", "data", "x"};
constexpr std::array<const char*, 5> kLabelNames = {"ans", "labels", "label", "targets", "y"};
constexpr std::int64_t kMaxImages = 100'000'000;

const std::vector<std::string>& galaxy10_names() {
  static const std::vector<std::string> names = {"Disturbed Galaxies",
                                                 "Merging Galaxies",
                                                 "Round Smooth Galaxies",
                                                 "In-between Round Smooth Galaxies",
                                                 "Cigar Shaped Smooth Galaxies",
                                                 "Barred Spiral Galaxies",
                                                 "Unbarred Tight Spiral Galaxies",
                                                 "Unbarred Loose Spiral Galaxies",
                                                 "Edge-on Galaxies without Bulge",
                                                 "Edge-on Galaxies with Bulge"};
  return names;
}

std::int64_t memory_for_blocks() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  constexpr std::int64_t kUnknown = std::int64_t{1} << 30;
  return pages > 0 && page > 0 ? std::int64_t{pages} * page / 2 : kUnknown;
}

class Hdf5Data final : public Dataset {
 public:
  Hdf5Data(std::unique_ptr<Hdf5File> file, const std::string& images,
           std::vector<std::int32_t> labels, std::vector<std::string> class_names)
      : file_(std::move(file)),
        rows_(*file_, images),
        labels_(std::move(labels)),
        class_names_(std::move(class_names)) {
    const Shape& s = rows_.shape();  // [n, h, w] or [n, h, w, c]
    height_ = static_cast<int>(s[1]);
    width_ = static_cast<int>(s[2]);
    channels_ = s.size() == 4 ? static_cast<int>(s[3]) : 1;
    const std::int64_t image = std::int64_t{height_} * width_ * channels_;
    const std::int64_t blocks = memory_for_blocks() / (rows_.rows_together() * image);
    max_blocks_ = static_cast<std::size_t>(std::max<std::int64_t>(blocks, 2));
  }
  std::int64_t size() const override { return rows_.shape()[0]; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t i) const override { return labels_.at(static_cast<std::size_t>(i)); }
  std::string name(std::int64_t i) const override { return fmt::format("{} {}", file_->name(), i); }
  ImageSize image_size() const override { return {width_, height_}; }
  bool grey() const override { return channels_ == 1; }
  void read(std::int64_t i, Image& out) const override {
    RESNET_CHECK(i >= 0 && i < size());
    reshape(out, width_, height_, channels_);
    const std::span<std::byte> pixels = std::as_writable_bytes(std::span(out.pixels));
    const std::int64_t together = rows_.rows_together();
    if (together == 1) {
      rows_.read(i, 1, pixels);
      return;
    }
    const Block block = block_of(i / together);
    const std::size_t at = static_cast<std::size_t>(i % together) * pixels.size();
    std::memcpy(pixels.data(), block->data() + at, pixels.size());
  }
  std::vector<std::int64_t> shard_starts() const override {
    std::vector<std::int64_t> starts;
    const std::int64_t together = rows_.rows_together();
    if (together == 1) return starts;
    for (std::int64_t i = 0; i < size(); i += together) starts.push_back(i);
    return starts;
  }

 private:
  using Block = std::shared_ptr<const std::vector<std::byte>>;

  /// From memory, or unpacked; the blocks used last stay.
  Block block_of(std::int64_t number) const {
    const std::lock_guard lock(mutex_);
    const auto kept = std::find_if(blocks_.begin(), blocks_.end(),
                                   [&](const auto& b) { return b.first == number; });
    if (kept != blocks_.end()) {
      blocks_.splice(blocks_.begin(), blocks_, kept);
      return blocks_.front().second;
    }
    if (blocks_.size() >= max_blocks_) blocks_.pop_back();
    const std::int64_t first = number * rows_.rows_together();
    const std::int64_t count = std::min(rows_.rows_together(), size() - first);
    auto bytes = std::make_shared<std::vector<std::byte>>(
        static_cast<std::size_t>(count * height_ * width_ * channels_));
    rows_.read(first, count, *bytes);
    blocks_.emplace_front(number, std::move(bytes));
    return blocks_.front().second;
  }

  std::unique_ptr<Hdf5File> file_;
  Hdf5Rows rows_;
  std::vector<std::int32_t> labels_;
  std::vector<std::string> class_names_;
  int height_ = 0;
  int width_ = 0;
  int channels_ = 0;
  std::size_t max_blocks_ = 0;
  mutable std::mutex mutex_;
  mutable std::list<std::pair<std::int64_t, Block>> blocks_;  // the one used last first
};

template <std::size_t kN>
std::string find(const Hdf5File& file, const std::array<const char*, kN>& names, const char* what) {
  for (const char* name : names) {
    if (file.has(name)) return name;
  }
  fail(ErrorCode::kBadData, "{}: no data set of {} in it; expected one called {}", file.name(),
       what, fmt::join(names, ", "));
}

}  // namespace

bool is_hdf5(const std::filesystem::path& path) { return is_hdf5_file(path); }

Opened open_hdf5(const std::filesystem::path& path) {
  auto file = std::make_unique<Hdf5File>(path);
  const std::string images = find(*file, kImageNames, "images");
  const std::string label_name = find(*file, kLabelNames, "labels");
  const Shape shape = Hdf5Rows(*file, images).shape();
  const bool good =
      (shape.size() == 3 || (shape.size() == 4 && (shape[3] == 1 || shape[3] == 3))) &&
      std::all_of(shape.begin() + 1, shape.end(), [](auto d) { return d <= 65535; });
  if (!good || shape[0] > kMaxImages || shape[1] * shape[2] > (std::int64_t{1} << 28)) {
    fail(ErrorCode::kUnsupported,
         "{}/{}: the shape {}; expected images as [n, height, width] or [n, height, width, 3]",
         path.string(), images, to_string(shape));
  }
  const Tensor labels = file->read_integers(label_name, kMaxImages);
  const Shape& s = labels.shape();
  if (s.size() > 2 || (s.size() == 2 && s[1] != 1) || s[0] != shape[0]) {
    fail(ErrorCode::kBadData, "{}/{}: the shape {}; expected one label for each of the {} images",
         path.string(), label_name, to_string(s), shape[0]);
  }
  std::vector<std::int32_t> numbers;
  std::int32_t highest = 0;
  for (const std::int64_t label : labels.as<std::int64_t>()) {
    constexpr std::int64_t kMaxClasses = 100'000;
    if (label < 0 || label >= kMaxClasses) {
      fail(ErrorCode::kBadData, "{}/{}: image {} has the label {}; expected 0 to {}", path.string(),
           label_name, numbers.size(), label, kMaxClasses - 1);
    }
    numbers.push_back(static_cast<std::int32_t>(label));
    highest = std::max(highest, numbers.back());
  }
  const bool galaxy10 = label_name == "ans" && highest == 9 && shape.size() == 4 &&
                        shape[1] == 256 && shape[2] == 256;
  auto names = galaxy10 ? galaxy10_names() : numbered_classes(path.parent_path(), highest);
  Opened opened;
  opened.numbered = are_numbers(names);
  opened.train =
      std::make_shared<Hdf5Data>(std::move(file), images, std::move(numbers), std::move(names));
  opened.title = galaxy10 ? "Galaxy10 DECaLS" : path.filename().string();
  return opened;
}

}  // namespace resnet

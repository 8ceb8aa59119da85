#include "data/datasets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/guard.h"
#include "core/random.h"
#include "core/text.h"
#include "data/class_names.h"
#include "data/galaxies.h"
#include "data/resample.h"
#include "data/sources.h"
#include "formats/image.h"

namespace resnet {
namespace {

constexpr std::int64_t kMaxGalaxyCache = std::int64_t{1} << 30;

class Subset final : public Dataset {
 public:
  Subset(DatasetPtr base, std::vector<std::int64_t> indices)
      : base_(std::move(base)), indices_(std::move(indices)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  const std::vector<std::string>& class_names() const override { return base_->class_names(); }
  int label(std::int64_t i) const override { return base_->label(at(i)); }
  std::string name(std::int64_t i) const override { return base_->name(at(i)); }
  void read(std::int64_t i, Image& out) const override { base_->read(at(i), out); }
  void read_part(std::int64_t i, const ReadOptions& options, Image& out) const override {
    base_->read_part(at(i), options, out);
  }
  ImageSize image_size() const override { return base_->image_size(); }
  bool grey() const override { return base_->grey(); }
  std::vector<std::int64_t> shard_starts() const override {
    std::vector<std::int64_t> starts;
    if (!std::is_sorted(indices_.begin(), indices_.end())) return starts;
    for (const std::int64_t start : base_->shard_starts()) {
      const auto first = std::lower_bound(indices_.begin(), indices_.end(), start);
      starts.push_back(first - indices_.begin());
    }
    return starts;
  }

 private:
  std::int64_t at(std::int64_t i) const { return indices_.at(static_cast<std::size_t>(i)); }
  DatasetPtr base_;
  std::vector<std::int64_t> indices_;
};

class Relabelled final : public Dataset {
 public:
  Relabelled(DatasetPtr base, std::vector<std::string> class_names, std::vector<int> labels)
      : base_(std::move(base)), class_names_(std::move(class_names)), labels_(std::move(labels)) {}
  std::int64_t size() const override { return base_->size(); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t i) const override {
    return labels_.at(static_cast<std::size_t>(base_->label(i)));
  }
  std::string name(std::int64_t i) const override { return base_->name(i); }
  void read(std::int64_t i, Image& out) const override { base_->read(i, out); }
  void read_part(std::int64_t i, const ReadOptions& options, Image& out) const override {
    base_->read_part(i, options, out);
  }
  ImageSize image_size() const override { return base_->image_size(); }
  bool grey() const override { return base_->grey(); }
  std::vector<std::int64_t> shard_starts() const override { return base_->shard_starts(); }

 private:
  DatasetPtr base_;
  std::vector<std::string> class_names_;
  std::vector<int> labels_;  // by label of the base
};

class Images final : public Dataset {
 public:
  Images(std::vector<Image> images, std::vector<int> labels, std::vector<std::string> class_names)
      : images_(std::move(images)),
        labels_(std::move(labels)),
        class_names_(std::move(class_names)) {
    if (images_.empty()) return;
    const Image& first = images_.front();
    size_ = {first.width, first.height};
    grey_ = true;
    for (const Image& p : images_) {
      if (ImageSize{p.width, p.height} != ImageSize{first.width, first.height}) size_ = {};
      if (p.channels != 1) grey_ = false;
    }
  }
  std::int64_t size() const override { return static_cast<std::int64_t>(images_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t i) const override { return labels_.at(static_cast<std::size_t>(i)); }
  std::string name(std::int64_t i) const override { return fmt::format("image {}", i); }
  void read(std::int64_t i, Image& out) const override {
    out = images_.at(static_cast<std::size_t>(i));
  }
  ImageSize image_size() const override { return size_; }
  bool grey() const override { return grey_; }

 private:
  std::vector<Image> images_;
  std::vector<int> labels_;
  std::vector<std::string> class_names_;
  ImageSize size_;
  bool grey_ = false;
};

class Packed final : public Dataset {
 public:
  Packed(std::string name, Tensor images, std::vector<std::int32_t> labels,
         std::vector<std::string> class_names)
      : name_(std::move(name)),
        images_(std::move(images)),
        labels_(std::move(labels)),
        class_names_(std::move(class_names)) {
    RESNET_CHECK(images_.shape().size() == 4 && images_.dtype() == DType::kU8 &&
                 images_.dim(0) == static_cast<std::int64_t>(labels_.size()));
  }
  std::int64_t size() const override { return images_.dim(0); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t i) const override { return labels_.at(static_cast<std::size_t>(i)); }
  std::string name(std::int64_t i) const override { return fmt::format("{} {}", name_, i); }
  void read(std::int64_t i, Image& out) const override {
    RESNET_CHECK(i >= 0 && i < size());
    reshape(out, image_size().width, image_size().height, static_cast<int>(images_.dim(3)));
    const std::size_t bytes = out.pixels.size();
    std::memcpy(out.pixels.data(), images_.raw() + static_cast<std::size_t>(i) * bytes, bytes);
  }
  ImageSize image_size() const override {
    return {static_cast<int>(images_.dim(2)), static_cast<int>(images_.dim(1))};
  }
  bool grey() const override { return images_.dim(3) == 1; }

 private:
  std::string name_;
  Tensor images_;
  std::vector<std::int32_t> labels_;
  std::vector<std::string> class_names_;
};

class Galaxies final : public Dataset {
 public:
  Galaxies(std::string part, std::int64_t count, int size, std::uint64_t seed, std::uint64_t first)
      : part_(std::move(part)),
        count_(count),
        side_(size),
        seed_(seed),
        first_(first),
        classes_(static_cast<std::int64_t>(galaxy_class_names().size())) {
    if (count <= kMaxGalaxyCache / (std::int64_t{3} * side_ * side_)) {
      // Not initialised: a page becomes real when its first galaxy is drawn.
      cache_ = std::make_unique_for_overwrite<std::uint8_t[]>(static_cast<std::size_t>(count) *
                                                              image_bytes());
      state_ = std::make_unique<std::atomic<std::uint8_t>[]>(static_cast<std::size_t>(count));
    }
  }
  std::int64_t size() const override { return count_; }
  const std::vector<std::string>& class_names() const override { return galaxy_class_names(); }
  int label(std::int64_t i) const override { return static_cast<int>(i % classes_); }
  std::string name(std::int64_t i) const override {
    return fmt::format("galaxies {} {}", part_, i);
  }
  ImageSize image_size() const override { return {side_, side_}; }
  void read(std::int64_t i, Image& out) const override {
    RESNET_CHECK(i >= 0 && i < count_);
    const auto index = static_cast<std::size_t>(i);
    std::uint8_t* kept = cache_ ? cache_.get() + index * image_bytes() : nullptr;
    if (kept != nullptr && state_[index].load(std::memory_order_acquire) == kReady) {
      reshape(out, side_, side_, 3);
      std::memcpy(out.pixels.data(), kept, image_bytes());
      return;
    }
    out = draw_galaxy(label(i), side_, seed_, first_ + static_cast<std::uint64_t>(i));
    RESNET_CHECK(out.pixels.size() == image_bytes());
    std::uint8_t expected = kEmpty;
    if (kept != nullptr && state_[index].compare_exchange_strong(expected, kBusy)) {
      std::memcpy(kept, out.pixels.data(), image_bytes());
      state_[index].store(kReady, std::memory_order_release);
    }
  }

 private:
  enum : std::uint8_t { kEmpty, kBusy, kReady };
  std::size_t image_bytes() const {
    return std::size_t{3} * static_cast<std::size_t>(side_ * side_);
  }

  std::string part_;
  std::int64_t count_;
  int side_;
  std::uint64_t seed_;
  std::uint64_t first_;
  std::int64_t classes_;
  std::unique_ptr<std::uint8_t[]> cache_;
  std::unique_ptr<std::atomic<std::uint8_t>[]> state_;  // what the cache holds of each image
};

class Folder final : public Dataset {
 public:
  Folder(std::filesystem::path root, std::vector<LabelledFile> files,
         std::vector<std::string> class_names)
      : root_(std::move(root)), files_(std::move(files)), class_names_(std::move(class_names)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(files_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t i) const override { return at(i).label; }
  std::string name(std::int64_t i) const override { return (root_ / at(i).path).string(); }
  void read(std::int64_t i, Image& out) const override { read_part(i, {}, out); }
  void read_part(std::int64_t i, const ReadOptions& options, Image& out) const override {
    const std::string path = name(i);
    out = decode_image(read_file(path, kMaxImageFile), path, ColorMode::kRgb, decoding_of(options));
  }

 private:
  const LabelledFile& at(std::int64_t i) const { return files_.at(static_cast<std::size_t>(i)); }
  std::filesystem::path root_;
  std::vector<LabelledFile> files_;
  std::vector<std::string> class_names_;
};

}  // namespace

ImageOptions decoding_of(const ReadOptions& options) {
  return {
      .scale_16bit = options.scale_16bit, .shorter_side = options.shorter, .pick = options.pick};
}

void Dataset::read_part(std::int64_t i, const ReadOptions& options, Image& out) const {
  read(i, out);
  const PartPicker& pick = options.pick;
  if (pick) out = part_of_image(out, pick(out.width, out.height, out.orientation));
}

DatasetPtr make_subset(DatasetPtr base, std::vector<std::int64_t> indices) try {
  for (const std::int64_t i : indices) {
    if (i < 0 || i >= base->size()) {
      fail(ErrorCode::kInvalidArgument, "subset of a data set of {} images: no image {}",
           base->size(), i);
    }
  }
  return std::make_shared<Subset>(std::move(base), std::move(indices));
} catch (...) {
  throw_as_error();
}

DatasetPtr make_dataset(std::vector<Image> images, std::vector<int> labels,
                        std::vector<std::string> class_names) try {
  if (images.size() != labels.size()) {
    fail(ErrorCode::kInvalidArgument, "a data set of {} images with {} labels; expected as many",
         images.size(), labels.size());
  }
  for (const int label : labels) {
    if (label < 0 || label >= static_cast<int>(class_names.size())) {
      fail(ErrorCode::kInvalidArgument, "label {} in a data set of {} classes", label,
           class_names.size());
    }
  }
  for (const Image& p : images) {
    if (p.width < 1 || p.height < 1 || (p.channels != 1 && p.channels != 3 && p.channels != 4) ||
        p.pixels.size() != static_cast<std::size_t>(p.width) * static_cast<std::size_t>(p.height) *
                               static_cast<std::size_t>(p.channels)) {
      fail(ErrorCode::kInvalidArgument,
           "an image of {} x {} pixels and {} channels holds {} bytes; expected their product, and "
           "1, 3 or 4 channels",
           p.width, p.height, p.channels, p.pixels.size());
    }
  }
  return std::make_shared<Images>(std::move(images), std::move(labels), std::move(class_names));
} catch (...) {
  throw_as_error();
}

DatasetPtr make_packed_dataset(std::string name, Tensor images, std::vector<std::int32_t> labels,
                               std::vector<std::string> class_names) {
  return std::make_shared<Packed>(std::move(name), std::move(images), std::move(labels),
                                  std::move(class_names));
}

Tensor interleave_planes(Tensor planes) {
  RESNET_CHECK(planes.shape().size() == 4 && planes.dim(1) == 3);
  const auto plane = static_cast<std::size_t>(planes.dim(2) * planes.dim(3));
  auto values = planes.as<std::uint8_t>();
  std::vector<std::uint8_t> one(3 * plane);
  for (std::size_t at = 0; at < values.size(); at += 3 * plane) {
    std::copy_n(&values[at], 3 * plane, one.begin());
    for (std::size_t i = 0; i < plane; ++i) {
      for (std::size_t c = 0; c < 3; ++c) values[at + 3 * i + c] = one[c * plane + i];
    }
  }
  return planes.reshaped({planes.dim(0), planes.dim(2), planes.dim(3), 3});
}

DatasetPtr make_galaxies(std::string part, std::int64_t count, int size, std::uint64_t seed,
                         std::uint64_t first) {
  return std::make_shared<Galaxies>(std::move(part), count, size, seed, first);
}

DatasetPtr make_folder_dataset(std::filesystem::path root, std::vector<LabelledFile> files,
                               std::vector<std::string> class_names) {
  return std::make_shared<Folder>(std::move(root), std::move(files), std::move(class_names));
}

DatasetPtr match_classes(DatasetPtr dataset, const std::vector<std::string>& class_names,
                         const std::string& where) {
  const auto& own = dataset->class_names();
  if (own == class_names) return dataset;
  std::vector<int> labels = positions_of(own, class_names);
  if (const auto lost = std::ranges::find(labels, -1); lost != labels.end()) {
    fail(ErrorCode::kBadData,
         "{}: class \"{}\" is not one of the model's classes ({}); rename or remove it", where,
         own[static_cast<std::size_t>(lost - labels.begin())],
         class_names.size() <= 3 ? fmt::format("{}", fmt::join(class_names, ", "))
                                 : fmt::format("{} from {} to {}", class_names.size(),
                                               class_names.front(), class_names.back()));
  }
  return std::make_shared<Relabelled>(std::move(dataset), class_names, std::move(labels));
}

DatasetPtr match_by_index(DatasetPtr dataset, const std::vector<std::string>& class_names,
                          const std::string& where, bool numbered,
                          const std::function<void(const std::string&)>& note) {
  const auto& own = dataset->class_names();
  const auto count = static_cast<std::int64_t>(class_names.size());
  std::vector<int> labels;
  for (std::size_t c = 0; c < own.size(); ++c) {
    const std::int64_t index = numbered ? whole_number(own[c]) : static_cast<std::int64_t>(c);
    labels.push_back(index < count ? static_cast<int>(index) : -1);
  }
  const bool fits = std::ranges::find(labels, -1) == labels.end();
  if (!fits || (!numbered && own.size() != class_names.size())) {
    fail(ErrorCode::kBadData,
         "{}: {} classes ({} … {}), but the model has {} without names, so that they can only be "
         "matched by index; expected as many; name the model's with resnet import … --classes "
         "names.txt",
         where, own.size(), own.front(), own.back(), class_names.size());
  }
  if (note) {
    note(
        fmt::format("the model's {} classes have no names; those of {} are taken by {}: {} is {}, "
                    "{} is {}",
                    class_names.size(), where, numbered ? "their number" : "index", own.front(),
                    class_names[static_cast<std::size_t>(labels.front())], own.back(),
                    class_names[static_cast<std::size_t>(labels.back())]));
  }
  return std::make_shared<Relabelled>(std::move(dataset), class_names, std::move(labels));
}

void check_class_names(const Dataset& dataset) {
  const auto& names = dataset.class_names();
  const auto bad =
      std::ranges::find_if(names, [](const std::string& name) { return !is_plain_text(name); });
  if (bad == names.end()) return;
  const auto index = static_cast<int>(bad - names.begin());
  std::string example;
  for (std::int64_t i = 0; i < dataset.size() && example.empty(); ++i) {
    if (dataset.label(i) == index) example = fmt::format(" ({})", printable(dataset.name(i)));
  }
  fail(ErrorCode::kBadData,
       "the class \"{}\"{} {}, so that no model file can name it; rename the folder or the label",
       printable(*bad, 100), example,
       is_utf8(*bad) ? "has line breaks or control characters in its name"
                     : "has a name that is not UTF-8");
}

namespace {

// The indices of each class in a random order that depends on the seed and the stream alone.
std::vector<std::vector<std::int64_t>> shuffled_classes(const Dataset& dataset, std::uint64_t seed,
                                                        std::uint64_t stream) {
  std::vector<std::vector<std::int64_t>> by_class(dataset.class_names().size());
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    by_class.at(static_cast<std::size_t>(dataset.label(i))).push_back(i);
  }
  for (std::size_t c = 0; c < by_class.size(); ++c) {
    auto& indices = by_class[c];
    Random random(seed, stream, c);
    for (std::size_t i = indices.size(); i > 1; --i) {
      std::swap(indices[i - 1], indices[random.below(static_cast<std::uint32_t>(i))]);
    }
  }
  return by_class;
}

}  // namespace

SplitIndices split_stratified(const Dataset& dataset, double fraction, std::uint64_t seed) {
  SplitIndices split;
  for (const auto& indices : shuffled_classes(dataset, seed, 0x5311)) {
    const auto n = static_cast<std::int64_t>(indices.size());
    std::int64_t held = 0;
    if (n > 1) {
      held = std::clamp<std::int64_t>(std::llround(static_cast<double>(n) * fraction), 1, n - 1);
    }
    split.val.insert(split.val.end(), indices.begin(), indices.begin() + held);
    split.train.insert(split.train.end(), indices.begin() + held, indices.end());
  }
  std::sort(split.train.begin(), split.train.end());
  std::sort(split.val.begin(), split.val.end());
  return split;
}

std::vector<std::int64_t> sample_per_class(const Dataset& dataset, std::int64_t count,
                                           std::uint64_t seed) {
  std::vector<std::int64_t> sample;
  for (const auto& indices : shuffled_classes(dataset, seed, 0x5a3b)) {
    const auto n = std::min(count, static_cast<std::int64_t>(indices.size()));
    sample.insert(sample.end(), indices.begin(), indices.begin() + n);
  }
  std::sort(sample.begin(), sample.end());
  return sample;
}

}  // namespace resnet

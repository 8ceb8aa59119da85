#include "train/advice.h"

#include <fmt/format.h>

#include <system_error>

#include "data/galaxies.h"
#include "resnet/pretrained.h"

namespace resnet {
namespace {

// docs/DEFAULTS.md: 5000 images and 8 epochs were measured.
constexpr std::int64_t kFewImages = 10'000;
constexpr int kShortRun = 10;

}  // namespace

AugmentationChoice choose_augmentation(const TrainOptions& o, const Dataset& train) {
  if (is_galaxies(o.data.source)) return {augmentation_preset("galaxy"), {}};
  const bool small = o.model.image_size <= kSmallImage;
  // Trained weights were not measured.
  if (train.size() > kFewImages || !o.transfer.weights.empty()) {
    return {augmentation_preset(small ? "cifar" : "imagenet"), {}};
  }
  constexpr const char* kOthers = "galaxy for objects without an up and down (docs/DEFAULTS.md)";
  if (small && o.epochs <= kShortRun) {
    return {augmentation_preset("none"),
            fmt::format("augmentation none, as few small images in few epochs are learned best as "
                        "they are; in a longer run try --augment cifar, or {}",
                        kOthers)};
  }
  return {augmentation_preset("cifar"),
          fmt::format("augmentation cifar (small shifts, mirrored), as the images are few; try "
                      "also --augment none, imagenet (random crops), or {}",
                      kOthers)};
}

std::string suggest_weights(const TrainOptions& o, const Dataset& train,
                            const std::string& given_architecture) {
  if (!o.transfer.weights.empty() || train.size() > kFewImages || is_galaxies(o.data.source)) {
    return {};
  }
  std::filesystem::path folder;
  try {
    folder = cache_folder({.cache = o.data.cache}) / "weights";
  } catch (const Error&) {
    return {};  // there is no cache
  }
  const Pretrained* best = nullptr;
  for (const Pretrained& p : pretrained()) {
    std::error_code ignored;
    if (!std::filesystem::exists(folder / p.file_name(), ignored)) continue;
    if (!given_architecture.empty() && p.architecture != given_architecture) continue;
    const auto rank = [&](const Pretrained& x) {
      return std::pair(x.architecture == o.model.architecture, x.top1);
    };
    if (best == nullptr || rank(p) > rank(*best)) best = &p;
  }
  if (best == nullptr) return {};
  return fmt::format(
      "few images learn more from trained weights, and some are in the cache: try --weights {} "
      "(docs/TRANSFER.md)",
      best->name);
}

}  // namespace resnet

#include "train/recipe.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"
#include "core/guard.h"
#include "train/advice.h"
#include "train/evaluator.h"
#include "train/names.h"
#include "train/transfer.h"

namespace resnet {
namespace {

constexpr std::int64_t kMeasuredImages = 2000;

void require(bool condition, const char* option, const char* wanted) {
  if (!condition) fail(ErrorCode::kInvalidArgument, "{} must be {}", option, wanted);
}

void check(const TrainOptions& o) {
  require(o.epochs >= 1, "epochs", "at least 1");
  const double decay = o.transfer.lr_decay_per_stage;
  require(decay > 0 && decay <= 1, "transfer.lr_decay_per_stage", "above 0 and at most 1");
  require(o.batch_size.value_or(1) >= 1, "batch_size", "at least 1");
  require(o.accumulate >= 1, "accumulate", "at least 1");
  require(std::isfinite(o.optimizer.lr.value_or(1)) && o.optimizer.lr.value_or(1) > 0,
          "optimizer.lr", "above 0");
  require(o.optimizer.weight_decay.value_or(0) >= 0, "optimizer.weight_decay", "at least 0");
  require(o.optimizer.momentum >= 0 && o.optimizer.momentum < 1, "optimizer.momentum",
          "at least 0 and below 1");
  require(o.optimizer.beta1 >= 0 && o.optimizer.beta1 < 1 && o.optimizer.beta2 >= 0 &&
              o.optimizer.beta2 < 1,
          "optimizer.beta1 and beta2", "at least 0 and below 1");
  require(o.optimizer.norm_shift_lr_factor > 0, "optimizer.norm_shift_lr_factor", "above 0");
  require(o.optimizer.eps > 0, "optimizer.eps", "above 0");
  require(o.optimizer.trust > 0, "optimizer.trust", "above 0");
  const double smoothing = o.label_smoothing.value_or(0);
  require(smoothing >= 0 && smoothing < 1, "label_smoothing", "at least 0 and below 1");
  require(o.clip_norm >= 0, "clip_norm", "at least 0");
  require(o.ema_decay >= 0 && o.ema_decay < 1, "ema_decay", "at least 0 and below 1");
  require(o.early_stop_patience >= 0, "early_stop_patience", "at least 0");
  require(o.max_bad_fraction >= 0 && o.max_bad_fraction <= 1, "max_bad_fraction", "in 0 … 1");
  require(o.save_every >= 0, "save_every", "at least 0");
  require(o.checkpoint_minutes >= 0, "checkpoint_minutes", "at least 0");
  require(o.checkpoint_steps >= 0, "checkpoint_steps", "at least 0");
  require(o.threads >= 0 && o.loader_threads >= 0, "threads", "at least 0");
  require(o.model.image_size >= 0 && o.model.image_size <= 4096, "model.image_size",
          "from 0 to 4096");
  const auto finite = [](float x) { return std::abs(x) <= 1e6F; };
  const auto positive = [](float x) { return x > 0 && x <= 1e6F; };
  require(!o.mean || std::ranges::all_of(*o.mean, finite), "mean", "finite numbers");
  require(!o.std || std::ranges::all_of(*o.std, positive), "std", "numbers above 0");
  const ScheduleOptions& s = o.schedule;
  require(s.warmup_epochs.value_or(0) >= 0, "schedule.warmup_epochs", "at least 0");
  require(s.warmup_start >= 0 && s.warmup_start <= 1, "schedule.warmup_start", "in 0 … 1");
  require(s.step_epochs > 0, "schedule.step_epochs", "above 0");
  require(s.gamma > 0, "schedule.gamma", "above 0");
  require(std::ranges::is_sorted(s.milestones), "schedule.milestones", "in rising order");
  require(s.final_factor >= 0 && s.final_factor <= 1, "schedule.final_factor", "in 0 … 1");
  require(s.rise > 0 && s.rise < 1, "schedule.rise", "above 0 and below 1");
  require(s.start_divisor >= 1 && s.end_divisor >= 1, "schedule.start_divisor and end_divisor",
          "at least 1");
  require(s.power > 0, "schedule.power", "above 0");
  const bool own_warmup = s.kind == Schedule::kOneCycle;
  require(!own_warmup || s.warmup_epochs.value_or(0) == 0, "schedule.warmup_epochs",
          "0 with onecycle, whose own warm-up is set by schedule.rise");
  require(s.kind != Schedule::kMultiStep || !s.milestones.empty(), "schedule.milestones",
          "given with the multistep schedule");
}

// One sample across the whole data set, so that measuring costs seconds whatever its size.
void measure(TrainOptions& o, const DatasetPtr& train) {
  const std::int64_t count = std::min(train->size(), kMeasuredImages);
  std::vector<std::int64_t> sample;
  for (std::int64_t i = 0; i < count; ++i) sample.push_back(i * train->size() / count);
  const Statistics s =
      measure_statistics(*make_subset(train, std::move(sample)), loader_threads(o.loader_threads),
                         o.scale_16bit.value_or(Scale16Bit::kClip));
  std::array<float, 3> mean{}, std{};
  for (std::size_t c = 0; c < 3; ++c) {
    mean[c] = static_cast<float>(s.mean[c]);
    std[c] = static_cast<float>(std::max(s.std[c], 1.0 / 255));  // images of one colour
  }
  if (!o.mean) o.mean = mean;
  if (!o.std) o.std = std;
}

// Small data takes small batches: an epoch should have some 16 steps, for the sake of the optimizer
// and of the running averages of batch norm.
int default_batch(std::int64_t images, bool small) {
  const auto steps = static_cast<std::uint64_t>(std::max<std::int64_t>(images / 16, 1));
  const auto batch = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::bit_floor(steps)), 16,
                                              small ? 128 : 32);
  return static_cast<int>(std::max<std::int64_t>(1, std::min(batch, images)));
}

void fill_optimizer(TrainOptions& o, bool small) {
  OptimizerOptions& opt = o.optimizer;
  const double batch = static_cast<double>(*o.batch_size) * o.accumulate;
  const bool tuned = !o.transfer.weights.empty();
  double lr = 0, decay = 0;
  switch (opt.kind) {
    // Rates grow with the batch (Goyal et al. 2017). Trained weights are near a minimum already;
    // how much smaller their rate should be, docs/TRANSFER.md measures for small networks.
    case Optimizer::kSgd:
      lr = small ? (tuned ? 0.1 : 0.2) * batch / 128 : (tuned ? 0.04 : 0.1) * batch / 256;
      decay = small ? 5e-4 : 1e-4;
      break;
    case Optimizer::kAdamW:
      lr = (tuned ? 2e-4 : 1e-3) * std::sqrt(batch / 128);
      decay = 0.05;
      break;
    case Optimizer::kLars:
      lr = (tuned ? 1 : 10) * batch / 4096;
      decay = 1e-4;
      break;
  }
  if (!opt.lr) opt.lr = lr;
  if (!opt.weight_decay) opt.weight_decay = decay;
}

}  // namespace

DataSpec sized_data(const TrainOptions& options) {
  DataSpec spec = options.data;
  if (spec.image_size != 0) return spec;
  const std::string& name = options.model.architecture;
  spec.image_size = static_cast<int>(options.model.image_size != 0
                                         ? options.model.image_size
                                         : default_image_size(name.empty() ? "resnet20" : name));
  return spec;
}

Preprocessing preprocessing_of(const TrainOptions& resolved, const Dataset& train) {
  Preprocessing prep = default_preprocessing(train, static_cast<int>(resolved.model.image_size));
  prep.channels = static_cast<int>(resolved.model.channels);
  prep.mean = resolved.mean.value();
  prep.std = resolved.std.value();
  prep.interpolation = resolved.interpolation.value_or(prep.interpolation);
  prep.scale_16bit = resolved.scale_16bit.value_or(prep.scale_16bit);
  return prep;
}

std::vector<float> class_weights_of(const TrainOptions& resolved, const Dataset& train) {
  if (resolved.class_weighting == ClassWeighting::kNone) return {};
  if (resolved.class_weighting == ClassWeighting::kGiven) {
    return {resolved.class_weights.begin(), resolved.class_weights.end()};
  }
  const std::size_t classes = train.class_names().size();
  std::vector<std::int64_t> count(classes);
  for (std::int64_t i = 0; i < train.size(); ++i) ++count[static_cast<std::size_t>(train.label(i))];
  std::vector<float> weights(classes);
  for (std::size_t c = 0; c < classes; ++c) {
    if (count[c] == 0) continue;  // the weight of a class without images does not matter
    weights[c] =
        static_cast<float>(static_cast<double>(train.size()) /
                           static_cast<double>(static_cast<std::int64_t>(classes) * count[c]));
  }
  return weights;
}

namespace {

// Mean and standard deviation are those of CIFAR-10's training images. The rest follows Jordan
// 2024 in small batches, which cost a CPU nothing and give more steps.
TrainOptions cifar_fast() {
  TrainOptions o;
  o.data.source = "cifar10";
  o.model.architecture = "resnet8-fast";
  o.epochs = 16;
  o.batch_size = 512;
  o.optimizer = {.lr = 0.75, .weight_decay = 1.3e-3, .momentum = 0.85, .norm_shift_lr_factor = 64};
  o.schedule = {.kind = Schedule::kPoly, .warmup_epochs = 2.3, .warmup_start = 0.2, .power = 1};
  o.label_smoothing = 0.2;
  o.augmentation = Augmentation{.pad = 2, .reflect = true, .alternate_flip = true};
  o.mean = {0.4914F, 0.4822F, 0.4465F};
  o.std = {0.2470F, 0.2435F, 0.2616F};
  o.val_flip = true;
  o.val_shift = 1;
  return o;
}

constexpr std::array<std::string_view, 1> kRecipes = {"cifar-fast"};

}  // namespace

std::vector<std::string_view> recipes() { return {kRecipes.begin(), kRecipes.end()}; }

TrainOptions recipe(std::string_view name) {
  if (name != "cifar-fast") unknown_name("recipe", name, kRecipes);
  return cifar_fast();
}

TrainOptions resolve(TrainOptions options, const DataSplits& data) {
  std::vector<std::string> notes;
  return resolve(std::move(options), data, notes);
}

TrainOptions resolve(TrainOptions o, const DataSplits& data, std::vector<std::string>& notes) try {
  check(o);
  const Dataset& train = *data.train;
  const auto classes = static_cast<std::int64_t>(train.class_names().size());
  if (o.model.classes != 0 && o.model.classes != classes) {
    fail(ErrorCode::kInvalidArgument, "model.classes is {}, the data has {} classes; leave it out",
         o.model.classes, classes);
  }
  o.model.classes = classes;

  const ImageSize own = train.image_size();
  const int own_size = own.width == own.height && own.width <= kSmallImage ? own.width : 0;
  if (o.model.architecture.empty()) {
    const std::int64_t side = o.model.image_size != 0 ? o.model.image_size : own_size;
    o.model.architecture = side != 0 && side <= kSmallImage ? "resnet20" : "resnet18";
  }
  check_architecture(o.model.architecture);
  if (o.model.image_size == 0) {
    o.model.image_size = own_size != 0 ? own_size : default_image_size(o.model.architecture);
  }
  if (o.model.channels == 0) o.model.channels = train.grey() ? 1 : 3;
  require(o.model.channels == 1 || o.model.channels == 3, "model.channels", "1 or 3");
  o.data.image_size = sized_data(o).image_size;
  const auto phases = phases_of(o.transfer, o.model);  // names of layers, epochs
  if (phases.back().first_epoch > o.epochs) {
    fail(ErrorCode::kInvalidArgument,
         "--unfreeze-at {}: training ends after epoch {}, before that; unfreeze earlier, or train "
         "for more --epochs",
         phases.back().first_epoch, o.epochs);
  }

  const bool small = o.model.image_size <= kSmallImage;
  if (!o.batch_size) o.batch_size = default_batch(train.size() / o.accumulate, small);
  if (train.size() < *o.batch_size) {
    fail(ErrorCode::kInvalidArgument,
         "{} training images do not fill one batch of {}; choose a smaller batch (--batch-size)",
         train.size(), *o.batch_size);
  }
  fill_optimizer(o, small);
  if (!o.schedule.kind) o.schedule.kind = Schedule::kCosine;
  if (!o.schedule.warmup_epochs) {
    o.schedule.warmup_epochs =
        o.schedule.kind == Schedule::kOneCycle ? 0 : std::min(1.0, 0.1 * o.epochs);
  }
  if (!o.interpolation) o.interpolation = Interpolation::kBilinear;
  if (!o.scale_16bit) o.scale_16bit = Scale16Bit::kClip;
  if (!o.label_smoothing) o.label_smoothing = 0;
  if (!o.augmentation) {
    AugmentationChoice choice = choose_augmentation(o, train);
    o.augmentation = choice.augmentation;
    if (!choice.note.empty()) notes.push_back(std::move(choice.note));
  }
  o.augmentation = changed(*o.augmentation, o.augmentation_changes);
  o.augmentation_changes = {};
  if (!o.mean || !o.std) measure(o, data.train);

  if (o.class_weighting == ClassWeighting::kGiven) {
    // As the loss reads them, in f32.
    std::vector<float> weights(o.class_weights.begin(), o.class_weights.end());
    const bool fine =
        std::ssize(weights) == classes &&
        std::ranges::all_of(weights, [](float w) { return w >= 0 && std::isfinite(w); }) &&
        std::ranges::any_of(weights, [](float w) { return w > 0; });
    if (!fine) {
      fail(ErrorCode::kInvalidArgument,
           "class_weights must be {} numbers, one a class, finite, at least 0 and not all 0, found "
           "{}: {:g}",
           classes, weights.size(), fmt::join(o.class_weights, ", "));
    }
  }
  return o;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

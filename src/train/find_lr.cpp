#include "train/find_lr.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/check.h"
#include "core/guard.h"
#include "train/recipe.h"
#include "train/training_step.h"

namespace resnet {
namespace {

using Clock = std::chrono::steady_clock;

void check(const LrFinderOptions& f) {
  if (!(*f.min_lr > 0 && *f.min_lr < *f.max_lr && std::isfinite(*f.max_lr))) {
    fail(ErrorCode::kInvalidArgument,
         "the learning rates must rise from above 0, they go from {:g} to {:g}", *f.min_lr,
         *f.max_lr);
  }
  if (f.steps < 10 || f.steps > 1'000'000) {
    fail(ErrorCode::kInvalidArgument, "expected 10 to 1000000 steps, got {}", f.steps);
  }
  if (!(f.smoothing >= 0 && f.smoothing < 1)) {
    fail(ErrorCode::kInvalidArgument, "smoothing must be at least 0 and below 1, got {:g}",
         f.smoothing);
  }
  if (!(f.diverged > 1)) {
    fail(ErrorCode::kInvalidArgument, "diverged must be above 1, got {:g}", f.diverged);
  }
}

// Over `half` losses to each side, fewer at the ends: this does not lag, whatever the steps. A loss
// of 0 is that of classes without weight and says nothing.
std::vector<double> centred_means(std::span<const double> loss, std::size_t half) {
  std::vector<double> means;
  for (std::size_t i = 0; i < loss.size(); ++i) {
    double sum = 0, count = 0;
    for (std::size_t k = i - std::min(i, half); k < std::min(i + half + 1, loss.size()); ++k) {
      sum += loss[k];
      count += loss[k] != 0 ? 1 : 0;
    }
    means.push_back(count > 0 ? sum / count : means.empty() ? 0 : means.back());
  }
  return means;
}

// Standard deviation of single losses, from the differences of neighbours, which a slow fall leaves
// alone.
double noise_of(std::span<const double> loss) {
  double squares = 0, count = 0;
  for (std::size_t i = 1; i < loss.size(); ++i) {
    if (loss[i] == 0 || loss[i - 1] == 0) continue;
    squares += std::pow(loss[i] - loss[i - 1], 2) / 2;
    count += 1;
  }
  return count > 0 ? std::sqrt(squares / count) : 0;
}

// An epoch after the other, without end.
class Batches {
 public:
  explicit Batches(Loader& loader) : loader_(loader) { loader_.start_epoch(0); }
  const Batch& next() {
    if (number_ > 0 && number_ % loader_.batches_per_epoch() == 0) {
      loader_.start_epoch(number_ / loader_.batches_per_epoch());
    }
    RESNET_CHECK(loader_.next(batch_));
    ++number_;
    return batch_;
  }
  std::uint64_t number() const { return static_cast<std::uint64_t>(number_); }

 private:
  Loader& loader_;
  Batch batch_;
  std::int64_t number_ = 0;
};

}  // namespace

LrFinderOptions around(LrFinderOptions f, double own) {
  if (!f.min_lr) f.min_lr = own / 1000;
  if (!f.max_lr) f.max_lr = own * 100;
  return f;
}

double rate_of(const LrFinderOptions& f, int step) {
  return *f.min_lr * std::pow(*f.max_lr / *f.min_lr, static_cast<double>(step) / (f.steps - 1));
}

void suggest_rates(LrFinderResult& result, int steps) {
  result.least = result.highest = result.suggestion = std::nullopt;
  const auto half = static_cast<std::size_t>(std::max(1, steps / 20));
  const std::vector<double> loss = centred_means(result.loss, half);
  if (loss.size() <= half) return;
  const double first = loss[half];  // the first average of all its losses
  // Three standard errors of the difference of two averages: less is chance, and so is a rise then.
  const std::size_t early = std::min<std::size_t>(loss.size(), std::max(3, steps / 4));
  const double chance = 3 * noise_of(std::span(result.loss).first(early)) *
                        std::sqrt(2 / (2 * static_cast<double>(half) + 1));
  const auto fell = [&](std::size_t i) { return loss[i] < first && first - loss[i] >= chance; };
  std::size_t least = half, end = half + 1;
  for (; end < loss.size() && (!fell(least) || loss[end] < first); ++end) {
    if (loss[end] < loss[least]) least = end;
  }
  if (!fell(least)) return;
  result.least = result.lr[least];
  if (end < loss.size() || result.diverged) result.highest = result.lr[end - 1];
  // Both factors were measured, docs/DEFAULTS.md. Where the loss is least depends on the steps of
  // the test more than on the data, and training warms up, so that it bears more than `highest`.
  result.suggestion = result.own / 2;
  if (result.highest) result.suggestion = std::min(*result.suggestion, 3 * *result.highest);
}

LrFinderResult find_learning_rate(const TrainOptions& options, const LrFinderOptions& given,
                                  const Observer& observer) try {
  const Prepared prepared = prepare(options);
  const DataSplits& data = prepared.data;
  const TrainOptions& o = prepared.options;
  const LrFinderOptions finder = around(given, *o.optimizer.lr);
  check(finder);
  Loader loader(data.train, preprocessing_of(o, *data.train), *o.augmentation, train_loading(o));
  TrainingStep step(o, *data.train, steps_of_epoch(o, data.train->size()));
  if (prepared.loaded) step.load(prepared.loaded->tensors);
  if (observer.started) {
    RunInfo info;
    info.options = o;
    info.description = data.description;
    info.class_names = data.train->class_names();
    info.train_images = data.train->size();
    info.steps_per_epoch = steps_of_epoch(o, data.train->size());
    observer.started(info);
  }

  LrFinderResult result;
  result.own = *o.optimizer.lr;
  Batches batches(loader);
  const Clock::time_point start = Clock::now();
  double average = 0, least = 0;
  int averaged = 0;
  for (int i = 0; i < finder.steps; ++i) {
    const double lr = rate_of(finder, i);
    step.begin(lr, i, o.accumulate);
    double loss = 0;
    for (int part = 0; part < o.accumulate; ++part) {
      const std::uint64_t number = batches.number();
      loss += step.add(batches.next(), number) / o.accumulate;
    }
    if (!std::isfinite(loss) || !step.apply()) {
      result.diverged = true;
      break;
    }
    // The average starts at 0: what it lacks of a full weight is smoothing^averaged. A loss of 0 is
    // that of classes without weight and says nothing.
    if (loss != 0) {
      average = finder.smoothing * average + (1 - finder.smoothing) * loss;
      ++averaged;
    }
    const double smoothed =
        averaged == 0 ? 0 : average / (1 - std::pow(finder.smoothing, averaged));
    result.lr.push_back(lr);
    result.loss.push_back(loss);
    result.smoothed.push_back(smoothed);
    least = averaged <= 1 ? smoothed : std::min(least, smoothed);
    if (observer.progress) {
      Progress p;
      p.epoch = p.epochs = 1;
      p.step = i + 1;
      p.steps = finder.steps;
      p.loss = smoothed;
      p.lr = lr;
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      p.images_per_second = static_cast<double>((i + 1) * *o.batch_size * o.accumulate) / seconds;
      p.eta_seconds = seconds / (i + 1) * (finder.steps - i - 1);
      observer.progress(p);
    }
    if (smoothed > finder.diverged * least) {
      result.diverged = true;
      break;
    }
    if (observer.stop != nullptr && observer.stop->load()) {
      result.interrupted = true;
      break;
    }
  }
  result.skipped = loader.bad_images();
  const std::string clipped = to_note(loader.clipped());
  if (!clipped.empty() && observer.warning) observer.warning(clipped);
  suggest_rates(result, finder.steps);
  return result;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

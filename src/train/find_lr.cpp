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
  if (!(f.min_lr > 0 && f.min_lr < f.max_lr && std::isfinite(f.max_lr))) {
    fail(ErrorCode::kInvalidArgument,
         "the learning rates must rise from above 0, they go from {:g} to {:g}", f.min_lr,
         f.max_lr);
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

// Slope of y over ln x by least squares.
double slope(std::span<const double> x, std::span<const double> y) {
  const auto n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0;
  for (std::size_t i = 0; i < x.size(); ++i) mean_x += std::log(x[i]) / n, mean_y += y[i] / n;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double dx = std::log(x[i]) - mean_x;
    xy += dx * (y[i] - mean_y);
    xx += dx * dx;
  }
  return xy / xx;
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

double rate_of(const LrFinderOptions& f, int step) {
  return f.min_lr * std::pow(f.max_lr / f.min_lr, static_cast<double>(step) / (f.steps - 1));
}

void suggest_rates(LrFinderResult& result) {
  result.steepest = result.tenth = std::nullopt;
  const std::size_t n = result.smoothed.size();
  const std::size_t first = n / 10;  // the average of few losses is as noisy as they are
  if (n - first < 2) return;
  const std::span<const double> loss = result.smoothed, lr = result.lr;
  const auto least =
      static_cast<std::size_t>(std::ranges::min_element(loss.subspan(first)) - loss.begin());
  if (!(loss[least] < loss[first])) return;
  result.tenth = lr[least] / 10;

  const std::size_t half = std::max<std::size_t>(1, n / 20);
  double steepest = 0;
  for (std::size_t i = first + half; i + half <= least; ++i) {
    const double s =
        slope(lr.subspan(i - half, 2 * half + 1), loss.subspan(i - half, 2 * half + 1));
    if (s >= steepest) continue;
    steepest = s;
    result.steepest = lr[i];
  }
}

LrFinderResult find_learning_rate(const TrainOptions& options, const LrFinderOptions& finder,
                                  const Observer& observer) try {
  check(finder);
  const Prepared prepared = prepare(options);
  const DataSplits& data = prepared.data;
  const TrainOptions& o = prepared.options;
  Loader loader(data.train, preprocessing_of(o, *data.train), *o.augmentation, train_loading(o));
  TrainingStep step(o, *data.train, steps_of_epoch(o, data.train->size()));
  if (prepared.loaded) step.load(prepared.loaded->tensors);
  if (observer.started) {
    RunInfo info;
    info.options = o;
    info.description = data.description;
    info.class_names = data.train->class_names();
    info.train_pictures = data.train->size();
    info.steps_per_epoch = steps_of_epoch(o, data.train->size());
    observer.started(info);
  }

  LrFinderResult result;
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
  result.skipped = loader.bad_pictures();
  const std::string clipped = to_note(loader.clipped());
  if (!clipped.empty() && observer.warning) observer.warning(clipped);
  suggest_rates(result);
  return result;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

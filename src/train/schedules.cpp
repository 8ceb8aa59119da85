// Learning rates as pure functions of the step. The formulas are torch.optim.lr_scheduler's, so
// that a recipe from there gives the same curve here.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "resnet/train.h"

namespace resnet {
namespace {

double cosine(double from, double to, double progress) {
  return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * progress));
}

double one_cycle(const ScheduleOptions& s, double lr, std::int64_t step, std::int64_t total) {
  const double first = lr / s.start_divisor;
  const double last = first / s.end_divisor;
  const double top = s.rise * static_cast<double>(total) - 1;  // the step that has the peak
  const auto end = static_cast<double>(total - 1);
  const double t = std::min(static_cast<double>(step), end);
  if (t <= top) return cosine(first, lr, top > 0 ? t / top : 1);
  return cosine(lr, last, end > top ? (t - top) / (end - top) : 1);
}

}  // namespace

double learning_rate(const ScheduleOptions& s, double lr, std::int64_t step,
                     std::int64_t steps_per_epoch, int epochs) {
  RESNET_CHECK(step >= 0 && steps_per_epoch > 0 && epochs > 0);
  const Schedule kind = s.kind.value_or(Schedule::kConstant);
  const std::int64_t total = steps_per_epoch * epochs;
  if (kind == Schedule::kOneCycle) return one_cycle(s, lr, step, total);

  const auto warmup = std::min<std::int64_t>(
      total, std::llround(s.warmup_epochs.value_or(0) * static_cast<double>(steps_per_epoch)));
  if (step < warmup) {
    const double rise = static_cast<double>(step) / static_cast<double>(warmup);
    return lr * (s.warmup_start + (1 - s.warmup_start) * rise);
  }
  // Steps and milestones count from the beginning of the run, cosine and poly from the warm-up's
  // end.
  const double epoch = static_cast<double>(step) / static_cast<double>(steps_per_epoch);
  const double progress =
      std::min(1.0, static_cast<double>(step - warmup) /
                        static_cast<double>(std::max<std::int64_t>(1, total - warmup)));
  switch (kind) {
    case Schedule::kConstant: return lr;
    case Schedule::kStep: return lr * std::pow(s.gamma, std::floor(epoch / s.step_epochs));
    case Schedule::kMultiStep: {
      const auto passed = std::ranges::count_if(s.milestones, [&](double m) { return m <= epoch; });
      return lr * std::pow(s.gamma, static_cast<double>(passed));
    }
    case Schedule::kCosine: return cosine(lr, lr * s.final_factor, progress);
    case Schedule::kPoly: return lr * std::pow(1 - progress, s.power);
    case Schedule::kOneCycle: break;
  }
  return lr;
}

}  // namespace resnet

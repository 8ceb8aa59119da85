#include "train/resume.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>

#include "core/check.h"
#include "core/guard.h"
#include "core/json.h"
#include "data/class_names.h"
#include "data/datasets.h"
#include "data/known_data.h"
#include "resnet/pretrained.h"
#include "train/recipe.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

bool is_drawn(const std::string& source) {
  return source == "galaxies" || source.starts_with("galaxies:");
}

bool is_name_of_data(const std::string& source) {
  std::error_code ignored;
  return is_drawn(source) || (!fs::exists(source, ignored) && find_known_data(source) != nullptr);
}

// The dotted name of the first member that differs, or nothing.
std::string first_difference(const Json& a, const Json& b, const std::string& prefix,
                             std::span<const std::string_view> may_differ) {
  for (const auto& [object, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    for (const auto& [key, value] : object->members()) {
      const std::string name = prefix + key;
      const Json* found = other->find(key);
      if (std::ranges::find(may_differ, name) != may_differ.end()) continue;
      if (found != nullptr && *found == value) continue;
      if (found == nullptr || !found->is_object() || !value.is_object()) return name;
      const std::string inner = first_difference(value, *found, name + ".", may_differ);
      if (!inner.empty()) return inner;
    }
  }
  return {};
}

// Links and ".." stay: what they mean is for the system to say.
std::string absolute(std::string path) {
  while (path.starts_with("./")) path.erase(0, path.find_first_not_of('/', 1));
  return fs::absolute(path.empty() ? "." : path).string();
}

// Classes stay as they were: in the order of numbers, in which tables of numbers were before there
// was a choice, and in the spelling that they had.
DataSplits with_classes_of(const Checkpoint& c, const TrainOptions& o, DataSplits data) {
  const auto same_places = [&] {
    const std::vector<int> places = positions_of(data.train->class_names(), c.class_names);
    for (std::size_t k = 0; k < places.size(); ++k) {
      if (places[k] != static_cast<int>(k)) return false;
    }
    return places.size() == c.class_names.size();
  };
  if (!same_places() && o.data.class_order == ClassOrder::kSorted &&
      std::ranges::is_sorted(c.class_names, natural_less)) {
    DataSpec natural = sized_data(o);
    natural.class_order = ClassOrder::kNatural;
    DataSplits other = open_data(natural);
    std::swap(data, other);
    if (!same_places()) std::swap(data, other);
  }
  if (same_places()) {
    data.train = match_classes(data.train, c.class_names, o.data.source);
    data.val = match_classes(data.val, c.class_names, o.data.source);
  }
  return data;
}

}  // namespace

TrainOptions with_absolute_paths(TrainOptions o) {
  if (!is_name_of_data(o.data.source)) o.data.source = absolute(o.data.source);
  if (!o.data.cache.empty()) o.data.cache = absolute(o.data.cache.string());
  std::string& weights = o.transfer.weights;
  if (!weights.empty() && !is_pretrained_name(weights)) weights = absolute(weights);
  return o;
}

std::string seen_from_here(const std::string& path) {
  std::error_code error;
  const std::string here = (fs::current_path(error) / "").string();
  return !error && path.size() > here.size() && path.starts_with(here) ? path.substr(here.size())
                                                                       : path;
}

DataSplits open_data_again(const TrainOptions& o, const Checkpoint& c) {
  DataSplits data;
  try {
    data = with_classes_of(c, o, open_data(sized_data(o)));
  } catch (const Error& error) {
    const std::string& source = o.data.source;
    if (error.code() != ErrorCode::kNotFound || source != c.options.data.source ||
        is_name_of_data(source)) {
      throw;
    }
    fail(
        ErrorCode::kNotFound,
        "{}: no such file or folder; the run in {} was trained on it{}; if the data has moved, say "
        "where it is now: resnet train --resume {} DATA",
        source, o.out.string(),
        fs::path(source).is_absolute() ? "" : ", as seen from the folder where it was started",
        o.out.string());
  }
  const std::vector<std::string>& names = data.train->class_names();
  constexpr const char* kAdvice =
      "give the data that the run was trained on, or train anew in another folder";
  if (c.class_names.size() != names.size() || c.train_images != data.train->size()) {
    fail(
        ErrorCode::kInvalidArgument,
        "{}: not the data of the run in {}: expected {} training images of {} classes, found {} of "
        "{}; {}",
        o.data.source, o.out.string(), c.train_images, c.class_names.size(), data.train->size(),
        names.size(), kAdvice);
  }
  const auto [expected, found] = std::ranges::mismatch(c.class_names, names);
  if (expected != c.class_names.end()) {
    fail(ErrorCode::kInvalidArgument,
         "{}: not the data of the run in {}: expected class \"{}\", found \"{}\" in its place; {}",
         o.data.source, o.out.string(), *expected, *found, kAdvice);
  }
  return data;
}

void check_resumable(const Checkpoint& checkpoint, const TrainOptions& now) {
  static constexpr std::array<std::string_view, 13> kMayDiffer = {
      "epochs",      "early_stop_patience", "max_bad_fraction",   "layout",           "threads",
      "out",         "loader_threads",      "checkpoint_minutes", "checkpoint_steps", "save_every",
      "data.source", "data.cache",          "transfer.weights"};
  // The last three may have been moved. Of the weights the run has taken what it needs.
  const std::string where = first_difference(*Json::parse(to_json(checkpoint.options)),
                                             *Json::parse(to_json(now)), "", kMayDiffer);
  if (where.empty()) return;
  fail(ErrorCode::kInvalidArgument,
       "option {} differs from that of the run to be resumed; leave it as it was, or train anew in "
       "another folder",
       where);
}

TrainOptions resume_options(const fs::path& run) try {
  TrainOptions options = read_checkpoint(run / "last.safetensors").options;
  options.out = run;
  options.resume = true;
  return options;
} catch (...) {
  throw_as_error();
}

std::string rate_note(const TrainOptions& o, int epochs_before, std::int64_t step,
                      std::int64_t steps_per_epoch) {
  if (step == 0 || step >= steps_per_epoch * o.epochs) return {};
  const auto rate = [&](std::int64_t at, int epochs) {
    return learning_rate(o.schedule, *o.optimizer.lr, at, steps_per_epoch, epochs);
  };
  const double last = rate(step - 1, epochs_before), next = rate(step, o.epochs);
  const double planned = rate(step, epochs_before);
  if (std::abs(next - planned) <= 0.01 * std::max(next, planned)) return {};
  return fmt::format(
      "note: with {} epochs instead of {} the learning rate goes from {:.3g} to {:.3g}, because "
      "{} spans all epochs; to train on at a rate of your own, start a new run: --weights {} --lr "
      "RATE --schedule constant",
      o.epochs, epochs_before, last, next, name_of(*o.schedule.kind), o.out.string());
}

}  // namespace resnet

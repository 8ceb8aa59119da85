// The training loop.
//
// The order in which files are written makes a run survive a kill at any moment: model.safetensors,
// metrics.csv and the rest of an epoch first, last.safetensors at the end. A process that dies in
// between repeats the epoch from the checkpoint before, bit for bit, and writes the same again.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/check.h"
#include "core/guard.h"
#include "resnet/model_file.h"
#include "train/checkpoint.h"
#include "train/evaluator.h"
#include "train/features.h"
#include "train/metrics.h"
#include "train/recipe.h"
#include "train/resume.h"
#include "train/run_folder.h"
#include "train/training_graph.h"
#include "train/training_step.h"

namespace resnet {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool all_finite(const Tensor& tensor) {
  const auto check = [](auto values) {
    return std::ranges::all_of(values, [](auto x) { return std::isfinite(x); });
  };
  if (tensor.dtype() == DType::kF64) return check(tensor.as<double>());
  return tensor.dtype() != DType::kF32 || check(tensor.as<float>());
}

class Trainer {
 public:
  Trainer(Prepared prepared, std::optional<Checkpoint> resumed, const Observer& observer);
  TrainResult run();

 private:
  enum class Outcome { kDone, kStopped };

  void make_evaluator();
  bool can_cache();
  bool cache_features();
  std::optional<FeatureCache> features_of(const DatasetPtr& data, Loader& loader);
  void enter_phase();
  RunInfo describe() const;
  Loader& train_loader() { return stand_in_train_ ? *stand_in_train_ : train_loader_; }
  Loader& val_loader() { return stand_in_val_ ? *stand_in_val_ : val_loader_; }
  void resume();
  Outcome train_epoch();
  void step();
  Outcome validate(EvalResult& result);
  void finish_epoch(const EvalResult& val);
  void save_last();
  void save_best();
  std::shared_ptr<Variables> evaluated_variables();
  void check_finite();
  [[noreturn]] void fail_non_finite(std::string_view what);
  void report_step(double lr, double loss);
  void report_skipped();
  void measure_images();
  bool stop_requested() const { return observer_.stop != nullptr && observer_.stop->load(); }
  double lr_of(std::int64_t step) const {
    return learning_rate(o_.schedule, *o_.optimizer.lr, step, steps_per_epoch_, o_.epochs);
  }

  const TrainOptions o_;
  const TrainOptions kept_;  // as files of the run have them
  const std::optional<Checkpoint> resumed_;
  const DataSplits data_;
  const Observer& observer_;
  const Preprocessing prep_;
  const CompileOptions compile_;
  Loader train_loader_;
  Loader val_loader_;
  const std::int64_t steps_per_epoch_;
  const std::int64_t batches_per_epoch_;
  const std::optional<Loaded> loaded_;
  const std::vector<std::string> notes_;
  TrainingStep step_;
  const std::shared_ptr<Variables> variables_;
  std::shared_ptr<Variables> ema_variables_;  // null without an average
  std::optional<Evaluator> evaluator_;
  // When all but the head is frozen: what it reads, and loaders that make batches without images.
  bool caching_ = false;
  std::optional<FeatureCache> train_features_, val_features_;
  std::optional<Loader> stand_in_train_, stand_in_val_;
  std::optional<RunFolder> folder_;
  RunState state_;
  Batch batch_;

  // Of this call, for speed and estimates.
  Clock::time_point start_ = Clock::now();
  Clock::time_point epoch_start_, last_save_ = Clock::now();
  double last_val_seconds_ = 0;
  double epoch_wait_start_ = 0;
  std::int64_t epoch_images_ = 0;  // in this process
  std::int64_t total_images_ = 0;
  double training_seconds_ = 0;
  std::size_t reported_skipped_ = 0;
  ImageProfile profile_;
  bool clipping_reported_ = false;
};

LoaderOptions val_loading(const TrainOptions& o, const Dataset& val) {
  const auto batch = static_cast<int>(std::min<std::int64_t>(*o.batch_size, val.size()));
  LoaderOptions load = evaluation_options(batch, loader_threads(o.loader_threads));
  load.max_bad_fraction = o.max_bad_fraction;
  load.layout = o.layout;
  load.views = evaluation_views(1, o.val_flip, o.val_shift);
  return load;
}

Trainer::Trainer(Prepared prepared, std::optional<Checkpoint> resumed, const Observer& observer)
    : o_(std::move(prepared.options)),
      kept_(with_absolute_paths(o_)),
      resumed_(std::move(resumed)),
      data_(std::move(prepared.data)),
      observer_(observer),
      prep_(preprocessing_of(o_, *data_.train)),
      compile_{.device = o_.device, .threads = o_.threads, .dtype = o_.dtype},
      train_loader_(data_.train, prep_, *o_.augmentation, train_loading(o_)),
      val_loader_(data_.val, prep_, Augmentation{}, val_loading(o_, *data_.val)),
      steps_per_epoch_(
          steps_of_epoch(o_, data_.train->size(), resumed_ && resumed_->state.whole_windows)),
      batches_per_epoch_(
          std::min(train_loader_.batches_per_epoch(), steps_per_epoch_ * o_.accumulate)),
      loaded_(std::move(prepared.loaded)),
      notes_(std::move(prepared.notes)),
      step_(o_, *data_.train, steps_per_epoch_),
      variables_(step_.variables()) {
  RESNET_CHECK(steps_per_epoch_ > 0);
  if (loaded_) step_.load(loaded_->tensors);
  make_evaluator();
  folder_.emplace(o_.out, o_.overwrite, o_.resume);
  if (resumed_) resume();
  if (step_.phase() == 0 && can_cache()) {
    caching_ = true;
    step_.use_features(true);
    make_evaluator();
  }
}

void Trainer::make_evaluator() {
  std::shared_ptr<Variables> evaluated = variables_;
  if (o_.ema_decay > 0) {
    ema_variables_ = std::make_shared<Variables>();
    const Graph graph = inference_graph(o_.model, 1);
    initialise(graph, *ema_variables_, o_.seed);
    *ema_variables_ = ema_variables_->cast(variable_type(o_.device));
    evaluated = ema_variables_;
  }
  const LoaderOptions& load = val_loader_.options();
  const std::int64_t batch = load.batch_size * std::ssize(load.views);
  if (!caching_) {
    evaluator_.emplace(o_.model, evaluated, batch, compile_, o_.layout);
    return;
  }
  Graph head(Mode::kInference);
  const Value logits = head_of(o_.model)(head, batch).logits;
  head.mark_output("logits", logits);
  head.mark_output("probabilities", head.softmax(logits));
  evaluator_.emplace(head, o_.model.classes, evaluated, compile_, o_.layout);
}

// All but the head is frozen and an image always looks the same.
bool Trainer::can_cache() {
  constexpr std::int64_t kMostBytes = std::int64_t{2} << 30;
  if (!o_.transfer.cache_features || *o_.augmentation != Augmentation{} ||
      o_.transfer.freeze_until.empty() || !trains_head_only(step_.phases()[0], o_.model)) {
    return false;
  }
  const std::int64_t bytes = FeatureCache::bytes(o_, data_.train->size() + data_.val->size());
  if (bytes <= kMostBytes) return true;
  if (observer_.warning) {
    observer_.warning(
        fmt::format("the features of all images would take {} MiB, more than {}; they are "
                    "computed anew in every epoch",
                    bytes >> 20, kMostBytes >> 20));
  }
  return false;
}

// False when it was stopped.
bool Trainer::cache_features() {
  const auto batch = static_cast<int>(std::min<std::int64_t>(*o_.batch_size, data_.train->size()));
  LoaderOptions load = evaluation_options(batch, loader_threads(o_.loader_threads));
  load.max_bad_fraction = o_.max_bad_fraction;
  load.layout = o_.layout;
  Loader all(data_.train, prep_, Augmentation{}, load);
  train_features_ = features_of(data_.train, all);
  if (train_features_) val_features_ = features_of(data_.val, val_loader_);
  if (!val_features_) return false;
  LoaderOptions train = train_loader_.options(), val = val_loader_.options();
  train.threads = val.threads = 0;  // there is nothing to decode
  stand_in_train_.emplace(train_features_->stand_in(), FeatureCache::preprocessing(),
                          Augmentation{}, train);
  stand_in_val_.emplace(val_features_->stand_in(), FeatureCache::preprocessing(), Augmentation{},
                        val);
  return true;
}

std::optional<FeatureCache> Trainer::features_of(const DatasetPtr& data, Loader& loader) {
  const Clock::time_point start = Clock::now();
  Progress p;
  p.caching = true;
  p.epochs = o_.epochs;
  p.steps = loader.batches_per_epoch();
  return FeatureCache::compute(
      o_, variables_, data, loader, observer_.stop, [&](std::int64_t done) {
        if (!observer_.progress) return;
        p.step += 1;
        p.images_per_second = static_cast<double>(done) / std::max(seconds_since(start), 1e-9);
        p.eta_seconds = static_cast<double>(data->size() - done) / p.images_per_second;
        observer_.progress(p);
      });
}

// What the coming epoch trains may differ from what the last one did.
void Trainer::enter_phase() {
  const std::size_t phase = phase_at(step_.phases(), state_.epoch + 1);
  if (phase == step_.phase()) return;
  step_.enter(phase, state_.step);
  if (!caching_) return;
  caching_ = false;
  stand_in_train_.reset();
  stand_in_val_.reset();
  train_features_.reset();
  val_features_.reset();
  make_evaluator();
}

void Trainer::resume() {
  check_resumable(*resumed_, o_);
  const RunState& state = resumed_->state;
  // Between two epochs the checkpoint is still of the one before.
  const int epoch = state.epoch + (state.batch > 0 ? 1 : 0);
  const std::size_t phase = phase_at(step_.phases(), epoch);
  if (phase != step_.phase()) step_.enter(phase, state.step);
  state_ = load_checkpoint(folder_->last(), *variables_).state;
}

RunInfo Trainer::describe() const {
  RunInfo info;
  info.options = o_;
  info.description = data_.description;
  info.class_names = data_.train->class_names();
  info.train_images = data_.train->size();
  info.val_images = data_.val->size();
  for (const LayerSummary& layer : summarise(inference_graph(o_.model, 1))) {
    info.parameters += layer.parameters;
  }
  info.steps_per_epoch = steps_per_epoch_;
  info.first_step = state_.step;
  const ProgramStats& training = step_.network().program().stats();
  info.memory_bytes = training.arena_bytes + training.packed_bytes + training.variable_bytes +
                      evaluator_->stats().arena_bytes + evaluator_->stats().packed_bytes;
  const TransferOptions& t = o_.transfer;
  if (loaded_) {
    info.notes.push_back(fmt::format(
        "{} tensors from {}{}", loaded_->tensors.size(), t.weights,
        loaded_->by_index ? ", the head included: its classes have no names and are taken by index"
        : loaded_->fresh.empty() ? ", the head included"
                                 : fmt::format("; new: {}", fmt::join(loaded_->fresh, ", "))));
  }
  const std::vector<Phase>& phases = step_.phases();
  info.frozen = info.parameters - trained_parameters(phases[0], o_.model);
  if (!t.freeze_until.empty()) {
    std::string text = fmt::format("frozen until {}: {} of {} parameters", t.freeze_until,
                                   info.frozen, info.parameters);
    for (std::size_t i = 1; i < phases.size(); ++i) {
      text += phases[i].freeze_until.empty()
                  ? fmt::format("; from epoch {} nothing", phases[i].first_epoch)
                  : fmt::format("; from epoch {} until {}", phases[i].first_epoch,
                                phases[i].freeze_until);
    }
    info.notes.push_back(std::move(text));
    if (caching_) {
      info.notes.push_back("what the head reads is computed once for all images");
    } else if (t.cache_features && *o_.augmentation != Augmentation{} &&
               trains_head_only(phases[0], o_.model)) {
      info.notes.push_back(
          "only the head is trained: without augmentation (--augment none) what it reads would be "
          "computed once, and epochs would take seconds");
    }
  }
  info.notes.insert(info.notes.end(), notes_.begin(), notes_.end());
  if (resumed_) {
    std::string note = rate_note(o_, resumed_->options.epochs, state_.step, steps_per_epoch_);
    if (!note.empty()) info.notes.push_back(std::move(note));
  }
  return info;
}

TrainResult Trainer::run() {
  folder_->write_config(kept_);
  folder_->begin_metrics(state_.epoch);
  if (observer_.started) observer_.started(describe());
  measure_images();

  TrainResult result;
  const auto patience_over = [&] {
    return o_.early_stop_patience > 0 && state_.top1_epoch > 0 &&
           state_.epoch - state_.top1_epoch >= o_.early_stop_patience;
  };
  while (state_.epoch < o_.epochs && !patience_over()) {
    enter_phase();
    Outcome outcome = Outcome::kDone;
    if (caching_ && !stand_in_train_ && !cache_features()) outcome = Outcome::kStopped;
    epoch_start_ = Clock::now();
    epoch_wait_start_ = train_loader().wait_seconds();
    epoch_images_ = 0;
    EvalResult val;
    if (outcome == Outcome::kDone) outcome = train_epoch();
    training_seconds_ += seconds_since(epoch_start_);
    if (outcome == Outcome::kDone) outcome = validate(val);
    if (outcome == Outcome::kStopped) {
      save_last();
      result.interrupted = true;
      break;
    }
    finish_epoch(val);
  }
  result.stopped_early = !result.interrupted && state_.epoch < o_.epochs;
  folder_->flush_curves();
  if (state_.best_epoch > 0) result.model = folder_->model();
  result.epochs = state_.epoch;
  result.best_epoch = state_.best_epoch;
  result.best = state_.best;
  if (training_seconds_ > 0) {
    result.images_per_second = static_cast<double>(total_images_) / training_seconds_;
    result.data_wait_share = std::min(1.0, train_loader().wait_seconds() / training_seconds_);
  }
  result.seconds = seconds_since(start_);
  result.skipped = train_loader().bad_images();
  return result;
}

// From wherever the state is to the end of the epoch.
Trainer::Outcome Trainer::train_epoch() {
  train_loader().start_epoch(state_.epoch, state_.batch);
  while (state_.batch < batches_per_epoch_) {
    step();
    // After the last step of an epoch comes its own checkpoint.
    if (state_.batch == batches_per_epoch_) break;
    if (stop_requested()) return Outcome::kStopped;
    const bool due =
        (o_.checkpoint_steps > 0 && state_.step % o_.checkpoint_steps == 0) ||
        (o_.checkpoint_minutes > 0 && seconds_since(last_save_) > 60 * o_.checkpoint_minutes);
    if (due) save_last();
  }
  report_skipped();
  return stop_requested() ? Outcome::kStopped : Outcome::kDone;
}

// One update from `accumulate` batches, or what is left of the epoch's.
void Trainer::step() {
  const double lr = lr_of(state_.step);
  const std::int64_t parts =
      std::min<std::int64_t>(o_.accumulate, batches_per_epoch_ - state_.batch);
  step_.begin(lr, state_.step, parts);
  double loss = 0;
  for (std::int64_t part = 0; part < parts; ++part) {
    RESNET_CHECK(train_loader().next(batch_));
    const double part_loss =
        step_.add(train_features_ ? train_features_->rows(batch_) : batch_.images, batch_.targets,
                  static_cast<std::uint64_t>(state_.epoch * train_loader().batches_per_epoch() +
                                             state_.batch));
    if (!std::isfinite(part_loss)) fail_non_finite("the loss");
    loss += part_loss / static_cast<double>(parts);
    state_.loss_sum += part_loss * batch_.count;
    state_.right += count_right(step_.logits(), batch_.labels);
    state_.seen += batch_.count;
    state_.batch += 1;
    epoch_images_ += batch_.count;
    total_images_ += batch_.count;
  }
  if (!step_.apply()) fail_non_finite("a gradient");
  state_.step += 1;
  report_step(lr, loss);
}

void Trainer::report_step(double lr, double loss) {
  const std::int64_t in_epoch = (state_.batch + o_.accumulate - 1) / o_.accumulate;
  const std::int64_t interval = std::max<std::int64_t>(1, steps_per_epoch_ / 50);
  if (in_epoch % interval == 0) {
    folder_->curve("train/loss_of_step", state_.step, loss);
    folder_->curve("train/lr", state_.step, lr);
  }
  if (!observer_.progress) return;
  Progress p;
  p.epoch = state_.epoch + 1;
  p.epochs = o_.epochs;
  p.step = in_epoch;
  p.steps = steps_per_epoch_;
  p.loss = state_.loss_sum / static_cast<double>(state_.seen);
  p.accuracy = static_cast<double>(state_.right) / static_cast<double>(state_.seen);
  p.lr = lr;
  const double elapsed = seconds_since(epoch_start_);
  p.images_per_second = static_cast<double>(epoch_images_) / std::max(elapsed, 1e-9);
  p.data_wait_share =
      std::min(1.0, (train_loader().wait_seconds() - epoch_wait_start_) / std::max(elapsed, 1e-9));
  const auto batches_left =
      static_cast<double>((o_.epochs - state_.epoch) * batches_per_epoch_ - state_.batch);
  const double val_seconds = last_val_seconds_ > 0
                                 ? last_val_seconds_  // a forward pass is a third of a step
                                 : static_cast<double>(data_.val->size()) / 3 / p.images_per_second;
  p.eta_seconds = batches_left * *o_.batch_size / p.images_per_second +
                  (o_.epochs - state_.epoch) * val_seconds;
  observer_.progress(p);
}

// What the model file says of its training images. Those that are clipped are better known now
// than after an epoch.
void Trainer::measure_images() {
  ClippedImages clipped;
  profile_ = measure_profile(data_.train, prep_, loader_threads(o_.loader_threads), &clipped);
  clipping_reported_ = clipped.count > 0;
  if (clipping_reported_ && observer_.warning) observer_.warning(to_note(clipped));
}

void Trainer::report_skipped() {
  if (!clipping_reported_) {  // none in the sample
    const ClippedImages clipped = train_loader().clipped();
    clipping_reported_ = clipped.count > 0;
    if (clipping_reported_ && observer_.warning) observer_.warning(to_note(clipped));
  }
  const std::vector<BadImage> skipped = train_loader().bad_images();
  if (skipped.size() == reported_skipped_) return;
  reported_skipped_ = skipped.size();
  if (!observer_.warning) return;
  for (const BadImage& bad : skipped) {
    observer_.warning(fmt::format("skipped {}: {}", bad.name, bad.reason));
  }
}

std::shared_ptr<Variables> Trainer::evaluated_variables() {
  if (ema_variables_ == nullptr) return variables_;
  // The averages started at 0: what they lack of a full weight is decay^steps.
  const double factor = 1 / (1 - std::pow(o_.ema_decay, static_cast<double>(state_.step)));
  for (const auto& [name, old] : ema_variables_->all()) {
    const std::string ema = std::string(kEmaPrefix) + name;
    if (!variables_->contains(ema)) {  // frozen
      ema_variables_->assign(name, variables_->at(name));
      continue;
    }
    Tensor average = variables_->at(ema).cast(DType::kF64).clone();
    for (double& x : average.as<double>()) x *= factor;
    ema_variables_->assign(name, average);
  }
  return ema_variables_;
}

Trainer::Outcome Trainer::validate(EvalResult& result) {
  check_finite();
  evaluated_variables();
  Progress p;
  p.validating = true;
  p.epoch = state_.epoch + 1;
  p.epochs = o_.epochs;
  p.steps = val_loader().batches_per_epoch();
  p.lr = lr_of(state_.step - 1);
  const Clock::time_point start = Clock::now();
  const auto progress = [&](std::int64_t done, double top1) {
    if (!observer_.progress) return;
    p.step += 1;
    p.accuracy = top1;
    p.images_per_second = static_cast<double>(done) / std::max(seconds_since(start), 1e-9);
    p.eta_seconds = static_cast<double>(data_.val->size() - done) / p.images_per_second;
    observer_.progress(p);
  };
  auto predictions = evaluator_->run(val_loader(), observer_.stop, progress,
                                     val_features_ ? &*val_features_ : nullptr);
  if (!predictions) return Outcome::kStopped;
  result = *std::move(predictions);
  if (result.images == 0) {
    fail(ErrorCode::kBadData, "not one of the {} images for validation could be read",
         data_.val->size());
  }
  if (!std::isfinite(result.loss)) fail_non_finite("the validation's loss");
  last_val_seconds_ = result.seconds;
  if (state_.epoch == 0 && observer_.warning) {
    for (const BadImage& bad : result.skipped) {
      observer_.warning(fmt::format("skipped {}: {}", bad.name, bad.reason));
    }
  }
  return Outcome::kDone;
}

void Trainer::finish_epoch(const EvalResult& val) {
  EpochResult r;
  r.epoch = state_.epoch + 1;
  r.epochs = o_.epochs;
  r.train_loss = state_.loss_sum / static_cast<double>(state_.seen);
  r.train_accuracy = static_cast<double>(state_.right) / static_cast<double>(state_.seen);
  r.val = val;
  r.lr = lr_of(state_.step - 1);
  r.seconds = seconds_since(epoch_start_);
  const double train_seconds = std::max(1e-9, r.seconds - val.seconds);
  r.images_per_second = static_cast<double>(epoch_images_) / train_seconds;
  r.data_wait_share =
      std::min(1.0, (train_loader().wait_seconds() - epoch_wait_start_) / train_seconds);
  // Between equals the smaller loss wins.
  r.best = state_.best_epoch == 0 || val.top1 > state_.best.top1 ||
           (val.top1 == state_.best.top1 && val.loss < state_.best.loss);

  state_.epoch += 1;
  if (state_.best_epoch == 0 || val.top1 > state_.best.top1) state_.top1_epoch = state_.epoch;
  state_.batch = 0;
  state_.loss_sum = 0;
  state_.right = state_.seen = 0;
  if (r.best) {
    state_.best_epoch = state_.epoch;
    state_.best = val;
    save_best();
  }
  folder_->add_metrics(r, state_.step);
  for (const auto& [tag, value] : {std::pair{"train/loss", r.train_loss},
                                   {"train/accuracy", r.train_accuracy},
                                   {"train/images_per_second", r.images_per_second},
                                   {"train/data_wait_share", r.data_wait_share},
                                   {"val/loss", val.loss},
                                   {"val/top1", val.top1},
                                   {"val/top5", val.top5}}) {
    folder_->curve(tag, state_.step, value);
  }
  folder_->flush_curves();
  if (o_.save_every > 0 && state_.epoch % o_.save_every == 0) {
    save_checkpoint(folder_->epoch(state_.epoch),
                    {kept_, state_, data_.train->class_names(), data_.train->size()}, *variables_);
  }
  save_last();
  if (observer_.epoch) observer_.epoch(r);
}

void Trainer::save_last() {
  check_finite();
  save_checkpoint(folder_->last(), {kept_, state_, data_.train->class_names(), data_.train->size()},
                  *variables_);
  last_save_ = Clock::now();
}

void Trainer::save_best() {
  ModelFile model;
  model.config = o_.model;
  model.class_names = data_.train->class_names();
  model.preprocessing = prep_;
  model.training_images = profile_;
  model.provenance = {{"data", data_.description},
                      {"epochs", std::to_string(state_.epoch)},
                      {"top1", fmt::format("{:.6g}", state_.best.top1)},
                      {"top5", fmt::format("{:.6g}", state_.best.top5)},
                      {"loss", fmt::format("{:.6g}", state_.best.loss)},
                      {"seed", std::to_string(o_.seed)}};
  if (!o_.transfer.weights.empty())
    model.provenance["weights"] = seen_from_here(o_.transfer.weights);
  const Variables& variables = ema_variables_ != nullptr ? *ema_variables_ : *variables_;
  model.weights = from_variables(variables, o_.model);
  for (auto& [name, tensor] : model.weights) tensor = tensor.cast(DType::kF32);
  save_model(folder_->model(), model);
  folder_->write_confusion(state_.best);
}

// What is kept must be usable. Loss and gradients do not tell alone: ReLU turns NaN into 0.
void Trainer::check_finite() {
  for (const auto& [name, tensor] : variables_->all()) {
    if (!all_finite(tensor)) fail_non_finite(name);
  }
}

// Finds where infinity or NaN came up, and ends the run. Nothing is saved: the last checkpoint is
// from before. The forward pass has spoilt running statistics, averages and gradient sums, which
// are not the cause and are not read by it: they are cleared, so that the search sees the cause.
void Trainer::fail_non_finite(std::string_view what) {
  Variables& variables = *variables_;
  const Graph graph = inference_graph(o_.model, 1);
  const auto is_cause = [&](const std::string& name) {
    const Value v = graph.find(name);
    return v && std::get<ParameterAttributes>(graph.node(v).attributes).role != Role::kBuffer;
  };
  for (const auto& [name, tensor] : variables.all()) {
    if (!is_cause(name) && !all_finite(tensor)) {
      variables.assign(name, Tensor::zeros(tensor.dtype(), tensor.shape()));
    }
  }
  const std::optional<std::string> where = step_.network().find_non_finite();
  std::error_code error;
  const bool saved = std::filesystem::exists(folder_->last(), error);
  fail(ErrorCode::kNumeric,
       "{} became NaN or infinite in epoch {}, step {}, at learning rate {:.4g}, first in {}; {}; "
       "try a smaller learning rate, a longer warm-up or clip_norm",
       what, state_.epoch + 1, state_.step - state_.epoch * steps_per_epoch_ + 1,
       lr_of(state_.step), where ? "layer " + *where : "a batch before the last",
       saved ? "the last checkpoint is untouched" : "no checkpoint had been written yet");
}

}  // namespace

TrainResult train(const TrainOptions& options, const Observer& observer) try {
  if (options.out.empty()) {
    fail(ErrorCode::kInvalidArgument, "a run needs a folder for its results; set `out`");
  }
  std::optional<Checkpoint> resumed;
  if (options.resume) resumed = read_checkpoint(options.out / "last.safetensors");
  Prepared prepared = prepare(options, resumed ? &*resumed : nullptr);
  return Trainer(std::move(prepared), std::move(resumed), observer).run();
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

#include "train/training_step.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "data/datasets.h"
#include "train/advice.h"
#include "train/evaluator.h"
#include "train/recipe.h"
#include "train/resume.h"
#include "train/training_graph.h"
#include "train/whitening.h"

namespace resnet {
namespace {

// With what transfer asks of single weights.
StepOptions transfer_options(const TrainOptions& o, std::int64_t per_epoch,
                             const std::vector<Phase>& phases) {
  StepOptions step = step_options(o);
  if (o.transfer.lr_decay_per_stage != 1) {
    step.lr_factor = [factors = lr_factors(o.model, o.transfer.lr_decay_per_stage)](
                         const std::string& name) { return factors.at(name); };
  }
  if (phases.size() > 1) {
    step.steps_before = [phases, per_epoch,
                         first = first_trained(phases, o.model)](const std::string& name) {
      return (phases[first.at(name)].first_epoch - 1) * per_epoch;
    };
  }
  return step;
}

}  // namespace

StepOptions step_options(const TrainOptions& o) {
  return {.optimizer = o.optimizer,
          .label_smoothing = *o.label_smoothing,
          .class_weights = o.class_weighting != ClassWeighting::kNone,
          .clip_norm = o.clip_norm,
          .ema_decay = o.ema_decay};
}

LoaderOptions train_loading(const TrainOptions& o) {
  return {.batch_size = *o.batch_size,
          .shuffle = true,
          .drop_last = true,
          .replace_bad = true,
          .max_bad_fraction = o.max_bad_fraction,
          .threads = loader_threads(o.loader_threads),
          .seed = o.seed,
          .shuffle_buffer = o.data.shuffle_buffer,
          .layout = o.layout};
}

std::int64_t steps_of_epoch(const TrainOptions& o, std::int64_t images, bool whole_windows) {
  const std::int64_t batches = images / *o.batch_size;  // `drop_last`
  return (batches + (whole_windows ? 0 : o.accumulate - 1)) / o.accumulate;
}

Prepared prepare(const TrainOptions& options, const Checkpoint* resumed) {
  if (!options.model.architecture.empty()) check_architecture(options.model.architecture);
  TrainOptions o = options;
  // A run to be resumed has taken from the weights what it needs of them.
  const bool complete = o.resume && !o.model.architecture.empty() && o.model.image_size != 0 &&
                        o.interpolation && o.mean && o.std;
  std::optional<ModelFile> weights;
  if (!o.transfer.weights.empty() && !complete) {
    weights = load_starting_point(o);
    o = adopt(std::move(o), *weights);
  }
  Prepared p;
  p.data = resumed != nullptr ? open_data_again(o, *resumed) : open_data(sized_data(o));
  if (p.data.val == nullptr || p.data.val->size() == 0) {
    fail(ErrorCode::kBadData, "{}: there are no images to validate on; hold some out of training",
         o.data.source);
  }
  check_class_names(*p.data.train);
  if (weights) adopt_statistics(o, *weights, *p.data.train);
  // What is unset goes on as it was, though the recipe may choose otherwise by now.
  if (resumed != nullptr && !o.augmentation) o.augmentation = resumed->options.augmentation;
  p.options = resolve(std::move(o), p.data, p.notes);
  if (resumed == nullptr) {
    std::string weights_note =
        suggest_weights(p.options, *p.data.train, options.model.architecture);
    if (!weights_note.empty()) p.notes.push_back(std::move(weights_note));
  }
  if (weights && !options.resume) {
    p.loaded = fit_weights(*weights, p.options.model, p.data.train->class_names(), p.data.numbered);
    ModelFile taken;
    taken.weights = p.loaded->tensors;
    check_weights(taken, p.options.transfer.weights);
  }
  return p;
}

TrainingStep::TrainingStep(const TrainOptions& o, const Dataset& train,
                           std::int64_t steps_per_epoch)
    : o_(o),
      phases_(phases_of(o.transfer, o.model)),
      step_(transfer_options(o, steps_per_epoch, phases_)) {
  const std::vector<Graph> whole = graphs(network_of(o_.model, phases_[0].freeze_until));
  add_variables(whole);
  for (const Value v : whole[0].parameters()) {
    const Node& node = whole[0].node(v);
    if (std::get<ParameterAttributes>(node.attributes).init != Init::kWhitening) continue;
    variables_->assign(node.name, whitening_filters(o_, train, whole[0].shape(v)));
  }
  if (step_.class_weights) {
    const std::vector<float> weights = class_weights_of(o_, train);
    variables_->assign(kClassWeights, Tensor::from<float>({o_.model.classes}, std::span(weights)));
  }
  compile(whole);
}

std::vector<Graph> TrainingStep::graphs(const NetworkBuilder& network) const {
  const std::int64_t batch = *o_.batch_size;
  if (o_.accumulate == 1) return {training_graph(network, batch, step_)};
  return {accumulating_graph(network, batch, step_, o_.accumulate), applying_graph(network, step_)};
}

void TrainingStep::add_variables(const std::vector<Graph>& graphs) {
  Variables all = *variables_;  // shares the tensors that there are
  for (const Graph& graph : graphs) initialise(graph, all, o_.seed);
  for (const auto& [name, tensor] : all.all()) {
    if (!variables_->contains(name)) variables_->set(name, tensor.cast(variable_type(o_.device)));
  }
}

void TrainingStep::compile(const std::vector<Graph>& graphs) {
  const CompileOptions compile{.device = o_.device, .threads = o_.threads, .dtype = o_.dtype};
  network_.reset();  // frees its memory first
  apply_.reset();
  network_.emplace(graphs[0], variables_, compile, o_.layout);
  if (graphs.size() > 1) apply_.emplace(graphs[1], variables_, compile, o_.layout);
}

void TrainingStep::load(const std::map<std::string, Tensor>& tensors) {
  for (const auto& [name, tensor] : tensors) variables_->assign(name, tensor);
}

void TrainingStep::enter(std::size_t phase, std::int64_t number) {
  phase_ = phase;
  const std::vector<Graph> whole = graphs(network_of(o_.model, phases_[phase].freeze_until));
  std::vector<std::string> averages;
  for (const Graph& g : whole) {
    for (const Value v : g.parameters()) {
      const std::string& name = g.node(v).name;
      if (name.starts_with(kEmaPrefix) && !variables_->contains(name)) averages.push_back(name);
    }
  }
  add_variables(whole);
  // The average of what has not changed, before the correction for its start at 0.
  for (const std::string& name : averages) {
    Tensor t = variables_->at(name.substr(kEmaPrefix.size())).cast(DType::kF64).clone();
    const double weight = 1 - std::pow(o_.ema_decay, static_cast<double>(number));
    for (double& x : t.as<double>()) x *= weight;
    variables_->assign(name, t);
  }
  compile(whole);
}

void TrainingStep::use_features(bool features) {
  compile(
      graphs(features ? head_of(o_.model) : network_of(o_.model, phases_[phase_].freeze_until)));
}

void TrainingStep::begin(double lr, std::int64_t number, std::int64_t batches) {
  RESNET_CHECK(batches >= 1 && batches <= o_.accumulate);
  if (apply_) {
    network_->set_input(kWindowScale,
                        static_cast<double>(o_.accumulate) / static_cast<double>(batches));
  }
  updating().set_input("lr", lr);
  if (o_.optimizer.kind == Optimizer::kAdamW) {
    updating().set_input("step", static_cast<double>(number + 1));
  }
}

double TrainingStep::add(const Tensor& images, const Tensor& targets, std::uint64_t number) {
  network_->set_input("image", images);
  network_->set_input("targets", targets);
  network_->set_random(o_.seed, number);
  network_->run();
  return network_->scalar("loss");
}

bool TrainingStep::apply() {
  if (apply_) apply_->run();
  return updating().scalar("gradient_scale") != 0;
}

}  // namespace resnet

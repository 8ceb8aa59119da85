#include "train/training_step.h"

#include "train/evaluator.h"
#include "train/recipe.h"
#include "train/training_graph.h"

namespace resnet {

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

TrainingStep::TrainingStep(const TrainOptions& o, const Dataset& train)
    : seed_(o.seed), optimizer_(o.optimizer.kind) {
  const StepOptions step = step_options(o);
  const std::int64_t batch = *o.batch_size;
  const NetworkBuilder network = network_of(o.model);
  std::vector<Graph> graphs;
  if (o.accumulate == 1) {
    graphs.push_back(training_graph(network, batch, step));
  } else {
    graphs.push_back(accumulating_graph(network, batch, step, o.accumulate));
    graphs.push_back(applying_graph(network, step));
  }
  for (const Graph& graph : graphs) initialise(graph, *variables_, o.seed);
  const DType type = variable_type(o.device);
  if (type != DType::kF32) variables_ = std::make_shared<Variables>(variables_->cast(type));
  if (step.class_weights) {
    const std::vector<float> weights = class_weights_of(o, train);
    variables_->assign(kClassWeights, Tensor::from<float>({o.model.classes}, std::span(weights)));
  }
  const CompileOptions compile{.device = o.device, .threads = o.threads};
  network_.emplace(graphs[0], variables_, compile, o.layout);
  if (graphs.size() > 1) apply_.emplace(graphs[1], variables_, compile, o.layout);
}

void TrainingStep::begin(double lr, std::int64_t number) {
  updating().set_input("lr", lr);
  if (optimizer_ == Optimizer::kAdamW) {
    updating().set_input("step", static_cast<double>(number + 1));
  }
}

double TrainingStep::add(const Batch& batch, std::uint64_t number) {
  network_->set_input("image", batch.images);
  network_->set_input("targets", batch.targets);
  network_->set_random(seed_, number);
  network_->run();
  return network_->scalar("loss");
}

bool TrainingStep::apply() {
  if (apply_) apply_->run();
  return updating().scalar("gradient_scale") != 0;
}

}  // namespace resnet

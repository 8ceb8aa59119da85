// Training, evaluating and using image classifiers.
//
//     resnet::TrainOptions options;
//     options.data.source = "flowers/";
//     options.out = "runs/flowers";
//     resnet::TrainResult run = resnet::train(options);
//     resnet::ModelFile model = resnet::load_model(run.model);
//     for (const auto& p : resnet::predict(model, {"rose.jpg"})) use(p.classes.front());
//
// Every function throws resnet::Error with a one-line message. Distinct runs may be in distinct
// threads; they share the processors.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/data.h"
#include "resnet/error.h"
#include "resnet/graph.h"
#include "resnet/model_file.h"
#include "resnet/models.h"
#include "resnet/program.h"
#include "resnet/tensor.h"

namespace resnet {

// ----------------------------------------------------------------------------------------- options

enum class Optimizer : std::uint8_t {
  kSgd,    ///< with momentum, optionally Nesterov's (Sutskever et al. 2013)
  kAdamW,  ///< Loshchilov & Hutter 2019
  kLars,   ///< layer-wise rates for very large batches (You et al. 2017)
};

struct OptimizerOptions {
  Optimizer kind = Optimizer::kSgd;
  std::optional<double> lr = {};            ///< Peak learning rate. Unset: the recipe's.
  std::optional<double> weight_decay = {};  ///< Unset: the recipe's.
  double momentum = 0.9;                    ///< SGD, LARS.
  bool nesterov = true;                     ///< SGD.
  double beta1 = 0.9;                       ///< AdamW.
  double beta2 = 0.999;
  double eps = 1e-8;
  double trust = 0.001;  ///< LARS: trust coefficient.
  /// Decay biases and batch norm's γ and β too, as PyTorch does; false decays weights alone.
  bool decay_norm_and_bias = false;
  /// Learning rate of batch norm's β over that of the weights. Short trainings profit from a large
  /// one (64 in Jordan 2024).
  double norm_shift_lr_factor = 1;
  bool operator==(const OptimizerOptions&) const = default;
};

enum class Schedule : std::uint8_t {
  kConstant,
  kStep,       ///< times `gamma` every `step_epochs`
  kMultiStep,  ///< times `gamma` at each of `milestones`
  kCosine,     ///< half a cosine down to `final_factor` (Loshchilov & Hutter 2017)
  kOneCycle,   ///< up and down along cosines (Smith & Topin 2018); has a warm-up of its own
  kPoly,       ///< (1 - progress)^power
};

/// How the learning rate moves; it is set anew for every step. `lr` is the peak.
struct ScheduleOptions {
  std::optional<Schedule> kind = {};         ///< Unset: the recipe's.
  std::optional<double> warmup_epochs = {};  ///< Linear rise before it. Unset: the recipe's.
  double warmup_start = 0.01;                ///< First rate of the warm-up as a share of `lr`.
  double step_epochs = 30;
  double gamma = 0.1;
  std::vector<double> milestones = {};  ///< In epochs, rising.
  double final_factor = 0;              ///< Cosine: last rate as a share of `lr`.
  double rise = 0.3;                    ///< One-cycle: share of the steps that go up.
  double start_divisor = 25;            ///< One-cycle: first rate is lr / start_divisor.
  double end_divisor = 1e4;             ///< One-cycle: last is lr / start_divisor / end_divisor.
  double power = 2;                     ///< Poly.
  bool operator==(const ScheduleOptions&) const = default;
};

enum class ClassWeighting : std::uint8_t {
  kNone,
  kBalanced,  ///< images / (classes · images of the class), over the training part
  kGiven,     ///< `class_weights`
};

/// Starting from trained weights, and training a part of the network. docs/TRANSFER.md explains it.
/// Where the network is cut and what its head is, ModelConfig::splice and head_hidden say.
struct TransferOptions {
  /// A model file, the folder of a run, or another file that `import_model` reads. Architecture,
  /// image size, mean, std and interpolation are its own unless given. The head is kept when
  /// classes, splice and head_hidden are the same, else it starts anew. "": random weights.
  std::string weights = {};
  /// A layer, block or stage (`find_layer`): what its output depends on is neither trained nor does
  /// it change in any way; batch norms there use their running statistics. "": nothing is frozen.
  std::string freeze_until = {};
  /// Epochs (from 1, rising) at whose start the highest stage that is still frozen becomes trained,
  /// at the last of them all that is left.
  std::vector<int> unfreeze_at = {};
  /// The learning rate of the head is `lr`, that of the last stage lr times this, of the stage
  /// before lr times its square, and so on to the stem. 1: the same for all.
  double lr_decay_per_stage = 1;
  /// When all but the head is frozen and images are not augmented, what the head reads is
  /// computed once for all images.
  bool cache_features = true;
  bool operator==(const TransferOptions&) const = default;
};

/// Changes of an Augmentation: what is set here takes the place of the field of that name.
struct AugmentationChanges {
  std::optional<bool> random_resized_crop = {};
  std::optional<double> min_scale = {};
  std::optional<double> max_scale = {};
  std::optional<double> min_ratio = {};
  std::optional<double> max_ratio = {};
  std::optional<int> pad = {};
  std::optional<bool> reflect = {};
  std::optional<double> horizontal_flip = {};
  std::optional<bool> alternate_flip = {};
  std::optional<double> vertical_flip = {};
  std::optional<bool> quarter_turns = {};
  std::optional<double> rotation = {};
  std::optional<double> brightness = {};
  std::optional<double> contrast = {};
  std::optional<double> saturation = {};
  std::optional<double> hue = {};
  std::optional<int> randaugment = {};
  std::optional<int> randaugment_magnitude = {};
  std::optional<double> random_erasing = {};
  std::optional<bool> fast_decode = {};
  std::optional<double> mixup = {};
  std::optional<double> cutmix = {};
  bool operator==(const AugmentationChanges&) const = default;
};

/// `base` with the changes. `horizontal_flip` and `alternate_flip` exclude each other: if one alone
/// is switched on, the other is switched off.
Augmentation changed(Augmentation base, const AugmentationChanges& changes);

/// All of a run. What is unset is chosen by the recipe for the network and the data (`resolve`),
/// and config.json in the run's folder holds the outcome.
struct TrainOptions {
  DataSpec data;
  /// `classes`, `channels` and `image_size` follow from the data unless set: classes and channels
  /// always, the size when it is 0. An empty architecture takes resnet20 for images up to 96
  /// pixels and resnet18 for others.
  ModelConfig model{.architecture = "", .classes = 0, .channels = 0, .image_size = 0};

  TransferOptions transfer;

  int epochs = 10;
  std::optional<int> batch_size = {};  ///< Unset: 128, large images 32, little data less.
  /// Batches whose gradients are averaged for one step. An epoch's last step takes what is left of
  /// the batches, and averages over these.
  int accumulate = 1;
  OptimizerOptions optimizer;
  ScheduleOptions schedule;
  double clip_norm = 0;  ///< Largest global norm of the gradient; 0: no clipping.
  std::optional<double> label_smoothing = {};  ///< Unset: the recipe's.
  /// Decay of the average of the weights that is evaluated and kept in place of the weights;
  /// 0: none. The average is exact from the first step (corrected for its start at 0).
  double ema_decay = 0;
  int early_stop_patience = 0;  ///< Stop after that many epochs without a better top-1; 0: never.
  ClassWeighting class_weighting = ClassWeighting::kNone;
  std::vector<double> class_weights =
      {};  ///< One a class, for `kGiven`. A batch without any: loss 0.

  std::optional<Augmentation> augmentation = {};  ///< Unset: the recipe's.
  AugmentationChanges augmentation_changes =
      {};  ///< Of it, or of the recipe's; `resolve` does them.
  /// Of the pixel values in 0 … 1. Unset: measured on a sample of the training images.
  std::optional<std::array<float, 3>> mean = {};
  std::optional<std::array<float, 3>> std = {};
  /// Of the resize to the network's input. Unset: bilinear, or that of the weights.
  std::optional<Interpolation> interpolation = {};
  /// How 16-bit grey files are read. Unset: clipped, or as the weights do.
  std::optional<Scale16Bit> scale_16bit = {};
  /// Validate on the mean of the predictions for evaluation_views(1, val_flip, val_shift).
  bool val_flip = false;
  int val_shift = 0;
  double max_bad_fraction = 0.1;  ///< More unreadable images than this share end the run.

  std::uint64_t seed = 0;  ///< Of the weights, the order, the augmentation and dropout.
  Device device = Device::kCpu;
  DType dtype = DType::kF32;              ///< Of activations, f32 or bf16 (CompileOptions::dtype).
  DataLayout layout = DataLayout::kNCHW;  ///< Of the batches that the loader makes.
  int threads = 0;                        ///< Of the network; 0: all processors.
  int loader_threads = 0;                 ///< 0: half the processors, at least one.

  std::filesystem::path out;  ///< Folder of the run; created.
  bool overwrite = false;     ///< Replace a run that `out` holds already.
  bool resume = false;        ///< Continue from the last checkpoint in `out`.
  int save_every = 0;         ///< Keep a checkpoint every that many epochs; 0: last and best only.
  double checkpoint_minutes = 10;  ///< Save in the middle of an epoch that often; 0: never.
  int checkpoint_steps = 0;        ///< The same by steps; 0: never.
};

/// Options by name, to be changed at will: "cifar-fast" takes CIFAR-10 to 94 % in the least time
/// (docs/PERFORMANCE.md). Throws kInvalidArgument with the nearest name.
TrainOptions recipe(std::string_view name);
std::vector<std::string_view> recipes();

std::string_view name_of(Optimizer optimizer);  ///< "sgd", "adamw", "lars"
std::string_view name_of(Schedule schedule);    ///< "constant", "step", …, "onecycle", "poly"
std::string_view name_of(ClassWeighting weighting);  ///< "none", "balanced", "given"
/// These throw kInvalidArgument with the nearest name.
Optimizer parse_optimizer(std::string_view name);
Schedule parse_schedule(std::string_view name);
/// "sorted", "natural".
ClassOrder parse_class_order(std::string_view name);

/// The options as a JSON object: config.json. What is unset is left out; `resume` and
/// `overwrite` always are.
std::string to_json(const TrainOptions& options);
/// `base` with what the JSON object names replaced. `augmentation` may be a preset's name, or an
/// object of the fields to change, on top of the one named by its key `preset` if there is one.
/// Throws kInvalidArgument: not JSON, a key nobody knows (with the nearest one), a value of the
/// wrong kind.
TrainOptions train_options_from_json(std::string_view text, TrainOptions base = {});

/// Fills what is unset for this data: network, size, batch, optimizer, schedule, augmentation,
/// mean and std. Throws kInvalidArgument where options contradict each other or the data.
TrainOptions resolve(TrainOptions options, const DataSplits& data);

/// The options of the last checkpoint in the folder of a run, with `resume` set and `out` there.
/// Data that has moved since is given anew, as `data.source`; `train` checks that it fits.
TrainOptions resume_options(const std::filesystem::path& run);

// ---------------------------------------------------------------------------------------- progress

/// What a run is going to do.
struct RunInfo {
  TrainOptions options;     ///< Resolved.
  std::string description;  ///< Of the data.
  std::vector<std::string> class_names;
  std::int64_t train_images = 0;
  std::int64_t val_images = 0;
  std::int64_t parameters = 0;  ///< Weights, biases, γ and β of the network.
  std::int64_t frozen = 0;      ///< Those of them that the first epoch does not train.
  /// A line each: which weights the run starts from, what is frozen and until when.
  std::vector<std::string> notes;
  std::int64_t steps_per_epoch = 0;
  std::int64_t first_step = 0;   ///< Above 0 when resumed.
  std::size_t memory_bytes = 0;  ///< Planned for activations, weights and optimizer.
};

/// After a step of training, or a batch of validation.
struct Progress {
  bool validating = false;
  bool caching = false;  ///< What the head reads is being computed (TransferOptions).
  int epoch = 0;         ///< From 1.
  int epochs = 0;
  std::int64_t step = 0;   ///< In this epoch, from 1.
  std::int64_t steps = 0;  ///< In an epoch.
  double loss = 0;         ///< Mean over the epoch so far.
  double accuracy = 0;     ///< The same, top-1.
  double lr = 0;
  double images_per_second = 0;  ///< Of the epoch so far.
  double eta_seconds = 0;        ///< To the end of the run.
  double data_wait_share = 0;    ///< Of the time of the epoch so far, waiting for images.
};

/// How well a model predicts a data set.
struct EvalResult {
  double top1 = 0;  ///< Shares of `images` in 0 … 1.
  double top5 = 0;
  double loss = 0;  ///< Mean cross-entropy, without smoothing or class weights.
  std::int64_t images = 0;
  std::vector<std::string> class_names;
  std::vector<std::int64_t> confusion;  ///< [classes, classes]: rows are true, columns predicted.
  std::vector<BadImage> skipped;        ///< Could not be read, not counted.
  double seconds = 0;
};
/// One JSON object: top1, top5, loss, images, skipped, seconds, classes (recall and precision).
std::string to_json(const EvalResult& result);

struct EpochResult {
  int epoch = 0;  ///< From 1.
  int epochs = 0;
  double train_loss = 0;
  double train_accuracy = 0;
  EvalResult val;
  double lr = 0;  ///< Of the last step.
  double images_per_second = 0;
  double data_wait_share = 0;
  double seconds = 0;
  bool best = false;  ///< The best so far: model.safetensors holds it.
};

/// Called from the thread that trains. Any may be empty.
struct Observer {
  std::function<void(const RunInfo&)> started;
  std::function<void(const Progress&)> progress;
  std::function<void(const EpochResult&)> epoch;
  std::function<void(const std::string&)> warning;  ///< One line.
  /// Set it, e.g. from a signal handler, and the run saves a checkpoint after the current step and
  /// returns.
  const std::atomic<bool>* stop = nullptr;
};

// ------------------------------------------------------------------------------------------- calls

struct TrainResult {
  std::filesystem::path model;   ///< The best model; empty if no epoch was finished.
  int epochs = 0;                ///< Finished ones, those before a resume included.
  int best_epoch = 0;            ///< From 1.
  EvalResult best;               ///< On the val part.
  double images_per_second = 0;  ///< Of training, over this call.
  double data_wait_share = 0;
  double seconds = 0;
  bool interrupted = false;       ///< By Observer::stop; `resume` continues.
  bool stopped_early = false;     ///< `early_stop_patience` ran out.
  std::vector<BadImage> skipped;  ///< Training images that could not be read.
};

/// Trains a network and fills the folder `options.out`:
///   model.safetensors   the best model by top-1 on the val part, complete in itself
///   last.safetensors    everything to go on from: `resume` continues bit for bit
///   epoch-0010.safetensors …  the same every `save_every` epochs
///   config.json metrics.csv confusion.csv confusion.png events.out.tfevents.*
/// Every file is either the old or the complete new one whenever the process dies.
/// Throws kNumeric when loss or gradients stop being finite, naming the layer, with the last good
/// checkpoint left as it is; kIo when the disk is full, likewise; kInvalidArgument, kBadData and
/// kNotFound for options and data.
TrainResult train(const TrainOptions& options, const Observer& observer = {});

/// A learning-rate range test (Smith 2017, "Cyclical Learning Rates for Training Neural Networks").
struct LrFinderOptions {
  std::optional<double> min_lr = {};  ///< Unset: a thousandth of the run's own rate.
  std::optional<double> max_lr = {};  ///< Unset: a hundred times the run's own rate.
  int steps = 100;         ///< At least 10; the rate rises from step to step by the same factor.
  double smoothing = 0.9;  ///< Decay of the average of the losses, which is exact from the start.
  double diverged = 4;     ///< Ends when the average exceeds its least value that many times.
};

struct LrFinderResult {
  std::vector<double> lr, loss, smoothed;  ///< Of each step that was done.
  double own = 0;                          ///< The run's own rate: the recipe's, or the one given.
  /// The loss is averaged over a tenth of the steps, as many after as before. Where it is least, up
  /// to where it is back where it began. Unset where it never fell by more than chance.
  std::optional<double> least;
  /// The last rate before the loss is back where it began. Unset where it never came back.
  std::optional<double> highest;
  /// Half of `own`, or three times `highest` where that is lower: of the rules tried, the one that
  /// came near the best rate of a scan on every set (docs/DEFAULTS.md). Unset where the loss never
  /// fell.
  std::optional<double> suggestion;
  bool diverged = false;
  bool interrupted = false;       ///< By Observer::stop.
  std::vector<BadImage> skipped;  ///< Images that could not be read.
};

/// Trains a network, fresh or from `transfer.weights`, for a few steps with a rising rate. Nothing
/// is written. Takes the options of `train` and heeds those that shape a step: data, network,
/// batch, optimizer, loss. Throws as `train` does; a loss that stops being finite ends the test and
/// is no error.
LrFinderResult find_learning_rate(const TrainOptions& options, const LrFinderOptions& finder = {},
                                  const Observer& observer = {});

/// What a model said of one labelled image.
struct LabelledPrediction {
  std::int64_t index = 0;  ///< Into the data set.
  int label = 0;
  int prediction = 0;  ///< The most probable class.
  double probability = 0;
};

struct EvalOptions {
  int batch_size = 32;  ///< Rows of the network's input: images times views.
  Device device = Device::kCpu;
  DType dtype = DType::kF32;  ///< Of activations, f32 or bf16 (CompileOptions::dtype).
  int threads = 0;
  int loader_threads = 0;
  double max_bad_fraction = 0.1;
  /// Several views of each image, e.g. evaluation_views(10): the softmax probabilities of all are
  /// averaged (He et al., 2016, and torchvision's TenCrop).
  std::vector<View> views = {View{}};
  /// Sides of the network's input, e.g. {224, 256, 288}, over which probabilities are averaged,
  /// too. The resize before the crop keeps its proportion to the side, or is the side where the
  /// model does not resize. Empty: the model's own. A program is compiled for each.
  std::vector<int> scales = {};
  std::function<void(std::int64_t done, std::int64_t images)> progress = {};
  std::function<void(const LabelledPrediction&)> each =
      {};  ///< `evaluate`: every readable image, in order.
  /// Told in one line each what is odd about the images: 16-bit values that were clipped, another
  /// size or sharpness than those of training.
  std::function<void(const std::string&)> note = {};
  const std::atomic<bool>* stop = nullptr;  ///< Ends with kInterrupted.
};

/// Evaluates a model. Labels of the data must be in the order of the model's classes
/// (`open_test_data` sees to it).
EvalResult evaluate(const ModelFile& model, const DatasetPtr& data,
                    const EvalOptions& options = {});
/// The same on what `open_test_data` finds.
EvalResult evaluate(const ModelFile& model, const DataSpec& data, const EvalOptions& options = {});

struct ClassScore {
  int index = 0;
  std::string name;
  double probability = 0;
};
struct Prediction {
  std::filesystem::path path;
  std::vector<ClassScore> classes;  ///< Most probable first; empty if the image is unreadable.
  std::string error;                ///< Why it is.
};

/// The `top` most probable classes of each image, in the order of `paths`; folders are searched
/// (`list_images`). A pipe is read as an image. `each`, if given, sees every prediction as soon
/// as it is made. A path that does not exist, or a folder that cannot be listed, has a prediction
/// with `error` in its place; throws kNotFound or kIo if there is no other path.
std::vector<Prediction> predict(const ModelFile& model,
                                const std::vector<std::filesystem::path>& paths, int top = 5,
                                const EvalOptions& options = {},
                                const std::function<void(const Prediction&)>& each = {});

struct EmbedOptions {
  /// A layer, block or stage by its name ("layer3", "layer4.1.conv2", "fc"; `summarise` lists the
  /// layers). "": what the head reads, in most networks the average of the last stage.
  std::string layer = {};
  bool pool = true;  ///< Average [n, c, h, w] over the image; false: keep it as it is.
  EvalOptions eval = {};
};

/// What a layer says about images.
struct Embeddings {
  Tensor features;                 ///< f32 [images, features], unpooled [images, c, h, w]
  std::vector<std::string> names;  ///< Of the images: a row each.
  std::vector<int> labels;         ///< Of a data set with labels; else empty.
  std::vector<BadImage> skipped;   ///< Could not be read: no row.
};

/// Features of images, in the order of `paths` (folders as in `predict`). Throws kNotFound for a
/// path that does not exist, kInvalidArgument for an unknown layer, with the nearest name, kBadData
/// when not one image can be read.
Embeddings embed(const ModelFile& model, const std::vector<std::filesystem::path>& paths,
                 const EmbedOptions& options = {});
/// The same of a data set, whose classes need not be the model's.
Embeddings embed(const ModelFile& model, const DatasetPtr& data, const EmbedOptions& options = {});

// ------------------------------------------------------------------------- for loops of your own

/// What one step of training does after the network.
struct StepOptions {
  OptimizerOptions optimizer;  ///< Its `lr` is not used: the rate is an input.
  double label_smoothing = 0;
  bool class_weights = false;  ///< The loss reads the variable "loss.class_weights" [classes].
  double clip_norm = 0;        ///< 0: no clipping.
  double ema_decay = 0;        ///< 0: no average.
  /// Factor of the learning rate of a weight, by its name; empty: 1 for all.
  std::function<double(const std::string&)> lr_factor = {};
  /// AdamW: how many steps were done before a weight was trained, by its name; empty: 0 for all.
  std::function<std::int64_t(const std::string&)> steps_before = {};
};

/// Makes a network a step of training: appends to a graph of Mode::kTraining the loss of `logits`
/// [n, classes] against a new input "targets" [n, classes], the gradients, and the updates of
/// everything trainable. New inputs: "lr" [1], and for AdamW "step" [1], which counts from 1. New
/// outputs: "loss", "logits" and "gradient_scale", which is 0 when loss or gradients are not
/// finite; then nothing was updated. Optimizer state lies in variables "optimizer.<kind>.<weight>",
/// the average of everything that a step changes in "ema.<weight>". examples/custom_network.cpp
/// uses it.
void add_training_step(Graph& graph, Value logits, const StepOptions& options);

/// The rate for a step (from 0) of a run. A pure function.
double learning_rate(const ScheduleOptions& schedule, double lr, std::int64_t step,
                     std::int64_t steps_per_epoch, int epochs);

}  // namespace resnet

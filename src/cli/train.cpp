// resnet train
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/train_flags.h"
#include "cli/values.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json_line.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

using Flags = TrainFlags;

// A flag with a value of type T whose effect on the options is `apply(options, value)`.
template <class T, class Apply>
CLI::Option* flag(CLI::App* app, Flags& flags, const std::string& name, const std::string& help,
                  Apply apply) {
  return app->add_option_function<T>(
      name,
      [&flags, apply](const T& value) {
        flags.edits.push_back([apply, value](TrainOptions& o) { apply(o, value); });
      },
      help);
}

template <class Apply>
CLI::Option* toggle(CLI::App* app, Flags& flags, const std::string& name, const std::string& help,
                    Apply apply) {
  return app->add_flag_callback(
      name, [&flags, apply] { flags.edits.push_back([apply](TrainOptions& o) { apply(o); }); },
      help);
}

// "1 epoch", "2 epochs"
std::string counted(std::int64_t n, const std::string& what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

}  // namespace

void add_data_flags(CLI::App* app, Flags& f) {
  const std::string group = "Data";
  app->add_option(
         "DATA", f.data,
         "A folder of images (one folder a class, or train/ and val/ of those), a .csv of path, "
         "label and split, WebDataset shards (folder, .tar, train-{0000..0147}.tar), CIFAR in "
         "binary form (folder or .tar.gz), a folder of IDX files, MedMNIST's .npz, HDF5, or "
         "galaxies, which may say galaxies:train=N,val=N,size=PIXELS,seed=N, or a data set known "
         "by name (resnet data list)")
      ->group(group);
  toggle(app, f, "--download", "Fetch DATA known by name that is not in the cache",
         [](TrainOptions& o) { o.data.download = true; })
      ->group(group);
  flag<std::string>(app, f, "--cache",
                    "Folder for what is fetched; default: $RESNET_CACHE, else ~/.cache/resnet",
                    [](TrainOptions& o, const std::string& v) { o.data.cache = v; })
      ->group(group);
  flag<double>(app, f, "--val-fraction", "Share held out for validation if the data has no val/",
               [](TrainOptions& o, double v) { o.data.val_fraction = v; })
      ->group(group);
  flag<std::string>(
      app, f, "--class-order",
      "Of classes known by name: sorted, as ImageFolder (0, 1, 10, 2), or natural "
      "(0, 1, 2, 10); default: sorted",
      [](TrainOptions& o, const std::string& v) { o.data.class_order = parse_class_order(v); })
      ->group(group);
  flag<std::int64_t>(app, f, "--shuffle-buffer",
                     "Of data in shards: images among which the next one is drawn; 0: all",
                     [](TrainOptions& o, std::int64_t v) { o.data.shuffle_buffer = v; })
      ->group(group);
  flag<int>(app, f, "--per-class", "Training images of each class to use; default: all",
            [](TrainOptions& o, int v) { o.data.per_class = v; })
      ->group(group);
  flag<std::int64_t>(app, f, "--image-size", "Side of the images the network sees, in pixels",
                     [](TrainOptions& o, std::int64_t v) { o.model.image_size = v; })
      ->group(group);
  toggle(app, f, "--val-flip", "Validate on the mean of each image's prediction and its mirror's",
         [](TrainOptions& o) { o.val_flip = true; })
      ->group(group);
  flag<int>(app, f, "--val-shift", "Validate on each image moved by so many pixels and back, too",
            [](TrainOptions& o, int v) { o.val_shift = v; })
      ->group(group);
  const auto colour = [&](const std::string& name, auto member) {
    flag<std::string>(
        app, f, name, "Of values in 0 … 1: R,G,B, or one for all; default: measured",
        [member](TrainOptions& o, const std::string& list) { o.*member = per_channel(list); })
        ->group(group);
  };
  colour("--mean", &TrainOptions::mean);
  colour("--std", &TrainOptions::std);
  flag<std::string>(
      app, f, "--interpolation", "Of resizing: nearest, bilinear or bicubic; default: bilinear",
      [](TrainOptions& o, const std::string& v) { o.interpolation = parse_interpolation(v); })
      ->group(group);
  flag<std::string>(
      app, f, "--scale-16bit",
      "How 16-bit grey images become 8-bit, kept in the model: clip (as Pillow and torchvision: "
      "above 255 is white), high-byte (the whole range), 10bit, 12bit, 14bit, range (each image's "
      "own), percentile (99.5 % of it) or asinh (as FITS); default: clip",
      [](TrainOptions& o, const std::string& v) { o.scale_16bit = parse_scale_16bit(v); })
      ->group(group);
  flag<double>(app, f, "--max-bad", "End when more than this share of images is unreadable",
               [](TrainOptions& o, double v) { o.max_bad_fraction = v; })
      ->group(group);
}

// Each changes the preset, whatever their order; a group of their own in the help.
void add_augmentation_flags(CLI::App* app, Flags& f) {
  const std::string group = "Augmentation";
  app->add_option_function<std::string>(
         "--augment",
         [&f](const std::string& v) {
           f.edits.insert(f.edits.begin(), [v](TrainOptions& o) {
             o.augmentation = augmentation_preset(v);
             o.augmentation_changes = {};
           });
         },
         "none, cifar, imagenet or galaxy, to be changed by the flags below; default: by data and "
         "epochs")
      ->group(group);
  using Changes = AugmentationChanges;
  const auto number = [&](const std::string& name, const std::string& help, auto member) {
    flag<double>(app, f, name, help, [member](TrainOptions& o, double v) {
      o.augmentation_changes.*member = v;
    })->group(group);
  };
  number("--hflip", "Probability of a horizontal flip", &Changes::horizontal_flip);
  toggle(app, f, "--alternate-flip", "Mirror each image in every second epoch, in place of --hflip",
         [](TrainOptions& o) { o.augmentation_changes.alternate_flip = true; })
      ->group(group);
  number("--vflip", "Probability of a vertical flip", &Changes::vertical_flip);
  number("--rotate", "Largest rotation, in degrees", &Changes::rotation);
  flag<std::string>(
      app, f, "--color-jitter",
      "Brightness, contrast, saturation and, if given, hue; one number: the first three",
      [](TrainOptions& o, const std::string& list) {
        const std::vector<double> v = numbers(list);
        AugmentationChanges& a = o.augmentation_changes;
        a.brightness = v.front();
        a.contrast = v.size() > 1 ? v[1] : v.front();
        a.saturation = v.size() > 2 ? v[2] : v.front();
        a.hue = v.size() > 3 ? v[3] : 0;
      })
      ->group(group);
  flag<int>(app, f, "--randaugment", "Operations of RandAugment on each image",
            [](TrainOptions& o, int v) { o.augmentation_changes.randaugment = v; })
      ->group(group);
  number("--random-erasing", "Probability of erasing a rectangle", &Changes::random_erasing);
  number("--mixup", "Beta parameter of mixup", &Changes::mixup);
  number("--cutmix", "Beta parameter of CutMix", &Changes::cutmix);
  toggle(app, f, "--fast-decode", "Decode large JPEGs at 1/2, 1/4 or 1/8 of their size",
         [](TrainOptions& o) { o.augmentation_changes.fast_decode = true; })
      ->group(group);
}

void add_network_flags(CLI::App* app, Flags& f) {
  const std::string group = "Network";
  flag<std::string>(app, f, "--arch", "Architecture: resnet18, resnet50v2, resnet56, plain20, …",
                    [](TrainOptions& o, const std::string& v) { o.model.architecture = v; })
      ->group(group);
  flag<std::string>(
      app, f, "--shortcut", "A, B, C or none (He et al. 2016)",
      [](TrainOptions& o, const std::string& v) { o.model.shortcut = parse_shortcut(v); })
      ->group(group);
  flag<int>(app, f, "--layers-per-skip", "Layers that a skip jumps over",
            [](TrainOptions& o, int v) { o.model.layers_per_skip = v; })
      ->group(group);
  toggle(app, f, "--stride-on-first-1x1", "Bottlenecks with the paper's stride",
         [](TrainOptions& o) { o.model.stride_on_first_1x1 = true; })
      ->group(group);
  toggle(app, f, "--zero-gamma", "Start the last γ of each block at 0", [](TrainOptions& o) {
    o.model.zero_gamma = true;
  })->group(group);
  flag<double>(app, f, "--dropout", "Before the last layer", [](TrainOptions& o, double v) {
    o.model.dropout = v;
  })->group(group);
}

void add_transfer_flags(CLI::App* app, Flags& f) {
  const std::string group = "Transfer";
  flag<std::string>(app, f, "--weights",
                    "Start from these: a model file, the folder of a run, or weights of PyTorch, "
                    "timm or ONNX; the network and the preprocessing are theirs",
                    [](TrainOptions& o, const std::string& v) { o.transfer.weights = v; })
      ->group(group);
  flag<std::string>(app, f, "--splice",
                    "Cut the network after this layer, block or stage (layer2, layer3.1, "
                    "layer3.0.conv1) and put a new head there; resnet summary lists the layers",
                    [](TrainOptions& o, const std::string& v) { o.model.splice = v; })
      ->group(group);
  flag<std::int64_t>(app, f, "--head-hidden",
                     "Units of a hidden layer in the head, with ReLU and --dropout; default: none",
                     [](TrainOptions& o, std::int64_t v) { o.model.head_hidden = v; })
      ->group(group);
  flag<std::string>(app, f, "--freeze-until",
                    "Leave all up to this layer as it is, batch norm's statistics included; "
                    "avgpool: all but the head",
                    [](TrainOptions& o, const std::string& v) { o.transfer.freeze_until = v; })
      ->group(group);
  flag<std::string>(
      app, f, "--unfreeze-at",
      "Epoch from which all is trained; several, with commas: one stage more each, from the top",
      [](TrainOptions& o, const std::string& list) {
        o.transfer.unfreeze_at = whole_numbers(list);
      })
      ->group(group);
  flag<double>(app, f, "--lr-decay-per-stage",
               "The learning rate of a stage is that of the stage above times this (1)",
               [](TrainOptions& o, double v) { o.transfer.lr_decay_per_stage = v; })
      ->group(group);
  toggle(app, f, "--no-cache-features",
         "Compute what the head reads in every epoch, even if it is the same",
         [](TrainOptions& o) { o.transfer.cache_features = false; })
      ->group(group);
}

void add_step_flags(CLI::App* app, Flags& f) {
  const std::string group = "Training";
  const auto real = [&](const std::string& name, const std::string& help, auto apply) {
    flag<double>(app, f, name, help, apply)->group(group);
  };
  const auto whole = [&](const std::string& name, const std::string& help, auto apply) {
    flag<int>(app, f, name, help, apply)->group(group);
  };
  whole("--batch-size", "Images a step; default: by the size of the images",
        [](TrainOptions& o, int v) { o.batch_size = v; });
  whole("--accumulate",
        "Batches whose gradients make one step; an epoch's last step takes what is left",
        [](TrainOptions& o, int v) { o.accumulate = v; });
  flag<std::string>(
      app, f, "--optimizer", "sgd, adamw or lars",
      [](TrainOptions& o, const std::string& v) { o.optimizer.kind = parse_optimizer(v); })
      ->group(group);
  real("--momentum", "Of SGD and LARS (0.9)",
       [](TrainOptions& o, double v) { o.optimizer.momentum = v; });
  toggle(app, f, "--no-nesterov", "Plain momentum", [](TrainOptions& o) {
    o.optimizer.nesterov = false;
  })->group(group);
  real("--weight-decay", "Default: the recipe's",
       [](TrainOptions& o, double v) { o.optimizer.weight_decay = v; });
  toggle(app, f, "--decay-norm-and-bias", "Decay batch norm and biases too", [](TrainOptions& o) {
    o.optimizer.decay_norm_and_bias = true;
  })->group(group);
  real("--norm-shift-lr", "Learning rate of batch norm's β over that of the weights (1)",
       [](TrainOptions& o, double v) { o.optimizer.norm_shift_lr_factor = v; });
  real("--label-smoothing", "Default: the recipe's",
       [](TrainOptions& o, double v) { o.label_smoothing = v; });
  real("--clip-norm", "Largest global norm of the gradient",
       [](TrainOptions& o, double v) { o.clip_norm = v; });
  flag<std::string>(app, f, "--class-weights", "none, balanced, or a number for each class",
                    [](TrainOptions& o, const std::string& v) {
                      if (v == "none" || v == "balanced") {
                        o.class_weighting =
                            v == "none" ? ClassWeighting::kNone : ClassWeighting::kBalanced;
                        return;
                      }
                      o.class_weighting = ClassWeighting::kGiven;
                      o.class_weights = numbers(v);
                    })
      ->group(group);
}

void add_machine_flags(CLI::App* app, Flags& f) {
  const std::string group = "Run";
  flag<std::uint64_t>(app, f, "--seed", "Of weights, order, augmentation, split and galaxies (0)",
                      [](TrainOptions& o, std::uint64_t v) { o.seed = o.data.seed = v; })
      ->group(group);
  flag<int>(app, f, "--threads", "Of the network; default: all processors",
            [](TrainOptions& o, int v) { o.threads = v; })
      ->group(group);
  flag<int>(app, f, "--loader-threads", "Of the loader; default: half the processors",
            [](TrainOptions& o, int v) { o.loader_threads = v; })
      ->group(group);
  flag<std::string>(app, f, "--device", "cpu or reference (slow, double precision)",
                    [](TrainOptions& o, const std::string& v) {
                      o.device = v == "cpu" ? Device::kCpu : Device::kReference;
                    })
      ->group(group);
  flag<std::string>(app, f, "--dtype",
                    "Of activations: f32, or bf16, mixed precision with f32 weights (f32)",
                    [](TrainOptions& o, const std::string& v) {
                      o.dtype = v == "f32" ? DType::kF32 : DType::kBF16;
                    })
      ->group(group);
  flag<std::string>(app, f, "--layout", "Of the batches: nchw or nhwc",
                    [](TrainOptions& o, const std::string& v) {
                      o.layout = v == "nchw" ? DataLayout::kNCHW : DataLayout::kNHWC;
                    })
      ->group(group);
}

TrainOptions read_config(const std::string& path) {
  const std::string text = read_text_file(path, 1 << 20);
  try {
    return train_options_from_json(text);
  } catch (const Error& error) {
    fail(error.code(), "{}: {}", path, error.what());
  }
}

void print_skipped(const std::vector<BadImage>& skipped) {
  if (skipped.empty()) return;
  ProgressLine line;
  constexpr std::size_t kShown = 20;
  line.print(fmt::format("{} could not be read and {} skipped:",
                         counted(static_cast<std::int64_t>(skipped.size()), "image"),
                         skipped.size() == 1 ? "was" : "were"));
  for (std::size_t i = 0; i < std::min(kShown, skipped.size()); ++i) {
    line.print(fmt::format("  {}: {}", skipped[i].name, skipped[i].reason));
  }
  if (skipped.size() > kShown) {
    line.print(fmt::format("  and {} more; resnet data check lists them", skipped.size() - kShown));
  }
}

namespace {

void add_training_flags(CLI::App* app, Flags& f) {
  const std::string group = "Training";
  const auto real = [&](const std::string& name, const std::string& help, auto apply) {
    flag<double>(app, f, name, help, apply)->group(group);
  };
  const auto whole = [&](const std::string& name, const std::string& help, auto apply) {
    flag<int>(app, f, name, help, apply)->group(group);
  };
  whole("--epochs", "Passes over the training images (10)",
        [](TrainOptions& o, int v) { o.epochs = v; });
  real("--lr", "Highest learning rate; default: the recipe's",
       [](TrainOptions& o, double v) { o.optimizer.lr = v; });
  flag<std::string>(
      app, f, "--schedule", "constant, step, multistep, cosine, onecycle or poly",
      [](TrainOptions& o, const std::string& v) { o.schedule.kind = parse_schedule(v); })
      ->group(group);
  real("--warmup", "Epochs of rising learning rate",
       [](TrainOptions& o, double v) { o.schedule.warmup_epochs = v; });
  real("--step-epochs", "Step schedule: epochs between drops",
       [](TrainOptions& o, double v) { o.schedule.step_epochs = v; });
  flag<std::string>(
      app, f, "--milestones", "Multistep schedule: epochs of the drops",
      [](TrainOptions& o, const std::string& list) { o.schedule.milestones = numbers(list); })
      ->group(group);
  real("--gamma", "Step schedules: factor of a drop",
       [](TrainOptions& o, double v) { o.schedule.gamma = v; });
  real("--ema", "Decay of an average of the weights that is evaluated and kept",
       [](TrainOptions& o, double v) { o.ema_decay = v; });
  whole("--early-stop", "End after that many epochs without a better top-1",
        [](TrainOptions& o, int v) { o.early_stop_patience = v; });
}

void add_run_flags(CLI::App* app, Flags& f) {
  const std::string group = "Run";
  flag<std::string>(app, f, "--out", "Folder of the run; default: a new one below runs/",
                    [&f](TrainOptions& o, const std::string& v) {
                      o.out = v;
                      f.out_given = true;
                    })
      ->group(group);
  CLI::Option* recipe = app->add_option(
      "--recipe", f.recipe,
      "Options by name: cifar-fast (CIFAR-10 to 94 % in the least time); flags override them");
  recipe->group(group);
  CLI::Option* config =
      app->add_option("--config", f.config,
                      "Options from a file such as the config.json of a run; flags override it")
          ->excludes(recipe)
          ->group(group);
  app->add_option("--resume", f.resume_from,
                  "Continue the run in this folder where it stopped; DATA: where its data is now")
      ->excludes(config)
      ->excludes(recipe)
      ->group(group);
  toggle(app, f, "--overwrite", "Replace a run that is in --out", [](TrainOptions& o) {
    o.overwrite = true;
  })->group(group);
  flag<int>(app, f, "--save-every", "Keep a checkpoint every that many epochs",
            [](TrainOptions& o, int v) { o.save_every = v; })
      ->group(group);
  flag<double>(app, f, "--checkpoint-minutes", "Save in the middle of an epoch that often (10)",
               [](TrainOptions& o, double v) { o.checkpoint_minutes = v; })
      ->group(group);
  add_json(*app, f.json, "Print the result as one JSON object")->group(group);
}

// `path`, or path-2, path-3, … if there is one already.
std::filesystem::path unused(const std::filesystem::path& path) {
  std::filesystem::path free = path;
  for (int i = 2; std::filesystem::exists(free); ++i) free = fmt::format("{}-{}", path.string(), i);
  return free;
}

// runs/flowers-resnet18
std::filesystem::path default_folder(const TrainOptions& o) {
  namespace fs = std::filesystem;
  std::string stem = o.data.source.substr(0, o.data.source.find(':'));
  while (stem.size() > 1 && stem.back() == '/') stem.pop_back();
  stem = fs::path(stem).filename().string();
  stem = stem.substr(0, stem.find('.'));
  if (stem.empty()) stem = "run";
  constexpr std::size_t kLongest = 100;  // names have to stay within 255 bytes
  if (stem.size() > kLongest) {
    std::size_t end = kLongest;
    while (end > 0 && (static_cast<unsigned char>(stem[end]) & 0xc0U) == 0x80U) --end;  // UTF-8
    stem.resize(end);
  }
  if (!o.model.architecture.empty()) stem += "-" + o.model.architecture;
  return fs::path("runs") / stem;
}

TrainOptions read_run(const std::string& folder) {
  const auto last = std::filesystem::path(folder) / "last.safetensors";
  std::error_code error;
  if (!std::filesystem::exists(last, error)) {
    fail(ErrorCode::kNotFound,
         "{}: no last.safetensors to continue from; give the folder of a run that has saved one",
         folder);
  }
  return resume_options(folder);
}

TrainOptions options_of(const Flags& f) {
  TrainOptions o;
  std::filesystem::path of_config;
  if (!f.resume_from.empty()) {
    o = read_run(f.resume_from);
  } else if (!f.recipe.empty()) {
    o = recipe(f.recipe);
  } else if (!f.config.empty()) {
    o = read_config(f.config);
    of_config = o.out;
  }
  for (const auto& edit : f.edits) edit(o);
  if (!f.data.empty()) o.data.source = f.data;
  if (o.data.source.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "train needs data: a folder of images, CIFAR in binary form, or galaxies "
         "(see resnet train --help)");
  }
  if (o.out.empty()) o.out = unused(default_folder(o));
  // Repeating a run does not replace it.
  if (!of_config.empty() && o.out == of_config && !f.out_given && !o.overwrite) {
    o.out = unused(o.out);
  }
  return o;
}

// What the run is, before it starts.
void print_start(ProgressLine& line, const RunInfo& info) {
  const TrainOptions& o = info.options;
  line.note(info.description);
  line.note(
      fmt::format("{} ({} parameters), images {}x{}, batch {}, {} for {}, peak learning rate {:g}",
                  o.model.architecture, format_count(static_cast<double>(info.parameters)),
                  o.model.image_size, o.model.image_size, *o.batch_size, name_of(o.optimizer.kind),
                  counted(o.epochs, "epoch"), *o.optimizer.lr));
  for (const std::string& note : info.notes) line.note(note);
  line.note(
      fmt::format("memory {}, output {}{}", format_bytes(static_cast<double>(info.memory_bytes)),
                  o.out.string(),
                  info.first_step > 0 ? fmt::format(", resumed at step {}", info.first_step) : ""));
  if (info.first_step > 0 && info.first_step >= info.steps_per_epoch * o.epochs) {
    line.note(fmt::format("the run has all of its {}; --epochs with a higher number goes on",
                          counted(o.epochs, "epoch")));
  }
}

Observer observer_of(ProgressLine& line) {
  Observer observer;
  observer.stop = &stop_requested();
  observer.started = [&line](const RunInfo& info) { print_start(line, info); };
  observer.progress = [&line](const Progress& p) {
    const double fraction = static_cast<double>(p.step) / static_cast<double>(p.steps);
    if (p.caching) {
      line.show(fraction, fmt::format("computing features {}/{}  {:.0f} images/s  ETA {}", p.step,
                                      p.steps, p.images_per_second, format_seconds(p.eta_seconds)));
      return;
    }
    if (p.validating) {
      line.show(fraction,
                fmt::format("epoch {}/{}  validating {}/{}", p.epoch, p.epochs, p.step, p.steps));
      return;
    }
    line.show(fraction, fmt::format("epoch {}/{}  step {}/{}  loss {:.4f}  accuracy {:.1f} %  "
                                    "{:.0f} images/s  ETA {}",
                                    p.epoch, p.epochs, p.step, p.steps, p.loss, 100 * p.accuracy,
                                    p.images_per_second, format_seconds(p.eta_seconds)));
  };
  observer.epoch = [&line](const EpochResult& e) {
    line.note(fmt::format(
        "epoch {:>{}}/{}  train loss {:.4f} accuracy {:5.2f} %   val loss {:.4f} top-1 {:5.2f} %{}"
        "   {:.0f} images/s  waited for data {:.0f} %  {}",
        e.epoch, std::to_string(e.epochs).size(), e.epochs, e.train_loss, 100 * e.train_accuracy,
        e.val.loss, 100 * e.val.top1, e.best ? " *" : "  ", e.images_per_second,
        100 * e.data_wait_share, format_seconds(e.seconds)));
  };
  observer.warning = [&line](const std::string& text) { line.print("warning: " + text); };
  return observer;
}

nlohmann::json to_json_object(const TrainResult& r, const std::filesystem::path& out) {
  nlohmann::json skipped = nlohmann::json::array();
  for (const BadImage& b : r.skipped) skipped.push_back({{"name", b.name}, {"reason", b.reason}});
  nlohmann::json object{{"run", out.string()},
                        {"model", r.model.string()},
                        {"epochs", r.epochs},
                        {"best_epoch", r.best_epoch},
                        {"images_per_second", r.images_per_second},
                        {"data_wait_share", r.data_wait_share},
                        {"seconds", r.seconds},
                        {"interrupted", r.interrupted},
                        {"stopped_early", r.stopped_early},
                        {"skipped", skipped}};
  if (r.best_epoch > 0) {
    object["top1"] = r.best.top1;
    object["top5"] = r.best.top5;
    object["loss"] = r.best.loss;
    object["images"] = r.best.images;
  }
  return object;
}

int run(const Flags& flags) {
  TrainOptions options = options_of(flags);
  catch_signals();
  ProgressLine line;
  fetch_data(options.data, line);
  fetch_weights(options.transfer.weights, line, options.data.cache);
  const TrainResult result = train(options, observer_of(line));
  line.clear();
  print_skipped(result.skipped);
  if (flags.json) {
    print_out("{}\n", AsIs{json_line(to_json_object(result, options.out))});
  } else if (result.interrupted) {
    print_out("stopped; continue with: resnet train --resume {}\n", options.out.string());
  } else {
    print_out("best: epoch {}, top-1 {:.2f} % on {} images, {} in all\nmodel: {}\n",
              result.best_epoch, 100 * result.best.top1, result.best.images,
              format_seconds(result.seconds), result.model.string());
  }
  return result.interrupted ? kInterrupted : kSuccess;
}

}  // namespace

void add_train(CLI::App& app, Action& action) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(
      app, "train", "Train a network on labelled images",
      "  resnet train galaxies\n"
      "  resnet train flowers/ --arch resnet18 --image-size 128 --epochs 20\n"
      "  resnet train cifar-10-binary.tar.gz --arch resnet20 --epochs 10 --out runs/c10\n"
      "  resnet train flowers/ --optimizer adamw --lr 1e-3 --mixup 0.2 --ema 0.999\n"
      "  resnet train flowers/ --weights runs/c10 --splice layer2 --freeze-until layer2\n"
      "  resnet train flowers/ --weights resnet50.pth --freeze-until avgpool --unfreeze-at 5\n"
      "  resnet train cifar-10-binary.tar.gz --recipe cifar-fast\n"
      "  resnet train --resume runs/c10\n"
      "  resnet train --config runs/c10/config.json --seed 1 --out runs/c10-seed1");
  add_data_flags(command, *flags);
  add_augmentation_flags(command, *flags);
  add_network_flags(command, *flags);
  add_transfer_flags(command, *flags);
  add_step_flags(command, *flags);
  add_training_flags(command, *flags);
  add_run_flags(command, *flags);
  add_machine_flags(command, *flags);
  command->callback([flags, &action] { action = [flags] { return run(*flags); }; });
}

}  // namespace resnet::cli

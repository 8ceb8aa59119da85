// Options as text, and what the recipe makes of them.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "data/support.h"
#include "resnet/train.h"
#include "train/recipe.h"
#include "train/support.h"

namespace resnet {
namespace {

bool mentions(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

TrainOptions unusual_options() {
  TrainOptions o;
  o.data = {.source = "some/fol\"der",
            .seed = 18446744073709551615ULL,
            .val_fraction = 0.125,
            .image_size = 40};
  o.model = {.architecture = "resnet14",
             .classes = 7,
             .channels = 1,
             .image_size = 40,
             .shortcut = Shortcut::kC,
             .layers_per_skip = 3,
             .stride_on_first_1x1 = true,
             .same_padding = true,
             .zero_gamma = true,
             .dropout = 0.1};
  o.epochs = 3;
  o.batch_size = 17;
  o.accumulate = 4;
  o.optimizer = {.kind = Optimizer::kLars,
                 .lr = 0.3,
                 .weight_decay = 1e-3,
                 .momentum = 0.8,
                 .nesterov = false,
                 .beta1 = 0.7,
                 .beta2 = 0.99,
                 .eps = 1e-7,
                 .trust = 0.02,
                 .decay_norm_and_bias = true,
                 .norm_shift_lr_factor = 3};
  o.schedule = {.kind = Schedule::kMultiStep,
                .warmup_epochs = 0.5,
                .warmup_start = 0.2,
                .step_epochs = 4,
                .gamma = 0.5,
                .milestones = {1, 2.5},
                .final_factor = 0.1,
                .rise = 0.4,
                .start_divisor = 10,
                .end_divisor = 100,
                .power = 1.5};
  o.clip_norm = 2;
  o.label_smoothing = 0.1;
  o.ema_decay = 0.999;
  o.early_stop_patience = 2;
  o.class_weighting = ClassWeighting::kGiven;
  o.class_weights = {1, 2, 3, 4, 5, 6, 1.0 / 3};
  o.augmentation = augmentation_preset("imagenet");
  o.augmentation->mixup = 0.2;
  o.mean = {0.485F, 0.456F, 0.406F};
  o.std = {0.229F, 0.1F, 1.0F / 3};
  o.val_flip = true;
  o.val_shift = 2;
  o.max_bad_fraction = 0.05;
  o.seed = 9007199254740993ULL;  // not a double
  o.device = Device::kReference;
  o.layout = DataLayout::kNHWC;
  o.threads = 3;
  o.loader_threads = 2;
  o.out = "runs/x";
  o.save_every = 5;
  o.checkpoint_minutes = 1.5;
  o.checkpoint_steps = 100;
  return o;
}

TEST(Options, JsonRoundTrip) {
  for (const TrainOptions& o : {TrainOptions{}, unusual_options()}) {
    const TrainOptions back = train_options_from_json(to_json(o));
    EXPECT_EQ(to_json(back), to_json(o));
    EXPECT_EQ(back.data.source, o.data.source);
    EXPECT_EQ(back.data.seed, o.data.seed);
    EXPECT_EQ(back.seed, o.seed);
    EXPECT_EQ(back.model, o.model);
    EXPECT_EQ(back.optimizer, o.optimizer);
    EXPECT_EQ(back.schedule, o.schedule);
    EXPECT_EQ(back.augmentation, o.augmentation);
    EXPECT_EQ(back.batch_size, o.batch_size);
    EXPECT_EQ(back.mean, o.mean);
    EXPECT_EQ(back.std, o.std);
    EXPECT_EQ(back.class_weights, o.class_weights);
    EXPECT_EQ(back.layout, o.layout);
    EXPECT_EQ(back.device, o.device);
  }
}

TEST(Options, RecipesAreOptionsThatFitTogether) {
  for (const std::string_view name : recipes()) {
    const TrainOptions o = recipe(name);
    EXPECT_EQ(to_json(train_options_from_json(to_json(o))), to_json(o));
    check_architecture(o.model.architecture);
    DataSplits data;
    data.train = test_dataset(600, 32);
    data.val = test_dataset(3, 32);
    EXPECT_NO_THROW(resolve(o, data));
  }
  EXPECT_NE(error_of([] { recipe("cifar-slow"); }).find("cifar-fast"), std::string::npos);
}

TEST(Options, JsonKeepsWhatItDoesNotName) {
  TrainOptions base;
  base.epochs = 7;
  base.optimizer.momentum = 0.5;
  const TrainOptions o = train_options_from_json(
      R"({"optimizer": {"lr": 0.25}, "augmentation": "cifar", "batch_size": null})", base);
  EXPECT_EQ(o.epochs, 7);
  EXPECT_EQ(o.optimizer.momentum, 0.5);
  EXPECT_EQ(o.optimizer.lr, 0.25);
  EXPECT_EQ(o.augmentation, augmentation_preset("cifar"));
  EXPECT_FALSE(o.batch_size);
}

Augmentation resolved_augmentation(TrainOptions o, int size = 32) {
  o.epochs = 20;  // few images in few epochs would not be augmented
  DataSplits data;
  data.train = test_dataset(40, size);
  data.val = test_dataset(4, size);
  return *resolve(o, data).augmentation;
}

nlohmann::ordered_json augmentation_json(const Augmentation& a) {
  TrainOptions o;
  o.augmentation = a;
  return nlohmann::ordered_json::parse(to_json(o)).at("augmentation");
}

// Every field by its name in JSON: a new one that is left out of the list there fails here.
TEST(Options, AChangedFieldOfTheAugmentationKeepsTheRestOfThePreset) {
  [[maybe_unused]] const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v] =
      Augmentation{};
  constexpr std::size_t kFields = 22;
  const auto preset = augmentation_json(augmentation_preset("cifar"));
  ASSERT_EQ(preset.size(), kFields);
  for (const auto& [key, value] : preset.items()) {
    SCOPED_TRACE(key);
    auto expected = preset;
    if (value.is_boolean()) {
      expected[key] = !value.get<bool>();
    } else if (value.is_number_integer()) {
      expected[key] = value.get<int>() + 1;
    } else {
      expected[key] = value.get<double>() + 0.125;
    }
    const nlohmann::ordered_json part{{"augmentation", {{key, expected[key]}}}};
    if (key == "alternate_flip") expected["horizontal_flip"] = 0.0;  // they exclude each other
    const TrainOptions options = train_options_from_json(part.dump());
    EXPECT_FALSE(options.augmentation) << "the preset is for the recipe to choose";
    EXPECT_EQ(augmentation_json(resolved_augmentation(options)), expected);
    EXPECT_EQ(to_json(train_options_from_json(to_json(options))), to_json(options));
    EXPECT_EQ(to_json(options).find("reflect") != std::string::npos, key == "reflect");
  }
}

TEST(Options, AnAugmentationInJsonIsWholeOrChanges) {
  // As a run's config.json has it, also from a version that knew fewer fields.
  const auto whole = augmentation_json({.pad = 3, .mixup = 0.25});
  auto older = whole;
  for (const char* key : {"alternate_flip", "fast_decode", "cutmix"}) older.erase(key);
  for (const auto& object : {whole, older}) {
    const TrainOptions o =
        train_options_from_json(nlohmann::ordered_json{{"augmentation", object}}.dump());
    EXPECT_EQ(o.augmentation, (Augmentation{.pad = 3, .mixup = 0.25}));
    EXPECT_EQ(o.augmentation_changes, AugmentationChanges{});
  }
  const auto parsed = [](const char* text, const TrainOptions& base = {}) {
    return resolved_augmentation(train_options_from_json(text, base));
  };
  Augmentation expected = augmentation_preset("galaxy");
  expected.mixup = 0.25;
  EXPECT_EQ(parsed(R"({"augmentation": {"mixup": 0.25, "preset": "galaxy"}})"), expected);
  TrainOptions base;
  base.augmentation = Augmentation{.pad = 3, .mixup = 0.5};
  EXPECT_EQ(parsed(R"({"augmentation": {"cutmix": 1}})", base),
            (Augmentation{.pad = 3, .mixup = 0.5, .cutmix = 1}));
  base.augmentation.reset();
  base.augmentation_changes.mixup = 0.5;
  expected = augmentation_preset("cifar");
  expected.mixup = 0.5, expected.cutmix = 1;
  EXPECT_EQ(parsed(R"({"augmentation": {"cutmix": 1}})", base), expected);
  EXPECT_EQ(parsed(R"({"augmentation": null})", base), augmentation_preset("cifar"));
  EXPECT_EQ(parsed(R"({"augmentation": "none"})", base), Augmentation{});
  EXPECT_TRUE(mentions(error_of([&] { parsed(R"({"augmentation": {"mixupp": 1}})"); }), "mixup\""));
  EXPECT_TRUE(mentions(error_of([&] { parsed(R"({"augmentation": {"preset": 1}})"); }), "preset"));
  EXPECT_TRUE(mentions(error_of([&] { parsed(R"({"augmentation": 3})"); }), "preset"));
}

TEST(Options, ObjectsGivenInPartKeepWhatARecipeSays) {
  const TrainOptions fast = recipe("cifar-fast");
  const TrainOptions o = train_options_from_json(
      R"({"optimizer": {"lr": 1}, "schedule": {"power": 3}, "model": {"dropout": 0.5},
          "transfer": {"cache_features": false}, "data": {"per_class": 7},
          "augmentation": {"mixup": 0.25}})",
      fast);
  OptimizerOptions optimizer = fast.optimizer;
  optimizer.lr = 1;
  EXPECT_EQ(o.optimizer, optimizer);
  ScheduleOptions schedule = fast.schedule;
  schedule.power = 3;
  EXPECT_EQ(o.schedule, schedule);
  EXPECT_EQ(o.model.architecture, fast.model.architecture);
  EXPECT_EQ(o.data.source, fast.data.source);
  Augmentation augmentation = *fast.augmentation;
  augmentation.mixup = 0.25;
  EXPECT_EQ(o.augmentation, augmentation);
}

TEST(Options, OfTwoWaysToFlipTheOneThatIsSwitchedOnWins) {
  EXPECT_EQ(changed({.horizontal_flip = 0.5}, {.alternate_flip = true}),
            (Augmentation{.alternate_flip = true}));
  EXPECT_EQ(changed({.alternate_flip = true}, {.horizontal_flip = 0.5}),
            (Augmentation{.horizontal_flip = 0.5}));
  EXPECT_EQ(changed({.alternate_flip = true}, {.horizontal_flip = 0}),
            (Augmentation{.alternate_flip = true}));
}

TEST(Options, JsonErrorsSayWhatAndWhere) {
  const auto error = [](const char* text) {
    return error_of([&] { train_options_from_json(text); });
  };
  EXPECT_TRUE(mentions(error(R"({"epoch": 3})"), "did you mean \"epochs\""));
  const std::string nested = error(R"({"optimizer": {"weight_decy": 1}})");
  EXPECT_TRUE(mentions(nested, "optimizer.weight_decy") &&
              mentions(nested, "\"optimizer.weight_decay\""))
      << nested;
  EXPECT_TRUE(mentions(error(R"({"epochs": "three"})"), "\"epochs\" must be a whole number"));
  EXPECT_TRUE(mentions(error(R"({"epochs": 1e3})"), "whole number"));
  EXPECT_TRUE(mentions(error(R"({"epochs": 5000000000})"), "whole number"));
  EXPECT_TRUE(mentions(error(R"({"seed": -1})"), "at least 0"));
  EXPECT_TRUE(mentions(error(R"({"clip_norm": true})"), "a number"));
  EXPECT_TRUE(mentions(error(R"({"mean": [1, 2]})"), "three"));
  EXPECT_TRUE(mentions(error(R"({"class_weights": [1, "a"]})"), "list of numbers"));
  EXPECT_TRUE(mentions(error(R"({"optimizer": 3})"), "object"));
  EXPECT_TRUE(mentions(error(R"({"schedule": {"kind": "cosin"}})"), "did you mean \"cosine\""));
  EXPECT_TRUE(mentions(error("{"), "JSON"));
  EXPECT_TRUE(mentions(error("[]"), "object"));
}

TEST(Options, NamesRoundTripAndSuggest) {
  for (const auto kind : {Optimizer::kSgd, Optimizer::kAdamW, Optimizer::kLars}) {
    EXPECT_EQ(parse_optimizer(name_of(kind)), kind);
  }
  for (const auto kind : {Schedule::kConstant, Schedule::kStep, Schedule::kMultiStep,
                          Schedule::kCosine, Schedule::kOneCycle, Schedule::kPoly}) {
    EXPECT_EQ(parse_schedule(name_of(kind)), kind);
  }
  EXPECT_TRUE(mentions(error_of([] { parse_optimizer("adam"); }), "did you mean \"adamw\""));
}

// Images of one colour each; `sizes` are their sides.
DataSplits data_of(int size, int count, std::vector<int> labels, int classes) {
  std::vector<Image> images;
  for (int i = 0; i < count; ++i) {
    Image image(size, size, 3);
    std::ranges::fill(image.pixels, static_cast<std::uint8_t>(i % 2 == 0 ? 51 : 204));
    images.push_back(std::move(image));
  }
  std::vector<std::string> names;
  for (int c = 0; c < classes; ++c) names.push_back("class" + std::to_string(c));
  DataSplits splits;
  splits.train = make_dataset(std::move(images), std::move(labels), std::move(names));
  splits.val = splits.train;
  return splits;
}

DataSplits two_classes(int size, int count = 10) {
  std::vector<int> labels;
  for (int i = 0; i < count; ++i) labels.push_back(i % 2);
  return data_of(size, count, labels, 2);
}

TEST(Recipe, FollowsTheSizeOfTheImages) {
  const TrainOptions small = resolve({}, two_classes(32, 3000));
  EXPECT_EQ(small.model.architecture, "resnet20");
  EXPECT_EQ(small.model.image_size, 32);
  EXPECT_EQ(small.model.classes, 2);
  EXPECT_EQ(small.model.channels, 3);
  EXPECT_EQ(small.batch_size, 128);
  const TrainOptions large = resolve({}, two_classes(200, 1000));
  EXPECT_EQ(large.model.architecture, "resnet18");
  EXPECT_EQ(large.model.image_size, 224);
  EXPECT_EQ(large.batch_size, 32);
  EXPECT_LT(*large.optimizer.lr, *small.optimizer.lr);
}

TEST(Recipe, MeasuresMeanAndStd) {
  const TrainOptions o = resolve({}, two_classes(8));  // half 0.2, half 0.8
  for (int c = 0; c < 3; ++c) {
    EXPECT_FLOAT_EQ((*o.mean)[static_cast<std::size_t>(c)], 0.5F);
    EXPECT_FLOAT_EQ((*o.std)[static_cast<std::size_t>(c)], 0.3F);
  }
}

TEST(Recipe, MeasuresOnlyWhatIsNotGiven) {
  TrainOptions o;
  o.mean = {0.25F, 0.25F, 0.25F};
  const TrainOptions resolved = resolve(o, two_classes(8));
  EXPECT_EQ(resolved.mean, o.mean);
  EXPECT_FLOAT_EQ((*resolved.std)[0], 0.3F);
}

TEST(Recipe, IsAFixedPoint) {
  const DataSplits data = two_classes(16);
  const TrainOptions once = resolve({}, data);
  EXPECT_EQ(to_json(resolve(once, data)), to_json(once));
  EXPECT_EQ(to_json(resolve(train_options_from_json(to_json(once)), data)), to_json(once));
}

TEST(Recipe, LearningRateGrowsWithTheBatch) {
  const DataSplits data = two_classes(16, 64);
  TrainOptions o;
  o.batch_size = 8;
  const double lr = *resolve(o, data).optimizer.lr;
  o.accumulate = 4;
  EXPECT_DOUBLE_EQ(*resolve(o, data).optimizer.lr, 4 * lr);
}

TEST(Recipe, BatchFitsSmallData) {
  EXPECT_EQ(resolve({}, two_classes(16, 10)).batch_size, 10);
  EXPECT_EQ(resolve({}, two_classes(16, 200)).batch_size, 16);
  EXPECT_EQ(resolve({}, two_classes(16, 600)).batch_size, 32);
}

TEST(Recipe, BalancedClassWeights) {
  const DataSplits data = data_of(8, 8, {0, 0, 0, 0, 0, 0, 2, 2}, 3);
  TrainOptions o;
  o.class_weighting = ClassWeighting::kBalanced;
  const std::vector<float> w = class_weights_of(resolve(o, data), *data.train);
  ASSERT_EQ(w.size(), 3U);
  EXPECT_FLOAT_EQ(w[0], 8.0F / (3 * 6));
  EXPECT_EQ(w[1], 0);
  EXPECT_FLOAT_EQ(w[2], 8.0F / (3 * 2));
}

TEST(Recipe, RefusesContradictions) {
  const DataSplits data = two_classes(16);
  const auto error = [&](const std::function<void(TrainOptions&)>& change) {
    TrainOptions o;
    change(o);
    return error_of([&] { resolve(o, data); });
  };
  EXPECT_TRUE(mentions(error([](auto& o) { o.epochs = 0; }), "epochs"));
  EXPECT_TRUE(mentions(error([](auto& o) { o.optimizer.lr = -1; }), "lr"));
  EXPECT_TRUE(mentions(error([](auto& o) { o.ema_decay = 1; }), "ema_decay"));
  EXPECT_TRUE(
      mentions(error([](auto& o) { o.schedule.kind = Schedule::kMultiStep; }), "milestones"));
  EXPECT_TRUE(mentions(error([](auto& o) { o.schedule.milestones = {3, 1}; }), "rising"));
  EXPECT_TRUE(mentions(error([](auto& o) {
                         o.schedule.kind = Schedule::kOneCycle;
                         o.schedule.warmup_epochs = 1;
                       }),
                       "onecycle"));
  EXPECT_TRUE(mentions(error([](auto& o) { o.model.classes = 3; }), "2 classes"));
  EXPECT_TRUE(mentions(error([](auto& o) { o.batch_size = 11; }), "smaller batch"));
  EXPECT_TRUE(mentions(error([](auto& o) { o.class_weighting = ClassWeighting::kGiven; }),
                       "class_weights must be 2 numbers"));
  // What the loss reads is f32: there these are 0, or infinite.
  for (const std::vector<double>& weights :
       {std::vector{0.0, 0.0}, {1e-60, 0.0}, {1e60, 1.0}, {std::nan(""), 1.0}, {-1.0, 1.0}}) {
    EXPECT_TRUE(mentions(error([&](auto& o) {
                           o.class_weighting = ClassWeighting::kGiven;
                           o.class_weights = weights;
                         }),
                         "class_weights must be 2 numbers"))
        << weights[0];
  }
  EXPECT_TRUE(mentions(error([](auto& o) { o.model.architecture = "resnet2o"; }), "resnet20"));
}

}  // namespace
}  // namespace resnet

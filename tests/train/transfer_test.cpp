// Transfer: which weights are taken, what is frozen when, and that nothing else changes.
#include "train/transfer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>

#include "core/file.h"
#include "core/random.h"
#include "formats/image.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "resnet/weights.h"
#include "train/support.h"
#include "train/training_graph.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

#define EXPECT_IN(part, text) EXPECT_NE((text).find(part), std::string::npos) << (text)

ModelConfig config_of(const std::string& name, const std::string& splice = "") {
  return {.architecture = name, .classes = 3, .image_size = 32, .splice = splice};
}

// ------------------------------------------------------------------------------------------ phases

TEST(Phases, OpenStagesFromTheTop) {
  const auto phases = [](const std::string& until, std::vector<int> at, const ModelConfig& c) {
    return phases_of({.freeze_until = until, .unfreeze_at = std::move(at)}, c);
  };
  using List = std::vector<Phase>;
  const ModelConfig c18 = config_of("resnet18");
  EXPECT_EQ(phases("", {}, c18), (List{{1, ""}}));
  EXPECT_EQ(phases("layer2", {}, c18), (List{{1, "layer2"}}));
  EXPECT_EQ(phases("layer2", {5}, c18), (List{{1, "layer2"}, {5, ""}}));
  EXPECT_EQ(phases("layer2", {3, 5, 7}, c18),
            (List{{1, "layer2"}, {3, "layer1"}, {5, "stem"}, {7, ""}}));
  // Within a stage: the whole stage opens.
  EXPECT_EQ(phases("layer2.0.conv1", {3, 5}, c18),
            (List{{1, "layer2.0.conv1"}, {3, "layer1"}, {5, ""}}));
  EXPECT_EQ(phases("avgpool", {2, 3, 4}, c18),
            (List{{1, "avgpool"}, {2, "layer3"}, {3, "layer2"}, {4, ""}}));
  EXPECT_EQ(phases("avgpool", {2, 9}, config_of("resnet18", "layer2")),
            (List{{1, "avgpool"}, {2, "layer1"}, {9, ""}}));
  EXPECT_EQ(phases("layer1", {2, 3}, config_of("resnet20")),
            (List{{1, "layer1"}, {2, "stem"}, {3, ""}}));
  EXPECT_EQ(phases("layer1", {2, 3}, config_of("resnet20v2")),
            (List{{1, "layer1"}, {2, "stem"}, {3, ""}}));
  EXPECT_EQ(phases("bn1", {2}, c18), (List{{1, "bn1"}, {2, ""}}));

  const std::vector<Phase> list = phases("layer2", {3, 5, 7}, c18);
  const std::vector<std::size_t> expected = {0, 0, 0, 1, 1, 2, 2, 3, 3};
  for (int epoch = 0; epoch < 9; ++epoch) {
    EXPECT_EQ(phase_at(list, epoch), expected[static_cast<std::size_t>(epoch)]) << epoch;
  }
}

TEST(Phases, RefuseWhatMakesNoSense) {
  const auto message = [](const TransferOptions& t) {
    return error_of([&] { phases_of(t, config_of("resnet18")); });
  };
  EXPECT_IN("--unfreeze-at needs --freeze-until", message({.unfreeze_at = {3}}));
  EXPECT_IN("did you mean 'layer2'", message({.freeze_until = "layr2"}));
  EXPECT_IN("nothing to train", message({.freeze_until = "fc"}));
  EXPECT_IN("rising epochs", message({.freeze_until = "layer2", .unfreeze_at = {1}}));
  EXPECT_IN("rising epochs", message({.freeze_until = "layer2", .unfreeze_at = {4, 4}}));
  EXPECT_IN("3 part(s)", message({.freeze_until = "layer2", .unfreeze_at = {2, 3, 4, 5}}));
}

TEST(Phases, WeightsAreTrainedFromTheirPhaseOn) {
  const ModelConfig c = config_of("resnet20");
  const auto phases = phases_of({.freeze_until = "layer2", .unfreeze_at = {3, 5, 7}}, c);
  const auto first = first_trained(phases, c);
  EXPECT_EQ(first.at("fc.weight"), 0U);
  EXPECT_EQ(first.at("layer3.0.conv1.weight"), 0U);
  EXPECT_EQ(first.at("layer2.0.bn1.bias"), 1U);
  EXPECT_EQ(first.at("layer1.2.conv2.weight"), 2U);
  EXPECT_EQ(first.at("conv1.weight"), 3U);
  EXPECT_TRUE(trains_head_only({1, "avgpool"}, c));
  EXPECT_TRUE(trains_head_only({1, "layer3"}, c));
  EXPECT_TRUE(trains_head_only({1, "layer2"}, config_of("resnet20", "layer2")));
  EXPECT_FALSE(trains_head_only({1, "layer2"}, c));
  EXPECT_FALSE(trains_head_only({1, "layer3"}, config_of("resnet20v2")));  // "bn" comes after it
  EXPECT_EQ(trained_parameters({1, "avgpool"}, c), 3 * 64 + 3);
}

TEST(LearningRates, ShrinkByTheDistanceFromTheHead) {
  auto f = lr_factors(config_of("resnet18"), 0.5);
  EXPECT_EQ(f.at("fc.weight"), 1);
  EXPECT_EQ(f.at("layer4.1.bn2.bias"), 0.5);
  EXPECT_EQ(f.at("layer1.0.conv1.weight"), 0.0625);
  EXPECT_EQ(f.at("bn1.weight"), 0.03125);
  f = lr_factors(config_of("resnet20v2"), 0.5);  // three stages, and a batch norm after them
  EXPECT_EQ(f.at("bn.weight"), 0.5);
  EXPECT_EQ(f.at("layer3.0.conv1.weight"), 0.5);
  EXPECT_EQ(f.at("conv1.weight"), 0.0625);
  ModelConfig cut = config_of("resnet18", "layer2");
  cut.head_hidden = 8;
  f = lr_factors(cut, 0.5);
  EXPECT_EQ(f.at("fc.0.weight"), 1);
  EXPECT_EQ(f.at("fc.3.bias"), 1);
  EXPECT_EQ(f.at("layer2.0.conv1.weight"), 0.5);
  EXPECT_EQ(f.at("conv1.weight"), 0.125);
}

// ------------------------------------------------------------------------------------ one step

const CompileOptions kOnReference{.device = Device::kReference};

std::vector<double> values(const Variables& v, const std::string& name) {
  const Tensor t = v.at(name).cast(DType::kF64);
  return {t.as<double>().begin(), t.as<double>().end()};
}

void fill_random(Tensor& t, std::uint64_t stream, double low, double high) {
  Random random(9, stream);
  for (double& x : t.as<double>()) x = random.uniform(low, high);
}

struct Example {
  Tensor images{DType::kF64, {4, 3, 16, 16}};
  Tensor targets = Tensor::zeros(DType::kF64, {4, 3});
  Example() {
    fill_random(images, 1, -1, 1);
    for (std::size_t i = 0; i < 4; ++i) targets.as<double>()[3 * i + i % 3] = 1;
  }
};

std::shared_ptr<Variables> variables_for(const Graph& g) {
  Variables v;
  initialise(g, v, 1);
  return std::make_shared<Variables>(v.cast(DType::kF64));
}

// Of the trained weights, partly frozen network against the same forward pass differentiated for
// every weight. With passes off every node is computed in the same way: no tolerance.
TEST(Frozen, GradientsAreThoseOfTheWholeNetwork) {
  ModelConfig c = config_of("resnet8");
  c.image_size = 16;
  const Example example;
  for (const char* until : {"bn1", "layer1", "layer2.0.conv1", "layer2", "avgpool"}) {
    Graph some(Mode::kTraining), all(Mode::kTraining);
    std::vector<std::string> names;
    for (Graph* g : {&some, &all}) {
      const Value logits = network_of(c, until)(*g, 4).logits;
      const Value loss = g->softmax_cross_entropy(logits, g->input("targets", {4, 3}));
      std::vector<Value> wanted;
      names.clear();
      for (const Value v : g->trainable()) names.push_back(g->node(v).name);
      for (const std::string& name : names) wanted.push_back(g->find(name));
      if (g == &all) {  // statistics are not differentiated
        for (const Value v : g->parameters()) {
          const std::string& name = g->node(v).name;
          const bool weight = name.ends_with(".weight") || name.ends_with(".bias");
          if (weight && std::ranges::find(wanted, v) == wanted.end()) wanted.push_back(v);
        }
        EXPECT_GT(wanted.size(), names.size());
      }
      const std::vector<Value> gradient = gradients(*g, loss, wanted);
      for (std::size_t i = 0; i < names.size(); ++i) g->mark_output("d" + names[i], gradient[i]);
    }
    const auto variables = variables_for(some);
    for (const bool passes : {false, true}) {
      Session a(some, variables, {.device = Device::kReference, .passes = passes});
      Session b(all, variables, {.device = Device::kReference, .passes = false});
      for (Session* p : {&a, &b}) {
        p->set_input("image", example.images);
        p->set_input("targets", example.targets);
        p->run();
      }
      for (const std::string& name : names) {
        const Tensor x = a.output("d" + name), y = b.output("d" + name);
        double largest = 0;
        for (const double v : y.as<double>()) largest = std::max(largest, std::abs(v));
        EXPECT_GT(largest, 0) << until << " " << name;
        // Passes reorder sums of at most 64·9 products in each of 7 layers, and folding rounds
        // every weight once more: fewer than 10^4 roundings of 2^-53 of the largest.
        const double bound = passes ? 1e4 * 0x1p-53 * largest : 0;
        for (std::size_t i = 0; i < x.as<double>().size(); ++i) {
          ASSERT_NEAR(x.as<double>()[i], y.as<double>()[i], bound) << until << " " << name;
        }
      }
    }
  }
}

TEST(Frozen, TakeNoWorkBackwards) {
  const ModelConfig c = config_of("resnet18");
  const auto work = [&](const std::string& until) {
    const Graph g = training_graph(network_of(c, until), 2, {});
    std::map<Op, std::int64_t> count;
    for (const Node& n : g.nodes()) ++count[n.op];
    return count;
  };
  auto whole = work(""), frozen = work("layer2"), head = work("avgpool");
  EXPECT_EQ(whole[Op::kConv2dBackwardWeights], 20);
  EXPECT_EQ(whole[Op::kBatchNorm], 20);
  EXPECT_EQ(frozen[Op::kConv2dBackwardWeights], 10);  // two stages of five convolutions
  EXPECT_EQ(frozen[Op::kConv2dBackwardData], 8);      // two read what is frozen
  EXPECT_EQ(frozen[Op::kBatchNorm], 10);
  EXPECT_EQ(frozen[Op::kNormalizeBackward], 0);
  EXPECT_EQ(head[Op::kConv2dBackwardWeights] + head[Op::kConv2dBackwardData] +
                head[Op::kGlobalAvgPoolBackward] + head[Op::kLinearBackwardData],
            0);
  EXPECT_EQ(head[Op::kSgd], 2);
}

TEST(LearningRates, ScaleTheUpdatesOfEachStage) {
  ModelConfig c = config_of("resnet8");
  c.image_size = 16;
  const Example example;
  for (const Optimizer kind : {Optimizer::kSgd, Optimizer::kAdamW, Optimizer::kLars}) {
    StepOptions plain;
    plain.optimizer.kind = kind;
    StepOptions scaled = plain;
    scaled.lr_factor = [f = lr_factors(c, 0.5)](const std::string& n) { return f.at(n); };
    const Graph a = training_graph(network_of(c), 4, plain);
    const Graph b = training_graph(network_of(c), 4, scaled);
    const auto x = variables_for(a), y = variables_for(b);
    const Variables before = x->cast(DType::kF64);
    Session pa(a, x, kOnReference), pb(b, y, kOnReference);
    for (Session* p : {&pa, &pb}) {
      p->set_input("image", example.images);
      p->set_input("targets", example.targets);
      p->set_input("lr", 0.25);
      if (kind == Optimizer::kAdamW) p->set_input("step", 1);
      p->run();
    }
    for (const auto& [name, factor] : lr_factors(c, 0.5)) {
      const auto w = values(before, name), wx = values(*x, name), wy = values(*y, name);
      double moved = 0;
      for (std::size_t i = 0; i < w.size(); ++i) {
        moved = std::max(moved, std::abs(wx[i] - w[i]));
        // Factors are powers of two; what is left is the rounding of two subtractions of numbers
        // below 4.
        ASSERT_NEAR(wy[i] - w[i], factor * (wx[i] - w[i]), 4 * 0x1p-52) << name;
      }
      EXPECT_GT(moved, 0) << name;
    }
  }
}

TEST(AdamW, CorrectsLateMomentsFromTheirOwnStart) {
  ModelConfig c = config_of("resnet8");
  c.image_size = 16;
  const Example example;
  StepOptions fresh, late;
  fresh.optimizer.kind = late.optimizer.kind = Optimizer::kAdamW;
  late.steps_before = [](const std::string& name) { return name == "conv1.weight" ? 40 : 0; };
  std::map<bool, std::vector<double>> conv, fc;
  for (const bool is_late : {false, true}) {
    const Graph g = training_graph(network_of(c), 4, is_late ? late : fresh);
    const auto v = variables_for(g);
    Session p(g, v, kOnReference);
    p.set_input("image", example.images);
    p.set_input("targets", example.targets);
    p.set_input("lr", 0.01);
    p.set_input("step", is_late ? 41 : 1);
    p.run();
    conv[is_late] = values(*v, "conv1.weight");
    fc[is_late] = values(*v, "fc.weight");
  }
  EXPECT_EQ(conv[false], conv[true]);
  EXPECT_NE(fc[false], fc[true]);
}

// ------------------------------------------------------------------------------------- whole runs

class Transfer : public FolderTest {
 protected:
  // A network for galaxies, trained for an epoch.
  std::string pretrained(const std::string& architecture = "resnet8") {
    TrainOptions o;
    o.data.source = "galaxies:train=48,val=24,size=16,seed=3";
    o.model.architecture = architecture;
    o.epochs = 1;
    o.batch_size = 8;
    o.seed = 5;
    o.threads = 1;
    o.out = folder_ / "pretrained";
    train(o);
    return o.out.string();
  }

  // Reddish and bluish noise; one image of each part is unreadable.
  TrainOptions colours(const std::string& out) {
    const fs::path data = folder_ / "colours";
    if (!fs::exists(data)) {
      for (const auto& [part, count] : {std::pair{"train", 20}, {"val", 8}}) {
        for (int i = 0; i < 2 * count; ++i) {
          Image image(16, 16, 3);
          Random random(1, static_cast<std::uint64_t>(i), *part == 't' ? 0 : 1);
          for (std::size_t k = 0; k < image.pixels.size(); ++k) {
            const bool bright = k % 3 == (i % 2 == 0 ? 0U : 2U);
            image.pixels[k] = static_cast<std::uint8_t>(random.below(150) + (bright ? 100 : 20));
          }
          const fs::path folder = data / part / (i % 2 == 0 ? "red" : "blue");
          fs::create_directories(folder);
          const auto bytes = encode_png(image);
          std::ofstream(folder / (std::to_string(i) + ".png"), std::ios::binary)
              .write(reinterpret_cast<const char*>(bytes.data()),
                     static_cast<std::streamsize>(bytes.size()));
        }
        std::ofstream(data / part / "red" / "broken.png") << "not an image";
      }
    }
    TrainOptions o;
    o.data.source = data.string();
    o.epochs = 3;
    o.batch_size = 8;
    o.optimizer.lr = 0.05;
    o.augmentation = Augmentation{};
    o.max_bad_fraction = 0.5;
    o.threads = 1;
    o.checkpoint_minutes = 0;
    o.out = folder_ / out;
    return o;
  }
};

TEST_F(Transfer, FrozenTensorsStayAsTheyWere) {
  const std::string weights = pretrained();
  const ModelFile before = load_model(weights);
  for (const double ema : {0.0, 0.9}) {
    for (const int accumulate : {1, 2}) {
      TrainOptions o = colours("run" + std::to_string(ema) + std::to_string(accumulate));
      o.transfer = {.weights = weights, .freeze_until = "layer2"};
      o.ema_decay = ema;
      o.accumulate = accumulate;
      RunInfo info;
      Observer observer;
      observer.started = [&](const RunInfo& i) { info = i; };
      const TrainResult result = train(o, observer);
      EXPECT_EQ(info.options.model.architecture, "resnet8");
      EXPECT_EQ(info.options.mean, before.preprocessing.mean);
      EXPECT_EQ(info.options.model.image_size, 16);
      EXPECT_GT(info.frozen, 0);
      EXPECT_LT(info.frozen, info.parameters);
      ASSERT_EQ(info.notes.size(), 2U);
      EXPECT_IN("new: fc.weight, fc.bias", info.notes[0]);
      EXPECT_IN("frozen until layer2", info.notes[1]);
      const ModelFile after = load_model(result.model);
      EXPECT_EQ(after.provenance.at("weights"), weights);
      int frozen = 0, trained = 0;
      for (const auto& [name, tensor] : after.weights) {
        if (is_head(name)) continue;
        const bool equal = same(tensor, before.weights.at(name));
        EXPECT_EQ(equal, !name.starts_with("layer3")) << name;
        ++(equal ? frozen : trained);
      }
      EXPECT_EQ(frozen, 25);   // five convolutions with batch norms
      EXPECT_EQ(trained, 10);  // two
      // No state of an optimizer and no average for what is frozen.
      for (const auto& entry : read_safetensors_header(o.out / "last.safetensors").entries) {
        const bool state = entry.name.starts_with("optimizer.") || entry.name.starts_with("ema.") ||
                           entry.name.starts_with("grad.");
        EXPECT_FALSE(state && (entry.name.find("layer1") != std::string::npos ||
                               entry.name.find("layer2") != std::string::npos))
            << entry.name;
      }
    }
  }
}

TEST_F(Transfer, UnfreezesBySchedule) {
  const std::string weights = pretrained();
  const ModelFile before = load_model(weights);
  TrainOptions o = colours("run");
  o.transfer = {.weights = weights, .freeze_until = "layer3", .unfreeze_at = {2, 3}};
  o.save_every = 1;
  train(o);
  const auto changed = [&](int epoch, const std::string& name) {
    const auto file =
        read_safetensors(o.out / ("epoch-000" + std::to_string(epoch) + ".safetensors"));
    return !same(file.tensors.at(name), before.weights.at(name));
  };
  for (int epoch = 1; epoch <= 3; ++epoch) {
    for (const char* kind : {"conv1.weight", "bn1.weight", "bn1.running_mean"}) {
      EXPECT_EQ(changed(epoch, std::string("layer3.0.") + kind), epoch >= 2) << epoch << kind;
      EXPECT_EQ(changed(epoch, std::string("layer2.0.") + kind), epoch >= 3) << epoch << kind;
    }
    EXPECT_EQ(changed(epoch, "conv1.weight"), epoch >= 3) << epoch;
  }
}

struct Variant {
  const char* name;
  void (*change)(TrainOptions&);
};

class ResumeTransfer : public Transfer, public testing::WithParamInterface<Variant> {};

TEST_P(ResumeTransfer, IsBitwiseInEveryPhase) {
  const std::string weights = pretrained();
  TrainOptions o = colours("whole");
  o.transfer = {.weights = weights, .freeze_until = "avgpool", .unfreeze_at = {2, 3}};
  o.model.dropout = 0.2;
  GetParam().change(o);
  const TrainResult whole = train(o);
  EXPECT_EQ(whole.epochs, 3);
  // Weights, classes and preprocessing are in the checkpoint.
  fs::rename(weights, folder_ / "moved");
  // An epoch: 42 images, batches of 8.
  const int steps = (5 + o.accumulate - 1) / o.accumulate;
  for (const int stop : {1, steps, steps + 1, 2 * steps, 3 * steps - 1}) {
    SCOPED_TRACE(stop);
    fs::rename(folder_ / "moved", weights);
    o.out = folder_ / ("stopped" + std::to_string(stop));
    std::atomic<bool> stopped = false;
    int trained = 0;
    Observer observer;
    observer.stop = &stopped;
    observer.progress = [&](const Progress& p) {
      if (!p.validating && !p.caching && ++trained == stop) stopped = true;
    };
    EXPECT_TRUE(train(o, observer).interrupted);
    fs::rename(weights, folder_ / "moved");
    EXPECT_FALSE(train(resume_options(o.out)).interrupted);
    expect_same_run(folder_ / "whole", o.out);
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, ResumeTransfer,
                         testing::Values(Variant{"plain", [](TrainOptions&) {}},
                                         Variant{"adamw_average",
                                                 [](TrainOptions& o) {
                                                   o.optimizer.kind = Optimizer::kAdamW;
                                                   o.optimizer.lr = 1e-3;
                                                   o.ema_decay = 0.8;
                                                   o.transfer.lr_decay_per_stage = 0.7;
                                                 }},
                                         Variant{"accumulating",
                                                 [](TrainOptions& o) {
                                                   o.optimizer.kind = Optimizer::kAdamW;
                                                   o.optimizer.lr = 1e-3;
                                                   o.accumulate = 3;
                                                 }},
                                         Variant{"slow_accumulating",
                                                 [](TrainOptions& o) {
                                                   o.transfer.cache_features = false;
                                                   o.accumulate = 2;
                                                   o.model.head_hidden = 6;
                                                 }}),
                         [](const auto& variant) { return variant.param.name; });

// Both paths run the same kernels on the same numbers, so nothing may differ.
TEST_F(Transfer, CachedFeaturesChangeNothing) {
  const std::string weights = pretrained();
  for (const Device device : {Device::kCpu, Device::kReference}) {
    for (const int hidden : {0, 12}) {
      TrainOptions o =
          colours("fast" + std::to_string(hidden) + std::to_string(device == Device::kCpu));
      o.device = device;
      o.transfer = {.weights = weights, .freeze_until = "layer2", .unfreeze_at = {3}};
      o.model.splice = "layer2";
      o.model.head_hidden = hidden;
      o.model.dropout = 0.3;
      o.accumulate = hidden == 0 ? 1 : 2;  // of five batches
      int cached = 0;
      Observer observer;
      observer.progress = [&](const Progress& p) { cached += p.caching; };
      const TrainResult fast = train(o, observer);
      EXPECT_EQ(cached, 6 + 3);  // batches of 42 and 18 images
      TrainOptions slow = o;
      slow.out = o.out.string() + "-slow";
      slow.transfer.cache_features = false;
      cached = 0;
      const TrainResult other = train(slow, observer);
      EXPECT_EQ(cached, 0);
      SCOPED_TRACE(std::to_string(hidden) + (device == Device::kCpu ? " cpu" : " reference"));
      expect_same_run(o.out, slow.out);
      ASSERT_EQ(fast.skipped.size(), 1U);
      EXPECT_EQ(fast.skipped[0].name, other.skipped.at(0).name);
      EXPECT_EQ(fast.best.skipped.size(), 1U);
    }
  }
}

TEST_F(Transfer, StopsWhileFeaturesAreComputed) {
  TrainOptions o = colours("run");
  o.transfer = {.weights = pretrained(), .freeze_until = "avgpool"};
  train([&] {
    TrainOptions whole = o;
    whole.out = folder_ / "whole";
    return whole;
  }());
  std::atomic<bool> stop = false;
  Observer observer;
  observer.stop = &stop;
  observer.progress = [&](const Progress& p) { stop = stop || p.caching; };
  EXPECT_TRUE(train(o, observer).interrupted);
  train(resume_options(o.out));
  expect_same_run(folder_ / "whole", o.out);
}

TEST_F(Transfer, NotesSayWhatWouldBeFaster) {
  TrainOptions o = colours("run");
  o.epochs = 1;
  o.transfer = {.weights = pretrained(), .freeze_until = "avgpool"};
  o.augmentation.reset();
  std::vector<std::string> notes;
  Observer observer;
  observer.started = [&](const RunInfo& i) { notes = i.notes; };
  train(o, observer);
  ASSERT_EQ(notes.size(), 3U);
  EXPECT_IN("--augment none", notes[2]);
}

TEST_F(Transfer, TheHeadIsKeptForTheSameClasses) {
  const ModelFile m = load_model(pretrained());
  ModelConfig c = m.config;
  const auto fresh = [&](const std::vector<std::string>& classes) {
    const Loaded l = fit_weights(m, c, classes);
    for (const auto& [name, tensor] : l.tensors) EXPECT_TRUE(same(tensor, m.weights.at(name)));
    return l.fresh;
  };
  const std::vector<std::string> linear{"fc.weight", "fc.bias"};
  EXPECT_TRUE(fresh(m.class_names).empty());
  auto renamed = m.class_names;
  renamed[0] += "?";
  EXPECT_EQ(fresh(renamed), linear);
  c.classes = 2;
  EXPECT_EQ(fresh({"a", "b"}), linear);
  c = m.config;
  c.splice = "layer3";
  EXPECT_EQ(fresh(m.class_names), linear);
  c = m.config;
  c.head_hidden = 4;
  EXPECT_EQ(fresh(m.class_names),
            (std::vector<std::string>{"fc.0.weight", "fc.0.bias", "fc.3.weight", "fc.3.bias"}));
}

TEST_F(Transfer, TheStemFitsGreyImages) {
  const ModelFile m = load_model(pretrained());
  ModelConfig c = m.config;
  c.channels = 1;
  const Tensor stem = fit_weights(m, c, m.class_names).tensors.at("conv1.weight");
  EXPECT_TRUE(same(stem, adapt_input_channels(m.weights.at("conv1.weight"), 1)));
  TrainOptions o = colours("grey");
  o.model.channels = 1;
  o.epochs = 1;
  o.transfer.weights = folder_ / "pretrained";
  train(o);
  const ModelFile grey = load_model(o.out);
  EXPECT_EQ(grey.preprocessing.channels, 1);
  const auto& mean = m.preprocessing.mean;
  EXPECT_EQ(grey.preprocessing.mean[0], (mean[0] + mean[1] + mean[2]) / 3);
}

TEST_F(Transfer, OtherSizesAndChainsOfRuns) {
  const std::string weights = pretrained();
  TrainOptions o = colours("cut");
  o.epochs = 1;
  o.model.splice = "layer2";
  o.model.image_size = 24;
  o.transfer.weights = weights;
  train(o);
  const ModelFile cut = load_model(o.out);
  EXPECT_EQ(cut.config.splice, "layer2");
  EXPECT_EQ(cut.preprocessing.height, 24);
  // The cut network is a starting point, too; it stays cut, or is cut once more.
  TrainOptions again = colours("again");
  again.epochs = 1;
  again.transfer = {.weights = o.out.string(), .freeze_until = "layer1"};
  train(again);
  EXPECT_EQ(load_model(again.out).config.splice, "layer2");
  again.model.splice = "layer1";
  again.out = folder_ / "deeper";
  train(again);
  EXPECT_EQ(load_model(again.out).config.splice, "layer1");
  again.model.splice = "layer3";
  again.out = folder_ / "never";
  EXPECT_IN("cut after layer2", error_of([&] { train(again); }));
}

TEST_F(Transfer, OtherFilesAndInterpolation) {
  ModelFile m = load_model(pretrained());
  m.preprocessing.interpolation = Interpolation::kBicubic;
  save_model(folder_ / "bicubic.safetensors", m);
  write_torch_file(folder_ / "weights.pth", m.weights);
  TrainOptions o = colours("run");
  o.epochs = 1;
  o.transfer.weights = folder_ / "bicubic.safetensors";
  train(o);
  EXPECT_EQ(load_model(o.out).preprocessing.interpolation, Interpolation::kBicubic);
  o.out = folder_ / "pth";
  o.model.image_size = 16;
  o.transfer = {.weights = folder_ / "weights.pth", .freeze_until = "layer3"};
  train(o);
  EXPECT_TRUE(same(load_model(o.out).weights.at("layer3.0.conv2.weight"),
                   m.weights.at("layer3.0.conv2.weight")));
}

TEST_F(Transfer, ErrorsNameWhatIsWrong) {
  const std::string weights = pretrained();
  const auto message = [&](const std::function<void(TrainOptions&)>& change,
                           ErrorCode code = ErrorCode::kInvalidArgument) {
    TrainOptions o = colours("run");
    o.transfer.weights = weights;
    change(o);
    const std::string text = error_of([&] { train(o); }, code);
    EXPECT_FALSE(fs::exists(o.out / "last.safetensors"));
    return text;
  };
  EXPECT_IN("nowhere",
            message([](auto& o) { o.transfer.weights = "nowhere"; }, ErrorCode::kNotFound));
  message([](auto& o) { o.model.architecture = "resnet20"; }, ErrorCode::kBadData);
  EXPECT_IN("did you mean 'layer2", message([](auto& o) { o.model.splice = "layer2x"; }));
  EXPECT_IN("no layer is called", message([](auto& o) { o.transfer.freeze_until = "layer7"; }));
  EXPECT_IN("--freeze-until layer2: that layer lies behind the cut, --splice layer1",
            message([](auto& o) {
              o.model.splice = "layer1";
              o.transfer.freeze_until = "layer2";
            }));
  EXPECT_IN("no layer is called", message([](auto& o) {
              o.model.splice = "layer1";
              o.transfer.freeze_until = "layer9";
            }));
  for (const char* head : {"fc", "fc.0"}) {
    EXPECT_IN("it is the head", message([&](auto& o) { o.model.splice = head; }));
  }
  EXPECT_IN("--unfreeze-at 9: training ends after epoch 3", message([](auto& o) {
              o.epochs = 3;
              o.transfer.freeze_until = "layer2";
              o.transfer.unfreeze_at = {2, 9};
            }));
  EXPECT_IN("lr_decay_per_stage", message([](auto& o) { o.transfer.lr_decay_per_stage = 0; }));
  EXPECT_IN("other shortcuts", message([](auto& o) { o.model.shortcut = Shortcut::kC; }));
}

TEST_F(Transfer, OptionsComeBackFromJson) {
  TrainOptions o;
  o.transfer = {.weights = "a b",
                .freeze_until = "layer2",
                .unfreeze_at = {3, 5},
                .lr_decay_per_stage = 0.25,
                .cache_features = false};
  o.model.splice = "layer3";
  o.model.head_hidden = 7;
  o.interpolation = Interpolation::kNearest;
  o.data.per_class = 9;
  const TrainOptions back = train_options_from_json(to_json(o));
  EXPECT_EQ(back.transfer, o.transfer);
  EXPECT_EQ(back.model, o.model);
  EXPECT_EQ(back.interpolation, o.interpolation);
  EXPECT_EQ(back.data.per_class, 9);
  EXPECT_IN("whole number",
            error_of([] { train_options_from_json(R"({"transfer": {"unfreeze_at": [1.5]}})"); }));
}

}  // namespace
}  // namespace resnet

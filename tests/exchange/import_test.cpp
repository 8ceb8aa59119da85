// Weights from elsewhere find their places: by the names that PyTorch's projects use, by order and
// shape, or not at all, with a message that says what would help.
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "core/file.h"
#include "exchange/import_support.h"
#include "formats/pickles.h"

namespace resnet {
namespace {

// ------------------------------------------------------------------------------------------ names

TEST_F(Import, KnowsTheNetworksOfTorchvision) {
  std::ifstream names(RESNET_TEST_DIR "/models/torchvision_names.txt");
  std::map<std::string, std::vector<Shape>> networks;
  std::string line, network;
  while (std::getline(names, line)) {
    std::istringstream words(line);
    std::string name, shape;
    words >> name >> shape;
    if (name == "#") {
      network = shape;
      continue;
    }
    Shape& dims = networks[network].emplace_back();
    std::istringstream numbers(shape);
    for (std::string number; std::getline(numbers, number, 'x');) dims.push_back(std::stol(number));
  }
  ASSERT_EQ(networks.size(), 5U);
  for (const auto& [architecture, shapes] : networks) {
    const auto found = fitting_architectures(shapes);
    ASSERT_EQ(found.size(), 1U) << architecture;
    EXPECT_EQ(found[0], (ModelConfig{.architecture = architecture}));
  }
}

TEST_F(Import, TheNetworkIsDeducedAndSaysWhatWasAssumed) {
  const Tensors weights = weights_of(small_);
  const ImportedModel m = import(weights);
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.model.config, small_);
  EXPECT_EQ(m.model.class_names, (std::vector<std::string>{"class 0", "class 1", "class 2"}));
  EXPECT_EQ(m.model.preprocessing.mean, (std::array<float, 3>{0.4914F, 0.4822F, 0.4465F}));
  EXPECT_EQ(m.model.preprocessing.std, (std::array<float, 3>{0.2470F, 0.2435F, 0.2616F}));
  EXPECT_EQ(m.model.preprocessing.resize, 32);
  EXPECT_FALSE(m.model.preprocessing.upright);
  EXPECT_EQ(m.model.provenance.at("imported_from"), "weights.safetensors");
  EXPECT_FALSE(m.report.structural);
  EXPECT_EQ(m.report.matched.size(), weights.size());
  EXPECT_TRUE(mentions(m.report.notes, "its shapes are those of resnet8"));
  EXPECT_TRUE(mentions(m.report.notes, "assumed, as usual for CIFAR-10"));
  EXPECT_IN("37 tensors matched by name", to_string(m.report));
  EXPECT_EQ(to_string(m.report).find("layer1"), std::string::npos);
  EXPECT_IN("layer1.0.conv1.weight <- layer1.0.conv1.weight", to_string(m.report, true));
  save_model(folder_ / "model.safetensors", m.model);
  const ModelFile loaded = load_model(folder_ / "model.safetensors");
  expect_same(loaded.weights, weights);
  EXPECT_FALSE(loaded.preprocessing.upright);
}

TEST_F(Import, EveryFamilyAndShortcut) {
  for (const char* architecture : {"resnet8", "resnet20", "resnet11", "resnet8v2", "resnet11v2",
                                   "resnet20-bottleneck", "resnet50-cifar"}) {
    for (const Shortcut shortcut : {Shortcut::kA, Shortcut::kB, Shortcut::kC}) {
      ModelConfig config{.architecture = architecture, .classes = 5, .image_size = 32};
      config.shortcut = shortcut;
      SCOPED_TRACE(architecture + std::string(name_of(shortcut)));
      const Tensors weights = weights_of(config);
      const ImportedModel deduced = import(weights);
      expect_same(deduced.model.weights, weights);
      EXPECT_EQ(parameters_of(deduced.model.config), parameters_of(config));
      // With the name given, the kind of shortcut is still found.
      const ImportedModel named = import(weights, {.architecture = architecture});
      expect_same(named.model.weights, weights);
    }
  }
}

TEST_F(Import, OtherClassesAndChannels) {
  const Tensors weights =
      weights_of({.architecture = "resnet18", .classes = 7, .channels = 1, .image_size = 64});
  const ImportedModel m = import(weights, {.image_size = 64});
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.model.config.classes, 7);
  EXPECT_EQ(m.model.config.channels, 1);
  EXPECT_EQ(m.model.config.image_size, 64);
  EXPECT_EQ(m.model.preprocessing.resize, 73);  // floor(64 / 0.875)
  EXPECT_EQ(m.model.preprocessing.mean[0], (0.485F + 0.456F + 0.406F) / 3);
}

struct Layout {
  const char* name;
  const char* architecture;
  Shortcut shortcut;
  std::function<std::string(const std::string&)> to;
};

// How other projects call the same tensors.
const std::vector<Layout>& layouts() {
  static const std::vector<Layout> kLayouts = {
      {"DataParallel", "resnet8", Shortcut::kA, [](const auto& n) { return "module." + n; }},
      {"StateDictOfDataParallel", "resnet8", Shortcut::kA,
       [](const auto& n) { return "state_dict.module." + n; }},
      {"Compiled", "resnet8", Shortcut::kA, [](const auto& n) { return "model._orig_mod." + n; }},
      {"LinearHead", "resnet8", Shortcut::kA,  // akamaster's: option A has no parameters
       [](const auto& n) { return "module." + replace(n, "fc.", "linear."); }},
      {"ShortcutAndLinear", "resnet8", Shortcut::kB,  // kuangliu's and weiaicunzai's
       [](const auto& n) {
         return "net.module." + replace(replace(n, "fc.", "linear."), ".downsample.", ".shortcut.");
       }},
      {"Fc", "resnet8", Shortcut::kB, [](const auto& n) { return n; }},  // chenyaofo's
      {"ConvAndBn", "resnet8", Shortcut::kB,
       [](const auto& n) {
         return replace(replace(n, "downsample.0", "skip.conv"), "downsample.1", "skip.bn");
       }},
      {"Lightning", "resnet8", Shortcut::kA,
       [](const auto& n) {
         return n.starts_with("fc.") ? "state_dict." + replace(n, "fc.", "classifier.1.")
                                     : "state_dict.backbone." + n;
       }},
      {"HeadFc", "resnet8", Shortcut::kA,
       [](const auto& n) { return replace(n, "fc.", "head.fc."); }},
      {"LastLinear", "resnet8", Shortcut::kA,
       [](const auto& n) { return replace(n, "fc.", "last_linear."); }},
      {"GammaAndBeta", "resnet8", Shortcut::kA,
       [](const auto& n) {
         if (n.find("bn") == n.npos) return n;
         return replace(replace(replace(n, ".weight", ".gamma"), ".bias", ".beta"), "running_var",
                        "moving_variance");
       }},
      {"OurOwnV2", "resnet8v2", Shortcut::kDefault, [](const auto& n) { return n; }},
      {"V2WithShortcut", "resnet8v2", Shortcut::kDefault,
       [](const auto& n) { return replace(n, ".downsample.", ".shortcut."); }},
  };
  return kLayouts;
}

TEST_F(Import, ForeignNames) {
  for (const Layout& layout : layouts()) {
    SCOPED_TRACE(layout.name);
    ModelConfig config{.architecture = layout.architecture, .classes = 3, .image_size = 32};
    config.shortcut = layout.shortcut;
    const Tensors weights = weights_of(config);
    const Tensors foreign = renamed(weights, layout.to);
    const ImportedModel m = import(foreign, {.architecture = layout.architecture});
    expect_same(m.model.weights, weights);
    EXPECT_FALSE(m.report.structural);
    EXPECT_TRUE(m.report.ignored.empty());
  }
}

TEST_F(Import, NamesOfHuggingFace) {
  const ModelConfig config{.architecture = "resnet50", .classes = 3, .image_size = 64};
  const Tensors weights = weights_of(config);
  const Tensors foreign = renamed(weights, [](std::string n) {
    if (n.starts_with("fc.")) return "classifier.1" + n.substr(2);
    if (n.starts_with("conv1.")) return "resnet.embedder.embedder.convolution" + n.substr(5);
    if (n.starts_with("bn1.")) return "resnet.embedder.embedder.normalization" + n.substr(3);
    const std::size_t stage = n[5] - '1', dot = n.find('.', 7);
    const std::string block =
        "resnet.encoder.stages." + std::to_string(stage) + ".layers." + n.substr(7, dot - 7) + ".";
    std::string rest = n.substr(dot + 1);
    rest = replace(replace(rest, "downsample.0", "shortcut.convolution"), "downsample.1",
                   "shortcut.normalization");
    for (const char k : {'1', '2', '3'}) {
      const std::string number(1, static_cast<char>(k - 1));
      rest = replace(rest, std::string("conv") + k, "layer." + number + ".convolution");
      rest = replace(rest, std::string("bn") + k, "layer." + number + ".normalization");
    }
    return block + rest;
  });
  const ImportedModel m = import(foreign);
  expect_same(m.model.weights, weights);
  EXPECT_FALSE(m.report.structural);
}

TEST_F(Import, CountersAndTrainingStateAreIgnored) {
  const Tensors weights = weights_of(small_);
  Tensors tensors = renamed(weights, [](const auto& n) { return "state_dict." + n; });
  tensors["state_dict.bn1.num_batches_tracked"] = Tensor::zeros(DType::kI64, {});
  tensors["optimizer.state.0.momentum_buffer"] = Tensor::zeros(DType::kF32, {16, 3, 3, 3});
  tensors["best"] = Tensor::zeros(DType::kF64, {});
  const ImportedModel m = import(tensors);
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.report.ignored.size(), 3U);
  EXPECT_IN("3 ignored (", to_string(m.report));
}

// As torch.save wrote until 2020: five pickles, then a count and the elements of each storage.
// Weights of DataParallel, without counters of batches: PyTorch before 0.4.1 had none.
TEST_F(Import, LegacyPyTorchFileOfDataParallel) {
  const Tensors weights = weights_of(small_);
  std::string state = "}", keys = "](", storages;
  for (const auto& [name, tensor] : weights) {
    const Shape& shape = tensor.shape();
    std::vector<std::int64_t> strides(shape.size(), 1);
    for (std::size_t d = shape.size() - 1; d > 0; --d) strides[d - 1] = strides[d] * shape[d];
    const std::string key = std::to_string(storages.size());
    state += pickles::text("module." + name) +
             pickles::tensor({.shape = shape, .strides = strides, .key = key}) + "s";
    keys += pickles::text(key);
    storages += pickles::number(static_cast<std::uint64_t>(tensor.size()), 8);
    storages.append(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
  }
  const std::string file = std::string(pickles::kLegacyMagic) + pickles::integer(1001) + ".}." +
                           state + "." + keys + "e." + storages;
  write_file_atomic(folder_ / "old.pth", file);
  const ImportedModel m = import_model(folder_ / "old.pth");
  EXPECT_EQ(m.report.format, "PyTorch legacy");
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.model.config, small_);
  EXPECT_FALSE(m.report.structural);
  EXPECT_TRUE(m.report.ignored.empty());
}

TEST_F(Import, NarrowAndWideElementsBecomeF32) {
  const Tensors weights = weights_of(small_);
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF64}) {
    Tensors tensors, expected;
    for (const auto& [name, tensor] : weights) {
      // Small numbers, which all of them can hold.
      Tensor t = Tensor::full(tensor.shape(), static_cast<float>(tensors.size()) / 64);
      expected[name] = t;
      tensors[name] = t.cast(dtype);
    }
    expect_same(import(tensors).model.weights, expected);
  }
}

TEST_F(Import, HeadAsConvolution) {
  Tensors weights = weights_of(small_);
  Tensors tensors = weights;
  tensors.erase("fc.weight");
  tensors.erase("fc.bias");
  tensors["classifier.weight"] = weights.at("fc.weight").reshaped({3, 64, 1, 1});
  tensors["classifier.bias"] = weights.at("fc.bias");
  expect_same(import(tensors).model.weights, weights);
}

TEST_F(Import, WeightsOrTheirAverage) {
  const Tensors weights = weights_of(small_);
  Tensors average, tensors;
  for (const auto& [name, tensor] : weights) {
    average[name] = Tensor::full(tensor.shape(), 0.5F);
    tensors["model." + name] = tensor;
    tensors["model_ema.module." + name] = average[name];
  }
  const ImportedModel by_default = import(tensors);
  expect_same(by_default.model.weights, average);
  EXPECT_TRUE(mentions(by_default.report.notes, "took 'model_ema'"));
  EXPECT_EQ(by_default.report.ignored.size(), weights.size());
  const ImportedModel plain = import(tensors, {.prefer_average = false});
  expect_same(plain.model.weights, weights);
  EXPECT_TRUE(mentions(plain.report.notes, "left 'model_ema'"));
  expect_same(import(tensors, {.prefix = "model"}).model.weights, weights);
  expect_same(import(tensors, {.prefix = "model_ema.module."}).model.weights, average);
}

TEST_F(Import, RenamesPrefixAndIgnore) {
  const Tensors weights = weights_of(small_);
  Tensors tensors = renamed(weights, [](const auto& n) {
    return "student." + replace(replace(n, "layer", "stage_"), "conv1.", "first.conv.");
  });
  for (const auto& [name, tensor] : weights) tensors["teacher." + name] = tensor;
  tensors["student.rotation.weight"] = Tensor::zeros(DType::kF32, {4, 64});
  const ImportedModel m = import(tensors, {.renames = {{"stage_1", "layer1"},
                                                       {"stage_2", "layer2"},
                                                       {"stage_3", "layer3"},
                                                       {"first.conv", "conv1"}},
                                           .prefix = "student",
                                           .ignore = {"rotation"}});
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.report.ignored.size(), weights.size() + 1);
  // Whole words only: "conv1" is not renamed inside "conv10".
  EXPECT_EQ(canonical_name("module.layer1.0.conv10.weight"), "layer1.0.conv10.weight");
  EXPECT_IN("no weights below the prefix 'pupil'",
            error(tensors, {.prefix = "pupil"}, ErrorCode::kInvalidArgument));
}

TEST_F(Import, MissingHeadForTransfer) {
  Tensors weights = weights_of(small_);
  Tensors tensors = weights;
  tensors.erase("fc.weight");
  tensors.erase("fc.bias");
  EXPECT_IN("--allow-missing-head", error(tensors, {.architecture = "resnet8"}));
  const ImportedModel m = import(tensors, {.class_names = {"a", "b"}, .allow_missing_head = true});
  EXPECT_EQ(m.model.config.architecture, "resnet8");
  EXPECT_EQ(m.model.config.classes, 2);
  EXPECT_EQ(m.model.weights.at("fc.weight").shape(), (Shape{2, 64}));
  EXPECT_EQ(m.model.weights.at("fc.weight").as<float>()[0], 0);
  tensors["fc.weight"] = m.model.weights.at("fc.weight");
  tensors["fc.bias"] = m.model.weights.at("fc.bias");
  expect_same(m.model.weights, tensors);
}

TEST_F(Import, OurOwnModelFile) {
  ImportedModel m = import(weights_of(small_));
  m.model.class_names = {"x", "y", "z"};
  m.model.preprocessing.upright = true;
  save_model(folder_ / "model.safetensors", m.model);
  const ImportedModel again = import_model(folder_, {.mean = {{0.5F, 0.5F, 0.5F}}});
  expect_same(again.model.weights, m.model.weights);
  EXPECT_EQ(again.model.class_names, m.model.class_names);
  EXPECT_TRUE(again.model.preprocessing.upright);
  EXPECT_EQ(again.model.preprocessing.mean[0], 0.5F);
  EXPECT_EQ(again.model.preprocessing.std, m.model.preprocessing.std);
  EXPECT_EQ(again.report.format, "model file");
  try {
    import_model(folder_, {.architecture = "resnet18"});
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_IN("a model file of resnet8, not of resnet18", std::string(e.what()));
  }
}

// ----------------------------------------------------------------------------------------
// structure

// Names that say nothing but their number: "blocks.7.weight".
Tensors numbered(const Parameters& order, const Tensors& weights) {
  Tensors result;
  std::map<std::string, std::size_t> number;
  for (const auto& [name, shape] : order) {
    const std::size_t dot = name.rfind('.');
    const std::size_t n = number.emplace(name.substr(0, dot), number.size()).first->second;
    result["blocks." + std::to_string(n) + name.substr(dot)] = weights.at(name);
  }
  return result;
}

TEST_F(Import, ByOrderAndShape) {
  for (const char* architecture : {"resnet8", "resnet20", "resnet11", "resnet8v2", "resnet11v2"}) {
    SCOPED_TRACE(architecture);
    const ModelConfig config{.architecture = architecture, .classes = 3, .image_size = 32};
    const Tensors weights = weights_of(config);
    const ImportedModel m =
        import(numbered(parameters_of(config), weights), {.architecture = architecture});
    expect_same(m.model.weights, weights);
    EXPECT_TRUE(m.report.structural);
    EXPECT_IN("matched by order and shape", to_string(m.report));
    EXPECT_IN("layer1.0.bn1.running_var <- blocks.", to_string(m.report));
  }
}

TEST_F(Import, ByStructureWithProjectionsBeforeTheirBlocks) {
  // A bottleneck's last convolution and its projection have one shape: only the order tells them
  // apart.
  const ModelConfig config{.architecture = "resnet11", .classes = 3, .image_size = 32};
  const Tensors weights = weights_of(config);
  Parameters order = parameters_of(config);
  for (auto begin = order.begin(); begin != order.end();) {
    const std::string block = begin->first.substr(0, 8);
    const auto end = std::find_if(begin, order.end(),
                                  [&](const auto& p) { return !p.first.starts_with(block); });
    std::stable_partition(begin, end,
                          [](const auto& p) { return p.first.find("downsample") != p.first.npos; });
    begin = end;
  }
  EXPECT_NE(order, parameters_of(config));
  const ImportedModel m = import(numbered(order, weights));
  expect_same(m.model.weights, weights);
  EXPECT_TRUE(m.report.structural);

  // The order of the convolutions fits, but there is a batch norm too many.
  std::vector<Candidate> candidates;
  for (const auto& [name, shape] : order) candidates.push_back({name, "x." + name, shape});
  for (const char* leaf : {"weight", "bias", "running_mean", "running_var"}) {
    const std::string name = std::string("x.more.") + leaf;
    candidates.push_back({name, name, {16}});
  }
  MatchReport report;
  EXPECT_NE(match_by_structure(parameters_of(config), candidates, report), "");
  EXPECT_TRUE(report.matched.empty());
}

TEST_F(Import, ByStructureWithNamedShortcuts) {
  // The names tell which layers are projections, so that their place in a block is free.
  const ModelConfig config{.architecture = "resnet11", .classes = 3, .image_size = 32};
  const Tensors weights = weights_of(config);
  for (const char* word : {"before.shortcut", "then.shortcut"}) {  // around "body"
    const Tensors foreign = renamed(weights, [&](std::string n) {
      if (n.starts_with("fc.")) return n;
      if (!n.starts_with("layer")) n = "layer0.0." + n;  // the stem
      n = "trunk." + replace(replace(n, "layer", "part"), "downsample", word);
      for (const char k : {'1', '2', '3'}) {
        n = replace(n, std::string("conv") + k, std::string("body.") + k + ".c");
        n = replace(n, std::string("bn") + k, std::string("body.") + k + ".b");
      }
      return n;
    });
    const ImportedModel m = import(foreign);
    expect_same(m.model.weights, weights);
    EXPECT_TRUE(m.report.structural);
  }
}

TEST_F(Import, TheSameShapesMayBeTwoNetworks) {
  // Names decide between v1 and v2; without them somebody has to.
  const Tensors weights = weights_of(small_);
  const Tensors foreign = numbered(parameters_of(small_), weights);
  EXPECT_IN("its shapes are those of resnet8 or resnet8v2 --shortcut A with 3 classes",
            error(foreign));
  expect_same(import(foreign, {.architecture = "resnet8"}).model.weights, weights);
}

TEST_F(Import, AmbiguousStructureIsRefused) {
  const Tensors weights = weights_of(small_);
  // Sorted by name, "aux" and "main" may be in any order.
  const std::string sorted = error(
      renamed(weights,
              [](const std::string& n) {
                if (n.starts_with("fc.")) return n;
                if (n.starts_with("conv1.")) return "x.a." + n;
                if (!n.starts_with("layer1")) return "x." + n;
                return "x." +
                       replace(replace(replace(replace(n, "conv1", "main_c"), "conv2", "aux_c"),
                                       "bn1", "main_b"),
                               "bn2", "aux_b");
              }),
      {.architecture = "resnet8"});
  EXPECT_IN("nor by order and shape", sorted);
  EXPECT_IN("have the same shape", sorted);
  EXPECT_IN("nothing does", sorted);
  EXPECT_IN("--rename OLD=NEW", sorted);

  // The file's order says one thing, the numbers another.
  const auto parameters = parameters_of(small_);
  std::vector<Candidate> candidates;
  std::map<std::string, std::size_t> number;
  for (const auto& [name, shape] : parameters) {
    const std::size_t dot = name.rfind('.');
    const std::size_t n = number.emplace(name.substr(0, dot), number.size()).first->second;
    const std::string foreign = "b" + std::to_string(100 - n) + name.substr(dot);
    candidates.push_back({foreign, foreign, shape});
  }
  MatchReport report;
  EXPECT_IN("do not both", match_by_structure(parameters, candidates, report));
  EXPECT_TRUE(report.matched.empty());
  // In a pickle, without numbers, the order of registration decides.
  std::size_t k = 0;
  for (Candidate& c : candidates) {
    const std::string& ours = parameters[k++].first;
    const std::size_t dot = ours.rfind('.');
    std::string word = "q";
    for (const char digit : std::to_string(number.at(ours.substr(0, dot)))) {
      word += static_cast<char>('z' - (digit - '0'));
    }
    c.file = c.name = word + ours.substr(dot);
  }
  EXPECT_EQ(match_by_structure(parameters, candidates, report), "");
  ASSERT_EQ(report.matched.size(), parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_EQ(report.matched[i].ours, parameters[i].first);
    EXPECT_EQ(report.matched[i].file, candidates[i].file);
  }
}

TEST_F(Import, StructureSaysWhatIsInTheWay) {
  const auto parameters = parameters_of(small_);
  const auto reason = [&](const std::function<void(std::vector<Candidate>&)>& change) {
    std::vector<Candidate> candidates;
    std::size_t number = 0;
    std::map<std::string, std::size_t> numbers;
    for (const auto& [name, shape] : parameters) {
      const std::size_t dot = name.rfind('.');
      const auto [it, fresh] = numbers.emplace(name.substr(0, dot), number);
      number += fresh ? 1 : 0;
      const std::string foreign = "b" + std::to_string(it->second) + name.substr(dot);
      candidates.push_back({foreign, foreign, shape});
    }
    change(candidates);
    MatchReport report;
    return match_by_structure(parameters, candidates, report);
  };
  EXPECT_EQ(reason([](auto&) {}), "");
  EXPECT_IN("one word", reason([](auto& c) { c[0].name = "weight"; }));
  EXPECT_IN("'b0' with bias, weight is neither a convolution without bias", reason([](auto& c) {
              c.push_back({"b0.bias", "b0.bias", {16}});
            }));
  EXPECT_IN("'b1' with bias, running_mean, weight is neither", reason([](auto& c) {
              std::erase_if(c, [](auto& x) { return x.name == "b1.running_var"; });
            }));
  EXPECT_IN("beside a weight of [16]", reason([](auto& c) { c[2].shape = {17}; }));
  EXPECT_IN(
      "convolution 1 is 'b0' [16, 3, 7, 7] in the file and conv1 [16, 3, 3, 3] in the network",
      reason([](auto& c) {
        c[0].shape = {16, 3, 7, 7};
      }));
  EXPECT_IN("the file has 8 of the kind 'convolution', the network 7", reason([](auto& c) {
              c.push_back({"b99.weight", "b99.weight", {1, 1, 1, 1}});
            }));
}

// -------------------------------------------------------------------------------------------
// errors

TEST_F(Import, ErrorsNameTheNetworkThatFits) {
  const Tensors weights = weights_of({.architecture = "resnet18", .classes = 5, .image_size = 64});
  const std::string other = error(weights, {.architecture = "resnet34"});
  EXPECT_IN("does not fit resnet34 by name", other);
  EXPECT_IN("80 missing (layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias, …)", other);
  EXPECT_IN("its shapes are those of resnet18 with 5 classes; use --arch resnet18", other);

  ModelConfig b{.architecture = "resnet20", .classes = 10, .image_size = 32};
  b.shortcut = Shortcut::kB;
  const std::string shortcut =
      error(weights_of(b), {.architecture = "resnet20", .shortcut = Shortcut::kA});
  EXPECT_IN("does not fit resnet20 --shortcut A", shortcut);
  EXPECT_IN("unexpected (layer2.0.downsample.", shortcut);
  EXPECT_IN("use --arch resnet20 --shortcut B", shortcut);
}

TEST_F(Import, ErrorsListMissingUnexpectedAndShapes) {
  const Tensors weights = weights_of(small_);
  Tensors tensors = weights;
  tensors.erase("layer2.0.bn2.running_var");
  tensors["layer1.0.se.fc1.weight"] = Tensor::zeros(DType::kF32, {4, 16});
  tensors["conv1.weight"] = Tensor::zeros(DType::kF32, {16, 3, 5, 5});
  const std::string all = error(tensors, {.architecture = "resnet8"});
  EXPECT_IN("1 missing (layer2.0.bn2.running_var)", all);
  EXPECT_IN("1 of another shape (conv1.weight [16, 3, 5, 5], expected [16, 3, 3, 3])", all);
  EXPECT_IN("1 unexpected (layer1.0.se.fc1.weight)", all);
  EXPECT_IN("no network that is known here has these shapes", all);

  EXPECT_IN("cannot tell which network this is: none that is known here has 38 tensors of these",
            [&] {
              Tensors more = weights;
              more["layer1.0.se.weight"] = Tensor::zeros(DType::kF32, {16});
              return error(more);
            }());
  Tensors extra = weights;
  extra["layer1.0.se.weight"] = Tensor::zeros(DType::kF32, {16});
  EXPECT_IN("leave it out with --ignore", error(extra, {.architecture = "resnet8"}));
  expect_same(import(extra, {.architecture = "resnet8", .ignore = {"layer1.0.se"}}).model.weights,
              weights);
}

TEST_F(Import, CutNetworksAreSaidToBeSo) {
  ModelConfig cut = small_;
  cut.splice = "layer2";
  const Tensors weights = weights_of(cut);
  EXPECT_IN("cannot tell which network this is", error(weights));
  EXPECT_IN("if it was cut (--splice)", error(weights));
  EXPECT_IN("take the model file", error(weights, {.architecture = "resnet8"}));
  EXPECT_IN("--splice", error(weights));
  const ImportedModel m = import(weights, {.architecture = "resnet8", .splice = "layer2"});
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.model.config.splice, "layer2");
}

TEST_F(Import, AHeadOfTwoLayersIsReadByItsNumbers) {
  ModelConfig hidden = small_;
  hidden.head_hidden = 5;
  const Tensors weights = weights_of(hidden);
  for (const auto& [first, second] : {std::pair("fc.0.", "fc.3."),
                                      {"classifier.1.", "classifier.4."},
                                      {"head.fc.0.", "head.fc.2."}}) {
    const ImportedModel m = import(renamed(weights, [&](const std::string& n) {
      return replace(replace(n, "fc.3.", second), "fc.0.", first);
    }));
    expect_same(m.model.weights, weights);
    EXPECT_EQ(m.model.config.head_hidden, 5) << first;
    EXPECT_EQ(m.model.config.classes, 3);
    EXPECT_TRUE(mentions(m.report.notes, "ReLU"));
  }
  // Two linear layers with nothing between them are another network.
  EXPECT_IN(
      "both stand for 'fc.",
      error(renamed(weights, [&](const std::string& n) { return replace(n, "fc.3.", "fc.1."); })));
}

TEST_F(Import, AnUnknownArchitectureIsNotTakenForAnother) {
  const Tensors weights = weights_of({.architecture = "resnet18", .classes = 2, .image_size = 64});
  const auto config = [&](const std::string& from, const std::string& to) {
    write_file_atomic(folder_ / "config.json", replace(kTimm, from, to));
  };
  const std::string name = R"("architecture": "resnet18", "num_classes")";
  for (const char* other : {"resnetrs50", "resnetaa50", "resnet50_gn", "seresnet50"}) {
    config(name, R"("architecture": ")" + std::string(other) + R"(", "num_classes")");
    const std::string message = error(weights, {}, ErrorCode::kUnsupported);
    EXPECT_IN(other, message);
    EXPECT_IN("--arch", message);
    expect_same(import(weights, {.architecture = "resnet18"}).model.weights, weights);
  }
  for (const char* same : {"tv_resnet18", "gluon_resnet18_v1b", "resnet18.a1_in1k"}) {
    config(name, R"("architecture": ")" + std::string(same) + R"(", "num_classes")");
    EXPECT_EQ(import(weights).model.config.architecture, "resnet18") << same;
  }
  for (const char* change :
       {R"("global_pool": "catavgmax")", R"("model_args": {"act_layer": "silu"})",
        R"("model_args": {"stem_type": "deep"})"}) {
    config(R"("num_features": 512)", change);
    EXPECT_IN("--arch", error(weights, {}, ErrorCode::kUnsupported)) << change;
  }
  config(R"("num_features": 512)", R"("global_pool": "avg", "model_args": {"in_chans": 3})");
  EXPECT_NO_THROW(import(weights));
  write_file_atomic(folder_ / "config.json",
                    std::string_view(R"({"model_type": "resnet", "hidden_act": "gelu"})"));
  EXPECT_IN("hidden_act", error(weights, {}, ErrorCode::kUnsupported));
}

TEST_F(Import, TwoTensorsForOnePlace) {
  const Tensors weights = weights_of(small_);
  Tensors tensors = weights;
  for (const auto& [name, tensor] : weights) tensors["module." + name] = tensor;
  const std::string both = error(tensors);
  EXPECT_IN("both stand for 'bn1.bias'", both);
  EXPECT_IN("--prefix", both);
}

TEST_F(Import, BadOptions) {
  const Tensors weights = weights_of(small_);
  EXPECT_IN("3 classes, but 2 names were given",
            error(weights, {.class_names = {"a", "b"}}, ErrorCode::kInvalidArgument));
  write_safetensors(path_, weights);
  EXPECT_THROW(import_model(path_, {.architecture = "resnet19"}), Error);
  EXPECT_THROW(import_model(folder_ / "none"), Error);
  EXPECT_THROW(import_model(folder_), Error);
  EXPECT_IN(
      "channels",
      error(weights_of({.architecture = "resnet8", .classes = 3, .channels = 4, .image_size = 32}),
            {}, ErrorCode::kUnsupported));
}

// ---------------------------------------------------------------------------------------------
// timm

TEST_F(Import, PreprocessingOfTimm) {
  const Tensors weights = weights_of({.architecture = "resnet18", .classes = 2, .image_size = 64});
  write_file_atomic(folder_ / "config.json", std::string_view(kTimm));
  const ImportedModel m = import(weights);
  expect_same(m.model.weights, weights);
  EXPECT_EQ(m.model.config.architecture, "resnet18");
  const Preprocessing& p = m.model.preprocessing;
  EXPECT_EQ(p.height, 224);
  EXPECT_EQ(p.resize, 235);  // floor(224 / 0.95)
  EXPECT_EQ(p.interpolation, Interpolation::kBicubic);
  EXPECT_EQ(p.mean, (std::array<float, 3>{0.5F, 0.4F, 0.3F}));
  EXPECT_EQ(p.std, (std::array<float, 3>{0.2F, 0.25F, 0.3F}));
  EXPECT_EQ(m.model.class_names, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_TRUE(mentions(m.report.notes, "--image-size 288"));

  const ImportedModel given = import(weights, {.image_size = 288,
                                               .resize = 288,
                                               .interpolation = Interpolation::kBilinear,
                                               .class_names = {"x", "y"}});
  EXPECT_EQ(given.model.preprocessing.resize, 288);
  EXPECT_EQ(given.model.preprocessing.interpolation, Interpolation::kBilinear);
  EXPECT_EQ(given.model.class_names[0], "x");
}

TEST_F(Import, OldAndForeignConfigsBesideTheWeights) {
  const Tensors weights = weights_of(small_);
  write_file_atomic(folder_ / "config.json",
                    std::string_view(R"({"architecture": "resnet8", "mean": [0.5, 0.5, 0.5],
                                         "input_size": [3, 48, 48], "crop_pct": 1.0})"));
  const ImportedModel old = import(weights);
  EXPECT_EQ(old.model.config.architecture, "resnet8");
  EXPECT_EQ(old.model.preprocessing.height, 48);
  for (const char* foreign : {"", "[]", "{\"architectures\": [\"ResNet\"]}", "not json"}) {
    write_file_atomic(folder_ / "config.json", std::string_view(foreign));
    EXPECT_TRUE(mentions(import(weights).report.notes, "as usual for CIFAR-10")) << foreign;
  }
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"0.95", "\"big\""},
                                                        {"[3, 224, 224]", "[3, 224]"},
                                                        {"[3, 224, 224]", "[3, 1e30, 1e30]"},
                                                        {"[0.5, 0.4, 0.3]", "[0.5]x"},
                                                        {"[0.5, 0.4, 0.3]", "[1e300, 0, 0]"},
                                                        {"bicubic", "lanczos"}}) {
    write_file_atomic(folder_ / "config.json", replace(kTimm, from, to));
    const Tensors two = weights_of({.architecture = "resnet18", .classes = 2, .image_size = 64});
    write_safetensors(path_, two);
    if (to == "[0.5]x") {  // no JSON at all: not timm's
      EXPECT_NO_THROW(import_model(path_));
    } else {
      EXPECT_THROW(import_model(path_), Error) << to;
    }
  }
}

// -----------------------------------------------------------------------------------------
// channels

TEST(AdaptInputChannels, SumsRepeatsAndScales) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};  // [1, 3, 1, 2]
  const Tensor w = Tensor::from<float>({1, 3, 1, 2}, values);
  const auto adapted = [&](std::int64_t channels) {
    const Tensor t = adapt_input_channels(w, channels);
    EXPECT_EQ(t.shape(), (Shape{1, channels, 1, 2}));
    return std::vector<float>(t.as<float>().begin(), t.as<float>().end());
  };
  EXPECT_EQ(adapted(3), values);
  EXPECT_EQ(adapted(1), (std::vector<float>{9, 12}));
  EXPECT_EQ(adapted(2), (std::vector<float>{1.5, 3, 4.5, 6}));
  EXPECT_EQ(adapted(6), (std::vector<float>{0.5, 1, 1.5, 2, 2.5, 3, 0.5, 1, 1.5, 2, 2.5, 3}));
  EXPECT_EQ(adapt_input_channels(w.cast(DType::kF16), 1).dtype(), DType::kF32);
  EXPECT_THROW(adapt_input_channels(w, 0), Error);
  EXPECT_THROW(adapt_input_channels(Tensor::zeros(DType::kF32, {3}), 1), Error);
}

// -------------------------------------------------------------------------------------------
// export

TEST_F(Import, ExportedTorchFilesComeBack) {
  const ImportedModel m = import(weights_of(small_));
  export_torch(folder_ / "out.pth", m.model);
  const ImportedModel again = import_model(folder_ / "out.pth");
  expect_same(again.model.weights, m.model.weights);
  EXPECT_EQ(again.report.format, "PyTorch zip");
  EXPECT_EQ(again.report.ignored.size(), 7U);
}

TEST_F(Import, EveryResNetD) {
  for (const char* architecture : {"resnet18d", "resnet50d"}) {
    const Tensors weights =
        weights_of({.architecture = architecture, .classes = 4, .image_size = 64});
    const ImportedModel m = import(weights);
    expect_same(m.model.weights, weights);
    EXPECT_EQ(m.model.config.architecture, architecture);
  }
}

TEST_F(Import, ExportedSafetensorsComeBack) {
  const ImportedModel m = import(weights_of(small_));
  export_safetensors(folder_ / "out.safetensors", m.model);
  const Safetensors out = read_safetensors(folder_ / "out.safetensors");
  EXPECT_FALSE(out.metadata.contains("resnet.format"));
  EXPECT_EQ(out.tensors.at("layer1.0.bn2.num_batches_tracked").dtype(), DType::kI64);
  EXPECT_EQ(out.tensors.at("layer1.0.bn2.num_batches_tracked").shape(), Shape{});
  EXPECT_EQ(out.tensors.size(), m.model.weights.size() + 7);
  const ImportedModel again = import_model(folder_ / "out.safetensors");
  expect_same(again.model.weights, m.model.weights);
  EXPECT_EQ(again.report.ignored.size(), 7U);
}

}  // namespace
}  // namespace resnet

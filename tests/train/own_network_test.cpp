// A registered network none of whose layers has a name that is known here: it is trained, frozen,
// cut, embedded and quantised by what it says of its parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/random.h"
#include "resnet/network.h"
#include "resnet/quantize.h"
#include "support/oddly_named.h"
#include "train/support.h"
#include "train/training_graph.h"
#include "train/transfer.h"

namespace resnet {
namespace {

constexpr std::int64_t kBatch = 4, kClasses = 3;

ModelConfig oddly_named_config() {
  register_oddly_named();
  return {.architecture = std::string(kOddlyNamed), .classes = kClasses, .image_size = 16};
}

TEST(OwnNetwork, IsFrozenAndOpenedByItsStages) {
  const ModelConfig c = oddly_named_config();
  const auto phases = phases_of({.freeze_until = "middle", .unfreeze_at = {2, 3}}, c);
  EXPECT_EQ(phases, (std::vector<Phase>{{1, "middle"}, {2, "start"}, {3, ""}}));
  const auto first = first_trained(phases, c);
  const std::map<std::string, std::size_t> expected = {
      {"a.weight", 2},  {"a.bias", 2},    {"b1.weight", 1},   {"b2.weight", 1}, {"b2.bias", 1},
      {"b3.weight", 1}, {"c1.weight", 0}, {"c2.weight", 0},   {"c2.bias", 0},   {"c3.weight", 0},
      {"z.weight", 0},  {"z.bias", 0},    {"side.weight", 0}, {"side.bias", 0}};
  EXPECT_EQ(first, expected);
  EXPECT_EQ(phases_of({.freeze_until = "b1", .unfreeze_at = {2, 3}}, c),
            (std::vector<Phase>{{1, "b1"}, {2, "start"}, {3, ""}}));
  EXPECT_NE(error_of([&] { phases_of({.freeze_until = "z"}, c); }).find("nothing to train"),
            std::string::npos);
  // Its second loss reads what lies before the head.
  EXPECT_FALSE(trains_head_only({1, "end"}, c));
}

TEST(OwnNetwork, LearnsAtTheRatesOfItsStages) {
  const auto f = lr_factors(oddly_named_config(), 0.5);
  EXPECT_EQ(f.at("z.weight"), 1);
  EXPECT_EQ(f.at("side.bias"), 1);
  EXPECT_EQ(f.at("c2.bias"), 0.5);
  EXPECT_EQ(f.at("b1.weight"), 0.25);
  EXPECT_EQ(f.at("a.bias"), 0.125);
}

Tensor random_tensor(const Shape& shape, std::uint64_t stream) {
  Tensor t(DType::kF64, Shape(shape));
  Random random(3, stream);
  for (double& x : t.as<double>()) x = random.uniform(-1, 1);
  return t;
}

double cross_entropy(const Tensor& logits, const std::vector<std::size_t>& classes) {
  double sum = 0;
  const auto z = logits.as<double>();
  for (std::size_t i = 0; i < classes.size(); ++i) {
    double total = 0;
    for (std::size_t k = 0; k < kClasses; ++k) total += std::exp(z[i * kClasses + k]);
    sum += std::log(total) - z[i * kClasses + classes[i]];
  }
  return sum / static_cast<double>(classes.size());
}

TEST(OwnNetwork, ItsSecondLossIsAddedTimesItsWeight) {
  const ModelConfig c = oddly_named_config();
  for (const std::string frozen : {"", "start"}) {  // a copy of the network has both losses, too
    Graph g(Mode::kTraining);
    const Network network = network_of(c, frozen)(g, kBatch);
    ASSERT_EQ(network.auxiliary.size(), 1U);
    g.mark_output("side", network.auxiliary[0].logits);
    add_training_step(g, network, {});
    verify(g);
    Variables initial;
    initialise(g, initial, 1);
    auto variables = std::make_shared<Variables>(initial.cast(DType::kF64));
    const Tensor before = variables->at("side.weight").clone();
    Session session(g, variables, {.device = Device::kReference});
    const std::vector<std::size_t> classes = {0, 2, 1, 2};
    Tensor targets = Tensor::zeros(DType::kF64, {kBatch, kClasses});
    for (std::size_t i = 0; i < classes.size(); ++i) {
      targets.as<double>()[i * kClasses + classes[i]] = 1;
    }
    session.set_input("image", random_tensor({kBatch, 3, 16, 16}, 1));
    session.set_input("targets", targets);
    session.set_input("lr", 0.1);
    session.run();
    const double own = cross_entropy(session.output("logits"), classes);
    const double side = cross_entropy(session.output("side"), classes);
    // Few sums of numbers of the size of 1 in double.
    EXPECT_NEAR(session.scalar("loss"), own + kSideWeight * side, 1e-12);
    EXPECT_GT(side, 0.1);
    EXPECT_FALSE(same(variables->at("side.weight"), before));
  }
}

ModelFile random_model(const ModelConfig& config) {
  ModelFile m;
  m.config = config;
  m.class_names = {"x", "y", "w"};
  m.preprocessing = {.height = 16, .width = 16, .resize = 0};
  Variables v;
  initialise(inference_graph(config, 1), v, 2);
  m.weights = from_variables(v, config);
  return m;
}

TEST(OwnNetwork, ItsHeadIsReplacedAndReordered) {
  const ModelConfig c = oddly_named_config();
  const ModelFile m = random_model(c);
  const Loaded anew = fit_weights(m, c, {"one", "two", "three"});
  EXPECT_EQ(anew.fresh, (std::vector<std::string>{"z.weight", "z.bias"}));
  EXPECT_TRUE(anew.tensors.contains("c3.weight"));
  const Loaded kept = fit_weights(m, c, {"w", "x", "y"});
  EXPECT_TRUE(kept.fresh.empty());
  const auto from = m.weights.at("z.weight").as<float>(),
             to = kept.tensors.at("z.weight").as<float>();
  const std::size_t width = from.size() / kClasses;
  for (std::size_t k = 0; k < width; ++k) {
    EXPECT_EQ(to[k], from[2 * width + k]);
    EXPECT_EQ(to[width + k], from[k]);
  }
  // A cut takes what lies before it and the head that cut networks have.
  ModelConfig cut = c;
  cut.splice = "middle";
  const Loaded part = fit_weights(m, cut, m.class_names);
  EXPECT_EQ(part.fresh.size(), 2U);
  EXPECT_TRUE(part.tensors.contains("b3.weight"));
  EXPECT_FALSE(part.tensors.contains("c1.weight"));
}

class OwnNetworkRuns : public FolderTest {
 protected:
  TrainOptions options(const std::string& out) const {
    TrainOptions o;
    o.data.source = "galaxies:train=48,val=24,size=16,seed=3";
    o.epochs = 1;
    o.batch_size = 8;
    o.augmentation = Augmentation{};
    o.threads = 1;
    o.out = folder_ / out;
    return o;
  }
};

TEST_F(OwnNetworkRuns, TrainTransferEmbedQuantise) {
  TrainOptions o = options("first");
  o.model.architecture = oddly_named_config().architecture;
  const ModelFile before = load_model(train(o).model);
  EXPECT_FALSE(before.weights.contains("side.weight"));  // of training only

  TrainOptions more = options("more");
  more.transfer = {.weights = o.out.string(), .freeze_until = "middle"};
  const ModelFile after = load_model(train(more).model);
  for (const auto& [name, tensor] : after.weights) {
    const bool frozen = name.starts_with("a.") || name.starts_with("b");
    EXPECT_EQ(same(tensor, before.weights.at(name)), frozen) << name;
  }

  const DataSplits data = open_data(more.data);
  EmbedOptions embedding;
  embedding.eval.threads = 1;
  const Embeddings features = embed(after, data.val, embedding);
  EXPECT_EQ(features.features.dim(1), 8);
  embedding.layer = "end";  // averaged over the image: what the head reads
  EXPECT_TRUE(same(embed(after, data.val, embedding).features, features.features));
  embedding.layer = "middle";
  EXPECT_EQ(embed(after, data.val, embedding).features.dim(1), 6);

  QuantizeOptions q{.calibration = Calibration::kMinMax, .threads = 1};
  const Quantized quantized = quantize_model(after, more.data, q);
  std::set<std::string> kept;
  for (const QuantizeTrial& t : quantized.trials) {
    if (t.keep.size() == 1) kept.insert(t.keep[0]);
  }
  EXPECT_EQ(kept,
            (std::set<std::string>{"a", "z"}));  // the first of the stem, the last of the head
  EXPECT_EQ(embed(quantized.model, data.val, embedding).features.dim(1), 6);
  embedding.layer = "";
  EXPECT_EQ(embed(quantized.model, data.val, embedding).features.shape(),
            features.features.shape());

  TrainOptions cut = options("cut");
  cut.transfer.weights = o.out.string();
  cut.model.splice = "middle";
  const ModelFile spliced = load_model(train(cut).model);
  EXPECT_EQ(spliced.config.splice, "middle");
  EXPECT_TRUE(spliced.weights.contains("fc.weight"));
  EXPECT_FALSE(spliced.weights.contains("c1.weight"));
}

}  // namespace
}  // namespace resnet

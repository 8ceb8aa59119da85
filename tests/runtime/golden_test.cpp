// Whole networks against PyTorch: logits, loss, every gradient, running statistics and ten steps of
// SGD. The files and their tolerances are described in tests/golden/README.md.
#include "golden/golden.h"

#include <gtest/gtest.h>

#include "resnet/models.h"
#include "resnet/program.h"
#include "runtime/support.h"

namespace resnet {
namespace {

struct Case {
  const char* network;
  Device device;
  bool winograd = true;
  bool passes = true;
};

std::string name_of(const Case& c) {
  std::string name = c.network;
  name += c.device == Device::kReference ? "_reference" : "_cpu";
  if (!c.winograd) name += "_direct";
  if (!c.passes) name += "_no_passes";
  return name;
}

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << name_of(c); }

class Golden : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    golden_ = golden::load(std::string(RESNET_GOLDEN_DIR "/") + GetParam().network + ".json");
    config_.architecture = golden_.network;
    config_.classes = golden_.classes;
    config_.image_size = golden_.image_size;
    image_ = Tensor(DType::kF32, {golden_.batch, 3, golden_.image_size, golden_.image_size});
    golden::fill(golden_.image, image_.shape(), image_.as<float>());
    targets_ = Tensor::zeros(DType::kF32, {golden_.batch, golden_.classes});
    for (std::int64_t i = 0; i < golden_.batch; ++i) {
      const std::int64_t label = golden_.labels[static_cast<std::size_t>(i)];
      targets_.as<float>()[static_cast<std::size_t>(i * golden_.classes + label)] = 1;
    }
  }

  bool reference() const { return GetParam().device == Device::kReference; }
  double factor() const { return reference() ? 0 : golden::kFactor; }
  CompileOptions options() const {
    return {.device = GetParam().device,
            .threads = 2,
            .passes = GetParam().passes,
            .winograd = GetParam().winograd};
  }

  // Every parameter by the formula; optimizer state starts at zero.
  std::shared_ptr<Variables> variables(const Graph& g) const {
    auto v = std::make_shared<Variables>();
    for (const Value p : g.parameters()) {
      Tensor t = Tensor::zeros(DType::kF32, g.shape(p));
      const Role role = std::get<ParameterAttributes>(g.node(p).attributes).role;
      if (role != Role::kOptimizer) golden::fill(g.node(p).name, t.shape(), t.as<float>());
      v->set(g.node(p).name, std::move(t));
    }
    if (reference()) *v = v->cast(DType::kF64);
    return v;
  }

  void expect_values(const Tensor& found, const golden::Values& expected, const char* what) const {
    const Tensor t = found.cast(DType::kF64);
    ASSERT_EQ(static_cast<std::size_t>(t.size()), expected.values.size());
    for (std::size_t i = 0; i < expected.values.size(); ++i) {
      EXPECT_NEAR(t.as<double>()[i], expected.values[i], golden::tolerance(expected, factor()))
          << what << " " << i;
    }
  }

  std::string compare(const std::string& name, const Tensor& t, const golden::Summary& expected,
                      double typical) const {
    const Tensor d = t.cast(DType::kF64);
    return golden::compare<double>(name, d.as<double>(), expected, typical, factor());
  }

  golden::Network golden_;
  ModelConfig config_;
  Tensor image_, targets_;
};

TEST_P(Golden, Inference) {
  const Graph g = inference_graph(config_, golden_.batch);
  Session p(g, variables(g), options());
  p.set_input("image", image_);
  p.run();
  expect_values(p.output("logits"), golden_.eval_logits, "logit");
}

TEST_P(Golden, Training) {
  Graph g(Mode::kTraining);
  const Value logits = build_model(g, config_, g.input("image", image_.shape()));
  const Value loss = g.softmax_cross_entropy(logits, g.input("targets", targets_.shape()));
  add_sgd(g, loss, {.momentum = golden_.momentum, .weight_decay = golden_.weight_decay}, true);
  g.mark_output("logits", logits);

  const std::shared_ptr<Variables> v = variables(g);
  const Variables start = v->cast(DType::kF64);
  Session p(g, v, options());
  p.set_input("image", image_);
  p.set_input("targets", targets_);
  p.set_input("lr", golden_.lr);

  p.run();
  expect_values(p.output("logits"), golden_.training_logits, "logit");
  ASSERT_EQ(g.trainable().size(), golden_.gradients.size());
  for (const auto& [name, expected] : golden_.gradients) {
    EXPECT_EQ(compare(name, p.output("d." + name), expected, golden_.gradients_error), "");
  }
  for (const auto& [name, expected] : golden_.running) {
    EXPECT_EQ(compare(name, v->at(name), expected, golden_.running_error), "");
  }

  std::vector<double> losses{p.scalar("loss")};
  while (losses.size() < golden_.losses.values.size()) {
    p.run();
    losses.push_back(p.scalar("loss"));
  }
  expect_values(Tensor::from<double>({static_cast<std::int64_t>(losses.size())}, losses),
                golden_.losses, "loss");
  for (const auto& [name, expected] : golden_.updates) {
    Tensor change = v->at(name).cast(DType::kF64).clone();
    const auto before = start.at(name).as<double>();
    for (std::size_t i = 0; i < before.size(); ++i) change.as<double>()[i] -= before[i];
    EXPECT_EQ(compare(name, change, expected, golden_.updates_error), "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Networks, Golden,
    testing::Values(Case{"resnet20", Device::kCpu}, Case{"resnet20", Device::kCpu, false},
                    Case{"resnet20", Device::kCpu, true, false},
                    Case{"resnet20", Device::kReference}, Case{"resnet20v2", Device::kCpu},
                    Case{"resnet20v2", Device::kReference}, Case{"resnet18", Device::kCpu},
                    Case{"resnet50", Device::kCpu}, Case{"resnet18d", Device::kCpu},
                    Case{"resnet50v2", Device::kCpu}),
    [](const auto& tested) { return name_of(tested.param); });

}  // namespace
}  // namespace resnet

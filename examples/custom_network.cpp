// A network of one's own, built outside the library, and a training loop of one's own: "squeeze and
// excitation" (Hu et al. 2018), where each block weighs its channels by a look at the whole
// image.
//
//   custom_network [EPOCHS]
#include <resnet/resnet.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>

using resnet::Graph;
using resnet::Value;

namespace {

constexpr std::int64_t kBatch = 32, kSize = 32;

Value conv_bn(Graph& g, const std::string& name, Value x, std::int64_t filters, int stride) {
  x = g.conv2d(name + ".conv", x, {.filters = filters, .kernel = 3, .stride = stride});
  return g.batch_norm(name + ".bn", x);
}

// A residual block. The gates are 1x1 convolutions of the image at half its size: elementwise
// products need equal shapes, so this is the spatial cousin of squeeze and excitation.
Value block(Graph& g, const std::string& name, Value x, std::int64_t filters, int stride) {
  Value y = g.relu(conv_bn(g, name + ".1", x, filters, stride));
  y = conv_bn(g, name + ".2", y, filters, 1);
  const Value gate =
      g.sigmoid(g.conv2d(name + ".gate", y, {.filters = filters, .kernel = 1, .bias = true}));
  y = g.mul(y, gate);
  const Value shortcut = stride == 1 ? x : g.pad_shortcut(x, filters, stride);
  return g.relu(g.add(y, shortcut));
}

Value gated_resnet(Graph& g, Value image, std::int64_t classes) {
  Value x = g.relu(conv_bn(g, "stem", image, 16, 1));
  x = block(g, "block1", x, 16, 1);
  x = block(g, "block2", x, 32, 2);
  x = block(g, "block3", x, 64, 2);
  return g.linear("fc", g.global_avg_pool(x), classes);
}

}  // namespace

int main(int argc, char** argv) try {
  const int epochs = argc > 1 ? std::atoi(argv[1]) : 4;
  const resnet::DataSplits data = resnet::open_data(
      {.source = "galaxies:train=640,val=128", .seed = 1, .image_size = static_cast<int>(kSize)});
  const auto classes = static_cast<std::int64_t>(data.train->class_names().size());
  const resnet::Preprocessing prep = resnet::default_preprocessing(*data.train);

  // Describe: one graph that learns, one that predicts, over the same weights.
  Graph learning(resnet::Mode::kTraining);
  Value image = learning.input("image", {kBatch, 3, kSize, kSize});
  resnet::StepOptions step;
  step.optimizer.weight_decay = 5e-4;
  resnet::add_training_step(learning, gated_resnet(learning, image, classes), step);
  Graph predicting(resnet::Mode::kInference);
  image = predicting.input("image", {kBatch, 3, kSize, kSize});
  predicting.mark_output("logits", gated_resnet(predicting, image, classes));

  // Compile.
  auto weights = std::make_shared<resnet::Variables>();
  resnet::initialise(learning, *weights, /*seed=*/1);
  resnet::Session learn(learning, weights), predict(predicting, weights);

  // Run.
  resnet::Loader train(data.train, prep, resnet::augmentation_preset("galaxy"),
                       {.batch_size = kBatch, .seed = 1});
  resnet::Loader val(data.val, prep, {}, resnet::evaluation_options(kBatch));
  const resnet::ScheduleOptions schedule{.kind = resnet::Schedule::kOneCycle};
  resnet::Batch batch;
  std::int64_t steps = 0;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    train.start_epoch(epoch);
    double loss = 0;
    while (train.next(batch)) {
      learn.set_input("image", batch.images);
      learn.set_input("targets", batch.targets);
      learn.set_input(
          "lr", resnet::learning_rate(schedule, 0.05, steps++, train.batches_per_epoch(), epochs));
      learn.run();
      loss += learn.scalar("loss") / static_cast<double>(train.batches_per_epoch());
    }
    int right = 0;
    val.start_epoch(0);
    while (val.next(batch)) {
      predict.set_input("image", batch.images);
      predict.run();
      const resnet::Tensor logits = predict.output("logits");  // [batch, classes]
      for (int i = 0; i < batch.count; ++i) {
        const auto row = logits.as<float>().subspan(static_cast<std::size_t>(i * classes),
                                                    static_cast<std::size_t>(classes));
        right += std::ranges::max_element(row) - row.begin() ==
                 batch.labels[static_cast<std::size_t>(i)];
      }
    }
    std::printf("epoch %d/%d  loss %.3f  %.1f %% right\n", epoch + 1, epochs, loss,
                100.0 * right / static_cast<double>(data.val->size()));
  }
} catch (const resnet::Error& e) {
  std::fprintf(stderr, "custom_network: %s\n", e.what());
  return 1;
}

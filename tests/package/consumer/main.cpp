// A network of one's own, made and trained with nothing but the installed package: two
// convolutions with a gate between them begin to tell galaxies apart.
#include <resnet/data.h>
#include <resnet/graph.h>
#include <resnet/program.h>
#include <resnet/train.h>

#include <cstdio>
#include <exception>
#include <memory>

namespace {

constexpr int kBatch = 32;
constexpr int kSide = 32;

resnet::Value gated_network(resnet::Graph& g, resnet::Value image, std::int64_t classes) {
  resnet::Value x = g.conv2d("conv1", image, {.filters = 16, .kernel = 3, .stride = 2});
  x = g.relu(g.batch_norm("bn1", x));
  resnet::Value gate = g.sigmoid(g.conv2d("gate", x, {.filters = 16, .kernel = 1, .bias = true}));
  x = g.max_pool(g.mul(x, gate), {.kernel = 2, .stride = 2});
  return g.linear("fc", g.global_avg_pool(x), classes);
}

int run() {
  const resnet::DataSplits data = resnet::open_data({.source = "galaxies:train=320,val=8,size=32"});
  resnet::Loader loader(data.train, resnet::default_preprocessing(*data.train, kSide), {},
                        {.batch_size = kBatch});

  resnet::Graph g(resnet::Mode::kTraining);
  const resnet::Value image = g.input("image", {kBatch, 3, kSide, kSide});
  const auto classes = static_cast<std::int64_t>(data.train->class_names().size());
  resnet::add_training_step(g, gated_network(g, image, classes), {});
  auto variables = std::make_shared<resnet::Variables>();
  resnet::initialise(g, *variables, 1);
  resnet::Session session(g, variables);
  session.set_input("lr", 0.2);

  resnet::Batch batch;
  double first = 0;
  double last = 0;
  for (int epoch = 0; epoch < 8; ++epoch) {
    double sum = 0;
    loader.start_epoch(epoch);
    while (loader.next(batch)) {
      session.set_input("image", batch.images);
      session.set_input("targets", batch.targets);
      session.run();
      sum += session.scalar("loss");
    }
    last = sum / static_cast<double>(loader.batches_per_epoch());
    if (epoch == 0) first = last;
  }
  std::printf("mean loss of the first epoch %.4f, of the last %.4f\n", first, last);
  return last < 0.95 * first ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

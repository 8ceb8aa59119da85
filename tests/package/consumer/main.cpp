// A network of one's own, made and trained with nothing but the installed package: two
// convolutions with a gate between them learn to tell galaxies apart.
#include <resnet/graph.h>
#include <resnet/model_file.h>
#include <resnet/train.h>

#include <cstdio>
#include <exception>

namespace {

resnet::Value gated_network(resnet::Graph& g, const resnet::ModelConfig& config,
                            resnet::Value image) {
  resnet::Value x = g.conv2d("conv1", image, {.filters = 8, .kernel = 3, .stride = 2});
  x = g.relu(g.batch_norm("bn1", x));
  resnet::Value gate = g.sigmoid(g.conv2d("gate", x, {.filters = 8, .kernel = 1, .bias = true}));
  x = g.max_pool(g.mul(x, gate), {.kernel = 2, .stride = 2});
  return g.linear("fc", g.global_avg_pool(x), config.classes);
}

int run() {
  resnet::TrainOptions options;
  options.data.source = "galaxies:train=256,val=64,size=32";
  options.network = gated_network;
  options.epochs = 1;
  options.out = "run";
  options.overwrite = true;
  const resnet::TrainResult trained = resnet::train(options);
  const resnet::EvalResult again =
      resnet::evaluate(resnet::load_model(trained.model), options.data, {.network = gated_network});
  std::printf("top-1 %.3f when trained, %.3f when read again, %lld pictures\n", trained.best.top1,
              again.top1, static_cast<long long>(again.images));
  return again.images == 64 && again.top1 == trained.best.top1 ? 0 : 1;
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

// Train, evaluate and predict: the whole way from a folder of images to predictions.
//
//   quickstart [DATA [OUT [EPOCHS]]]     e.g. quickstart flowers/ runs/flowers 20
//
// Without arguments the images are galaxies, which the library draws itself.
#include <resnet/resnet.h>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) try {
  resnet::TrainOptions options;  // what is not set here is chosen for the data
  options.data.source = argc > 1 ? argv[1] : "galaxies:train=600,val=120";
  options.out = argc > 2 ? argv[2] : "runs/quickstart";
  options.epochs = argc > 3 ? std::atoi(argv[3]) : 3;
  options.overwrite = true;

  resnet::Observer observer;
  observer.epoch = [](const resnet::EpochResult& e) {
    std::printf("epoch %d/%d  loss %.3f  top-1 %.3f\n", e.epoch, e.epochs, e.val.loss, e.val.top1);
  };
  const resnet::TrainResult run = resnet::train(options, observer);

  const resnet::ModelFile model = resnet::load_model(run.model);
  const resnet::EvalResult result = resnet::evaluate(model, options.data);
  std::printf("%.1f %% of %lld images are right\n", 100 * result.top1,
              static_cast<long long>(result.images));
  for (int i = 4; i < argc; ++i) {
    const auto prediction = resnet::predict(model, {argv[i]}, 1).at(0);
    std::printf("%s: %s\n", argv[i],
                prediction.classes.empty() ? "?" : prediction.classes[0].name.c_str());
  }
} catch (const resnet::Error& e) {
  std::fprintf(stderr, "quickstart: %s\n", e.what());
  return 1;
}

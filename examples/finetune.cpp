// A classifier from few images: a network that was trained on something else, with a new head.
//
//   finetune [DATA [WEIGHTS [OUT]]]     e.g. finetune flowers/ resnet50.pth runs/flowers
//
// Without arguments it trains a small network on galaxies first, and then learns other galaxies
// from ten images of each class.
#include <resnet/resnet.h>
#include <cstdio>

namespace {

std::string train_on_galaxies() {
  resnet::TrainOptions options;
  options.data.source = "galaxies:train=480,val=60,size=32,seed=7";
  options.model.architecture = "resnet8";
  options.epochs = 2;
  options.out = "finetune.pretrained";
  options.overwrite = true;
  resnet::train(options);
  return options.out.string();
}

}  // namespace

int main(int argc, char** argv) try {
  resnet::TrainOptions options;
  options.data.source = argc > 1 ? argv[1] : "galaxies:train=480,val=60,size=32";
  options.data.per_class = 10;
  options.transfer.weights = argc > 2 ? argv[2] : train_on_galaxies();
  options.out = argc > 3 ? argv[3] : "finetune.run";
  options.overwrite = true;

  // First a head with a hidden layer on the frozen network, cut after its second stage. Images
  // are not augmented, so that what the head reads is computed once. Then all of it learns.
  options.model.splice = "layer2";
  options.model.head_hidden = 32;
  options.transfer.freeze_until = "layer2";
  options.transfer.unfreeze_at = {4};
  options.transfer.lr_decay_per_stage = 0.5;
  options.augmentation = resnet::Augmentation{};
  options.epochs = 5;

  resnet::Observer observer;
  observer.started = [](const resnet::RunInfo& info) {
    for (const std::string& note : info.notes) std::printf("%s\n", note.c_str());
  };
  observer.epoch = [](const resnet::EpochResult& e) {
    std::printf("epoch %d/%d  loss %.3f  top-1 %.3f  %.0f images/s\n", e.epoch, e.epochs,
                e.val.loss, e.val.top1, e.images_per_second);
  };
  const resnet::TrainResult run = resnet::train(options, observer);
  std::printf("best: %.1f %% of %lld images\n", 100 * run.best.top1,
              static_cast<long long>(run.best.images));
} catch (const resnet::Error& e) {
  std::fprintf(stderr, "finetune: %s\n", e.what());
  return 1;
}

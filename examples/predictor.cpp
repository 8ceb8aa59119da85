// Predicts as images come: the model is compiled for the first and kept for the others.
//
//   predictor MODEL < paths.txt
//
// Without arguments it predicts images of noise, to show the lower level: tensors in, logits
// out.
#include <resnet/resnet.h>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>

namespace {

resnet::ModelFile untrained() {
  resnet::ModelFile model;
  model.config = {.architecture = "resnet20", .classes = 3, .image_size = 32};
  model.class_names = {"round", "oval", "spiral"};
  model.preprocessing = {.height = 32, .width = 32, .resize = 36};
  resnet::Variables variables;
  resnet::initialise(resnet::inference_graph(model.config, 1), variables, 0);
  model.weights = resnet::from_variables(variables, model.config);
  return model;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc > 1) {
    resnet::Predictor predictor(resnet::map_model(argv[1]));  // nothing of the file is read twice
    for (std::string path; std::getline(std::cin, path);) {
      const resnet::Prediction p = predictor.predict({path}, 1).front();
      std::printf("%s: %s\n", path.c_str(), p.error.empty() ? p.classes[0].name.c_str() : "?");
    }
    return 0;
  }
  resnet::Predictor predictor(untrained());
  for (const std::int64_t n : {1, 1, 7, 100}) {  // any number; batches of at most 32
    const resnet::Tensor images = resnet::Tensor::full({n, 3, 32, 32}, 0.5F);
    const auto start = std::chrono::steady_clock::now();
    const resnet::Tensor logits = predictor.logits(images);  // [n, classes]
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - start;
    std::printf("%lld images: %.1f ms, first logit %.3f\n", static_cast<long long>(n),
                taken.count(), static_cast<double>(logits.as<float>()[0]));
  }
} catch (const resnet::Error& e) {
  std::fprintf(stderr, "predictor: %s\n", e.what());
  return 1;
}

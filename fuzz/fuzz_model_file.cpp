// The metadata of a model file around sound tensors. The input is one line each for architecture,
// options, preprocessing and classes; what is left is the provenance. The bytes below them are
// fuzz_safetensors' subject.
#include <algorithm>
#include <string_view>

#include "exchange/model_file.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  static const auto tensors = [] {
    const Graph graph =
        inference_graph({.architecture = "resnet8", .classes = 2, .image_size = 32}, 1);
    std::map<std::string, Tensor> result;
    for (const Value v : graph.parameters()) {
      result[graph.node(v).name] = Tensor::full(graph.shape(v), 0.5F);
    }
    return result;
  }();
  std::string_view text(reinterpret_cast<const char*>(data), size);
  Safetensors content{.tensors = tensors, .metadata = {{"resnet.format", "1"}}};
  for (const char* key : {"architecture", "options", "preprocessing", "classes"}) {
    const std::string_view line = text.substr(0, text.find('\n'));
    content.metadata[key] = line;
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  content.metadata["provenance"] = text;
  try {
    const ModelFile model = to_model(std::move(content), "model");
    fuzz::require(model.config.classes == 2 && model.weights.size() == tensors.size());
  } catch (const Error& e) {
    fuzz::require(e.code() == ErrorCode::kBadData);  // whatever is wrong is the file's fault
  }
  return 0;
}

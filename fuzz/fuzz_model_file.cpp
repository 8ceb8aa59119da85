// The metadata of a model file around sound tensors. The input is one line each for architecture,
// options, preprocessing and classes; what is left is the provenance. With a line "int8 …" in front
// the tensors are those of an int8 network, whose scales have the bytes of that line. The
// bytes below them are fuzz_safetensors' subject.
#include <algorithm>
#include <cstring>
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
  static const auto integers = [] {
    const Graph real =
        inference_graph({.architecture = "resnet8", .classes = 2, .image_size = 32}, 1);
    const Graph folded = fold_graph(real);
    Quantization q;
    for (const Node& n : folded.nodes()) {
      if (n.op != Op::kConv2d && n.op != Op::kLinear) continue;
      q.weights[n.name].assign(static_cast<std::size_t>(folded.shape(n.inputs[1])[0]), 1.0F);
    }
    for (const Value v : scaled_activations(folded)) q.activations[folded.node(v).name] = 1.0F;
    drop_unread_scales(real, q);
    std::map<std::string, Tensor> result;
    const Graph graph = quantize_graph(real, q);
    for (const Value v : graph.parameters()) {
      result[graph.node(v).name] = Tensor::zeros(graph.type(v).dtype, graph.shape(v));
    }
    for (const auto& [layer, scales] : q.weights) {
      result[layer + ".weight_scale"] = Tensor::full({std::ssize(scales)}, 1.0F);
    }
    for (const auto& [name, scale] : q.activations) {
      result[name + ".output_scale"] = Tensor::full({1}, scale);
    }
    return result;
  }();
  std::string_view text(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view kIntegers = "int8 ";
  const bool quantized = text.starts_with(kIntegers);
  Safetensors content{.tensors = quantized ? integers : tensors,
                      .metadata = {{"resnet.format", quantized ? "3" : "1"}}};
  if (quantized) {
    text.remove_prefix(kIntegers.size());
    std::string_view bytes = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), bytes.size() + 1));
    for (auto& [name, tensor] : content.tensors) {
      if (!name.ends_with("_scale") || bytes.empty()) continue;
      tensor = tensor.clone();
      const std::size_t count = std::min(bytes.size(), tensor.bytes());
      std::memcpy(tensor.raw(), bytes.data(), count);
      bytes.remove_prefix(count);
    }
  }
  for (const char* key : {"architecture", "options", "preprocessing", "classes"}) {
    const std::string_view line = text.substr(0, text.find('\n'));
    content.metadata[key] = line;
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  content.metadata["provenance"] = text;
  try {
    const ModelFile model = to_model(std::move(content), "model");
    fuzz::require(model.config.classes == 2);
    fuzz::require(model.weights.size() ==
                  (quantized ? integers.size() - model.quantization.weights.size() -
                                   model.quantization.activations.size()
                             : tensors.size()));
  } catch (const Error& e) {
    fuzz::require(e.code() == ErrorCode::kBadData);  // whatever is wrong is the file's fault
  }
  return 0;
}

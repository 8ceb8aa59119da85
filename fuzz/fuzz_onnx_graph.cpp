// Graphs that may be networks: whatever the file says, they are matched or refused.
#include "exchange/onnx_import.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  fuzz::expect_no_other_error([&] {
    const OnnxModel model = parse_onnx(fuzz::bytes_of(data, size), "fuzz");
    const OnnxMatch match = match_onnx(model, "fuzz", {.architecture = "resnet8"});
    const Graph graph = inference_graph(match.config, 1);
    for (const Value v : graph.parameters()) {
      fuzz::require(match.weights.at(graph.node(v).name).shape() == graph.shape(v));
    }
  });
  return 0;
}

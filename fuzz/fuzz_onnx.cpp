#include "formats/onnx_file.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  fuzz::expect_no_other_error([&] {
    const OnnxModel model = parse_onnx(fuzz::bytes_of(data, size), "fuzz");
    std::size_t total = 0;
    for (const auto& [name, tensor] : model.initializers) total += tensor.bytes();
    fuzz::require(total <= 8 * size);  // a packed int64 takes one byte of the file
  });
  return 0;
}

#include "formats/safetensors.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  fuzz::expect_no_other_error([&] {
    const Safetensors file = parse_safetensors(fuzz::bytes_of(data, size), "fuzz");
    std::size_t total = 0;
    for (const auto& [name, tensor] : file.tensors) total += tensor.bytes();
    fuzz::require(total <= size);
  });
  return 0;
}

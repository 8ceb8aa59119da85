// Headers of a tar; their checksums are made right, or few changes would get past them.
#include <algorithm>
#include <cstdio>
#include <cstring>

#include "formats/tar.h"
#include "fuzz.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 16 == 0) return size;
  for (std::size_t at = 0; size - at >= 512; at += 512) {
    std::uint8_t* sum_field = data + at + 148;
    std::memset(sum_field, ' ', 8);
    unsigned sum = 0;
    for (std::size_t i = 0; i < 512; ++i) sum += data[at + i];
    char text[8];
    std::snprintf(text, sizeof text, "%06o", sum);
    std::memcpy(sum_field, text, 7);
  }
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  fuzz::expect_no_other_error([&] {
    index_tar(ByteSource(fuzz::bytes_of(data, size), "fuzz"), [&](const TarFile& file) {
      fuzz::require(file.offset <= size && file.size <= size - file.offset);
    });
  });
  return 0;
}

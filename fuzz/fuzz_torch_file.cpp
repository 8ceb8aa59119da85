// A zip archive if the input begins like one; else what follows the magic number of a legacy file.
#include <string>

#include "formats/pickles.h"
#include "formats/torch_file.h"
#include "formats/zip.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  const bool zip = bytes.starts_with("PK");
  if (!zip) bytes.insert(0, pickles::kLegacyMagic);
  const ByteSource source(std::as_bytes(std::span(bytes)), "fuzz");
  const auto read = zip ? read_torch_zip : read_torch_legacy;
  fuzz::expect_no_other_error([&] {
    const std::uint64_t unpacked = zip ? ZipReader(source).unpacked_bytes() : bytes.size();
    const WeightsFile description = read(source, ReadWeights::kDescription);
    const WeightsFile file = read(source, ReadWeights::kAll);
    fuzz::require(file.entries.size() == file.tensors.size() &&
                  file.entries.size() == description.entries.size() &&
                  file.metadata == description.metadata && file.left_out == description.left_out);
    for (const WeightsEntry& e : file.entries) {
      const Tensor& t = file.tensors.at(e.name);
      fuzz::require(t.shape() == e.shape && t.dtype() == e.dtype &&
                    t.bytes() <= 4 * unpacked + (1 << 20));
    }
  });
  return 0;
}

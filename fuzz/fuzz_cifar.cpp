#include "formats/cifar.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  const auto bytes = fuzz::bytes_of(data, size);
  for (const CifarKind kind : {CifarKind::kCifar10, CifarKind::kCifar100}) {
    fuzz::expect_no_other_error([&] {
      const std::size_t count = count_cifar_records(bytes, "fuzz", kind);
      CifarSplit split;
      split.images = Tensor(DType::kU8, {static_cast<std::int64_t>(count), 3, 32, 32});
      parse_cifar_batch(bytes, "fuzz", kind, split);
      fuzz::require(split.labels.size() == count);
      for (const int label : split.labels) {
        fuzz::require(label >= 0 && label < (kind == CifarKind::kCifar10 ? 10 : 100));
      }
    });
  }
  return 0;
}

#include <algorithm>
#include <array>

#include "formats/pickle.h"
#include "formats/pickle_names.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  using Kind = PickleValue::Kind;
  static constexpr std::array<std::string_view, 3> kKnown = {
      "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch.FloatStorage"};
  fuzz::expect_no_other_error([&] {
    const Pickle p = read_pickle(ByteSource(fuzz::bytes_of(data, size), "fuzz"), 0, kKnown);
    fuzz::require(p.end <= size && p.root < p.values.size());
    for (const PickleValue& v : p.values) {
      switch (v.kind) {
        case Kind::kNone:
        case Kind::kBool:
        case Kind::kInt: v.integer(); break;
        case Kind::kFloat: v.number(); break;
        case Kind::kBigInt:
        case Kind::kText:
        case Kind::kBytes: fuzz::require(v.text().size() <= 2 * size + 2); break;
        case Kind::kGlobal:
          fuzz::require(std::find(kKnown.begin(), kKnown.end(), v.text()) != kKnown.end());
          break;
        case Kind::kOpaque:
          fuzz::require(std::find(kKnown.begin(), kKnown.end(), v.text()) == kKnown.end());
          fuzz::require(is_getattr(v.text()) || !is_dangerous_global(v.text()));
          break;
        default:
          for (const PickleRef item : v.items()) fuzz::require(item < p.values.size());
      }
      if (v.kind == Kind::kObject) {
        const Kind callable = p.at(v.items().at(0)).kind;
        fuzz::require(callable == Kind::kGlobal || callable == Kind::kOpaque);
        fuzz::require(p.at(v.items().at(1)).kind == Kind::kTuple && v.items().size() >= 3);
      }
    }
  });
  return 0;
}

#include "core/json.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "fuzz.h"

namespace resnet {
namespace {

int levels_of(const Json& x) {
  int deepest = 0;
  if (x.is_array()) {
    for (const Json& item : x.items()) deepest = std::max(deepest, levels_of(item));
    return deepest + 1;
  }
  if (x.is_object()) {
    for (const auto& [name, value] : x.members()) deepest = std::max(deepest, levels_of(value));
    return deepest + 1;
  }
  return 0;
}

}  // namespace
}  // namespace resnet

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  constexpr int kLevels = 5;
  std::string problem;
  const auto value = Json::parse(text, kLevels, &problem);
  if (!value) {
    fuzz::require(!problem.empty());
    return 0;
  }
  fuzz::require(levels_of(*value) <= kLevels);
  // What is written is read as the same value, in each way of writing.
  for (const std::string& written : {value->dump(), value->dump(2), value->dump_ascii()}) {
    fuzz::require(Json::parse(written, kLevels) == value);
  }
  return 0;
}

// What the Python globals in PyTorch's files mean here.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "formats/pickle.h"
#include "resnet/tensor.h"

namespace resnet {

enum class TorchRole : std::uint8_t {
  kInert,        // shown by its name, if at all
  kDict,         // called with pairs or nothing, then filled; a Namespace has a dict as its state
  kFirst,        // stands for its first argument
  kTensor,       // storage, offset, shape, strides, …
  kTypedTensor,  // the same, and a dtype as the seventh
  kFromType,     // a function, a type, the function's arguments, attributes
  kNumpyScalar,  // dtype, bytes
  kType,         // an element type or a storage of it
};

struct TorchMeaning {
  std::string_view name;
  TorchRole role = TorchRole::kInert;
  std::optional<DType> dtype{};
};

/// Where a state_dict's "_metadata" has what write_torch_file was given.
inline constexpr std::string_view kTorchMetadataKey = "resnet.cpp";

/// All that are known; any other is opaque.
std::span<const std::string_view> known_torch_globals();

/// Of a value of kind kGlobal.
const TorchMeaning& meaning_of(const PickleValue& global);

/// What the type is called in files.
std::string_view storage_global(DType dtype);

}  // namespace resnet

#include "formats/torch_globals.h"

#include <algorithm>
#include <array>

#include "core/check.h"

namespace resnet {
namespace {

using Role = TorchRole;

constexpr auto kMeanings = std::to_array<TorchMeaning>({
    {"collections.OrderedDict", Role::kDict},
    {"collections.Counter", Role::kDict},
    {"collections.defaultdict", Role::kDict},
    {"argparse.Namespace", Role::kDict},
    {"types.SimpleNamespace", Role::kDict},
    {"torch._utils._rebuild_tensor", Role::kTensor},
    {"torch._utils._rebuild_tensor_v2", Role::kTensor},
    {"torch._utils._rebuild_tensor_v3", Role::kTypedTensor},
    {"torch._utils._rebuild_parameter", Role::kFirst},
    {"torch._utils._rebuild_parameter_with_state", Role::kFirst},
    {"torch._tensor._rebuild_from_type_v2", Role::kFromType},
    {"torch._utils._rebuild_sparse_tensor"},
    {"torch._utils._rebuild_qtensor"},
    {"torch._utils._rebuild_meta_tensor_no_storage"},
    {"torch._utils._rebuild_device_tensor_from_numpy"},
    {"torch.Tensor"},
    {"torch.nn.parameter.Parameter"},
    {"torch.nn.parameter.Buffer"},
    {"torch.Size", Role::kFirst},
    {"torch.device", Role::kFirst},
    {"torch.serialization._get_layout", Role::kFirst},
    {"torch.strided"},
    {"torch.contiguous_format"},
    {"torch.preserve_format"},
    {"torch.channels_last"},

    {"torch.FloatStorage", Role::kType, DType::kF32},
    {"torch.DoubleStorage", Role::kType, DType::kF64},
    {"torch.HalfStorage", Role::kType, DType::kF16},
    {"torch.BFloat16Storage", Role::kType, DType::kBF16},
    {"torch.CharStorage", Role::kType, DType::kI8},
    {"torch.ByteStorage", Role::kType, DType::kU8},
    {"torch.IntStorage", Role::kType, DType::kI32},
    {"torch.LongStorage", Role::kType, DType::kI64},
    {"torch.BoolStorage", Role::kType, DType::kBool},
    {"torch.ShortStorage", Role::kType},
    {"torch.ComplexFloatStorage", Role::kType},
    {"torch.ComplexDoubleStorage", Role::kType},
    {"torch.QInt8Storage", Role::kType},
    {"torch.QUInt8Storage", Role::kType},
    {"torch.QInt32Storage", Role::kType},
    {"torch.storage.UntypedStorage", Role::kType, DType::kU8},
    {"torch.storage._UntypedStorage", Role::kType, DType::kU8},
    {"torch.UntypedStorage", Role::kType, DType::kU8},
    {"torch.float32", Role::kType, DType::kF32},
    {"torch.float64", Role::kType, DType::kF64},
    {"torch.float16", Role::kType, DType::kF16},
    {"torch.bfloat16", Role::kType, DType::kBF16},
    {"torch.int8", Role::kType, DType::kI8},
    {"torch.uint8", Role::kType, DType::kU8},
    {"torch.int32", Role::kType, DType::kI32},
    {"torch.int64", Role::kType, DType::kI64},
    {"torch.bool", Role::kType, DType::kBool},
    {"torch.int16", Role::kType},
    {"torch.uint16", Role::kType},
    {"torch.uint32", Role::kType},
    {"torch.uint64", Role::kType},
    {"torch.complex64", Role::kType},
    {"torch.complex128", Role::kType},
    {"torch.float8_e4m3fn", Role::kType},
    {"torch.float8_e5m2", Role::kType},
    {"torch.float8_e4m3fnuz", Role::kType},
    {"torch.float8_e5m2fnuz", Role::kType},

    // What checkpoints carry beside weights. Python 2's names come with pickle protocol 2.
    {"_codecs.encode", Role::kFirst},
    {"builtins.set", Role::kFirst},
    {"__builtin__.set", Role::kFirst},
    {"builtins.frozenset", Role::kFirst},
    {"__builtin__.frozenset", Role::kFirst},
    {"builtins.bytearray", Role::kFirst},
    {"__builtin__.bytearray", Role::kFirst},
    {"collections.deque", Role::kFirst},
    {"builtins.complex"},
    {"__builtin__.complex"},
    {"builtins.bool"},
    {"__builtin__.bool"},
    {"builtins.dict"},
    {"__builtin__.dict"},
    {"builtins.float"},
    {"__builtin__.float"},
    {"builtins.int"},
    {"__builtin__.int"},
    {"builtins.list"},
    {"__builtin__.list"},
    {"pathlib.PosixPath"},
    {"pathlib._local.PosixPath"},
    {"pathlib.WindowsPath"},
    {"pathlib._local.WindowsPath"},
    {"numpy.dtype"},
    {"numpy.ndarray"},
    {"numpy.core.multiarray._reconstruct"},
    {"numpy._core.multiarray._reconstruct"},
    {"numpy.core.multiarray.scalar", Role::kNumpyScalar},
    {"numpy._core.multiarray.scalar", Role::kNumpyScalar},
});

constexpr auto kKnown = [] {
  std::array<std::string_view, kMeanings.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kMeanings[i].name;
  return names;
}();

}  // namespace

std::span<const std::string_view> known_torch_globals() { return kKnown; }

const TorchMeaning& meaning_of(const PickleValue& global) {
  const auto it = std::find(kKnown.begin(), kKnown.end(), global.text());
  RESNET_CHECK(it != kKnown.end());
  return kMeanings[static_cast<std::size_t>(it - kKnown.begin())];
}

std::string_view storage_global(DType dtype) {
  const auto it = std::find_if(kMeanings.begin(), kMeanings.end(),
                               [&](const TorchMeaning& m) { return m.dtype == dtype; });
  RESNET_CHECK(it != kMeanings.end());
  return it->name;
}

}  // namespace resnet

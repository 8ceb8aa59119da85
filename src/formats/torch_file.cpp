#include "formats/torch_file.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "formats/pickle.h"
#include "formats/zip.h"

namespace resnet {
namespace {

using Kind = PickleValue::Kind;

constexpr std::size_t kMaxRank = 64;
constexpr int kMaxDepth = 64;                    // of dictionaries in dictionaries
constexpr std::uint64_t kMaxNames = 32U << 20;   // bytes of all names and texts together
constexpr std::uint64_t kMaxVisits = 4'000'000;  // of values, shared ones as often as they are met
constexpr std::size_t kEntryBytes = 128;         // that an entry of a map takes besides
constexpr std::size_t kMaxListed = 100;          // items of a list of numbers that are shown
constexpr std::uint64_t kMaxDataPickle = 128U << 20;

// ---------------------------------------------------------------------------------------------
// What the names in a file mean.

enum class Role : std::uint8_t {
  kInert,        // shown by its name, if at all
  kDict,         // called with pairs or nothing, then filled; a Namespace has a dict as its state
  kFirst,        // stands for its first argument
  kTensor,       // storage, offset, shape, strides, …
  kTypedTensor,  // the same, and a dtype as the seventh
  kFromType,     // a function, a type, the function's arguments, attributes
  kNumpyScalar,  // dtype, bytes
  kType,         // an element type or a storage of it
};

struct Meaning {
  std::string_view name;
  Role role = Role::kInert;
  std::optional<DType> dtype{};
};

constexpr auto kMeanings = std::to_array<Meaning>({
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

constexpr auto kAllowed = [] {
  std::array<std::string_view, kMeanings.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kMeanings[i].name;
  return names;
}();

const Meaning& meaning_of(const PickleValue& global) {
  const auto it = std::find(kAllowed.begin(), kAllowed.end(), global.text());
  RESNET_CHECK(it != kAllowed.end());
  return kMeanings[static_cast<std::size_t>(it - kAllowed.begin())];
}

// ---------------------------------------------------------------------------------------------
// Tensors.

/// A tensor as the pickle describes it: strides and offset in elements of its storage.
struct View {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
  std::string key;  // of the storage

  // Derived, and checked: what the storage must hold.
  std::uint64_t extent = 0;  // elements from the first to the last one, both counted
  std::uint64_t bytes = 0;   // of the tensor alone
};

/// Bytes of the storages, whose places the two containers tell differently.
class Storages {
 public:
  virtual ~Storages() = default;
  /// Bytes of that storage, or nothing when there is none of that key.
  virtual std::optional<std::uint64_t> size(const std::string& key) const = 0;
  virtual void read(const std::string& key, std::uint64_t offset,
                    std::span<std::byte> out) const = 0;
};

bool is_row_major(const View& v) {
  std::int64_t stride = 1;
  for (std::size_t i = v.shape.size(); i-- > 0;) {
    if (v.shape[i] != 1 && v.strides[i] != stride) return false;
    stride *= v.shape[i];
  }
  return true;
}

/// Copies the elements that lie `strides` apart in `from` one after the other.
void gather(const View& v, const std::byte* from, std::byte* to) {
  const std::size_t size = size_of(v.dtype);
  std::vector<std::int64_t> at(v.shape.size(), 0);
  std::int64_t position = 0;
  for (std::uint64_t left = v.bytes / size; left > 0; --left, to += size) {
    std::memcpy(to, from + static_cast<std::size_t>(position) * size, size);
    for (std::size_t i = at.size(); i-- > 0;) {
      position += v.strides[i];
      if (++at[i] < v.shape[i]) break;
      position -= v.strides[i] * v.shape[i];
      at[i] = 0;
    }
  }
}

void swap_bytes(Tensor& t) {
  const std::size_t size = size_of(t.dtype());
  for (std::size_t i = 0; i < t.bytes(); i += size) std::reverse(t.raw() + i, t.raw() + i + size);
}

Tensor read_view(const View& v, const Storages& storages, std::endian order) {
  Tensor t(v.dtype, v.shape);
  if (t.empty()) return t;
  const std::uint64_t begin = static_cast<std::uint64_t>(v.offset) * size_of(v.dtype);
  if (is_row_major(v)) {
    storages.read(v.key, begin, {t.raw(), t.bytes()});
  } else {
    std::vector<std::byte> stretch(static_cast<std::size_t>(v.extent * size_of(v.dtype)));
    storages.read(v.key, begin, stretch);
    gather(v, stretch.data(), t.raw());
  }
  if (order != std::endian::native) swap_bytes(t);
  return t;
}

// ---------------------------------------------------------------------------------------------
// From the tree of values to names and tensors.

class Walk {
 public:
  Walk(const Pickle& pickle, const Storages& storages, const ByteSource& source, std::endian order,
       ReadWeights what)
      : pickle_(pickle), storages_(storages), source_(source), order_(order), what_(what) {}

  WeightsFile run() {
    visit(pickle_.root, "", 0);
    return std::move(file_);
  }

 private:
  const PickleValue& at(PickleRef ref) const { return pickle_.at(ref); }

  [[noreturn]] void damaged(const std::string& what) const {
    fail(ErrorCode::kBadData, "{}: no sound PyTorch file: {}; fetch or save it again",
         source_.name(), what);
  }
  [[noreturn]] void damaged_tensor(const std::string& name, const std::string& what) const {
    damaged(fmt::format("tensor '{}' {}", printable(name, 200), what));
  }

  /// Shared values are met again and again, and their names grow with the depth.
  void charge(std::size_t visits, std::size_t bytes) {
    visits_ += visits;
    bytes_ += bytes;
    if (visits_ > kMaxVisits || bytes_ > kMaxNames) {
      damaged("its dictionaries unfold to more than memory should hold");
    }
  }

  void note(const std::string& name, std::string text) {
    charge(0, kEntryBytes + text.size());
    file_.metadata.emplace(name, std::move(text));
  }

  const std::vector<PickleRef>* items_of(PickleRef ref, Kind kind) const {
    return at(ref).kind == kind ? &at(ref).items() : nullptr;
  }

  void visit(PickleRef ref, const std::string& name, int depth) {
    charge(1, name.size());
    if (depth > kMaxDepth) {
      damaged(
          fmt::format("its dictionaries lie more than {} deep, or one contains itself", kMaxDepth));
    }
    const PickleValue& v = at(ref);
    switch (v.kind) {
      case Kind::kDict: visit_pairs(v.items(), 0, name, depth); break;
      case Kind::kTuple:
      case Kind::kList:
      case Kind::kSet: visit_list(ref, name, depth); break;
      case Kind::kObject: visit_object(ref, name, depth); break;
      default: note(name, text_of(ref));
    }
  }

  void visit_pairs(const std::vector<PickleRef>& items, std::size_t begin, const std::string& name,
                   int depth) {
    for (std::size_t i = begin; i + 1 < items.size(); i += 2) {
      visit(items[i + 1], join(name, key_text(items[i], (i - begin) / 2)), depth + 1);
    }
  }

  void visit_list(PickleRef ref, const std::string& name, int depth) {
    const std::vector<PickleRef>& items = at(ref).items();
    charge(items.size(), 0);
    const bool scalars = std::all_of(items.begin(), items.end(), [&](PickleRef item) {
      const Kind k = at(item).kind;
      return k <= Kind::kBytes || k == Kind::kGlobal;
    });
    if (scalars) {
      note(name, list_text(items));
      return;
    }
    for (std::size_t i = 0; i < items.size(); ++i) {
      visit(items[i], join(name, std::to_string(i)), depth + 1);
    }
  }

  void visit_object(PickleRef ref, const std::string& name, int depth) {
    const std::vector<PickleRef>& object = at(ref).items();  // callable, arguments, state, items…
    const std::vector<PickleRef>& arguments = at(object[1]).items();
    switch (meaning_of(at(object[0])).role) {
      case Role::kDict:
        // OrderedDict([(key, value), …]); what else a dict is called with are classes and dicts.
        for (const PickleRef argument : arguments) {
          if (const auto* pairs = items_of(argument, Kind::kList))
            visit_pair_list(*pairs, name, depth);
          if (const auto* pairs = items_of(argument, Kind::kDict))
            visit_pairs(*pairs, 0, name, depth);
        }
        visit_pairs(object, 3, name, depth);
        // A Namespace's attributes; an OrderedDict's are PyTorch's own "_metadata".
        if (const auto* state = items_of(object[2], Kind::kDict);
            state != nullptr && at(object[0]).text().ends_with("Namespace")) {
          visit_pairs(*state, 0, name, depth);
        }
        break;
      case Role::kFirst:
        if (!arguments.empty()) return visit(arguments[0], name, depth + 1);
        note(name, list_text({}));
        break;
      case Role::kTensor:
      case Role::kTypedTensor:
      case Role::kFromType: visit_tensor(ref, name); break;
      default: note(name, text_of(ref));
    }
  }

  void visit_pair_list(const std::vector<PickleRef>& list, const std::string& name, int depth) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Kind kind = at(list[i]).kind;
      if (kind != Kind::kTuple && kind != Kind::kList) damaged("a dictionary's item is no pair");
      const std::vector<PickleRef>& pair = at(list[i]).items();
      if (pair.size() != 2) damaged("a dictionary's item is no pair");
      visit(pair[1], join(name, key_text(pair[0], i)), depth + 1);
    }
  }

  static std::string join(const std::string& name, const std::string& key) {
    return name.empty() ? key : name + "." + key;
  }

  std::string key_text(PickleRef ref, std::size_t position) const {
    const Kind kind = at(ref).kind;
    if (kind <= Kind::kText) return text_of(ref);
    return fmt::format("#{}", position);  // a tuple, say
  }

  std::string list_text(const std::vector<PickleRef>& items) {
    std::string text = "[";
    for (std::size_t i = 0; i < std::min(items.size(), kMaxListed); ++i) {
      text += (i == 0 ? "" : ", ") + text_of(items[i]);
      if (text.size() > kMaxNames) damaged("its texts are too long");
    }
    if (items.size() > kMaxListed) text += fmt::format(", … {} in all", items.size());
    return text + "]";
  }

  std::string text_of(PickleRef ref) const {
    const PickleValue& v = at(ref);
    switch (v.kind) {
      case Kind::kNone: return "None";
      case Kind::kBool: return v.integer() != 0 ? "True" : "False";
      case Kind::kInt: return std::to_string(v.integer());
      case Kind::kFloat: return fmt::format("{}", v.number());
      case Kind::kBigInt:
      case Kind::kText: return v.text();
      case Kind::kBytes: return fmt::format("({} bytes)", v.text().size());
      case Kind::kGlobal: return v.text();
      case Kind::kObject:
        if (meaning_of(at(v.items()[0])).role == Role::kNumpyScalar) {
          if (std::optional<std::string> number = numpy_scalar(at(v.items()[1]).items())) {
            return *number;
          }
        }
        return fmt::format("({})", at(v.items()[0]).text());
      case Kind::kPersistent: return "(storage)";
      default: return "(…)";
    }
  }

  /// numpy.core.multiarray.scalar(dtype, bytes); the bytes may be _codecs.encode(text, "latin1").
  std::optional<std::string> numpy_scalar(const std::vector<PickleRef>& arguments) const {
    if (arguments.size() != 2) return {};
    const PickleValue& dtype = at(arguments[0]);
    if (dtype.kind != Kind::kObject || at(dtype.items()[0]).text() != "numpy.dtype") return {};
    const std::vector<PickleRef>& names = at(dtype.items()[1]).items();
    if (names.empty() || at(names[0]).kind != Kind::kText) return {};
    const std::string& type = at(names[0]).text();

    const PickleValue* bytes = &at(arguments[1]);
    std::string raw;
    if (bytes->kind == Kind::kBytes) {
      raw = bytes->text();
    } else if (bytes->kind == Kind::kObject && at(bytes->items()[0]).text() == "_codecs.encode") {
      const std::vector<PickleRef>& text = at(bytes->items()[1]).items();
      if (text.empty() || at(text[0]).kind != Kind::kText || at(text[0]).text().size() > 16) {
        return {};
      }
      for (const char c : at(text[0]).text()) {  // UTF-8 of U+0000 … U+00FF
        const auto byte = static_cast<std::uint8_t>(c);
        if (byte < 0x80) {
          raw += c;
        } else if (byte >= 0xc0) {
          raw += static_cast<char>(byte << 6);
        } else if (!raw.empty()) {
          raw.back() = static_cast<char>(raw.back() | (byte & 0x3f));
        }
      }
    }
    const auto number = [&]<class T>(T value) -> std::optional<std::string> {
      if (raw.size() != sizeof(T)) return {};
      std::memcpy(&value, raw.data(), sizeof(T));
      return fmt::format("{}", value);
    };
    if (type == "f8") return number(double{});
    if (type == "f4") return number(float{});
    if (type == "i8") return number(std::int64_t{});
    if (type == "i4") return number(std::int32_t{});
    return {};
  }

  // ---- tensors

  std::int64_t integer(PickleRef ref, const std::string& name) const {
    const PickleValue& v = at(ref);
    if (v.kind != Kind::kInt || v.integer() < 0) {
      damaged_tensor(name, "has a size, stride or offset that is no number from 0");
    }
    return v.integer();
  }

  Shape integers(PickleRef ref, const std::string& name) const {
    const PickleValue* v = &at(ref);
    if (v->kind == Kind::kObject && at(v->items()[0]).text() == "torch.Size" &&
        at(v->items()[1]).items().size() == 1) {
      v = &at(at(v->items()[1]).items()[0]);
    }
    if ((v->kind != Kind::kTuple && v->kind != Kind::kList) || v->items().size() > kMaxRank) {
      damaged_tensor(name, "has no sound shape or strides");
    }
    Shape out;
    for (const PickleRef item : v->items()) out.push_back(integer(item, name));
    return out;
  }

  void visit_tensor(PickleRef ref, const std::string& path) {
    const std::string name = path.empty() ? "tensor" : path;
    const std::vector<PickleRef>& object = at(ref).items();
    PickleRef callable = object[0];
    const std::vector<PickleRef>* arguments = &at(object[1]).items();
    if (meaning_of(at(callable)).role == Role::kFromType) {
      if (arguments->size() < 3 || at((*arguments)[0]).kind != Kind::kGlobal ||
          at((*arguments)[2]).kind != Kind::kTuple) {
        damaged_tensor(name, "is rebuilt from something else");
      }
      callable = (*arguments)[0];
      arguments = &at((*arguments)[2]).items();
    }
    const Role role = meaning_of(at(callable)).role;
    if (role != Role::kTensor && role != Role::kTypedTensor) {
      return note(name, fmt::format("({})", at(callable).text()));
    }
    if (arguments->size() < (role == Role::kTensor ? 4U : 7U)) {
      damaged_tensor(name, "lacks its storage, offset, shape or strides");
    }
    const std::vector<PickleRef>& a = *arguments;

    // ("storage", type, key, device, elements[, (key of a part, offset, elements)])
    const auto* persistent = items_of(a[0], Kind::kPersistent);
    const auto* storage =
        persistent == nullptr ? nullptr : items_of((*persistent)[0], Kind::kTuple);
    if (storage == nullptr || storage->size() < 5 || at((*storage)[1]).kind != Kind::kGlobal ||
        at((*storage)[2]).kind != Kind::kText) {
      damaged_tensor(name, "has no storage");
    }
    const PickleValue& given = at(role == Role::kTensor ? (*storage)[1] : a[6]);
    if (given.kind != Kind::kGlobal || meaning_of(given).role != Role::kType) {
      damaged_tensor(name, "has no element type");
    }
    const Meaning& type = meaning_of(given);
    View v;
    v.shape = integers(a[2], name);
    if (!type.dtype) {
      return note(name, fmt::format("(a tensor {} of {}, which is not read)", to_string(v.shape),
                                    type.name));
    }
    v.dtype = *type.dtype;
    v.offset = integer(a[1], name);
    v.strides = integers(a[3], name);
    v.key = at((*storage)[2]).text();
    if (storage->size() > 5) {
      if (const auto* part = items_of((*storage)[5], Kind::kTuple);
          part != nullptr && part->size() == 3 &&
          __builtin_add_overflow(v.offset, integer((*part)[1], name), &v.offset)) {
        damaged_tensor(name, "lies outside its storage");
      }
    }
    check(v, name);
    if (!names_.insert(name).second) damaged_tensor(name, "is there twice");
    charge(0, kEntryBytes + 8 * v.shape.size());
    file_.entries.push_back({name, v.dtype, v.shape});
    const auto it = known_.find(ref);
    if (it != known_.end()) {
      if (what_ == ReadWeights::kAll) file_.tensors.emplace(name, it->second);
      return;
    }
    // Overlapping views can take more memory than the file; what is sound stays near it.
    total_ += std::max(v.bytes, v.extent * size_of(v.dtype));
    if (total_ > 4 * source_.size() + (1 << 20)) {
      damaged(fmt::format("its tensors would take {} bytes and more, the file has {}", total_,
                          source_.size()));
    }
    Tensor tensor;
    if (what_ == ReadWeights::kAll) {
      tensor = read_view(v, storages_, order_);
      file_.tensors.emplace(name, tensor);
    }
    known_.emplace(ref, std::move(tensor));
  }

  /// Compares shape, strides and offset with the storage, all before memory is taken.
  void check(View& v, const std::string& name) const {
    if (v.strides.size() != v.shape.size()) damaged_tensor(name, "has no stride for each size");
    const std::optional<std::uint64_t> size = storages_.size(v.key);
    if (!size) {
      damaged_tensor(
          name, fmt::format("lies in storage '{}', which the file lacks", printable(v.key, 40)));
    }
    // In 63 bits even when a size is 0, since later products may come before it.
    std::int64_t bytes = static_cast<std::int64_t>(size_of(v.dtype)), last = v.offset, step = 0;
    bool overflow = false, empty = false;
    for (std::size_t i = 0; i < v.shape.size(); ++i) {
      if (v.shape[i] == 0) {
        empty = true;
        continue;
      }
      if (v.shape[i] == 1) v.strides[i] = 0;  // any number may stand there
      overflow |= __builtin_mul_overflow(bytes, v.shape[i], &bytes) ||
                  __builtin_mul_overflow(v.shape[i] - 1, v.strides[i], &step) ||
                  __builtin_add_overflow(last, step, &last);
    }
    const std::uint64_t held = *size / size_of(v.dtype);
    if (overflow || (!empty && static_cast<std::uint64_t>(last) >= held)) {
      damaged_tensor(name, fmt::format("of {} {} at {} with strides {} does not fit its storage of "
                                       "{} elements",
                                       name_of(v.dtype), to_string(v.shape), v.offset,
                                       to_string(v.strides), held));
    }
    if (empty) return;
    v.bytes = static_cast<std::uint64_t>(bytes);
    v.extent = static_cast<std::uint64_t>(last - v.offset) + 1;
  }

  const Pickle& pickle_;
  const Storages& storages_;
  const ByteSource& source_;
  std::endian order_;
  ReadWeights what_;
  WeightsFile file_;
  std::set<std::string> names_;
  std::map<PickleRef, Tensor> known_;  // what was read of that description
  std::uint64_t visits_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t total_ = 0;
};

// ---------------------------------------------------------------------------------------------
// The zip archive: <root>/data.pkl, <root>/data/<key>, <root>/byteorder.

class ZipStorages : public Storages {
 public:
  ZipStorages(const ZipReader& zip, std::string root) : zip_(zip), root_(std::move(root)) {}

  std::optional<std::uint64_t> size(const std::string& key) const override {
    const std::ptrdiff_t entry = zip_.find(root_ + "data/" + key);
    if (entry < 0) return {};
    const ZipReader::Entry& e = zip_.entries()[static_cast<std::size_t>(entry)];
    if (e.stored) return e.size;
    std::byte none{};  // says what is wrong with it
    zip_.read(static_cast<std::size_t>(entry), 0, {&none, 0});
    return {};
  }
  void read(const std::string& key, std::uint64_t offset, std::span<std::byte> out) const override {
    zip_.read(static_cast<std::size_t>(zip_.find(root_ + "data/" + key)), offset, out);
  }

 private:
  const ZipReader& zip_;
  std::string root_;
};

std::vector<std::byte> read_small(const ZipReader& zip, std::ptrdiff_t entry,
                                  const ByteSource& source) {
  const auto index = static_cast<std::size_t>(entry);
  const ZipReader::Entry& e = zip.entries()[index];
  if (e.size > kMaxDataPickle) {
    fail(ErrorCode::kBadData, "{}: '{}' in it has {} bytes, above the limit of {}", source.name(),
         printable(e.name, 100), e.size, kMaxDataPickle);
  }
  std::vector<std::byte> bytes(e.stored ? static_cast<std::size_t>(e.size) : 0);
  zip.read(index, 0, bytes);
  return bytes;
}

// ---------------------------------------------------------------------------------------------
// The legacy file: pickles of a magic number, a version, facts about the machine, the object and
// the storages' keys; then, for each key, an int64 count and the elements.

class LegacyStorages : public Storages {
 public:
  struct Place {
    std::uint64_t offset;
    std::uint64_t bytes;
  };
  LegacyStorages(const ByteSource& source, std::map<std::string, Place> places)
      : source_(source), places_(std::move(places)) {}

  std::optional<std::uint64_t> size(const std::string& key) const override {
    const auto it = places_.find(key);
    if (it == places_.end()) return {};
    return it->second.bytes;
  }
  void read(const std::string& key, std::uint64_t offset, std::span<std::byte> out) const override {
    source_.read(places_.at(key).offset + offset, out);
  }

 private:
  const ByteSource& source_;
  std::map<std::string, Place> places_;
};

/// Bytes of one element of each storage, from the values that name one.
std::map<std::string, std::uint64_t> element_sizes(const Pickle& pickle) {
  // Also of those types that are passed over, since their bytes lie between the others.
  constexpr std::array<std::pair<std::string_view, std::uint64_t>, 6> kOthers = {
      {{"torch.ShortStorage", 2},
       {"torch.ComplexFloatStorage", 8},
       {"torch.ComplexDoubleStorage", 16},
       {"torch.QInt8Storage", 1},
       {"torch.QUInt8Storage", 1},
       {"torch.QInt32Storage", 4}}};
  std::map<std::string, std::uint64_t> sizes;
  for (const PickleValue& v : pickle.values) {
    if (v.kind != Kind::kPersistent) continue;
    const PickleValue& id = pickle.at(v.items()[0]);
    if (id.kind != Kind::kTuple || id.items().size() < 3) continue;
    const PickleValue& type = pickle.at(id.items()[1]);
    const PickleValue& key = pickle.at(id.items()[2]);
    if (type.kind != Kind::kGlobal || key.kind != Kind::kText) continue;
    if (const std::optional<DType> dtype = meaning_of(type).dtype) {
      sizes.emplace(key.text(), size_of(*dtype));
    }
    for (const auto& [name, bytes] : kOthers) {
      if (name == type.text()) sizes.emplace(key.text(), bytes);
    }
  }
  return sizes;
}

}  // namespace

bool looks_like_torch_legacy(std::string_view start) {
  // The number as a pickle holds it; protocols differ in what comes before it.
  constexpr std::string_view kMagic("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 13);
  return start.starts_with('\x80') && start.substr(0, 32).find(kMagic) != start.npos;
}

WeightsFile read_torch_zip(const ByteSource& source, ReadWeights what) {
  const ZipReader zip(source);
  std::ptrdiff_t data = -1;
  std::string root;
  for (std::size_t i = 0; i < zip.entries().size(); ++i) {
    const std::string& name = zip.entries()[i].name;
    if (name.ends_with("/data.pkl") && name.find('/') + 9 == name.size()) {
      data = static_cast<std::ptrdiff_t>(i);
      root = name.substr(0, name.size() - 8);
    }
  }
  if (data < 0) {
    fail(ErrorCode::kBadData,
         "{}: a zip archive, but none of torch.save: it has no data.pkl; expected a PyTorch file",
         source.name());
  }
  const bool has_code = std::any_of(zip.entries().begin(), zip.entries().end(), [&](const auto& e) {
    return e.name.starts_with(root + "code/") || e.name == root + "constants.pkl";
  });
  if (has_code) {
    fail(ErrorCode::kUnsupported,
         "{}: a TorchScript archive, which holds code; in Python, save its weights alone: "
         "torch.save(torch.jit.load(file).state_dict(), 'weights.pth')",
         source.name());
  }
  std::endian order = std::endian::little;
  if (const std::ptrdiff_t entry = zip.find(root + "byteorder"); entry >= 0) {
    const std::vector<std::byte> bytes = read_small(zip, entry, source);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text != "little" && text != "big") {
      fail(ErrorCode::kBadData, "{}: its byte order is '{}', neither little nor big", source.name(),
           printable(text, 40));
    }
    if (text == "big") order = std::endian::big;
  }
  const std::vector<std::byte> program = read_small(zip, data, source);
  const Pickle pickle = read_pickle(ByteSource(program, source.name()), 0, kAllowed);
  WeightsFile file = Walk(pickle, ZipStorages(zip, root), source, order, what).run();
  file.format = "PyTorch zip";
  return file;
}

WeightsFile read_torch_legacy(const ByteSource& source, ReadWeights what) {
  const auto damaged = [&](const std::string& why) {
    fail(ErrorCode::kBadData, "{}: no sound PyTorch file: {}; fetch or save it again",
         source.name(), why);
  };
  const Pickle magic = read_pickle(source, 0, {});
  if (const PickleValue& v = magic.at(magic.root);
      v.kind != Kind::kBigInt || v.text() != "0x1950a86a20f9469cfc6c") {
    damaged("it lacks the magic number");
  }
  const Pickle version = read_pickle(source, magic.end, {});
  if (const PickleValue& v = version.at(version.root);
      v.kind != Kind::kInt || v.integer() != 1001) {
    damaged("its version is not 1001");
  }
  const Pickle machine = read_pickle(source, version.end, {});
  std::endian order = std::endian::little;
  if (const PickleValue& facts = machine.at(machine.root); facts.kind == Kind::kDict) {
    for (std::size_t i = 0; i + 1 < facts.items().size(); i += 2) {
      const PickleValue& key = machine.at(facts.items()[i]);
      const PickleValue& value = machine.at(facts.items()[i + 1]);
      if (key.kind == Kind::kText && key.text() == "little_endian" && value.kind == Kind::kBool &&
          value.integer() == 0) {
        order = std::endian::big;
      }
    }
  }
  const Pickle pickle = read_pickle(source, machine.end, kAllowed);
  const Pickle keys = read_pickle(source, pickle.end, {});
  if (keys.at(keys.root).kind != Kind::kList) damaged("it has no list of storages");

  const std::map<std::string, std::uint64_t> sizes = element_sizes(pickle);
  std::map<std::string, LegacyStorages::Place> places;
  std::uint64_t position = keys.end;
  for (const PickleRef ref : keys.at(keys.root).items()) {
    const PickleValue& key = keys.at(ref);
    const auto it = key.kind == Kind::kText ? sizes.find(key.text()) : sizes.end();
    if (it == sizes.end()) damaged("a storage belongs to nothing");
    std::uint64_t count = 0;
    source.read(position, std::as_writable_bytes(std::span(&count, 1)));
    position += sizeof(count);
    if (order != std::endian::native) count = __builtin_bswap64(count);
    if (count > (source.size() - position) / it->second) {
      damaged(fmt::format("storage '{}' has {} elements, which the file does not hold",
                          printable(key.text(), 40), count));
    }
    places[key.text()] = {position, count * it->second};
    position += count * it->second;
  }
  if (position != source.size()) damaged("bytes are left after its storages");
  WeightsFile file =
      Walk(pickle, LegacyStorages(source, std::move(places)), source, order, what).run();
  file.format = "PyTorch legacy";
  return file;
}

// ---------------------------------------------------------------------------------------------
// Writing.

namespace {

/// The instructions of Python's pickle, protocol 2, that a dictionary of tensors needs.
class PickleWriter {
 public:
  PickleWriter& raw(std::string_view instructions) {
    out_ += instructions;
    return *this;
  }
  PickleWriter& global(std::string_view module, std::string_view name) {
    return raw("c").raw(module).raw("\n").raw(name).raw("\n");
  }
  PickleWriter& text(std::string_view t) {
    out_ += 'X';
    number(t.size(), 4);
    return raw(t);
  }
  PickleWriter& integer(std::int64_t n) {
    if (n >= 0 && n <= INT32_MAX) {
      out_ += 'J';
      return number(static_cast<std::uint64_t>(n), 4);
    }
    raw("\x8a\x08");
    return number(static_cast<std::uint64_t>(n), 8);
  }
  PickleWriter& tuple(const Shape& numbers) {
    out_ += '(';
    for (const std::int64_t n : numbers) integer(n);
    return raw("t");
  }
  const std::string& bytes() const { return out_; }

 private:
  PickleWriter& number(std::uint64_t n, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(n >> (8 * i) & 0xff);
    return *this;
  }
  std::string out_;
};

std::string_view storage_of(DType dtype) {
  const auto it = std::find_if(kMeanings.begin(), kMeanings.end(),
                               [&](const Meaning& m) { return m.dtype == dtype; });
  RESNET_CHECK(it != kMeanings.end());
  return it->name.substr(std::string_view("torch.").size());
}

}  // namespace

void write_torch_file(const std::filesystem::path& path,
                      const std::map<std::string, Tensor>& tensors) {
  PickleWriter p;
  p.raw("\x80\x02").global("collections", "OrderedDict").raw(")R(");
  std::vector<std::string> names;
  for (const auto& [name, t] : tensors) {
    if (!is_utf8(name)) {
      fail(ErrorCode::kInvalidArgument, "{}: the tensor's name '{}' is not UTF-8; rename it",
           path.string(), printable(name, 200));
    }
    Shape strides(t.shape().size(), 1);
    for (std::size_t i = strides.size(); i-- > 1;) strides[i - 1] = strides[i] * t.shape()[i];
    p.text(name).global("torch._utils", "_rebuild_tensor_v2").raw("((");
    p.text("storage").global("torch", storage_of(t.dtype()));
    p.text(std::to_string(names.size())).text("cpu").integer(t.size()).raw("tQ");
    p.integer(0).tuple(t.shape()).tuple(strides).raw("\x89");
    p.global("collections", "OrderedDict").raw(")RtR");
    names.push_back("archive/data/" + std::to_string(names.size()));
  }
  p.raw("u.");

  const auto bytes_of = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  std::vector<ZipContent> files = {{"archive/data.pkl", bytes_of(p.bytes())},
                                   {"archive/byteorder", bytes_of("little")}};
  std::size_t i = 0;
  for (const auto& [name, t] : tensors) files.push_back({names[i++], {t.raw(), t.bytes()}});
  files.push_back({"archive/version", bytes_of("3\n")});
  write_zip(path, files);
}

}  // namespace resnet

#include "formats/torch_walk.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "formats/torch_globals.h"

namespace resnet {
namespace {

using Kind = PickleValue::Kind;
using Role = TorchRole;
using Meaning = TorchMeaning;

constexpr std::size_t kMaxRank = 64;
constexpr int kMaxDepth = 64;                    // of dictionaries in dictionaries
constexpr std::uint64_t kMaxNames = 32U << 20;   // bytes of all names and texts together
constexpr std::uint64_t kMaxVisits = 4'000'000;  // of values, shared ones as often as they are met
constexpr std::size_t kEntryBytes = 128;         // that an entry of a map takes besides
constexpr std::size_t kMaxListed = 100;          // items of a list of numbers that are shown

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

Tensor read_view(const View& v, const TorchStorages& storages, std::endian order) {
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

/// A value that is not understood, and the opaque global that it is made of or depends on.
struct LeftOut {
  PickleRef value;
  PickleRef global;
};

class Walk {
 public:
  Walk(const Pickle& pickle, const TorchStorages& storages, const ByteSource& source,
       std::uint64_t bytes, std::endian order, ReadWeights what)
      : pickle_(pickle),
        storages_(storages),
        source_(source),
        capacity_(bytes),
        order_(order),
        what_(what) {}

  WeightsFile run() {
    visit(pickle_.root, "", 0);
    for (const LeftOut& left : opaque_) {
      const bool whole =
          left.value == pickle_.root || (file_.entries.empty() && holds_tensors(left.value));
      if (whole) refuse_whole(at(left.global).text());
    }
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

  [[noreturn]] void refuse_whole(const std::string& global) const {
    fail(
        ErrorCode::kBadData,
        "{}: its weights are inside an object of the class {}, so a whole model was pickled, which "
        "only its own code can read; in Python, save its weights alone: "
        "torch.save(model.state_dict(), 'weights.pth')",
        source_.name(), printable(global, 200));
  }

  /// The opaque global that the value is, or is an object of.
  std::optional<PickleRef> opaque_root(PickleRef ref) const {
    if (at(ref).kind == Kind::kObject) ref = at(ref).items()[0];
    return at(ref).kind == Kind::kOpaque ? std::optional(ref) : std::nullopt;
  }

  /// Whether there are tensors below the value, which are not reached from it without its code.
  bool holds_tensors(PickleRef ref) {
    if (seen_.empty()) seen_.resize(pickle_.values.size());
    for (std::vector<PickleRef> waiting{ref}; !waiting.empty();) {
      const PickleRef next = waiting.back();
      waiting.pop_back();
      if (seen_[next]) continue;
      seen_[next] = true;
      const PickleValue& v = at(next);
      if (v.kind == Kind::kPersistent) return true;
      if (v.kind < Kind::kTuple || v.kind == Kind::kGlobal || v.kind == Kind::kOpaque) continue;
      waiting.insert(waiting.end(), v.items().begin(), v.items().end());
    }
    return false;
  }

  /// Says by its class that a value, or what it depends on, is not understood.
  void leave_out(PickleRef ref, const std::string& name, PickleRef cause) {
    const PickleRef global = *opaque_root(cause);
    const std::string& text = at(global).text();
    charge(0, kEntryBytes + text.size());
    file_.left_out.emplace(name, text);
    opaque_.push_back({ref, global});
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
    if (opaque_root(ref)) return leave_out(ref, name, ref);
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
        if (name.empty()) note_metadata(object[2]);
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

  /// The value of a text key in a dictionary, or null.
  const PickleValue* member(const PickleValue& dict, std::string_view key) const {
    if (dict.kind != Kind::kDict) return nullptr;
    const std::vector<PickleRef>& items = dict.items();
    for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
      if (at(items[i]).kind == Kind::kText && at(items[i]).text() == key) return &at(items[i + 1]);
    }
    return nullptr;
  }

  /// What write_torch_file put beside the tensors.
  void note_metadata(PickleRef attributes) {
    const PickleValue* all = member(at(attributes), "_metadata");
    const PickleValue* ours = all == nullptr ? nullptr : member(*all, kTorchMetadataKey);
    if (ours == nullptr || ours->kind != Kind::kDict) return;
    charge(ours->items().size(), 0);
    for (std::size_t i = 0; i + 1 < ours->items().size(); i += 2) {
      const PickleValue& key = at(ours->items()[i]);
      const PickleValue& value = at(ours->items()[i + 1]);
      if (key.kind == Kind::kText && value.kind == Kind::kText) note(key.text(), value.text());
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
    if (kind <= Kind::kText || kind == Kind::kGlobal || kind == Kind::kOpaque) return text_of(ref);
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
      case Kind::kGlobal:
      case Kind::kOpaque: return v.text();
      case Kind::kObject:
        if (!opaque_root(ref) && meaning_of(at(v.items()[0])).role == Role::kNumpyScalar) {
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
    // Its function, its type, its sizes: all that a tensor is made of has to be understood.
    const auto depends = [&](PickleRef on) {
      const bool opaque = opaque_root(on).has_value();
      if (opaque) leave_out(ref, name, on);
      return opaque;
    };
    if (std::ranges::any_of(*arguments, depends)) return;
    if (meaning_of(at(callable)).role == Role::kFromType) {
      if (arguments->size() < 3 || at((*arguments)[0]).kind != Kind::kGlobal ||
          at((*arguments)[2]).kind != Kind::kTuple) {
        damaged_tensor(name, "is rebuilt from something else");
      }
      callable = (*arguments)[0];
      arguments = &at((*arguments)[2]).items();
      if (std::ranges::any_of(*arguments, depends)) return;
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
    if (storage != nullptr && storage->size() > 1 && depends((*storage)[1])) return;
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
    if (total_ > 4 * capacity_ + (1 << 20)) {
      damaged(fmt::format("its tensors would take {} bytes and more, the file has {}", total_,
                          capacity_));
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
  const TorchStorages& storages_;
  const ByteSource& source_;
  std::uint64_t capacity_;
  std::endian order_;
  ReadWeights what_;
  WeightsFile file_;
  std::vector<LeftOut> opaque_;
  std::vector<bool> seen_;  // in search of tensors below these
  std::set<std::string> names_;
  std::map<PickleRef, Tensor> known_;  // what was read of that description
  std::uint64_t visits_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t total_ = 0;
};

}  // namespace

WeightsFile read_tensors(const Pickle& pickle, const TorchStorages& storages,
                         const ByteSource& source, std::uint64_t bytes, std::endian order,
                         ReadWeights what) {
  return Walk(pickle, storages, source, bytes, order, what).run();
}

}  // namespace resnet

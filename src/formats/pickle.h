// Python's pickles, as data. A pickle is a program for a small stack machine; two of its
// instructions, "find the object of that name" and "call it", let it run anything. Here a name
// stays a name, known or opaque, and a call only records what would be called with which arguments:
// what comes out is a tree of plain values, and nothing is ever run.
//
// Trap: containers may be shared and may contain themselves, so a tree of a few bytes can have
// infinitely many paths. Whoever walks one bounds depth and steps.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/file.h"

namespace resnet {

/// A value's place in `Pickle::values`.
using PickleRef = std::uint32_t;

struct PickleValue {
  enum class Kind : std::uint8_t {
    kNone,
    kBool,        ///< 0 or 1
    kInt,         ///< 64 bits
    kBigInt,      ///< text: "0x1950a86a…", when 64 bits do not hold it
    kFloat,       ///< number
    kText,        ///< text, as a rule UTF-8
    kBytes,       ///< text
    kTuple,       ///< items
    kList,        ///< items
    kSet,         ///< items
    kDict,        ///< items: key, value, key, value, …
    kGlobal,      ///< text: "torch.FloatStorage", one of those that are known
    kOpaque,      ///< text: "some.Class", any other global; each name is one value
    kObject,      ///< items: the global called, its arguments, its state or None, then what was
                  ///< appended, as in a list or a dict. Of an opaque one also what else was given
    kPersistent,  ///< items: the one value that names something outside the pickle
  };
  Kind kind = Kind::kNone;
  std::variant<std::int64_t, double, std::string, std::vector<PickleRef>> content;

  std::int64_t integer() const { return std::get<std::int64_t>(content); }
  double number() const { return std::get<double>(content); }
  const std::string& text() const { return std::get<std::string>(content); }
  const std::vector<PickleRef>& items() const { return std::get<std::vector<PickleRef>>(content); }
};

struct Pickle {
  std::vector<PickleValue> values;
  PickleRef root = 0;
  std::uint64_t end = 0;  ///< where the bytes after it begin

  const PickleValue& at(PickleRef ref) const { return values[ref]; }
};

/// Runs the pickle (protocols 0 to 5, but for text of protocol 0) that begins at `offset`. Globals
/// among `known` become kGlobal, others kOpaque, whose calls give opaque objects. Memory is bounded
/// by a multiple of the bytes read and by fixed limits. Throws `kBadData` when it is damaged, too
/// large, or asks for a global that runs code ("os.system"); the message names it.
Pickle read_pickle(const ByteSource& source, std::uint64_t offset,
                   std::span<const std::string_view> known);

}  // namespace resnet

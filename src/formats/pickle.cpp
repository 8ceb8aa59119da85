#include "formats/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>

#include "core/check.h"
#include "core/text.h"
#include "formats/pickle_names.h"

namespace resnet {
namespace {

using Kind = PickleValue::Kind;

// A checkpoint of ResNet-152 with its optimizer has some 20,000 values.
constexpr std::uint64_t kMaxSteps = 4'000'000;   // values, memo entries and items of containers
constexpr std::uint64_t kMaxBytes = 128U << 20;  // of one pickle
constexpr std::size_t kMaxLine = 1024;           // a global's module or name, a number in digits
constexpr std::size_t kMaxNames = 8U << 20;      // bytes of all opaque globals' names

/// Bytes in order, through a buffer.
class Reader {
 public:
  Reader(const ByteSource& source, std::uint64_t offset)
      : source_(source), begin_(offset), next_(offset) {}

  std::uint64_t position() const { return next_; }

  std::uint8_t byte() {
    require(1);
    if (next_ < buffer_begin_ || next_ >= buffer_begin_ + buffered_) {
      buffer_begin_ = next_;
      buffered_ = std::min<std::uint64_t>(buffer_.size(), source_.size() - next_);
      source_.read(next_, std::span(buffer_).first(static_cast<std::size_t>(buffered_)));
    }
    return static_cast<std::uint8_t>(buffer_[static_cast<std::size_t>(next_++ - buffer_begin_)]);
  }

  /// An unsigned number of so many bytes, the lowest first.
  std::uint64_t number(int bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= std::uint64_t{byte()} << (8 * i);
    return value;
  }

  std::string text(std::uint64_t length) {
    require(length);
    std::string out(static_cast<std::size_t>(length), '\0');
    if (length <= buffer_.size()) {
      for (char& c : out) c = static_cast<char>(byte());
    } else {
      source_.read(next_, std::as_writable_bytes(std::span(out)));
      next_ += length;
    }
    return out;
  }

  std::string line() {
    std::string out;
    for (char c = 0; (c = static_cast<char>(byte())) != '\n';) {
      if (out.size() == kMaxLine) damaged("a line has no end");
      out += c;
    }
    return out;
  }

  /// That so many more bytes are there and allowed, before memory is taken for them.
  void require(std::uint64_t bytes) const {
    if (bytes > source_.size() - next_) damaged("it is cut short");
    if (bytes > kMaxBytes - (next_ - begin_)) {
      damaged(fmt::format("it is larger than {} bytes", kMaxBytes));
    }
  }

  [[noreturn]] void damaged(std::string_view what) const {
    fail(ErrorCode::kBadData, "{}: no sound pickle ({}, at byte {}); fetch or save it again",
         source_.name(), what, next_);
  }

  const std::string& name() const { return source_.name(); }

 private:
  const ByteSource& source_;
  std::uint64_t begin_;
  std::uint64_t next_;
  std::array<std::byte, 4096> buffer_;
  std::uint64_t buffer_begin_ = 0;
  std::uint64_t buffered_ = 0;
};

class Machine {
 public:
  Machine(const ByteSource& source, std::uint64_t offset, std::span<const std::string_view> known)
      : in_(source, offset), known_(known) {}

  Pickle run() {
    while (step()) {
    }
    if (!getattr_.empty()) refuse_global(getattr_);  // for something else than classes in classes
    pickle_.end = in_.position();
    return std::move(pickle_);
  }

 private:
  PickleValue& value(PickleRef ref) { return pickle_.values[ref]; }

  void count(std::uint64_t steps) {
    steps_ += steps;
    if (steps_ > kMaxSteps) in_.damaged(fmt::format("it has more than {} values", kMaxSteps));
  }

  template <class Content>
  PickleRef make(Kind kind, Content content) {
    count(1);
    pickle_.values.push_back({kind, std::move(content)});
    return static_cast<PickleRef>(pickle_.values.size() - 1);
  }
  template <class Content>
  void push(Kind kind, Content content) {
    stack_.push_back(make(kind, std::move(content)));
  }
  void push(Kind kind) { push(kind, std::int64_t{0}); }

  /// What lies above the last mark may be taken.
  void require(std::size_t values) const {
    if (stack_.size() - (marks_.empty() ? 0 : marks_.back()) < values) {
      in_.damaged("an instruction lacks its operands");
    }
  }
  PickleRef top() const {
    require(1);
    return stack_.back();
  }
  PickleRef pop() {
    const PickleRef ref = top();
    stack_.pop_back();
    return ref;
  }
  std::vector<PickleRef> pop(std::size_t values) {
    require(values);
    count(values);
    const auto begin = stack_.end() - static_cast<std::ptrdiff_t>(values);
    std::vector<PickleRef> out(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return out;
  }
  std::vector<PickleRef> pop_to_mark() {
    if (marks_.empty()) in_.damaged("a mark is missing");
    std::vector<PickleRef> out = pop(stack_.size() - marks_.back());
    marks_.pop_back();
    return out;
  }

  void memoize(std::uint64_t index) {
    count(1);
    memo_[index] = top();
  }
  void recall(std::uint64_t index) {
    const auto it = memo_.find(index);
    if (it == memo_.end()) in_.damaged(fmt::format("nothing was remembered as {}", index));
    count(1);
    stack_.push_back(it->second);
  }

  template <class Number>
  Number digits(std::string_view text) const {
    Number n{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc{} || end != text.data() + text.size()) {
      in_.damaged(fmt::format("'{}' is no number that is read", printable(text, 40)));
    }
    return n;
  }

  /// Two's complement of any length, the lowest byte first.
  void push_long(const std::string& bytes) {
    if (bytes.size() <= 8) {
      const bool negative = !bytes.empty() && (bytes.back() & 0x80) != 0;
      std::uint64_t n = negative ? ~std::uint64_t{0} : 0;
      std::memcpy(&n, bytes.data(), bytes.size());
      return push(Kind::kInt, static_cast<std::int64_t>(n));
    }
    std::string text = "0x";
    for (std::size_t i = bytes.size(); i-- > 0;) {
      text += fmt::format("{:02x}", static_cast<std::uint8_t>(bytes[i]));
    }
    push(Kind::kBigInt, std::move(text));
  }

  [[noreturn]] void refuse_global(const std::string& global) const {
    fail(ErrorCode::kBadData,
         "{}: it asks for {}, which weights do not need and which could run anything; nothing was "
         "run. If you trust the file, save its weights alone in Python: "
         "torch.save(model.state_dict(), 'weights.pth')",
         in_.name(), printable(global, 200));
  }

  PickleRef find_global(const std::string& module, const std::string& name) {
    std::string global = module + "." + name;
    if (std::find(known_.begin(), known_.end(), global) != known_.end()) {
      return make(Kind::kGlobal, std::move(global));
    }
    if (is_getattr(global) && getattr_calls_ == 0) getattr_ = global;
    return find_opaque(std::move(global));
  }

  /// One value for each name, so that what they take is bounded.
  PickleRef find_opaque(std::string global) {
    if (const auto it = opaque_.find(global); it != opaque_.end()) return it->second;
    opaque_bytes_ += global.size();
    if (global.size() > 2 * kMaxLine || opaque_bytes_ > kMaxNames) {
      in_.damaged("its names of globals are too long");
    }
    if (is_dangerous_global(global) && !is_getattr(global)) refuse_global(global);
    const PickleRef ref = make(Kind::kOpaque, global);
    opaque_.emplace(std::move(global), ref);
    return ref;
  }

  /// The opaque global that the value is, or is an object of.
  std::optional<PickleRef> opaque_root(PickleRef ref) const {
    const PickleValue& v = pickle_.at(ref);
    if (v.kind == Kind::kObject) ref = v.items()[0];
    return pickle_.at(ref).kind == Kind::kOpaque ? std::optional(ref) : std::nullopt;
  }

  void push_object(PickleRef callable, PickleRef arguments,
                   std::optional<PickleRef> more = std::nullopt) {
    if (value(arguments).kind != Kind::kTuple) in_.damaged("it calls with no tuple");
    const std::optional<PickleRef> opaque = opaque_root(callable);
    if (value(callable).kind != Kind::kGlobal && !opaque) {
      in_.damaged("it calls what is no global");
    }
    if (opaque && is_getattr(value(*opaque).text())) return push_member(arguments);
    std::vector<PickleRef> object{callable, arguments, make(Kind::kNone, std::int64_t{0})};
    if (opaque && *opaque != callable) {  // what an opaque call gave is called in turn
      object = {*opaque, arguments, object[2], callable};
    }
    if (more) object.push_back(*more);
    push(Kind::kObject, std::move(object));
  }

  /// getattr(Outer, "Inner"): how old protocols name what a class holds.
  void push_member(PickleRef arguments) {
    const std::vector<PickleRef>& pair = value(arguments).items();
    const auto outer = pair.size() == 2 ? opaque_root(pair[0]) : std::nullopt;
    if (!outer || is_getattr(value(*outer).text()) || value(pair[1]).kind != Kind::kText) {
      refuse_global("builtins.getattr");
    }
    ++getattr_calls_;
    getattr_.clear();
    const PickleRef member = find_opaque(value(*outer).text() + "." + value(pair[1]).text());
    stack_.push_back(member);
  }

  void append(std::vector<PickleRef> items, Kind container) {
    const PickleRef to = top();
    PickleValue& v = value(to);
    if (v.kind != container && v.kind != Kind::kObject) in_.damaged("it appends to no container");
    if (container == Kind::kDict && items.size() % 2 != 0) in_.damaged("a key lacks its value");
    auto& all = std::get<std::vector<PickleRef>>(v.content);
    all.insert(all.end(), items.begin(), items.end());
  }

  bool step();

  Reader in_;
  std::span<const std::string_view> known_;
  Pickle pickle_;
  std::vector<PickleRef> stack_;
  std::vector<std::size_t> marks_;
  std::unordered_map<std::uint64_t, PickleRef> memo_;
  std::unordered_map<std::string, PickleRef> opaque_;  // by name
  std::uint64_t opaque_bytes_ = 0;
  std::string getattr_;  // was named and not yet called
  std::uint64_t getattr_calls_ = 0;
  std::uint64_t steps_ = 0;
};

/// One instruction; false after the last. Their names are those of Python's pickletools.
bool Machine::step() {
  const std::uint8_t opcode = in_.byte();
  switch (opcode) {
    case 0x80:  // PROTO
      if (const int protocol = in_.byte(); protocol > 5) {
        fail(ErrorCode::kUnsupported, "{}: pickle protocol {}, 5 is the last known here",
             in_.name(), protocol);
      }
      break;
    case 0x95: in_.require(in_.number(8)); break;  // FRAME
    case '.':                                      // STOP
      if (!marks_.empty() || stack_.size() != 1) in_.damaged("it ends with more or less than one");
      pickle_.root = pop();
      return false;

    // The stack and the memo.
    case '(':  // MARK
      count(1);
      marks_.push_back(stack_.size());
      break;
    case '0': pop(); break;                                       // POP
    case '1': pop_to_mark(); break;                               // POP_MARK
    case '2': count(1), stack_.push_back(top()); break;           // DUP
    case 'g': recall(digits<std::uint32_t>(in_.line())); break;   // GET
    case 'h': recall(in_.byte()); break;                          // BINGET
    case 'j': recall(in_.number(4)); break;                       // LONG_BINGET
    case 'p': memoize(digits<std::uint32_t>(in_.line())); break;  // PUT
    case 'q': memoize(in_.byte()); break;                         // BINPUT
    case 'r': memoize(in_.number(4)); break;                      // LONG_BINPUT
    case 0x94:
      memoize(memo_.size());
      break;  // MEMOIZE

    // Scalars.
    case 'N': push(Kind::kNone); break;                                           // NONE
    case 0x88: push(Kind::kBool, std::int64_t{1}); break;                         // NEWTRUE
    case 0x89: push(Kind::kBool, std::int64_t{0}); break;                         // NEWFALSE
    case 'K': push(Kind::kInt, static_cast<std::int64_t>(in_.number(1))); break;  // BININT1
    case 'M': push(Kind::kInt, static_cast<std::int64_t>(in_.number(2))); break;  // BININT2
    case 'J':                                                                     // BININT
      push(Kind::kInt, std::int64_t{static_cast<std::int32_t>(in_.number(4))});
      break;
    case 'I': {  // INT, and protocol 1's way to write a bool
      const std::string line = in_.line();
      if (line == "00" || line == "01") {
        push(Kind::kBool, std::int64_t{line == "01"});
      } else {
        push(Kind::kInt, digits<std::int64_t>(line));
      }
      break;
    }
    case 'L': {  // LONG
      std::string line = in_.line();
      if (line.ends_with('L')) line.pop_back();
      push(Kind::kInt, digits<std::int64_t>(line));
      break;
    }
    case 0x8a: push_long(in_.text(in_.number(1))); break;             // LONG1
    case 0x8b: push_long(in_.text(in_.number(4))); break;             // LONG4
    case 'F': push(Kind::kFloat, digits<double>(in_.line())); break;  // FLOAT
    case 'G': push(Kind::kFloat, std::bit_cast<double>(__builtin_bswap64(in_.number(8)))); break;
    case 'X': push(Kind::kText, in_.text(in_.number(4))); break;    // BINUNICODE
    case 0x8c: push(Kind::kText, in_.text(in_.number(1))); break;   // SHORT_BINUNICODE
    case 0x8d: push(Kind::kText, in_.text(in_.number(8))); break;   // BINUNICODE8
    case 'U': push(Kind::kText, in_.text(in_.number(1))); break;    // SHORT_BINSTRING, of Python 2
    case 'T': push(Kind::kText, in_.text(in_.number(4))); break;    // BINSTRING
    case 'C': push(Kind::kBytes, in_.text(in_.number(1))); break;   // SHORT_BINBYTES
    case 'B': push(Kind::kBytes, in_.text(in_.number(4))); break;   // BINBYTES
    case 0x8e: push(Kind::kBytes, in_.text(in_.number(8))); break;  // BINBYTES8
    case 0x96:
      push(Kind::kBytes, in_.text(in_.number(8)));
      break;  // BYTEARRAY8

    // Containers.
    case ')': push(Kind::kTuple, std::vector<PickleRef>{}); break;  // EMPTY_TUPLE
    case 't': push(Kind::kTuple, pop_to_mark()); break;             // TUPLE
    case 0x85: push(Kind::kTuple, pop(1)); break;                   // TUPLE1
    case 0x86: push(Kind::kTuple, pop(2)); break;                   // TUPLE2
    case 0x87: push(Kind::kTuple, pop(3)); break;                   // TUPLE3
    case ']': push(Kind::kList, std::vector<PickleRef>{}); break;   // EMPTY_LIST
    case 'l': push(Kind::kList, pop_to_mark()); break;              // LIST
    case '}': push(Kind::kDict, std::vector<PickleRef>{}); break;   // EMPTY_DICT
    case 0x8f: push(Kind::kSet, std::vector<PickleRef>{}); break;   // EMPTY_SET
    case 0x91: push(Kind::kSet, pop_to_mark()); break;              // FROZENSET
    case 'd': {                                                     // DICT
      std::vector<PickleRef> items = pop_to_mark();
      push(Kind::kDict, std::vector<PickleRef>{});
      append(std::move(items), Kind::kDict);
      break;
    }
    case 'a': append(pop(1), Kind::kList); break;         // APPEND
    case 'e': append(pop_to_mark(), Kind::kList); break;  // APPENDS
    case 's': append(pop(2), Kind::kDict); break;         // SETITEM
    case 'u': append(pop_to_mark(), Kind::kDict); break;  // SETITEMS
    case 0x90:
      append(pop_to_mark(), Kind::kSet);
      break;  // ADDITEMS

    // Globals, and what is made with them.
    case 'c': {  // GLOBAL
      const std::string module = in_.line();
      stack_.push_back(find_global(module, in_.line()));
      break;
    }
    case 0x93: {  // STACK_GLOBAL
      const PickleRef name = pop();
      const PickleRef module = pop();
      if (value(name).kind != Kind::kText || value(module).kind != Kind::kText) {
        in_.damaged("a global's name is no text");
      }
      stack_.push_back(find_global(value(module).text(), value(name).text()));
      break;
    }
    case 'R':     // REDUCE
    case 0x81: {  // NEWOBJ
      const PickleRef arguments = pop();
      push_object(pop(), arguments);
      break;
    }
    case 0x92: {  // NEWOBJ_EX
      const PickleRef keywords = pop();
      const PickleRef arguments = pop();
      const PickleRef callable = pop();
      const bool none = value(keywords).kind == Kind::kDict && value(keywords).items().empty();
      if (!none && !opaque_root(callable)) in_.damaged("it calls with arguments by name");
      push_object(callable, arguments, none ? std::nullopt : std::optional(keywords));
      break;
    }
    case 'i': {  // INST
      const std::string module = in_.line();
      const PickleRef callable = find_global(module, in_.line());
      push_object(callable, make(Kind::kTuple, pop_to_mark()));
      break;
    }
    case 'o': {  // OBJ
      std::vector<PickleRef> all = pop_to_mark();
      if (all.empty()) in_.damaged("an instruction lacks its operands");
      const PickleRef callable = all.front();
      all.erase(all.begin());
      push_object(callable, make(Kind::kTuple, std::move(all)));
      break;
    }
    case 'b': {  // BUILD
      const PickleRef state = pop();
      PickleValue& object = value(top());
      if (object.kind == Kind::kOpaque) break;  // a class's or a function's: nothing to keep
      if (object.kind != Kind::kObject) in_.damaged("it gives a state to what is no object");
      std::get<std::vector<PickleRef>>(object.content)[2] = state;
      break;
    }
    case 'Q': {  // BINPERSID; legacy files name a class of networks as ("module", class, …)
      const PickleRef id = top();
      if (value(id).kind == Kind::kTuple && value(id).items().size() > 1 &&
          value(value(id).items()[1]).kind == Kind::kOpaque &&
          value(value(id).items()[0]).kind == Kind::kText &&
          value(value(id).items()[0]).text() == "module") {
        stack_.back() = value(id).items()[1];
        break;
      }
      push(Kind::kPersistent, pop(1));
      break;
    }

    default:
      // Text of protocol 0, copyreg's extension registry, buffers out of band: PyTorch writes none.
      in_.damaged(fmt::format("the instruction {:#04x} is not one that PyTorch writes", opcode));
  }
  return true;
}

}  // namespace

Pickle read_pickle(const ByteSource& source, std::uint64_t offset,
                   std::span<const std::string_view> known) {
  return Machine(source, offset, known).run();
}

}  // namespace resnet

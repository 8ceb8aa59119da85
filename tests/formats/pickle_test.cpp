#include "formats/pickle.h"

#include <gtest/gtest.h>

#include "formats/memory.h"
#include "formats/pickles.h"
#include "formats/support.h"

namespace resnet {
namespace {

using namespace pickles;
using Kind = PickleValue::Kind;

constexpr std::array<std::string_view, 2> kKnown = {"collections.OrderedDict", "a.known"};

Pickle parse(const std::string& bytes) {
  return read_pickle(ByteSource(std::as_bytes(std::span(bytes)), "x.pth"), 0, kKnown);
}
const PickleValue& root(const Pickle& p) { return p.at(p.root); }

void expect_refused(const std::string& bytes, std::string_view why) {
  expect_error(ErrorCode::kBadData, {"x.pth", why}, [&] { parse(bytes); });
}

/// Value of a pickle of one integer.
std::int64_t integer_of(const std::string& bytes) {
  const Pickle p = parse(bytes + ".");
  EXPECT_EQ(root(p).kind, Kind::kInt);
  return root(p).integer();
}

TEST(Pickle, Numbers) {
  EXPECT_EQ(integer_of("K\xff"), 255);
  EXPECT_EQ(integer_of("M\x01\x80"), 0x8001);
  EXPECT_EQ(integer_of("J\xff\xff\xff\xff"), -1);
  EXPECT_EQ(integer_of("I-12\n"), -12);
  EXPECT_EQ(integer_of("L123456789012L\n"), 123456789012);
  EXPECT_EQ(integer_of(std::string("\x8a\0", 2)), 0);
  EXPECT_EQ(integer_of("\x8a\x01\x80"), -128);
  EXPECT_EQ(integer_of(std::string("\x8a\x02\x80\0", 4)), 128);
  EXPECT_EQ(integer_of("\x8a\x08" + std::string(8, '\xff')), -1);
  EXPECT_EQ(integer_of(std::string("\x8b\x01\0\0\0\x05", 6)), 5);
  EXPECT_EQ(parse("\x8a\x0a" + std::string(9, '\0') + "\x01.").values[0].text(),
            "0x01" + std::string(18, '0'));
  EXPECT_EQ(root(parse(std::string("G?\xf8\0\0\0\0\0\0.", 10))).number(), 1.5);
  EXPECT_EQ(root(parse("F-2.5e3\n.")).number(), -2500);
  EXPECT_EQ(root(parse("I01\n.")).kind, Kind::kBool);
  EXPECT_EQ(root(parse("\x88.")).integer(), 1);
  EXPECT_EQ(root(parse("N.")).kind, Kind::kNone);
}

TEST(Pickle, Texts) {
  for (const std::string& bytes : {text("ab"),
                                   std::string("\x8c\x02"
                                               "ab"),
                                   "\x8d" + number(2, 8) + "ab",
                                   std::string("U\x02"
                                               "ab"),
                                   "T" + number(2, 4) + "ab"}) {
    const Pickle p = parse(bytes + ".");
    EXPECT_EQ(root(p).kind, Kind::kText);
    EXPECT_EQ(root(p).text(), "ab");
  }
  for (const std::string& bytes :
       {std::string("C\x02"
                    "ab"),
        "B" + number(2, 4) + "ab", "\x8e" + number(2, 8) + "ab", "\x96" + number(2, 8) + "ab"}) {
    EXPECT_EQ(root(parse(bytes + ".")).kind, Kind::kBytes);
  }
  const std::string large(10'000, 'x');  // larger than the reader's buffer
  EXPECT_EQ(root(parse(text(large) + ".")).text(), large);
}

TEST(Pickle, Containers) {
  const auto items = [](const std::string& bytes, Kind kind) {
    const Pickle p = parse(bytes + ".");
    EXPECT_EQ(root(p).kind, kind);
    std::vector<std::int64_t> out;
    for (const PickleRef r : root(p).items()) out.push_back(p.at(r).integer());
    return out;
  };
  using List = std::vector<std::int64_t>;
  EXPECT_EQ(items(")", Kind::kTuple), List());
  EXPECT_EQ(items("K\1\x85", Kind::kTuple), List({1}));
  EXPECT_EQ(items("K\1K\2\x86", Kind::kTuple), List({1, 2}));
  EXPECT_EQ(items("K\1K\2K\3\x87", Kind::kTuple), List({1, 2, 3}));
  EXPECT_EQ(items("(K\1K\2t", Kind::kTuple), List({1, 2}));
  EXPECT_EQ(items("]K\1a(K\2K\3e", Kind::kList), List({1, 2, 3}));
  EXPECT_EQ(items("(K\1l", Kind::kList), List({1}));
  EXPECT_EQ(items("}K\1K\2s(K\3K\4u", Kind::kDict), List({1, 2, 3, 4}));
  EXPECT_EQ(items("(K\1K\2d", Kind::kDict), List({1, 2}));
  EXPECT_EQ(items("\x8f(K\1\x90", Kind::kSet), List({1}));
  EXPECT_EQ(items("(K\1\x91", Kind::kSet), List({1}));
  EXPECT_EQ(items("(K\1q\5h\5\x30t", Kind::kTuple), List({1}));  // POP
  EXPECT_EQ(items("K\1(K\2K\3"
                  "1\x85",
                  Kind::kTuple),
            List({1}));  // POP_MARK
  EXPECT_EQ(items("K\7"
                  "2\x86",
                  Kind::kTuple),
            List({7, 7}));  // DUP
  EXPECT_EQ(items(std::string("K\1\x94\x30K\2\x94\x30h\0h\1\x86", 13), Kind::kTuple),
            List({1, 2}));  // MEMOIZE
}

TEST(Pickle, CallsAreRecordedNotMade) {
  const Pickle p = parse(global("a", "known") + "K\1\x85RK\5b.");
  ASSERT_EQ(root(p).kind, Kind::kObject);
  const std::vector<PickleRef>& object = root(p).items();
  ASSERT_EQ(object.size(), 3U);
  EXPECT_EQ(p.at(object[0]).text(), "a.known");
  EXPECT_EQ(p.at(p.at(object[1]).items()[0]).integer(), 1);
  EXPECT_EQ(p.at(object[2]).integer(), 5);  // the state

  for (const char* made :
       {"\x8c\1a\x8c\5known\x93)\x81", "ca\nknown\n)}\x92", "(ia\nknown\n", "(ca\nknown\no"}) {
    EXPECT_EQ(root(parse(std::string(made) + ".")).kind, Kind::kObject);
  }
}

TEST(Pickle, EndsWhereTheNextBytesBegin) {
  const std::string two = "K\1.K\2.";
  const ByteSource source(std::as_bytes(std::span(two)), "x");
  const Pickle first = read_pickle(source, 0, {});
  EXPECT_EQ(first.end, 3U);
  EXPECT_EQ(root(read_pickle(source, first.end, {})).integer(), 2);
}

TEST(Pickle, RefusesGlobalsByName) {
  const std::string command = text("touch /tmp/owned");
  expect_refused("cos\nsystem\n" + command + "\x85R.", "os.system");
  expect_refused("cposix\nsystem\n" + command + "\x85R.", "posix.system");
  expect_refused("c__builtin__\neval\n" + command + "\x85R.", "__builtin__.eval");
  expect_refused("c__builtin__\ngetattr\n.", "__builtin__.getattr");
  expect_refused("\x80\4\x8c\2os\x94\x8c\6system\x94\x93" + command + "\x85R.", "os.system");
  expect_refused("(" + command + "ios\nsystem\n.", "os.system");
  expect_refused("(cos\nsystem\n" + command + "o.", "os.system");
  expect_refused("csubprocess\nPopen\n)}\x92.", "subprocess.Popen");
  expect_refused("ctorch.hub\nload\n.", "torch.hub.load");
  // Wherever it stands, and by whatever module it was imported.
  expect_refused("}" + text("a") + "csys\nexit\n)Rs.", "sys.exit");
  for (const std::string name :
       {"nt.system", "shutil.rmtree", "importlib.import_module", "runpy.run_path", "pty.spawn",
        "code.interact", "ctypes.CDLL", "socket.create_connection", "operator.attrgetter",
        "numpy.os.system", "builtins.__import__", "builtins.print", "builtins.str.format",
        "types.CodeType", "marshal.loads", "a.known.__globals__", "a.known.__init__", "a..b",
        "a.b c"}) {
    const std::size_t dot = name.rfind('.');
    expect_refused(global(name.substr(0, dot), name.substr(dot + 1)) + ".", name);
  }
  expect_refused("c\n\n.", "it asks for .");
  expect_refused("cos\n\x1b[2Jsystem\n.", "os.\\x1b[2Jsystem");
}

TEST(Pickle, UnknownGlobalsAreOpaque) {
  const Pickle name = parse(global("some.place", "Thing") + ".");
  EXPECT_EQ(root(name).kind, Kind::kOpaque);
  EXPECT_EQ(root(name).text(), "some.place.Thing");
  // The list of what is known is of names, not of places: neither more of one nor less of one.
  for (const char* pickle : {"ca\nknow\n.", "ca.known\nb\n.", "cproject.code\nConfig\n.",
                             "c__main__\nNet\n.", "cbuiltins\nobject\n."}) {
    EXPECT_EQ(root(parse(pickle)).kind, Kind::kOpaque) << pickle;
  }
  // Whatever is done with one gives an opaque object, which remembers all that it was given.
  const std::string thing = global("some.place", "Thing");
  for (const std::string& made : std::vector<std::string>{
           thing + "K\1\x85R", thing + ")\x81", thing + ")}" + text("a") + "K\1s\x92",
           "(isome.place\nThing\n", "(" + thing + "K\1o", thing + ")RK\5b",
           thing + ")R" + text("a") + "K\1s", thing + ")R(" + text("a") + "K\1u", thing + ")RK\1a",
           thing + ")R(K\1e", thing + ")R(K\1\x90", thing + ")R)R",
           "\x8c\nsome.place\x8c\5Thing\x93)R"}) {
    const Pickle p = parse(made + ".");
    ASSERT_EQ(root(p).kind, Kind::kObject) << made;
    const PickleValue& callable = p.at(root(p).items()[0]);
    EXPECT_EQ(callable.kind, Kind::kOpaque) << made;
    EXPECT_EQ(callable.text(), "some.place.Thing") << made;
  }
  EXPECT_EQ(root(parse(thing + ")}" + text("a") + "K\1s\x92.")).items().size(), 4U);
  // As legacy files name the class of a module.
  EXPECT_EQ(root(parse("(" + text("module") + thing + text("x.py") + "tQ)R.")).kind, Kind::kObject);
  EXPECT_EQ(root(parse(thing + "K\1b.")).kind, Kind::kOpaque);  // a state for a class
}

// Protocols below 4 name what is inside a class as getattr(Outer, "Inner"): enumerations and the
// methods that mmengine's checkpoints hold.
TEST(Pickle, ClassesInClassesAreNamedByGetattr) {
  const std::string inner =
      global("__builtin__", "getattr") + global("some", "Outer") + text("Inner") + "\x86R";
  const Pickle p = parse(inner + "K\1\x85R.");
  ASSERT_EQ(root(p).kind, Kind::kObject);
  EXPECT_EQ(p.at(root(p).items()[0]).text(), "some.Outer.Inner");
  const std::string get = global("builtins", "getattr");
  expect_refused(get + ".", "builtins.getattr");
  expect_refused(get + "K\1" + text("real") + "\x86R.", "builtins.getattr");
  expect_refused(get + global("a", "known") + text("x") + "\x86R.", "builtins.getattr");
  expect_refused(get + get + text("x") + "\x86R.", "builtins.getattr");
  expect_refused(get + global("some", "module") + text("os") + "\x86R.", "some.module.os");
  expect_refused(get + global("some", "T") + text("__globals__") + "\x86R.", "some.T.__globals__");
  expect_refused(get + global("some", "T") + text("a b") + "\x86R.", "some.T.a b");
}

TEST(Pickle, RefusesWhatCallsSomethingElse) {
  expect_refused("K\1)R.", "it calls what is no global");
  expect_refused("ca\nknown\n)R)R.", "it calls what is no global");  // an object is none
  expect_refused("}K\1K\2s)R.", "it calls what is no global");
  expect_refused("ca\nknown\n]R.", "it calls with no tuple");
  expect_refused("ca\nknown\n)}K\1K\2s\x92.", "arguments by name");
  expect_refused("]K\1b.", "state to what is no object");
  expect_refused("ca\nknown\nK\1b.", "state to what is no object");
  expect_refused("K\1K\2\x93.", "a global's name is no text");
}

TEST(Pickle, RefusesTheExtensionRegistryAndBuffers) {
  for (const char* opcode :
       {"\x82\1", "\x83\1\1", "\x84\1\1\1\1", "\x97", "\x98", "P1\n", "S'a'\n", "Va\n", "\xff"}) {
    expect_refused(std::string(opcode) + ".", "is not one that PyTorch writes");
  }
}

TEST(Pickle, RefusesWhatIsDamaged) {
  expect_refused("", "cut short");
  expect_refused("K", "cut short");
  expect_refused("K\1", "cut short");
  expect_refused("X" + number(100, 4) + "ab.", "cut short");
  expect_refused("\x8d" + number(UINT64_MAX, 8) + "ab.", "cut short");
  expect_refused("\x8e" + number(std::uint64_t{1} << 62, 8) + ".", "cut short");
  expect_refused("\x8b\xff\xff\xff\xff.", "cut short");
  expect_refused("\x80\4\x95" + number(1 << 20, 8) + "N.", "cut short");
  expect_refused(".", "more or less than one");
  expect_refused("NN.", "more or less than one");
  expect_refused("(N.", "more or less than one");
  expect_refused("0.", "lacks its operands");
  expect_refused("N\x86.", "lacks its operands");
  expect_refused("N(\x85.", "lacks its operands");  // not from below a mark
  expect_refused("]a.", "lacks its operands");
  expect_refused("(o.", "lacks its operands");
  expect_refused("t.", "a mark is missing");
  expect_refused("h\1.", "nothing was remembered as 1");
  expect_refused("g99999999999\n.", "no number");
  expect_refused("Iabc\n.", "no number");
  expect_refused("L" + std::string(900, '9') + "\n.", "no number");
  expect_refused("F1e\n.", "no number");
  expect_refused("I" + std::string(5000, '1') + "\n.", "a line has no end");
  expect_refused("K\1K\2a.", "appends to no container");
  expect_refused("]K\1K\2s.", "appends to no container");
  expect_refused(")K\1a.", "appends to no container");
  expect_refused("}(K\1u.", "a key lacks its value");
  expect_error(ErrorCode::kUnsupported, {"protocol 6"}, [] { parse("\x80\6N."); });
}

// Sharing and cycles are only numbers here: no recursion, no leak, no growth.
TEST(Pickle, CyclesAndDepth) {
  const Pickle cycle = parse("]q\1h\1a.");
  EXPECT_EQ(root(cycle).items(), std::vector<PickleRef>{cycle.root});
  const Pickle deep = parse(std::string(1'000'000, ']') + std::string(999'999, 'a') + ".");
  EXPECT_EQ(root(deep).items().size(), 1U);
}

TEST(Pickle, MemoryStaysSmall) {
  const auto expect_small = [](const std::string& bytes, std::string_view why) {
    const std::int64_t growth = peak_growth([&] { expect_refused(bytes, why); });
    EXPECT_LT(growth, std::int64_t{512} << 20) << why;
  };
  expect_small(std::string(30'000'000, ')'), "more than 4000000 values");
  expect_small(std::string(30'000'000, '('), "more than 4000000 values");
  expect_small("N" + std::string(30'000'000, '2'), "more than 4000000 values");
  std::string puts = "N", gets = "Nq\1";
  for (std::uint64_t i = 0; i < 5'000'000; ++i) puts += "r" + number(i, 4);
  for (int i = 0; i < 5'000'000; ++i) gets += "h\1";
  expect_small(puts, "more than 4000000 values");
  expect_small(gets, "more than 4000000 values");
  // Names put together from texts that are there once.
  std::string names;
  for (int i = 0; i < 2; ++i)
    names += text(std::string(900, static_cast<char>('a' + i))) + "q" +
             std::string(1, static_cast<char>(i)) + "0";
  for (int i = 0; i < 20'000; ++i) {
    names += std::string("h\0", 2) + text("n" + std::to_string(i)) + "\x93";
  }
  expect_small(names, "its names of globals are too long");
}

}  // namespace
}  // namespace resnet

#include "core/text.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "core/json_line.h"
#include "core/lines.h"
#include "resnet/error.h"

namespace resnet {
namespace {

using Lines = std::vector<std::string>;

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kBadData);
    return e.what();
  }
  return "no error";
}

TEST(Text, PrintableKeepsWhatIsHarmless) {
  for (const char* text : {"", "layer1.0.conv1.weight", "Gänseblümchen 雏菊 🌼", "a b\\c"}) {
    EXPECT_EQ(printable(text), text);
    EXPECT_TRUE(is_utf8(text));
  }
}

TEST(Text, PrintableEscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("\x1b[2Jx\r\n\t"), "\\x1b[2Jx\\x0d\\x0a\\x09");
  EXPECT_EQ(printable("a\xc2\x9b"
                      "b"),
            "a\\xc2\\x9bb");  // C1's CSI
  EXPECT_EQ(printable("a\xe2\x80\xae"
                      "b"),
            "a\\xe2\\x80\\xaeb");  // right to left
  EXPECT_EQ(printable(std::string_view("\0\x7f", 2)), "\\x00\\x7f");
}

TEST(Text, BytesThatAreNotUtf8) {
  for (const char* text : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80",
                           "\xe2\x82", "\xe0\x80\xaf"}) {
    EXPECT_FALSE(is_utf8(text)) << text;
    EXPECT_EQ(printable(text).substr(0, 2), "\\x");
    EXPECT_TRUE(is_utf8(printable(text)));
  }
}

TEST(Text, PrintableCutsBetweenCharacters) {
  EXPECT_EQ(printable("abcdef", 3), "abc…");
  EXPECT_EQ(printable("aü", 2), "a…");
  EXPECT_EQ(printable("abc", 3), "abc");
}

TEST(Text, AClassNameIsUtf8WithoutBreaksAndControls) {
  for (const char* name : {"cat", "caf\xc3\xa9", "\xe9\x9b\x8f\xe8\x8f\x8a", "a\tb", ""}) {
    EXPECT_TRUE(is_plain_text(name)) << name;
  }
  // A joiner between letters or emoji is a part of words.
  EXPECT_TRUE(is_plain_text("\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80"));
  for (const char* name :
       {"caf\xe9", "a\nb", "a\rb", "\x1b[2J", "\x7f", "a\xc2\x85", "a\xe2\x80\xa8"}) {
    EXPECT_FALSE(is_plain_text(name)) << printable(name);
  }
}

TEST(Text, AnyBytesGoIntoJsonAndComeBack) {
  EXPECT_EQ(json_text("caf\xc3\xa9 \\ \x1b"), "caf\xc3\xa9 \\ \x1b");  // UTF-8 as it is
  EXPECT_EQ(json_text("caf\xe9\\x"), "caf\\xe9\\\\x");
  EXPECT_EQ(json_text("caf\\xe9"), "caf\\\\xe9");  // else it would be the name above
  for (const std::string text : {"", "a", "\xff", "\\", "\\\\", "\\x", "\\xff", "\\\\xff",
                                 "\xff\\\\", "\\xf\xff", "\xe2\x82", "\xff\xfe\n\t\"", "a\\b"}) {
    EXPECT_TRUE(is_utf8(json_text(text)));
    EXPECT_EQ(text_from_json(json_text(text)), text) << json_text(text);
  }
  EXPECT_EQ(text_from_json("\\xg1 \\x1"), "\\xg1 \\x1");
}

TEST(Text, AJsonLineIsValidWhateverTheNames) {
  const nlohmann::json names{{"caf\xe9", {{"k", "\xff"}}}, {"list", {"\x80", 1, nullptr}}};
  const std::string line = json_line(names);
  const auto read = nlohmann::json::parse(line);
  EXPECT_EQ(read.at("caf\\xe9").at("k"), "\\xff");
  EXPECT_EQ(read.at("list").at(0), "\\x80");
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const nlohmann::ordered_json ordered{{"z", 1}, {"a", "\xfe"}};
  EXPECT_EQ(json_line(ordered), R"({"z":1,"a":"\\xfe"})");
}

TEST(Text, ANameOnALineOfItsOwn) {
  EXPECT_EQ(one_line("a\nb\rc"), "a\\x0ab\\x0dc");
  EXPECT_EQ(one_line("caf\xe9 \x1b\t"), "caf\xe9 \x1b\t");  // bytes stay, so that it can be opened
}

TEST(Lines, EndAsOnAnySystemAndBeginBehindTheMark) {
  EXPECT_EQ(lines_of("\xef\xbb\xbf"
                     "a\r\nb\rc\n\nd",
                     "x"),
            (Lines{"a", "b", "c", "", "d"}));
  EXPECT_EQ(lines_of("a\n", "x"), Lines{"a"});
  EXPECT_TRUE(lines_of("", "x").empty());
  EXPECT_TRUE(lines_of("\xef\xbb\xbf", "x").empty());
}

TEST(Lines, OtherEncodingsAreNamed) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {"\xff\xfe"
                                      "a\0"sv,
                                      "\xfe\xff\0a"sv}) {
    const std::string message = message_of([&] { lines_of(text, "names.txt"); });
    EXPECT_NE(message.find("names.txt: "), std::string::npos) << message;
    EXPECT_NE(message.find("UTF-16; save it as UTF-8"), std::string::npos) << message;
  }
  EXPECT_NE(message_of([] { lines_of("\xff\xfe\0\0a\0\0\0"sv, "x"); }).find("UTF-32"),
            std::string::npos);
  EXPECT_NE(message_of([] { lines_of("a\nb\0"sv, "x"); }).find("x: line 2: a zero byte"),
            std::string::npos);
}

TEST(Lines, NamesAreTrimmedAndChecked) {
  EXPECT_EQ(names_of("\xef\xbb\xbf"
                     "round disc \r\n\n  \n spiral\t\n",
                     "x"),
            (Lines{"round disc", " spiral"}));
  EXPECT_NE(message_of([] {
              names_of("a\ncaf\xe9\n", "c.txt");
            }).find("c.txt: line 2: the name \"caf\\xe9\" is not UTF-8; save the file as UTF-8"),
            std::string::npos);
  EXPECT_NE(message_of([] {
              names_of("a\x1b", "c.txt");
            }).find("line 1: the name \"a\\x1b\" has control"),
            std::string::npos);
}

}  // namespace
}  // namespace resnet

#include "core/text.h"

#include <gtest/gtest.h>

namespace resnet {
namespace {

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

}  // namespace
}  // namespace resnet

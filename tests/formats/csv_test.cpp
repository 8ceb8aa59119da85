#include "formats/csv.h"

#include <gtest/gtest.h>

#include "formats/support.h"

namespace resnet {
namespace {

using Fields = std::vector<std::string>;

TEST(Csv, PlainAndQuotedFields) {
  const auto rows = parse_csv("a,b\r\n\"c,\"\"d\"\"\ne\",\"\"\n\n ,x\ry,", "x");
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].fields, (Fields{"a", "b"}));
  EXPECT_EQ(rows[1].fields, (Fields{"c,\"d\"\ne", ""}));
  EXPECT_EQ(rows[2].fields, (Fields{" ", "x"}));
  EXPECT_EQ(rows[3].fields, (Fields{"y", ""}));
  EXPECT_EQ(rows[0].line, 1U);
  EXPECT_EQ(rows[1].line, 2U);
  EXPECT_EQ(rows[2].line, 5U);  // after a field of two lines and an empty line
  EXPECT_EQ(rows[3].line, 6U);
}

TEST(Csv, MarksAndSeparators) {
  EXPECT_EQ(parse_csv("\xef\xbb\xbf"
                      "a\tb",
                      "x", '\t')[0]
                .fields,
            (Fields{"a", "b"}));
  EXPECT_TRUE(parse_csv("", "x").empty());
  EXPECT_TRUE(parse_csv("\n\r\n\n", "x").empty());
}

TEST(Csv, ErrorsNameTheLine) {
  expect_error(ErrorCode::kBadData, {"x: line 2", "never closed"},
               [] { parse_csv("a,b\n\"c,d\ne", "x"); });
  expect_error(ErrorCode::kBadData, {"x: line 3", "follows a closed quote"},
               [] { parse_csv("a\nb\n\"c\"d\n", "x"); });
  expect_error(ErrorCode::kBadData, {"x: line 1", "zero byte"},
               [] { parse_csv(std::string_view("a\0b", 3), "x"); });
}

TEST(Csv, SeparatorsAreFoundFromTheFirstRows) {
  EXPECT_EQ(csv_separator("path;label\na,1.png;cat\nb.png;dog\n", "x"), ';');
  EXPECT_EQ(csv_separator("path\tlabel\n1.png\tcat\n", "x"), '\t');
  EXPECT_EQ(csv_separator("1.png|cat|train\n2.png|dog|val\n", "x"), '|');
  EXPECT_EQ(csv_separator("path,label\n1.png,cat\n", "x", '\t'), ',');
  // Quotes are honoured, and the mark is no part of the first name.
  EXPECT_EQ(csv_separator("\xef\xbb\xbf\"a;b\",c\n\"d\",\"e;f\"\n", "x", ';'), ',');
  EXPECT_EQ(csv_separator("\"a\nb;c\";d\r\ne;\"f,g\"\r\n", "x"), ';');
  // Of several that fit, the most columns.
  EXPECT_EQ(csv_separator("a;b;c|d\ne;f;g|h\n", "x"), ';');
}

TEST(Csv, TheUsualSeparatorStaysWhereItGivesColumns) {
  // Also where another would do, and rows of two and three columns may be mixed.
  EXPECT_EQ(csv_separator("a.png,cat;dog\nb.png,cat;dog\n", "x"), ',');
  EXPECT_EQ(csv_separator("a b|c.png,cat,train\nd|e.png,dog\n", "x"), ',');
  EXPECT_EQ(csv_separator("a;b\tc;d\n1;2\t3;4\n", "x", '\t'), '\t');
  // And where none gives columns.
  EXPECT_EQ(csv_separator("a\nb\n", "x"), ',');
  EXPECT_EQ(csv_separator("", "x", '\t'), '\t');
  EXPECT_EQ(csv_separator("a.png,cat\nb.png\n", "x"), ',');
  EXPECT_EQ(csv_separator("\"open", "x"), ',');
}

TEST(Csv, Utf16IsNamed) {
  expect_error(ErrorCode::kBadData, {"x.csv: ", "UTF-16", "save it as UTF-8"}, [] {
    parse_csv(std::string("\xff\xfe"
                          "a\0,\0b\0",
                          8),
              "x.csv");
  });
}

TEST(Csv, FieldsAreQuotedWhereTheyMustBe) {
  EXPECT_EQ(csv_field("a b"), "a b");
  for (const std::string text : {"a,b", "say \"x\"", "two\nlines", "\r"}) {
    EXPECT_NE(csv_field(text), text);
    const auto rows = parse_csv("1," + csv_field(text) + ",2\n", "x");
    ASSERT_EQ(rows.size(), 1U);
    EXPECT_EQ(rows[0].fields, (std::vector<std::string>{"1", text, "2"}));
  }
}

}  // namespace
}  // namespace resnet

#include "formats/table.h"

#include <gtest/gtest.h>

#include <cmath>

#include "formats/support.h"

namespace resnet {
namespace {

TEST(Table, ReadsColumns) {
  for (const char* text : {"epoch,lr\n1,0.5\n2,1e-3\n", "epoch,lr\r\n1,0.5\r\n2,1e-3",
                           "\xef\xbb\xbf"
                           "epoch;lr\n1;0.5\n2;1e-3\n",
                           "epoch\tlr\n1\t0.5\n2\t1e-3\n"}) {
    const Table t = parse_table(text, "x");
    EXPECT_EQ(t.columns, (std::vector<std::string>{"epoch", "lr"}));
    EXPECT_EQ(t.values, (std::vector<std::vector<double>>{{1, 2}, {0.5, 1e-3}}));
    EXPECT_EQ(t.rows(), 2U);
  }
  EXPECT_EQ(parse_table("a,b", "x").rows(), 0U);
  EXPECT_TRUE(std::isnan(parse_table("a\nnan\n", "x").values[0][0]));
}

TEST(Table, RefusesWhatIsNone) {
  const auto refuses = [](const char* text, std::initializer_list<std::string_view> mentions) {
    expect_error(ErrorCode::kBadData, mentions, [&] { parse_table(text, "m.csv"); });
  };
  refuses("", {"m.csv", "column names"});
  refuses("a,\n1,2\n", {"without a name"});
  refuses("a,b,a\n", {"\"a\" twice"});
  refuses("a,b\n1\n", {"m.csv, line 2", "2 values, found 1"});
  refuses("a,b\n1,2\n1,2,3\n", {"line 3", "found 3"});
  refuses("a,b\n1,two\n", {"line 2", "number for b", "\"two\""});
  refuses("a\n1 \n", {"line 2", "\"1 \""});
  refuses("a,b\n1,\n", {"line 2", "\"\""});
}

}  // namespace
}  // namespace resnet

#include "core/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "resnet/error.h"

namespace resnet {
namespace {

// Texts as nlohmann::json writes them; files of earlier versions have these.
TEST(JsonTest, WritesWhatItReads) {
  for (const char* text :
       {"null", "true", "[]", "{}", "-1", "0", "18446744073709551615", "-9223372036854775808",
        "0.485", "1.0", "1e-05", R"("a\"b\\\n\u0001\u00e9")", R"([1,[2,{"z":3,"a":null}]])"}) {
    const auto json = Json::parse(text);
    ASSERT_TRUE(json) << text;
    const std::string written = json->dump();
    EXPECT_EQ(Json::parse(written), json) << text;
    if (std::string_view(text).find("\\u") == std::string_view::npos) {
      EXPECT_EQ(written, text);
    }
  }
  EXPECT_EQ(Json("\xc3\xa9").dump_ascii(), R"("\u00e9")");
  EXPECT_EQ(Json(std::numeric_limits<double>::infinity()).dump(), "null");
  EXPECT_EQ(Json::object({{"a", Json::array({1, 2})}, {"b", Json::object()}}).dump(2),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {}\n}");
}

TEST(JsonTest, NumbersAreEqualWhateverTypeGaveThem) {
  EXPECT_EQ(Json(std::int64_t{7}), Json(7U));
  EXPECT_EQ(Json::parse("7"), Json(7));
  EXPECT_NE(Json(7), Json(7.5));
  EXPECT_EQ(Json(-7).as<double>(), -7.0);
}

TEST(JsonTest, RefusesWhatIsNoJson) {
  std::string problem;
  for (const char* text : {"", "{", "[1,]", "nul", "1e999", "\"\xff\"", "1 2"}) {
    problem.clear();
    EXPECT_FALSE(Json::parse(text, 16, &problem)) << text;
    EXPECT_NE(problem, "") << text;
  }
  EXPECT_FALSE(Json::parse(R"([{"a":1,"b":2,"a":3}])", 16, &problem));
  EXPECT_EQ(problem, R"("a" appears twice)");
  EXPECT_THROW(Json("\xff").dump(), Error);
  EXPECT_EQ(Json("\xff").dump_ascii(), R"("\ufffd")");
}

TEST(JsonTest, WhatLiesTooDeepIsNull) {
  EXPECT_EQ(Json::parse(R"({"a":[1,[2],{"b":[]}],"c":3})", 2)->dump(),
            R"({"a":[1,null,null],"c":3})");
  EXPECT_EQ(Json::parse(std::string(1 << 20, '[') + std::string(1 << 20, ']'), 1)->dump(),
            "[null]");
}

TEST(JsonTest, FindsAndTakesMembers) {
  auto json = Json::parse(R"({"a":1,"b":"x"})");
  EXPECT_EQ(json->find("c"), nullptr);
  EXPECT_EQ(Json(3).find("c"), nullptr);
  EXPECT_EQ(json->take("a"), Json(1));
  EXPECT_EQ(json->take("a"), std::nullopt);
  EXPECT_EQ(json->dump(), R"({"b":"x"})");
}

}  // namespace
}  // namespace resnet

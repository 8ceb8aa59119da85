#include "core/unicode.h"

#include <gtest/gtest.h>

namespace resnet {
namespace {

// What Python's unicodedata.normalize("NFD", …) gives.
TEST(Unicode, WhatLooksTheSameDecomposesToTheSameBytes) {
  EXPECT_EQ(decomposed("plain ASCII \x01"), "plain ASCII \x01");
  EXPECT_EQ(decomposed("caf\u00e9"), "cafe\u0301");
  EXPECT_EQ(decomposed("cafe\u0301"), "cafe\u0301");
  EXPECT_EQ(decomposed("\u1e69"), "s\u0323\u0307") << "two marks";
  EXPECT_EQ(decomposed("s\u0307\u0323"), "s\u0323\u0307") << "marks in the other order";
  EXPECT_EQ(decomposed("\u1f82"), "\u03b1\u0313\u0300\u0345") << "three";
  EXPECT_EQ(decomposed("\ud55c\uae00"), "\u1112\u1161\u11ab\u1100\u1173\u11af");
  EXPECT_EQ(decomposed("\uac00"), "\u1100\u1161") << "a syllable of two";
  EXPECT_EQ(decomposed("\u304c"), "\u304b\u3099");
  EXPECT_EQ(decomposed("\u212b"), "A\u030a") << "the sign of the angstrom";
  EXPECT_EQ(decomposed("\U0001d15e"), "\U0001d157\U0001d165");
  EXPECT_EQ(decomposed("\ufb01 \u2460 \u00df"), "\ufb01 \u2460 \u00df") << "these look different";
  EXPECT_EQ(decomposed("\u0301a"), "\u0301a") << "a mark on nothing";
}

TEST(Unicode, BytesThatAreNotUtf8Stay) {
  for (const char* text : {"caf\xe9", "\xff\xfe", "\u00e9\xc3", "\xed\xa0\x80"}) {
    EXPECT_EQ(decomposed(text), text);
  }
}

}  // namespace
}  // namespace resnet

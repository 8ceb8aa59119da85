#include "formats/npy.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "formats/support.h"

namespace resnet {
namespace {

ByteVector npy(const std::string& header, const ByteVector& data, int version = 1) {
  std::string text = "\x93NUMPY";
  text += static_cast<char>(version);
  text += '\0';
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) {
    text += static_cast<char>(header.size() >> (8 * i) & 0xff);
  }
  ByteVector out = bytes_of(text + header);
  out.insert(out.end(), data.begin(), data.end());
  return out;
}

std::string header(const std::string& type, const std::string& shape, bool fortran = false) {
  return "{'descr': '" + type + "', 'fortran_order': " + (fortran ? "True" : "False") +
         ", 'shape': " + shape + ", }          \n";
}

TEST(Npy, ReadsEveryKindOfElement) {
  const Tensor f = parse_npy(npy(header("<f4", "(2,)"), from_hex("0000803f000000c0")), "x");
  EXPECT_EQ(f.shape(), (Shape{2}));
  EXPECT_EQ(f.as<float>()[0], 1.0F);
  EXPECT_EQ(f.as<float>()[1], -2.0F);
  EXPECT_EQ(parse_npy(npy(header(">f8", "()"), from_hex("3ff8000000000000")), "x").as<double>()[0],
            1.5);
  EXPECT_EQ(
      parse_npy(npy(header("<f2", "(1,)"), from_hex("003c")), "x").cast(DType::kF32).as<float>()[0],
      1.0F);
  const auto i32 = [](const char* type, const char* hex) {
    return parse_npy(npy(header(type, "(1,)"), from_hex(hex)), "x").as<std::int32_t>()[0];
  };
  EXPECT_EQ(i32("<i4", "feffffff"), -2);
  EXPECT_EQ(i32("<i2", "feff"), -2);
  EXPECT_EQ(i32(">i2", "fffe"), -2);
  EXPECT_EQ(i32("<u2", "feff"), 65534);
  const auto i64 = [](const char* type, const char* hex) {
    return parse_npy(npy(header(type, "(1,)"), from_hex(hex)), "x").as<std::int64_t>()[0];
  };
  EXPECT_EQ(i64("<i8", "feffffffffffffff"), -2);
  EXPECT_EQ(i64(">u4", "fffffffe"), 0xfffffffeLL);
  EXPECT_EQ(i64("<u8", "ffffffffffffff7f"), INT64_MAX);
  expect_error(ErrorCode::kBadData, {"x: element 0", "9223372036854775808"},
               [&] { i64("<u8", "0000000000000080"); });
  EXPECT_EQ(parse_npy(npy(header("|i1", "(1,)"), from_hex("ff")), "x").as<std::int8_t>()[0], -1);
  const Tensor b = parse_npy(npy(header("|b1", "(3,)"), from_hex("000107")), "x");
  EXPECT_EQ(b.dtype(), DType::kBool);
  EXPECT_EQ(b.raw()[2], std::byte{1});
}

TEST(Npy, ColumnsFirstBecomeRowsFirst) {
  // numpy.asfortranarray(numpy.arange(6).reshape(1, 2, 3)): element [0, i, j] lies at i + 2 j.
  const Tensor t = parse_npy(npy(header("|u1", "(1, 2, 3)", true), from_hex("000301040205")), "x");
  EXPECT_EQ(t.shape(), (Shape{1, 2, 3}));
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(t.as<std::uint8_t>()[i], i);
  const Tensor big =
      parse_npy(npy(header(">u2", "(2, 2)", true), from_hex("0001000300020004")), "x");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(big.as<std::int32_t>()[static_cast<std::size_t>(i)], i + 1);
}

TEST(Npy, VersionsAndLayoutsOfTheHeader) {
  for (const int version : {1, 2, 3}) {
    EXPECT_EQ(parse_npy(npy(header("|u1", "(0, 3)"), {}, version), "x").shape(), (Shape{0, 3}));
  }
  EXPECT_EQ(
      parse_npy(npy(R"({"shape":(2L,),"fortran_order":False,"descr":"|u1"})", ByteVector(2)), "x")
          .shape(),
      (Shape{2}));
  expect_error(ErrorCode::kUnsupported, {"version 4"},
               [] { parse_npy(npy(header("|u1", "(0,)"), {}, 4), "x"); });
}

TEST(Npy, WritesWhatItReads) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "x.npy";
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8,
                            DType::kU8, DType::kI32, DType::kI64}) {
    for (const Shape& shape : {Shape{}, Shape{6}, Shape{2, 3}, Shape{0, 4}, Shape{1, 2, 1, 3}}) {
      Tensor t(DType::kF32, shape);
      for (std::size_t i = 0; i < t.as<float>().size(); ++i)
        t.as<float>()[i] = static_cast<float>(i);
      write_npy(path, t.cast(dtype));
      const Tensor back = read_npy(path);
      EXPECT_EQ(back.shape(), shape);
      EXPECT_EQ(back.dtype(), dtype == DType::kBF16 ? DType::kF32 : dtype);
      const Tensor f = back.cast(DType::kF32);
      for (std::size_t i = 0; i < f.as<float>().size(); ++i) {
        EXPECT_EQ(f.as<float>()[i], static_cast<float>(i));
      }
    }
  }
  // To the byte what numpy.save writes.
  write_npy(path, Tensor::from<std::uint8_t>({1}, std::vector<std::uint8_t>{7}));
  std::string text = header("|u1", "(1,)");
  text = text.substr(0, text.find('}') + 1);
  EXPECT_EQ(read_file(path),
            npy(text + std::string(128 - 10 - 1 - text.size(), ' ') + "\n", from_hex("07")));
}

TEST(Npy, EveryTruncationAndAnyTailIsRefused) {
  ByteVector file = npy(header("<f4", "(2, 2)"), ByteVector(16));
  for (std::size_t length = 0; length < file.size(); ++length) {
    const ByteVector part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
    expect_error(ErrorCode::kBadData, {"x: "}, [&] { parse_npy(part, "x"); });
  }
  file.push_back(std::byte{0});
  expect_error(ErrorCode::kBadData, {"[2, 2]", "17 bytes"}, [&] { parse_npy(file, "x"); });
}

TEST(Npy, RefusesLies) {
  for (const char* shape : {"(1152921504606846976,)", "(4294967296, 4294967296, 4294967296)",
                            "(922337203685477580, 922337203685477580)", "(5,)"}) {
    expect_error(ErrorCode::kBadData, {"x: the .npy file declares the shape"},
                 [&] { parse_npy(npy(header("<f4", shape), ByteVector(16)), "x"); });
  }
  for (const char* type : {"|O", "<c8", "<U3", "|S5", "|V4", "<M8[D]", "", "f", "<f16"}) {
    expect_error(ErrorCode::kUnsupported, {"x: the elements are"},
                 [&] { parse_npy(npy(header(type, "(1,)"), ByteVector(8)), "x"); });
  }
  expect_error(ErrorCode::kUnsupported, {"records"}, [] {
    parse_npy(npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", {}), "x");
  });
  for (const char* text :
       {"", "{", "{}", "{'descr': '<f4'}", "{'descr': '<f4', 'shape': (2), 'fortran_order': 0}",
        "{'descr': '<f4', 'descr': '<f4'}", "{'shape': (-1,)}", "{'shape': (1.5,)}",
        "{'shape': (99999999999999999999,)}", "{'magic': 3}", "{'descr: '<f4'}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (0,)} import os"}) {
    SCOPED_TRACE(text);
    expect_error(ErrorCode::kBadData, {"x: the header of the .npy file is damaged"},
                 [&] { parse_npy(npy(text, {}), "x"); });
  }
}

}  // namespace
}  // namespace resnet

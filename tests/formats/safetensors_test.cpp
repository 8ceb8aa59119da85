#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "formats/support.h"

namespace resnet {
namespace {

/// A file with that header and `data_bytes` zeros.
ByteVector file_with(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return bytes_of(text + header + std::string(data_bytes, '\0'));
}

Safetensors parse(const std::string& header, std::size_t data_bytes) {
  return parse_safetensors(file_with(header, data_bytes), "x.safetensors");
}

void expect_refused(const std::string& header, std::size_t data_bytes, std::string_view why,
                    ErrorCode code = ErrorCode::kBadData) {
  expect_error(code, {"x.safetensors", why}, [&] { parse(header, data_bytes); });
}

TEST(Safetensors, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.safetensors";
  std::map<std::string, Tensor> tensors;
  int i = 0;
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8,
                            DType::kU8, DType::kI32, DType::kI64, DType::kBool}) {
    Tensor t(dtype, {3, 5});
    for (std::size_t k = 0; k < t.bytes(); ++k) t.raw()[k] = static_cast<std::byte>(k * 31 + 7);
    tensors["layer." + std::to_string(i++)] = t;
  }
  tensors["scalar"] = Tensor::full({}, std::numeric_limits<float>::quiet_NaN());
  tensors["nothing"] = Tensor(DType::kF32, {0, 4});
  tensors["name with \"quotes\" and ünïcode"] = Tensor::full({2}, 1.5F);
  const std::map<std::string, std::string> metadata = {{"classes", "[\"a\", \"b\\n\"]"}, {"", "ü"}};
  write_safetensors(path, tensors, metadata);

  const Safetensors back = read_safetensors(path);
  EXPECT_EQ(back.metadata, metadata);
  ASSERT_EQ(back.tensors.size(), tensors.size());
  const Safetensors from_memory = parse_safetensors(read_file(path), "memory");
  const Safetensors mapped = map_safetensors(path);
  for (const auto& [name, t] : tensors) {
    for (const Safetensors* file : {&back, &from_memory, &mapped}) {
      const Tensor& b = file->tensors.at(name);
      EXPECT_EQ(b.dtype(), t.dtype()) << name;
      EXPECT_EQ(b.shape(), t.shape()) << name;
      if (t.bytes() > 0) {
        EXPECT_EQ(std::memcmp(b.raw(), t.raw(), t.bytes()), 0) << name;
      }
    }
  }
  const SafetensorsHeader header = read_safetensors_header(path);
  EXPECT_EQ(header.metadata, metadata);
  EXPECT_EQ(header.entries.size(), tensors.size());
  EXPECT_EQ(header.data_begin % 8, 0U);
  for (const SafetensorsEntry& e : header.entries) {
    EXPECT_EQ((header.data_begin + e.begin) % size_of(e.dtype), 0U) << e.name;
  }
}

TEST(Safetensors, LayoutIsTheLibrarys) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.safetensors";
  // As written by safetensors.numpy.save_file for the same tensors: wide types first, then names.
  write_safetensors(path, {{"b", Tensor::full({1}, 1)},
                           {"a", Tensor::full({1}, 2)},
                           {"c", Tensor::zeros(DType::kU8, {2})},
                           {"d", Tensor::zeros(DType::kI64, {})}});
  const std::string header = R"({"d":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                             R"("a":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},)"
                             R"("c":{"dtype":"U8","shape":[2],"data_offsets":[16,18]}})";
  const std::string text = read_text_file(path);
  EXPECT_EQ(text.substr(8, header.size()), header);
  EXPECT_EQ(text.substr(8 + header.size()).find_first_not_of(' '), (8 - header.size() % 8) % 8);
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  EXPECT_TRUE(parse("{}", 0).tensors.empty());
  EXPECT_TRUE(parse("{}     ", 0).tensors.empty());
  EXPECT_EQ(parse(R"({"__metadata__":{"k":"v"}})", 0).metadata.at("k"), "v");
  // Keys in any order, tensors in any order.
  const Safetensors s = parse(R"({"b":{"data_offsets":[4,6],"shape":[2],"dtype":"I8"},)"
                              R"("a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}})",
                              6);
  EXPECT_EQ(s.tensors.at("a").shape(), (Shape{1, 1}));
  EXPECT_EQ(s.tensors.at("b").size(), 2);
}

TEST(Safetensors, RefusesLyingLengths) {
  for (const std::size_t size : {0U, 1U, 7U}) {
    expect_error(ErrorCode::kBadData, {"x: ", "only"},
                 [&] { parse_safetensors(ByteVector(size), "x"); });
  }
  expect_error(ErrorCode::kBadData, {"begin with '{'"},
               [] { parse_safetensors(ByteVector(8), "x"); });
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    ByteVector file = file_with("{}", 0);
    std::memcpy(file.data(), &length, 8);
    expect_error(ErrorCode::kBadData, {"declares a header of"},
                 [&] { parse_safetensors(file, "x"); });
  }
}

TEST(Safetensors, RefusesTensorsThatDoNotFit) {
  const std::string f32 = R"({"a":{"dtype":"F32",)";
  expect_refused(f32 + R"("shape":[2],"data_offsets":[0,4]}})", 4, "tensor 'a' of f32 [2]");
  expect_refused(f32 + R"("shape":[2],"data_offsets":[0,8]}})", 4, "the file holds 4");
  expect_refused(f32 + R"("shape":[1],"data_offsets":[0,4]}})", 5, "the file holds 5");
  expect_refused(f32 + R"("shape":[1],"data_offsets":[4,0]}})", 4, "tensor 'a'");
  expect_refused(f32 + R"("shape":[1],"data_offsets":[4,8]}})", 8, "a hole");
  // 2^60 elements, products that wrap around, sizes beyond 63 bits.
  expect_refused(f32 + R"("shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}})",
                 4, "the file holds 4");
  expect_refused(f32 + R"("shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                 "tensor 'a'");
  expect_refused(f32 + R"("shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, "tensor 'a'");
  expect_refused(f32 + R"("shape":[0,4611686018427387904],"data_offsets":[0,0]}})", 0,
                 "tensor 'a'");
  expect_refused(f32 + R"("shape":[9223372036854775808],"data_offsets":[0,0]}})", 0,
                 "impossible shape");
  expect_refused(f32 + R"("shape":[18446744073709551616],"data_offsets":[0,0]}})", 0, "no integer");
  expect_refused(f32 + R"("shape":[1],"data_offsets":[0,18446744073709551615]}})", 4, "tensor 'a'");
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const auto two = [](const char* first, const char* second) {
    return std::string(R"({"a":{"dtype":"I32","shape":[1],"data_offsets":)") + first +
           R"(},"b":{"dtype":"I32","shape":[1],"data_offsets":)" + second + "}}";
  };
  expect_refused(two("[0,4]", "[0,4]"), 4, "inside another");
  expect_refused(two("[0,4]", "[2,6]"), 6, "inside another");
  expect_refused(two("[0,4]", "[5,9]"), 9, "a hole");
  EXPECT_EQ(parse(two("[4,8]", "[0,4]"), 8).tensors.size(), 2U);
}

TEST(Safetensors, RefusesDuplicates) {
  const std::string entry = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  expect_refused(R"({"a":)" + entry + R"(,"a":)" + entry + "}", 0, "'a' appears twice");
  expect_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "'__metadata__' appears twice");
  expect_refused(R"({"__metadata__":{"k":"1","k":"2"}})", 0, "metadata 'k' appears twice");
  expect_refused(R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0,
                 "'dtype' twice");
}

TEST(Safetensors, RefusesHeadersOfTheWrongForm) {
  const auto entry = [](const char* dtype, const char* shape, const char* offsets) {
    return std::string(R"({"a":{"dtype":)") + dtype + R"(,"shape":)" + shape +
           R"(,"data_offsets":)" + offsets + "}}";
  };
  expect_refused(" {}", 0, "begin with '{'");
  expect_refused("{", 0, "no JSON at byte");
  expect_refused("{}x", 0, "no JSON at byte");
  expect_refused(R"({"a":1})", 0, "a number is not expected at 'a'");
  expect_refused(R"({"a":null})", 0, "null");
  expect_refused(R"({"a":[]})", 0, "an array");
  expect_refused(R"({"a":{}})", 0, "lacks its dtype");
  expect_refused(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}})", 0,
                 "unknown key 'x'");
  expect_refused(entry("\"Q7\"", "[0]", "[0,0]"), 0, "element type Q7", ErrorCode::kUnsupported);
  expect_refused(entry("\"\"", "[0]", "[0,0]"), 0, "impossible dtype ''");
  expect_refused(entry("\"U16\"", "[2]", "[0,2]"), 2, "tensor 'a' of U16 [2]");
  expect_refused(entry("3", "[0]", "[0,0]"), 0, "a number");
  expect_refused(entry("\"U8\"", "0", "[0,0]"), 0, "a number");
  expect_refused(entry("\"U8\"", "[-1]", "[0,0]"), 0, "a negative number");
  expect_refused(entry("\"U8\"", "[1.0]", "[0,1]"), 1, "no integer");
  expect_refused(entry("\"U8\"", "[1e3]", "[0,1]"), 1, "no integer");
  expect_refused(entry("\"U8\"", "[NaN]", "[0,1]"), 1, "no JSON at byte");
  expect_refused(entry("\"U8\"", "[[1]]", "[0,1]"), 1, "an array");
  expect_refused(entry("\"U8\"", "[1]", "[0]"), 1, "1 data_offsets");
  expect_refused(entry("\"U8\"", "[1]", "[0,1,1]"), 1, "3 data_offsets");
  expect_refused(R"({"__metadata__":{"k":1}})", 0, "a number");
  expect_refused(R"({"__metadata__":{"k":{}}})", 0, "an object");
  expect_refused("{\"\xff\":{}}", 0, "no JSON at byte");
  expect_refused("{\"a\":" + std::string(1'000'000, '['), 0, "an array");
  expect_refused(entry("\"U16\"", "[0]", "[0,0]"), 0, "element type U16", ErrorCode::kUnsupported);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.safetensors";
  write_safetensors(path, {{"a", Tensor::full({3}, 1)}}, {{"k", "v"}});
  const ByteVector file = read_file(path);
  for (std::size_t length = 0; length < file.size(); ++length) {
    const ByteVector part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
    const auto cut = folder.write("cut.safetensors", part);
    EXPECT_THROW(parse_safetensors(part, "x"), Error) << length;
    expect_error(ErrorCode::kBadData, {"cut.safetensors"}, [&] { read_safetensors(cut); });
  }
}

TEST(Safetensors, RefusesToWriteWhatNobodyCanRead) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.safetensors";
  const Tensor t = Tensor::full({1}, 1);
  expect_error(ErrorCode::kInvalidArgument, {"UTF-8"}, [&] {
    write_safetensors(path, {{"\xff", t}});
  });
  expect_error(ErrorCode::kInvalidArgument, {"UTF-8"}, [&] {
    write_safetensors(path, {}, {{"k", "\xc3"}});
  });
  expect_error(ErrorCode::kInvalidArgument, {"__metadata__"}, [&] {
    write_safetensors(path, {{"__metadata__", t}});
  });
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, MissingFileAndFolder) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::kNotFound, {"none.safetensors"},
               [&] { read_safetensors(folder.path() / "none.safetensors"); });
  expect_error(ErrorCode::kBadData, {"not a regular file"},
               [&] { read_safetensors(folder.path()); });
}

}  // namespace
}  // namespace resnet

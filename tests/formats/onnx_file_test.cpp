#include "formats/onnx_file.h"

#include <array>
#include <cstring>
#include <string>

#include "formats/support.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

// ------------------------------------------------------------- protobuf by hand, for hostile files

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}
std::string number(int field, std::int64_t value) {
  return varint(static_cast<std::uint64_t>(field) << 3) + varint(static_cast<std::uint64_t>(value));
}
std::string text(int field, std::string_view bytes) {
  return varint(static_cast<std::uint64_t>(field) << 3 | 2) + varint(bytes.size()) +
         std::string(bytes);
}

// A tensor's fields: dims 1, data_type 2, name 8, raw_data 9, external_data 13, data_location 14.
std::string tensor(std::string_view name, const Shape& dims, std::string_view data,
                   std::int64_t type = 1) {
  std::string out;
  for (const std::int64_t d : dims) out += number(1, d);
  return out + number(2, type) + text(8, name) + text(9, data);
}
std::string external(std::string_view location, std::string_view offset, std::string_view length,
                     const Shape& dims = {2}) {
  std::string out;
  for (const std::int64_t d : dims) out += number(1, d);
  const auto entry = [](std::string_view key, std::string_view value) {
    return text(13, text(1, key) + text(2, value));
  };
  out += number(2, 1) + text(8, "w") + number(14, 1) + entry("location", location);
  if (!offset.empty()) out += entry("offset", offset);
  if (!length.empty()) out += entry("length", length);
  return out;
}
// A node: input 1, output 2, name 3, op_type 4.
std::string node(std::string_view op, std::string_view input, std::string_view output) {
  return text(1, input) + text(2, output) + text(3, "a node") + text(4, op);
}
// A model: ir_version 1, graph 7 (node 1, initializer 5, input 11, output 12), opset_import 8.
ByteVector model_of(std::string_view graph) {
  return bytes_of(number(1, 8) + text(7, graph) + text(8, text(1, "") + number(2, 17)));
}
ByteVector with_tensor(std::string_view message) { return model_of(text(5, message)); }

const std::string kX = text(11, text(1, "x"));  // the input x

void expect_bad(std::initializer_list<std::string_view> parts, const ByteVector& bytes) {
  expect_error(ErrorCode::kBadData, parts, [&] { parse_onnx(bytes, "a.onnx"); });
}

OnnxModel small_model() {
  OnnxModel m;
  m.producer_name = "test";
  m.producer_version = "1";
  m.graph_name = "net";
  m.metadata = {{"classes", "[\"a\",\"é\"]"}, {"empty", ""}};
  m.inputs = {{"x", DType::kF32, {{-1, "batch"}, {3, ""}, {-1, ""}, {0, ""}}}};
  m.outputs = {{"y", DType::kF16, {{-1, "batch"}}}};
  m.initializers = {
      {"w", Tensor::full({2, 3}, 0.5F)},
      {"axes", Tensor::from<std::int64_t>({2}, std::array{std::int64_t{-1}, INT64_MAX})},
      {"none", Tensor::zeros(DType::kF64, {0, 4})},
      {"scalar", Tensor::zeros(DType::kBool, {})}};
  m.nodes = {{.op = "Conv",
              .name = "conv1",
              .inputs = {"x", "w", ""},
              .outputs = {"t"},
              .attributes = {{"group", std::int64_t{0}},
                             {"alpha", 0.0F},
                             {"auto_pad", std::string("NOTSET")},
                             {"pads", std::vector<std::int64_t>{0, -1}},
                             {"scales", std::vector<float>{1, 2}},
                             {"value", Tensor::full({1}, 3)}}},
             {.op = "Odd", .domain = "com.example", .inputs = {"t"}, .outputs = {"y"}}};
  return m;
}

void expect_same(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.dtype(), b.dtype());
  ASSERT_EQ(a.shape(), b.shape());
  EXPECT_TRUE(a.empty() || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

// -------------------------------------------------------------------------------------- round trip

TEST(OnnxFile, ComesBackAsItWas) {
  const TemporaryFolder folder;
  const OnnxModel a = small_model();
  write_onnx(folder.path() / "m.onnx", a);
  const OnnxModel b = read_onnx(folder.path() / "m.onnx");
  EXPECT_EQ(b.ir_version, a.ir_version);
  EXPECT_EQ(b.opset, a.opset);
  EXPECT_EQ(b.producer_name, a.producer_name);
  EXPECT_EQ(b.producer_version, a.producer_version);
  EXPECT_EQ(b.graph_name, a.graph_name);
  EXPECT_EQ(b.metadata, a.metadata);
  const auto same_values = [](const std::vector<OnnxValue>& p, const std::vector<OnnxValue>& q) {
    ASSERT_EQ(p.size(), q.size());
    for (std::size_t i = 0; i < p.size(); ++i) {
      EXPECT_EQ(p[i].name, q[i].name);
      EXPECT_EQ(p[i].dtype, q[i].dtype);
      EXPECT_EQ(p[i].shape, q[i].shape);
    }
  };
  same_values(a.inputs, b.inputs);
  same_values(a.outputs, b.outputs);
  ASSERT_EQ(a.initializers.size(), b.initializers.size());
  for (std::size_t i = 0; i < a.initializers.size(); ++i) {
    EXPECT_EQ(a.initializers[i].first, b.initializers[i].first);
    expect_same(a.initializers[i].second, b.initializers[i].second);
  }
  ASSERT_EQ(a.nodes.size(), b.nodes.size());
  for (std::size_t i = 0; i < a.nodes.size(); ++i) {
    EXPECT_EQ(a.nodes[i].op, b.nodes[i].op);
    EXPECT_EQ(a.nodes[i].name, b.nodes[i].name);
    EXPECT_EQ(a.nodes[i].domain, b.nodes[i].domain);
    EXPECT_EQ(a.nodes[i].inputs, b.nodes[i].inputs);
    EXPECT_EQ(a.nodes[i].outputs, b.nodes[i].outputs);
    ASSERT_EQ(a.nodes[i].attributes.size(), b.nodes[i].attributes.size());
    for (const auto& [name, value] : a.nodes[i].attributes) {
      const OnnxAttribute& other = b.nodes[i].attributes.at(name);
      ASSERT_EQ(value.index(), other.index()) << name;
      if (std::holds_alternative<Tensor>(value)) {
        expect_same(std::get<Tensor>(value), std::get<Tensor>(other));
      } else if (const auto* i64 = std::get_if<std::int64_t>(&value)) {
        EXPECT_EQ(*i64, std::get<std::int64_t>(other));
      } else if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&value)) {
        EXPECT_EQ(*ints, std::get<std::vector<std::int64_t>>(other));
      } else if (const auto* string = std::get_if<std::string>(&value)) {
        EXPECT_EQ(*string, std::get<std::string>(other));
      } else if (const auto* floats = std::get_if<std::vector<float>>(&value)) {
        EXPECT_EQ(*floats, std::get<std::vector<float>>(other));
      } else {
        EXPECT_EQ(std::get<float>(value), std::get<float>(other));
      }
    }
  }
}

TEST(OnnxFile, ReadsValuesInTypedFields) {
  // float_data 4, int32_data 5, int64_data 7 are packed; half precision is bits in int32_data.
  const auto values = [](std::int64_t type, int field, std::string_view packed) {
    return with_tensor(number(1, 2) + number(2, type) + text(8, "w") + text(field, packed));
  };
  const auto first = [](const ByteVector& bytes) {
    return parse_onnx(bytes, "a").initializers.at(0).second.cast(DType::kF64);
  };
  const std::string two_floats("\0\0\x80\x3f\0\0\0\xc0", 8);
  EXPECT_EQ(first(values(1, 4, two_floats)).as<double>()[1], -2);
  EXPECT_EQ(first(values(7, 7, varint(5) + varint(~std::uint64_t{0}))).as<double>()[1], -1);
  EXPECT_EQ(first(values(3, 5, varint(7) + varint(~std::uint64_t{0}))).as<double>()[1], -1);
  EXPECT_EQ(first(values(10, 5, varint(0) + varint(0x3c00))).as<double>()[1], 1);
  EXPECT_EQ(first(values(16, 5, varint(0) + varint(0x3f80))).as<double>()[1], 1);
  EXPECT_EQ(first(values(9, 5, varint(0) + varint(2))).as<double>()[1], 1);
  expect_bad({"tensor 'w' of f32 [2] needs 2 values, it has 0"}, values(1, 5, varint(1)));
}

TEST(OnnxFile, KnowsItsFirstBytes) {
  const TemporaryFolder folder;
  write_onnx(folder.path() / "m.onnx", small_model());
  EXPECT_TRUE(looks_like_onnx(read_text_file(folder.path() / "m.onnx")));
  EXPECT_TRUE(looks_like_onnx("\x08\x08\x12\x07pytorch"));
  EXPECT_FALSE(looks_like_onnx("\x08\x08"));
  EXPECT_FALSE(looks_like_onnx("PK\x03\x04 zip"));
  EXPECT_FALSE(looks_like_onnx("\x80\x02 pickle"));
}

TEST(OnnxFile, ConstantsAreInitializersWhereverTheyStand) {
  const auto constant = [](const char* name, const char* attribute, OnnxAttribute value) {
    return OnnxNode{.op = "Constant", .outputs = {name}, .attributes = {{attribute, value}}};
  };
  OnnxModel m = small_model();
  const std::vector<OnnxNode> others = m.nodes;
  const std::size_t before = m.initializers.size();
  m.nodes.insert(m.nodes.begin(),
                 {constant("a", "value", Tensor::full({2, 3}, 0.25F)),
                  constant("b", "value_float", 0.5F), constant("c", "value_int", std::int64_t{-3}),
                  constant("d", "value_floats", std::vector<float>{1, 2, 3}),
                  constant("e", "value_ints", std::vector<std::int64_t>{}),
                  constant("text", "value_string", std::string("is none"))});
  m.nodes.push_back({.op = "Constant",
                     .domain = "com.example",
                     .outputs = {"other"},
                     .attributes = {{"value_int", std::int64_t{1}}}});
  const TemporaryFolder folder;
  write_onnx(folder.path() / "m.onnx", m);
  const OnnxModel b = read_onnx(folder.path() / "m.onnx");
  ASSERT_EQ(b.initializers.size(), before + 5);
  const auto expect = [&](std::size_t i, const char* name, const Tensor& value) {
    EXPECT_EQ(b.initializers[before + i].first, name);
    expect_same(b.initializers[before + i].second, value);
  };
  expect(0, "a", Tensor::full({2, 3}, 0.25F));
  expect(1, "b", Tensor::full({}, 0.5F));
  expect(2, "c", Tensor::from<std::int64_t>({}, std::array{std::int64_t{-3}}));
  expect(3, "d", Tensor::from<float>({3}, std::array{1.0F, 2.0F, 3.0F}));
  expect(4, "e", Tensor::zeros(DType::kI64, {0}));
  ASSERT_EQ(b.nodes.size(), others.size() + 2);
  EXPECT_EQ(b.nodes.front().outputs, (std::vector<std::string>{"text"}));
  EXPECT_EQ(b.nodes.back().domain, "com.example");
}

// A node: attribute 5, of which name 1, t 5, type 20.
TEST(OnnxFile, ConstantsAreCheckedAsInitializersAre) {
  const auto with = [](std::string_view output, std::string_view tensor, std::string_view more) {
    return model_of(text(1, text(2, output) + text(4, "Constant") +
                                text(5, text(1, "value") + text(5, tensor) + number(20, 4))) +
                    std::string(more));
  };
  const std::string two = tensor("", {2}, std::string(8, '\0'));
  EXPECT_EQ(parse_onnx(with("w", two, ""), "a.onnx").initializers.size(), 1U);
  expect_bad({"two values are called 'w'"},
             with("w", two, text(5, tensor("w", {1}, std::string(4, '\0')))));
  expect_bad({"two values are called 'x'"}, with("x", two, kX));
  expect_bad({"tensor 'w' of f32 [1099511627776] needs 4398046511104 bytes, it has 8"},
             with("w", tensor("", {std::int64_t{1} << 40}, std::string(8, '\0')), ""));
  expect_bad({"tensor 'w' has the impossible shape"},
             with("w", tensor("", {-2}, std::string(8, '\0')), ""));
}

// ------------------------------------------------------------------------------------ hostile
// files

TEST(OnnxFile, RefusesWhatIsNoModel) {
  expect_bad({"a.onnx", "its 0 bytes are no protobuf message"}, {});
  expect_bad({"no protobuf message"}, bytes_of("\x89PNG\r\n"));
  expect_bad({"no graph"}, bytes_of(number(1, 8)));
  expect_bad({"no opset_import"}, bytes_of(number(1, 8) + text(7, "")));
  const ByteVector good = with_tensor(tensor("w", {1}, "1234"));
  parse_onnx(good, "a");
  for (std::size_t length = 1; length < good.size(); ++length) {
    const ByteVector cut(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_THROW(parse_onnx(cut, "a"), Error) << length;
  }
  // Groups inside groups, which nobody uses: protobuf stops at a depth of 100.
  expect_bad({"no protobuf message"}, bytes_of(std::string(100'000, '\x0b')));
}

TEST(OnnxFile, ComparesShapesWithBytesBeforeTakingMemory) {
  expect_bad({"tensor 'w' of f32 [1048576, 1048576] needs 4398046511104 bytes, it has 4"},
             with_tensor(tensor("w", {1 << 20, 1 << 20}, "1234")));
  expect_bad({"tensor 'w' of f32 [2] needs 8 bytes, it has 4"},
             with_tensor(tensor("w", {2}, "1234")));
  expect_bad({"needs 4 bytes, it has 8"}, with_tensor(tensor("w", {}, "12345678")));
  expect_bad({"tensor 'w' has the impossible shape [-1]"}, with_tensor(tensor("w", {-1}, "1234")));
  expect_bad({"impossible shape"}, with_tensor(tensor("w", {INT64_MAX, INT64_MAX}, "1234")));
  expect_bad({"impossible shape"}, with_tensor(tensor("w", {1 << 30, 0, 1 << 30}, "")));
  expect_bad({"impossible shape"}, with_tensor(tensor("w", Shape(100'000, 1), "1234")));
  expect_bad({"tensor 'v?w' of"}, with_tensor(tensor("v\nw", {2}, "1234")));
  expect_bad({"needs 2 values, it has 0"}, with_tensor(number(1, 2) + number(2, 1) + text(8, "w")));
  expect_bad({"'x' has a dimension of -3"},
             model_of(text(11, text(1, "x") + text(2, text(1, text(2, text(1, number(1, -3))))))));
}

TEST(OnnxFile, NamesElementTypesItDoesNotHave) {
  const auto refuse = [](std::int64_t type, std::string_view name) {
    expect_error(ErrorCode::kUnsupported, {"tensor 'w'", name, "export it as float32"},
                 [&] { parse_onnx(with_tensor(tensor("w", {1}, "12345678", type)), "a"); });
  };
  refuse(8, "string");
  refuse(13, "uint64");
  refuse(17, "number 17");
  refuse(-1, "number -1");
}

TEST(OnnxFile, NamesAreUniqueAndDefinedBeforeUse) {
  parse_onnx(model_of(kX + text(1, node("Relu", "x", "y"))), "a");
  expect_bad({"two initializers are called 'w'"},
             model_of(text(5, tensor("w", {1}, "1234")) + text(5, tensor("w", {1}, "1234"))));
  expect_bad({"two inputs are called 'x'"}, model_of(kX + kX));
  expect_bad({"two values are called 'x'"}, model_of(kX + text(1, node("Relu", "x", "x"))));
  expect_bad({"Relu 'a node' reads 'w', which nothing before it defines"},
             model_of(kX + text(1, node("Relu", "w", "y"))));
  // A cycle needs a value that is read before it is defined.
  expect_bad({"reads 'b'"},
             model_of(kX + text(1, node("Relu", "b", "a")) + text(1, node("Relu", "a", "b"))));
  expect_bad({"nothing defines its output 'y'"}, model_of(kX + text(12, text(1, "y"))));
  expect_bad({"the attribute 'k' twice"},
             model_of(kX + text(1, node("Relu", "x", "y") + text(5, text(1, "k")) +
                                       text(5, text(1, "k")))));
  // An input may be an initializer too, as in files before IR version 4.
  parse_onnx(model_of(kX + text(5, tensor("x", {1}, "1234"))), "a");
}

// ----------------------------------------------------------------------------------- external data

TEST(OnnxFile, ReadsExternalData) {
  const TemporaryFolder folder;
  const float values[] = {1, 2, 3, 4};
  ByteVector data(sizeof values);
  std::memcpy(data.data(), values, sizeof values);
  folder.write("sub/m.data", data);
  const auto read = [&](const std::string& message) {
    return read_onnx(folder.write("m.onnx", with_tensor(message))).initializers.at(0).second;
  };
  EXPECT_EQ(read(external("sub/m.data", "8", "8")).as<float>()[1], 4);
  EXPECT_EQ(read(external("./sub/m.data", "", "")).as<float>()[1], 2);
  EXPECT_EQ(read(external("sub/../sub/m.data", "", "")).as<float>()[1], 2);
  const auto bad = [&](std::initializer_list<std::string_view> parts, const std::string& message) {
    expect_error(ErrorCode::kBadData, parts, [&] { read(message); });
  };
  bad({"needs 8 bytes, found 8 at 9 in 'sub/m.data', which has 16"},
      external("sub/m.data", "9", "8"));
  bad({"found 8 at 18446744073709551615"}, external("sub/m.data", "18446744073709551615", "8"));
  bad({"needs 8 bytes, found 4"}, external("sub/m.data", "0", "4"));
  bad({"needs 4398046511104 bytes"}, external("sub/m.data", "", "", {1 << 20, 1 << 20}));
  bad({"the place '-1'"}, external("sub/m.data", "-1", "8"));
  bad({"the place '8 '"}, external("sub/m.data", "8 ", "8"));
  expect_error(ErrorCode::kNotFound, {"m.data", "keep both files together"},
               [&] { read(external("m.data", "0", "8")); });
  expect_error(ErrorCode::kBadData, {"more bytes of 'sub/m.data' than the 16 it has"}, [&] {
    ByteVector many = model_of(text(5, external("sub/m.data", "", "", {4})) +
                               text(5, external("sub/m.data", "", "", {4})));
    read_onnx(folder.write("m.onnx", many));
  });
}

TEST(OnnxFile, ExternalDataStayInTheFolder) {
  const TemporaryFolder folder;
  const fs::path outside = folder.write("secret", ByteVector(64));
  fs::create_directories(folder.path() / "model");
  fs::create_symlink("../secret", folder.path() / "model" / "link");
  fs::create_symlink("..", folder.path() / "model" / "up");
  for (const std::string& location :
       {std::string("../secret"), outside.string(), std::string("link"), std::string("up/secret"),
        std::string("x/../../secret"), std::string(), std::string("."), std::string(".."),
        std::string("a\0b", 3)}) {
    const fs::path file = folder.write("model/m.onnx", with_tensor(external(location, "0", "8")));
    expect_error(ErrorCode::kBadData, {"m.onnx", "tensor 'w'", "a file in the model's folder"},
                 [&] { read_onnx(file); });
  }
  expect_bad({"a model in memory has no folder"}, with_tensor(external("m.data", "0", "8")));
}

}  // namespace
}  // namespace resnet

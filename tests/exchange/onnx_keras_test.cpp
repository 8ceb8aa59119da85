// ONNX as Keras' networks come to it (tf2onnx): weights in nodes, images as [n, h, w, c], zeros
// that are added before a layer, batch norms as products and sums.
#include <functional>
#include <utility>

#include "exchange/onnx_support.h"
#include "formats/weights_file.h"

namespace resnet {
namespace {

const ModelConfig kSmall{.architecture = "resnet8", .classes = 4, .image_size = 32};
const ModelConfig kStem{.architecture = "resnet18", .classes = 4, .image_size = 64};

OnnxNode transpose(const std::string& from, const std::string& to, const Ints& perm) {
  return {.op = "Transpose", .inputs = {from}, .outputs = {to}, .attributes = {{"perm", perm}}};
}
const Ints kToNchw{0, 3, 1, 2}, kToNhwc{0, 2, 3, 1};

Tensor list_of(const Ints& values) {
  return Tensor::from<std::int64_t>({std::ssize(values)}, std::span(values));
}

void add_list(OnnxModel& onnx, const std::string& name, const Ints& values) {
  onnx.initializers.emplace_back(name, list_of(values));
}

Tensor& constant(OnnxModel& onnx, std::string_view name) {
  return std::ranges::find(onnx.initializers, name, &std::pair<std::string, Tensor>::first)->second;
}

// The node takes its place among the nodes, before the one that reads what it makes.
void insert_before(OnnxModel& onnx, std::string_view op, OnnxNode node) {
  onnx.nodes.insert(std::ranges::find(onnx.nodes, op, &OnnxNode::op), std::move(node));
}

// Puts `make(from, to)` between the input of a node and the node.
void put_before(OnnxModel& onnx, std::string_view op,
                const std::function<OnnxNode(std::string, std::string)>& make) {
  const std::string from = first(onnx, op).inputs[0], to = from + " before " + std::string(op);
  first(onnx, op).inputs[0] = to;
  insert_before(onnx, op, make(from, to));
}

// Images as [n, h, w, c].
void turn_input(OnnxModel& onnx) {
  auto& shape = onnx.inputs[0].shape;
  std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
  const std::string image = onnx.inputs[0].name;
  for (OnnxNode& node : onnx.nodes) std::ranges::replace(node.inputs, image, image + " turned");
  onnx.nodes.insert(onnx.nodes.begin(), transpose(image, image + " turned", kToNchw));
}

// The pads of the first node of this kind as zeros that a node adds.
void split_pads(OnnxModel& onnx, std::string_view op) {
  const Ints p = std::get<Ints>(first(onnx, op).attributes.at("pads"));
  first(onnx, op).attributes.erase("pads");
  const std::string list = std::string(op) + " pads";
  add_list(onnx, list, {0, 0, p[0], p[1], 0, 0, p[2], p[3]});
  put_before(onnx, op, [&](const std::string& from, const std::string& to) {
    return OnnxNode{.op = "Pad", .name = "zeros", .inputs = {from, list}, .outputs = {to}};
  });
}

class OnnxKerasTest : public OnnxTest {
 protected:
  void expect_same(const ModelConfig& config, const std::function<void(OnnxModel&)>& change) {
    const ModelFile a = model_of(config);
    OnnxModel onnx = anonymous(a);
    change(onnx);
    const ImportedModel b = imported(onnx);
    EXPECT_EQ(b.model.config, a.config);
    expect_same_weights(a.weights, b.model.weights);
  }
  void refuse(const ModelConfig& config, ErrorCode code,
              std::initializer_list<std::string_view> parts,
              const std::function<void(OnnxModel&)>& change) {
    OnnxModel onnx = exported(model_of(config));
    onnx.metadata.clear();
    change(onnx);
    expect_error(code, parts, onnx);
  }
};

TEST_F(OnnxKerasTest, WeightsMayBeInNodes) {
  expect_same(kSmall, [](OnnxModel& onnx) {
    for (const auto& [name, tensor] : onnx.initializers) {
      OnnxNode node{.op = "Constant", .outputs = {name}};
      if (tensor.shape().size() == 1 && tensor.dtype() == DType::kF32) {
        const auto values = tensor.as<float>();
        node.attributes["value_floats"] = std::vector<float>(values.begin(), values.end());
      } else {
        node.attributes["value"] = tensor;
      }
      onnx.nodes.insert(onnx.nodes.begin(), std::move(node));
    }
    onnx.initializers.clear();
  });
  std::vector<std::string> names;
  for (const auto& entry : describe_weights(path_).entries) names.push_back(to_string(entry.shape));
  EXPECT_EQ(std::ranges::count(names, "[16, 3, 3, 3]"), 1);  // they are listed, too
}

TEST_F(OnnxKerasTest, ImagesMayHaveTheirChannelsLast) {
  expect_same(kSmall, turn_input);
  expect_same(kStem, turn_input);
  expect_same(kSmall, [](OnnxModel& onnx) {  // turned back for whatever allows it
    turn_input(onnx);
    for (const char* op : {"Relu", "Slice", "Add"}) {
      for (std::size_t i = 0; i < (op == std::string("Add") ? 2U : 1U); ++i) {
        const std::string from = first(onnx, op).inputs[i], to = fmt::format("{} {}", op, i);
        first(onnx, op).inputs[i] = to;
        insert_before(onnx, op, transpose(from, to, kToNhwc));
      }
      OnnxNode& node = first(onnx, op);
      const std::string out = node.outputs[0];
      node.outputs[0] = out + " turned";
      const auto at = std::ranges::find(onnx.nodes, op, &OnnxNode::op);
      onnx.nodes.insert(at + 1, transpose(out + " turned", out, kToNchw));
    }
    constant(onnx, first(onnx, "Slice").inputs[3]) = list_of({1, -2});
  });
  expect_same(kSmall, [](OnnxModel& onnx) {  // the mean of them
    OnnxNode& pool = first(onnx, "GlobalAveragePool");
    pool.op = "ReduceMean";
    pool.attributes = {{"axes", Ints{1, 2}}, {"keepdims", std::int64_t{0}}};
    put_before(onnx, "ReduceMean", [](const std::string& from, const std::string& to) {
      return transpose(from, to, kToNhwc);
    });
    const std::string pooled = first(onnx, "ReduceMean").outputs[0];
    const std::string flat = first(onnx, "Flatten").outputs[0];
    std::erase_if(onnx.nodes, [](const OnnxNode& node) { return node.op == "Flatten"; });
    first(onnx, "Gemm").inputs[0] = pooled;
    EXPECT_NE(pooled, flat);
  });
}

TEST_F(OnnxKerasTest, ZerosAreAddedBeforeTheLayer) {
  expect_same(kStem, [](OnnxModel& onnx) {
    split_pads(onnx, "Conv");
    split_pads(onnx, "MaxPool");
  });
  expect_same(kStem, [](OnnxModel& onnx) {  // also before the image is turned
    split_pads(onnx, "Conv");
    turn_input(onnx);
    OnnxNode& pad = first(onnx, "Pad");
    OnnxNode& turn = first(onnx, "Transpose");
    std::swap(pad, turn);
    first(onnx, "Pad").inputs[0] = onnx.inputs[0].name;
    first(onnx, "Transpose").inputs[0] = "padded";
    std::swap(first(onnx, "Pad").outputs[0], first(onnx, "Transpose").outputs[0]);
    first(onnx, "Pad").outputs[0] = "padded";
    constant(onnx, first(onnx, "Pad").inputs[1]) = list_of({0, 3, 3, 0, 0, 3, 3, 0});
  });
}

TEST_F(OnnxKerasTest, ZerosInOtherPlacesAreNamed) {
  using enum ErrorCode;
  // Zeros beside what may be negative change its maximum.
  refuse(kStem, kUnsupported, {"Pad 'zeros'", "between a ReLU and a max pool"}, [](OnnxModel& o) {
    split_pads(o, "MaxPool");
    first(o, "Pad").inputs[0] = first(o, "Relu").inputs[0];
  });
  refuse(kSmall, kUnsupported, {"Pad 'zeros'", "zeros around an image"}, [](OnnxModel& o) {
    add_list(o, "list", {0, 0, 1, 1, 0, 0, 1, 1});
    put_before(o, "Relu", [](const std::string& from, const std::string& to) {
      return OnnxNode{.op = "Pad", .name = "zeros", .inputs = {from, "list"}, .outputs = {to}};
    });
  });
  refuse(kStem, kUnsupported, {"Pad 'zeros'", "no network here has this operation"},
         [](OnnxModel& o) {
           split_pads(o, "Conv");
           first(o, "Pad").inputs.push_back("one");
           o.initializers.emplace_back("one", Tensor::full({}, 1));
         });
  const auto with_axes = [](OnnxModel& o, const Ints& axes) {
    split_pads(o, "Conv");
    first(o, "Pad").inputs.insert(first(o, "Pad").inputs.end(), {"", "axes"});
    add_list(o, "axes", axes);
  };
  refuse(kStem, kBadData, {"Pad 'zeros'", "axis -2 is named twice"}, [&](OnnxModel& o) {
    with_axes(o, {0, 1, 2, -2});
  });
  refuse(kStem, kBadData, {"Pad 'zeros'", "there is no axis 4"}, [&](OnnxModel& o) {
    with_axes(o, {0, 1, 2, 4});
  });
}

TEST_F(OnnxKerasTest, OrdersThatDoNotFitAreNamed) {
  using enum ErrorCode;
  for (const Ints& perm : {Ints{0, 3, 1, 4}, Ints{0, 3, 1, 1}, Ints{0, 3, 1}, Ints{0, -1, 1, 2}}) {
    refuse(kSmall, kBadData, {"Transpose", "perm is [0, ", "expected each of 0 to 3 once"},
           [&](OnnxModel& o) {
             turn_input(o);
             put_before(o, "Relu", [&](const std::string& from, const std::string& to) {
               return transpose(from, to, perm);
             });
           });
  }
  for (const char* op : {"Relu", "Conv"}) {
    const bool conv = op == std::string("Conv");
    refuse(kSmall, kUnsupported,
           {conv ? "Conv 'conv1'" : "BatchNormalization", "its input lies as n", "not as nchw"},
           [&](OnnxModel& o) {
             put_before(o, conv ? "Conv" : "BatchNormalization",
                        [](const std::string& from, const std::string& to) {
                          return transpose(from, to, Ints{0, 1, 3, 2});
                        });
           });
  }
  refuse(kSmall, kUnsupported, {"Add", "no network here has this operation"}, [](OnnxModel& o) {
    put_before(o, "Add", [](const std::string& from, const std::string& to) {
      return transpose(from, to, kToNhwc);
    });
  });
}

TEST_F(OnnxKerasTest, BatchNormsMayBeAProductAndASum) {
  for (const bool last : {false, true}) {
    for (const char* architecture : {"resnet8", "resnet8v2"}) {
      ModelFile a = model_of({.architecture = architecture, .classes = 4, .image_size = 32});
      // γ x + β: mean 0, and the variance that is 1 with eps.
      for (auto& [name, tensor] : a.weights) {
        if (name.ends_with("running_mean")) tensor = Tensor::zeros(DType::kF32, tensor.shape());
        if (name.ends_with("running_var")) tensor = Tensor::full(tensor.shape(), 1 - 1e-5F);
      }
      OnnxModel onnx = anonymous(a);
      std::vector<OnnxNode> nodes;
      for (const OnnxNode& n : onnx.nodes) {
        if (n.op != "BatchNormalization") {
          nodes.push_back(n);
          continue;
        }
        const std::string x = n.inputs[0], y = n.outputs[0];
        for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
          Tensor& t = constant(onnx, n.inputs[i]);
          if (!last) t = t.reshaped({1, t.size(), 1, 1});
        }
        if (last) nodes.push_back(transpose(x, x + " last", kToNhwc));
        const std::string from = last ? x + " last" : x, to = last ? y + " last" : y;
        nodes.push_back({.op = "Mul", .inputs = {from, n.inputs[1]}, .outputs = {y + " product"}});
        nodes.push_back({.op = "Add", .inputs = {n.inputs[2], y + " product"}, .outputs = {to}});
        if (last) nodes.push_back(transpose(to, y, kToNchw));
      }
      onnx.nodes = nodes;
      const ImportedModel b = imported(onnx);
      EXPECT_EQ(b.model.config, a.config);
      expect_same_weights(a.weights, b.model.weights);
    }
  }
  // One number for each column is no batch norm.
  refuse(kSmall, ErrorCode::kUnsupported, {"Mul 'scale'", "no network here has this operation"},
         [](OnnxModel& o) {
           o.initializers.emplace_back("columns", Tensor::full({32}, 2));
           put_before(o, "BatchNormalization", [](const std::string& from, const std::string& to) {
             return OnnxNode{
                 .op = "Mul", .name = "scale", .inputs = {from, "columns"}, .outputs = {to}};
           });
         });
}

TEST_F(OnnxKerasTest, TheBiasOfAConvolutionMayBeASum) {
  const ModelFile a = model_of(kSmall);
  OnnxModel onnx = anonymous(a);
  onnx.initializers.emplace_back("b", Tensor::full({1, 16, 1, 1}, 0.5F));
  put_before(onnx, "BatchNormalization", [](const std::string& from, const std::string& to) {
    return OnnxNode{.op = "Add", .inputs = {from, "b"}, .outputs = {to}};
  });
  const ImportedModel b = imported(onnx);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(b.model.weights.at("bn1.running_mean").as<float>()[i],
              a.weights.at("bn1.running_mean").as<float>()[i] - 0.5F);
  }
}

TEST_F(OnnxKerasTest, PaddingByTheSizeOfTheImage) {
  ModelConfig odd = kSmall;
  odd.image_size = 33;  // then what it says is what is here
  for (const char* mode : {"SAME_UPPER", "SAME_LOWER"}) {
    expect_same(odd, [&](OnnxModel& onnx) {
      for (OnnxNode& node : onnx.nodes) {
        if (node.op == "Conv") {
          node.attributes.erase("pads");
          node.attributes["auto_pad"] = std::string(mode);
        }
      }
    });
  }
  for (ModelConfig even : {kSmall, kStem}) {  // a network of its own
    even.same_padding = true;
    expect_same(even, [](OnnxModel& onnx) {
      for (OnnxNode& node : onnx.nodes) {
        if (node.op != "Conv" && node.op != "MaxPool") continue;
        node.attributes.erase("pads");
        node.attributes["auto_pad"] = std::string("SAME_UPPER");
      }
    });
    const ModelFile model = model_of(even);  // as the graph of our own says it
    const OnnxModel onnx = exported(model);
    EXPECT_EQ(import_model(path_).model.config, even);
    even.same_padding = false;
    OnnxModel other = onnx;
    other.metadata = exported(model_of(even)).metadata;
    expect_error(ErrorCode::kBadData, {"with TensorFlow's padding, its metadata say"}, other);
  }
  const auto same = [](OnnxModel& o) {
    for (OnnxNode& node : o.nodes) {
      if (node.op == "Conv") node.attributes["auto_pad"] = std::string("SAME_UPPER");
    }
  };
  refuse(kSmall, ErrorCode::kUnsupported,
         {"Conv 'layer2.0.conv1'", "(auto_pad), which is not known"}, [&](OnnxModel& o) {
           same(o);
           o.inputs[0].shape[2] = o.inputs[0].shape[3] = {-1, "side"};
         });
  refuse(kSmall, ErrorCode::kBadData, {"Conv 'conv1'", "auto_pad is 'SAME'"},
         [](OnnxModel& o) { first(o, "Conv").attributes["auto_pad"] = std::string("SAME"); });
}

TEST_F(OnnxKerasTest, ConstantsMayBeTransposed) {
  // Weights [h, w, i, o] as TensorFlow has them, and [o, h, w, i].
  for (const bool filters_last : {true, false}) {
    expect_same(kSmall, [&](OnnxModel& onnx) {
      OnnxNode& conv = first(onnx, "Conv");
      Tensor& oihw = constant(onnx, conv.inputs[1]);
      Tensor turned(DType::kF32, filters_last ? Shape{3, 3, 3, 16} : Shape{16, 3, 3, 3});
      for (std::size_t o = 0, at = 0; o < 16; ++o) {
        for (std::size_t i = 0; i < 3; ++i) {
          for (std::size_t hw = 0; hw < 9; ++hw) {
            const std::size_t to = filters_last ? (hw * 3 + i) * 16 + o : (o * 9 + hw) * 3 + i;
            turned.as<float>()[to] = std::as_const(oihw).as<float>()[at++];
          }
        }
      }
      oihw = turned;
      onnx.nodes.insert(
          onnx.nodes.begin(),
          transpose(conv.inputs[1], "oihw", filters_last ? Ints{3, 2, 0, 1} : Ints{0, 3, 1, 2}));
      std::ranges::find(onnx.nodes, "Conv", &OnnxNode::op)->inputs[1] = "oihw";
    });
  }
  for (const bool turned : {false, true}) {  // the order that it names is heeded
    expect_same(kSmall, [&](OnnxModel& onnx) {
      const std::string weight = first(onnx, "Gemm").inputs[1];
      first(onnx, "Gemm").inputs[1] = "matrix";
      if (turned) constant(onnx, weight) = transposed(constant(onnx, weight));
      onnx.nodes.insert(onnx.nodes.begin(),
                        transpose(weight, "matrix", turned ? Ints{1, 0} : Ints{0, 1}));
    });
  }
  refuse(kSmall, ErrorCode::kUnsupported,
         {"Transpose 'matrix'", "no network here has this operation"}, [](OnnxModel& o) {
           o.nodes.insert(o.nodes.begin(), transpose(first(o, "Gemm").inputs[1], "matrix", {0, 2}));
           first(o, "Gemm").inputs[1] = "matrix";
         });
}

// Another eps moves into the variance, or, where that would be negative, into γ.
TEST_F(OnnxKerasTest, ASmallEpsWithASmallVariance) {
  ModelFile a = model_of(kSmall);
  a.weights["bn1.running_var"] = Tensor::full({16}, 3e-6F);
  OnnxModel onnx = anonymous(a);
  first(onnx, "BatchNormalization").attributes["epsilon"] = 1e-6F;
  const ImportedModel b = imported(onnx);
  const auto value = [](const ModelFile& m, const std::string& name) {
    return double{m.weights.at("bn1." + name).as<float>()[5]};
  };
  EXPECT_EQ(value(b.model, "running_var"), 0);
  const double factor = value(a, "weight") / std::sqrt(double{3e-6F} + 1e-6);
  EXPECT_NEAR(value(b.model, "weight") / std::sqrt(1e-5) / factor, 1, 0x1p-23);  // γ is rounded
}

}  // namespace
}  // namespace resnet

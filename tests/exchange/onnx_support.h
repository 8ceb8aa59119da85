// What the tests of ONNX share: models with weights to tell apart, and their graphs as others write
// them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "exchange/onnx_import.h"
#include "formats/onnx_file.h"
#include "resnet/error.h"
#include "resnet/weights.h"

namespace resnet {

namespace fs = std::filesystem;
using Ints = std::vector<std::int64_t>;

// Values that differ from each other and are sound as statistics, too.
inline ModelFile model_of(ModelConfig config) {
  ModelFile m;
  for (std::int64_t i = 0; i < config.classes; ++i) m.class_names.push_back(fmt::format("c{}", i));
  m.preprocessing.width = m.preprocessing.height = static_cast<int>(config.image_size);
  m.preprocessing.resize = 0;
  m.preprocessing.channels = static_cast<int>(config.channels);
  m.preprocessing.mean = {0.5F, 0.25F, 0.125F};
  m.provenance = {{"data", "made for the test"}};
  const Graph graph = inference_graph(config, 1);
  double value = 0;
  for (const Value v : graph.parameters()) {
    Tensor t(DType::kF32, graph.shape(v));
    const bool variance = graph.node(v).name.ends_with("running_var");
    for (float& x : t.as<float>()) {
      x = static_cast<float>((variance ? 1.5 : 0) + std::sin(value += 0.7));
    }
    m.weights[graph.node(v).name] = t;
  }
  m.config = std::move(config);
  return m;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

inline void expect_same_weights(const std::map<std::string, Tensor>& a,
                                const std::map<std::string, Tensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    EXPECT_TRUE(same_bits(tensor, b.at(name))) << name;
  }
}

inline Tensor transposed(const Tensor& matrix) {  // f32 [m, k] -> [k, m]
  const auto m = static_cast<std::size_t>(matrix.dim(0)),
             k = static_cast<std::size_t>(matrix.dim(1));
  Tensor out(DType::kF32, {matrix.dim(1), matrix.dim(0)});
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < k; ++j) out.as<float>()[j * m + i] = matrix.as<float>()[i * k + j];
  }
  return out;
}

class OnnxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ =
        fs::temp_directory_path() / ("resnet_onnx_" + name + "_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    path_ = folder_ / "model.onnx";
  }
  void TearDown() override { fs::remove_all(folder_); }

  OnnxModel exported(const ModelFile& model, const OnnxExportOptions& options = {}) {
    export_onnx(path_, model, options);
    return read_onnx(path_);
  }
  // The same as someone else would write it: no metadata, no names.
  OnnxModel anonymous(const ModelFile& model, const OnnxExportOptions& options = {}) {
    OnnxModel onnx = exported(model, options);
    onnx.metadata.clear();
    std::map<std::string, std::string> names;
    const auto rename = [&](std::string& name) {
      if (!name.empty()) name = names.try_emplace(name, std::to_string(names.size())).first->second;
    };
    for (auto& input : onnx.inputs) rename(input.name);
    for (auto& [name, tensor] : onnx.initializers) rename(name);
    for (auto& node : onnx.nodes) {
      node.name.clear();
      for (auto& name : node.inputs) rename(name);
      for (auto& name : node.outputs) rename(name);
    }
    for (auto& output : onnx.outputs) rename(output.name);
    return onnx;
  }
  ImportedModel imported(const OnnxModel& onnx, const ImportOptions& options = {}) {
    write_onnx(path_, onnx);
    return import_model(path_, options);
  }
  void expect_error(ErrorCode code, std::initializer_list<std::string_view> parts,
                    const OnnxModel& onnx, const ImportOptions& options = {}) {
    try {
      imported(onnx, options);
      ADD_FAILURE() << "expected an error that says: " << *parts.begin();
    } catch (const Error& e) {
      const std::string_view text = e.what();
      EXPECT_EQ(e.code(), code) << text;
      EXPECT_NE(text.find(path_.string()), std::string_view::npos) << text;
      EXPECT_EQ(text.find('\n'), std::string_view::npos) << text;
      for (const auto part : parts) {
        EXPECT_NE(text.find(part), std::string_view::npos) << "no '" << part << "' in: " << text;
      }
    }
  }

  fs::path folder_;
  fs::path path_;
};

inline OnnxNode& first(OnnxModel& onnx, std::string_view op) {
  const auto node = std::ranges::find(onnx.nodes, op, &OnnxNode::op);
  if (node == onnx.nodes.end()) throw std::runtime_error(std::string(op));
  return *node;
}

}  // namespace resnet

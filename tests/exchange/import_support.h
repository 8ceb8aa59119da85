// What tests of the importer share: weights that tell their places, and a folder for files.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "exchange/match.h"
#include "formats/safetensors.h"
#include "resnet/error.h"
#include "resnet/model_file.h"
#include "resnet/weights.h"

namespace resnet {

namespace fs = std::filesystem;

#define EXPECT_IN(part, text) EXPECT_NE((text).find(part), std::string::npos) << (text)

using Tensors = std::map<std::string, Tensor>;

// Every element of every tensor differs from all others, so that a swapped one shows.
inline Tensors weights_of(const ModelConfig& config) {
  Tensors weights;
  float value = 0;
  for (const auto& [name, shape] : parameters_of(config)) {
    Tensor t(DType::kF32, shape);
    for (float& x : t.as<float>()) x = ++value;
    weights[name] = t;
  }
  return weights;
}

inline void expect_same(const Tensors& a, const Tensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) {
    ASSERT_TRUE(b.contains(name)) << name;
    ASSERT_EQ(tensor.shape(), b.at(name).shape()) << name;
    EXPECT_EQ(std::memcmp(tensor.raw(), b.at(name).raw(), tensor.bytes()), 0) << name;
  }
}

inline std::string replace(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

inline Tensors renamed(const Tensors& weights,
                       const std::function<std::string(const std::string&)>& to) {
  Tensors result;
  for (const auto& [name, tensor] : weights) result[to(name)] = tensor;
  return result;
}

inline bool mentions(const std::vector<std::string>& notes, const std::string& part) {
  return std::ranges::any_of(notes, [&](const std::string& n) { return n.find(part) != n.npos; });
}

inline constexpr const char* kTimm = R"({
  "architecture": "resnet18", "num_classes": 2, "num_features": 512,
  "pretrained_cfg": {"tag": "a1_in1k", "architecture": "resnet18", "input_size": [3, 224, 224],
    "test_input_size": [3, 288, 288], "crop_pct": 0.95, "crop_mode": "center",
    "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3],
    "label_names": ["cat", "dog"], "pool_size": [7, 7]}})";

class Import : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = fs::temp_directory_path() / ("resnet_import_" + name + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = folder_ / "weights.safetensors";
  }
  void TearDown() override { fs::remove_all(folder_); }

  ImportedModel import(const Tensors& tensors, const ImportOptions& options = {}) {
    write_safetensors(path_, tensors);
    return import_model(path_, options);
  }
  std::string error(const Tensors& tensors, const ImportOptions& options = {},
                    ErrorCode code = ErrorCode::kBadData) {
    try {
      import(tensors, options);
    } catch (const Error& e) {
      const std::string message = e.what();
      EXPECT_EQ(e.code(), code) << message;
      EXPECT_IN(path_.string(), message);
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      EXPECT_LT(message.size(), 1200U) << message;
      return message;
    }
    return "it was imported";
  }

  fs::path folder_, path_;
  const ModelConfig small_{.architecture = "resnet8", .classes = 3, .image_size = 32};
};

}  // namespace resnet

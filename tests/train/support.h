// What tests of training share: errors by their message, and runs compared bit for bit.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <sstream>
#include <string>

#include "core/file.h"
#include "formats/safetensors.h"
#include "formats/support.h"
#include "resnet/error.h"

namespace resnet {

/// Tests with a folder of their own.
class FolderTest : public testing::Test {
 private:
  TemporaryFolder temporary_;

 protected:
  const std::filesystem::path folder_ = temporary_.path();
};

/// The message of the error that `f` must throw, which is one line.
inline std::string error_of(const std::function<void()>& f,
                            ErrorCode code = ErrorCode::kInvalidArgument) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

inline bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.bytes() == b.bytes() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

inline void expect_same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const Safetensors x = read_safetensors(a), y = read_safetensors(b);
  ASSERT_EQ(x.tensors.size(), y.tensors.size());
  for (const auto& [name, tensor] : x.tensors) {
    ASSERT_TRUE(y.tensors.contains(name)) << name;
    EXPECT_TRUE(same(tensor, y.tensors.at(name))) << name;
  }
}

// metrics.csv without its last three columns, which are times.
inline std::string metrics_of(const std::filesystem::path& run) {
  std::istringstream in(read_text_file(run / "metrics.csv"));
  std::string text;
  for (std::string line; std::getline(in, line);) {
    for (int i = 0; i < 3; ++i) line.resize(line.rfind(','));
    text += line + "\n";
  }
  return text;
}

inline void expect_same_run(const std::filesystem::path& a, const std::filesystem::path& b) {
  expect_same_tensors(a / "last.safetensors", b / "last.safetensors");
  expect_same_tensors(a / "model.safetensors", b / "model.safetensors");
  EXPECT_EQ(metrics_of(a), metrics_of(b));
  EXPECT_EQ(read_text_file(a / "confusion.csv"), read_text_file(b / "confusion.csv"));
}

}  // namespace resnet

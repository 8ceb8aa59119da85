// What the tests of the formats share.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/file.h"
#include "formats/bytes.h"
#include "resnet/error.h"

namespace resnet {

/// A folder that lives as long as the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "resnet-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path write(const std::string& name, const ByteVector& bytes) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    write_file_atomic(file, bytes);
    return file;
  }

 private:
  std::filesystem::path path_;
};

/// Runs `action`, which must fail with `code` and say each of `parts` on one line.
template <class Action>
void expect_error(ErrorCode code, std::initializer_list<std::string_view> parts, Action&& action) {
  try {
    action();
    ADD_FAILURE() << "expected an error that says: " << *parts.begin();
  } catch (const Error& error) {
    const std::string_view text = error.what();
    EXPECT_EQ(error.code(), code) << text;
    for (const std::string_view part : parts) {
      EXPECT_NE(text.find(part), std::string_view::npos) << "no '" << part << "' in: " << text;
    }
    EXPECT_EQ(text.find('\n'), std::string_view::npos) << text;
  }
}

}  // namespace resnet

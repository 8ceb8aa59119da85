// Images that are given to be predicted: what is done about paths that are none.
#include "train/files.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "core/file.h"
#include "formats/image.h"
#include "resnet/predictor.h"
#include "train/support.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

// This thread heeds permissions, as threads of root do not.
class WithoutPrivilege {
 public:
  WithoutPrivilege() {
    if (::syscall(SYS_capget, &header_, saved_) != 0) throw std::runtime_error("capget");
    __user_cap_data_struct fewer[2] = {saved_[0], saved_[1]};
    fewer[0].effective &= ~(1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH);
    if (::syscall(SYS_capset, &header_, fewer) != 0) throw std::runtime_error("capset");
  }
  ~WithoutPrivilege() { ::syscall(SYS_capset, &header_, saved_); }
  WithoutPrivilege(const WithoutPrivilege&) = delete;
  WithoutPrivilege& operator=(const WithoutPrivilege&) = delete;

 private:
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct saved_[2] = {};
};

class ImageFiles : public FolderTest {
 protected:
  void draw(const fs::path& path) {
    fs::create_directories((folder_ / path).parent_path());
    write_file_atomic(folder_ / path, encode_png(Image(8, 8, 3)));
  }
  static bool readable(const Dataset& data, std::int64_t i) {
    try {
      data.image(i);
      return true;
    } catch (const Error&) {
      return false;
    }
  }
};

TEST_F(ImageFiles, AFolderThatCannotBeListedIsNamedAndTheRestPredicted) {
  draw("a/1.png");
  draw("a/sub/2.png");
  draw("b/3.png");
  fs::permissions(folder_ / "a/sub", fs::perms::none);
  fs::permissions(folder_ / "b", fs::perms::none);
  DatasetPtr data;
  {
    const WithoutPrivilege here;
    data = image_files({folder_ / "a", folder_ / "b"});
    EXPECT_THROW(image_files({folder_ / "b"}), Error) << "alone";
    EXPECT_THROW(list_images(folder_ / "a"), Error) << "nobody to be told";
  }
  fs::permissions(folder_ / "a/sub", fs::perms::owner_all);
  fs::permissions(folder_ / "b", fs::perms::owner_all);
  ASSERT_EQ(data->size(), 3);
  EXPECT_EQ(data->name(0), folder_ / "a/1.png");
  EXPECT_EQ(data->name(1), folder_ / "a/sub");
  EXPECT_EQ(data->name(2), folder_ / "b");
  EXPECT_TRUE(readable(*data, 0));
  EXPECT_FALSE(readable(*data, 1));
  EXPECT_NE(error_of([&] { data->image(2); }, ErrorCode::kIo).find("Permission"),
            std::string::npos);
}

TEST_F(ImageFiles, WhatIsMissingStandsInItsPlace) {
  draw("1.png");
  fs::create_directories(folder_ / "empty");
  fs::create_symlink("circle", folder_ / "circle");
  const auto data =
      image_files({folder_ / "none.png", folder_ / "1.png", folder_ / "empty", folder_ / "circle"});
  ASSERT_EQ(data->size(), 4);
  for (const std::int64_t i : {0, 2, 3}) EXPECT_FALSE(readable(*data, i)) << data->name(i);
  EXPECT_TRUE(readable(*data, 1));
  error_of([&] { image_files({folder_ / "none.png"}); }, ErrorCode::kNotFound);
}

TEST_F(ImageFiles, APipeIsAnImageHoweverOftenItIsLookedAt) {
  draw("1.png");
  const fs::path pipe = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  std::thread writer([&] { std::ofstream(pipe) << read_text_file(folder_ / "1.png"); });
  const auto data = image_files({pipe});
  writer.join();
  EXPECT_EQ(data->image(0).width, 8);
  EXPECT_EQ(data->image(0).width, 8);
}

// Names are asked for once or a few times each, not for every other unreadable image again.
class Counting final : public Dataset {
 public:
  explicit Counting(std::int64_t size) : size_(size) {}
  std::int64_t size() const override { return size_; }
  const std::vector<std::string>& class_names() const override { return classes_; }
  int label(std::int64_t) const override { return 0; }
  std::string name(std::int64_t i) const override {
    ++names;
    return std::to_string(i);
  }
  void read(std::int64_t i, Image&) const override {
    ++reads;
    throw Error(ErrorCode::kBadData, std::to_string(i) + ": no image");
  }
  mutable std::atomic<std::int64_t> names{0}, reads{0};

 private:
  std::int64_t size_;
  std::vector<std::string> classes_ = {"image"};
};

TEST(Predict, ManyUnreadableImagesTakeStepsInProportion) {
  ModelFile model;
  model.config = {.architecture = "resnet8", .classes = 2, .image_size = 8};
  model.class_names = {"a", "b"};
  model.preprocessing = {.height = 8, .width = 8, .resize = 0};
  Variables variables;
  initialise(inference_graph(model.config, 1), variables, 7);
  model.weights = from_variables(variables, model.config);
  constexpr std::int64_t kCount = 400;
  const auto data = std::make_shared<Counting>(kCount);
  Predictor predictor(model, {.batch_size = 64, .threads = 1});
  const auto predictions = predictor.predict(data, 1);
  ASSERT_EQ(std::ssize(predictions), kCount);
  EXPECT_EQ(predictions[7].error, "no image");
  EXPECT_EQ(data->reads, kCount);
  EXPECT_LE(data->names, 4 * kCount);
}

}  // namespace
}  // namespace resnet

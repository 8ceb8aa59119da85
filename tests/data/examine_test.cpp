#include <gtest/gtest.h>

#include <cmath>

#include "data/support.h"
#include "resnet/data.h"

namespace resnet {
namespace {

TEST(Statistics, EqualTheDefinition) {
  const DatasetPtr data =
      make_dataset({test_image(9, 5, 3), test_image(4, 11, 3, 3), test_image(6, 6, 1, 8)},
                   {0, 1, 1}, {"a", "b"});
  std::array<std::vector<double>, 3> values;
  for (std::int64_t i = 0; i < 3; ++i) {
    const Image p = convert_channels(data->image(i), 3);
    for (std::size_t k = 0; k < p.pixels.size(); ++k) values[k % 3].push_back(p.pixels[k] / 255.0);
  }
  for (const int threads : {1, 3}) {
    const Statistics s = measure_statistics(*data, threads);
    EXPECT_EQ(s.images, 3);
    for (std::size_t c = 0; c < 3; ++c) {
      double mean = 0;
      for (const double v : values[c]) mean += v;
      mean /= static_cast<double>(values[c].size());
      double variance = 0;
      for (const double v : values[c]) variance += (v - mean) * (v - mean);
      variance /= static_cast<double>(values[c].size());
      EXPECT_NEAR(s.mean[c], mean, 1e-13);
      EXPECT_NEAR(s.std[c], std::sqrt(variance), 1e-13);
    }
  }
}

TEST(Statistics, CountsWhatCannotBeRead) {
  const auto none = [](std::int64_t) { fail(ErrorCode::kBadData, "broken"); };
  const auto odd = [](std::int64_t i) {
    if (i % 2 == 1) fail(ErrorCode::kBadData, "broken");
  };
  const Statistics s = measure_statistics(Failing(test_dataset(5), odd), 2);
  EXPECT_EQ(s.images, 3);
  EXPECT_EQ(s.unreadable, 2);
  expect_error(ErrorCode::kBadData, {"none of 5 images"},
               [&] { measure_statistics(Failing(test_dataset(5), none)); });
}

TEST(CheckData, FindsDuplicatesBadImagesAndSizes) {
  TemporaryFolder folder;
  write_png(folder, "train/a/1.png", 1, 8);
  write_png(folder, "train/a/2.png", 2, 12);
  write_png(folder, "train/b/3.png", 3, 20);
  write_png(folder, "train/b/4.png", 2, 12);
  folder.write("train/b/cut.png", bytes_of("\x89PNG\r\n\x1a\n"));
  write_png(folder, "val/a/5.png", 2, 12);
  write_png(folder, "val/b/6.png", 6, 8);
  const DataSplits data = open_data({.source = folder.path().string()});
  for (const int threads : {1, 4}) {
    const DataReport report = check_data(data, threads);
    EXPECT_EQ(report.train.class_counts, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(report.val.class_counts, (std::vector<std::int64_t>{1, 1}));
    ASSERT_EQ(report.train.bad.size(), 1U);
    EXPECT_EQ(report.train.bad[0].name, (folder.path() / "train/b/cut.png").string());
    // The name is shown once.
    EXPECT_FALSE(report.train.bad[0].reason.empty());
    EXPECT_EQ(report.train.bad[0].reason.find("cut.png"), std::string::npos);
    EXPECT_EQ(report.train.smallest, (ImageSize{8, 8}));
    EXPECT_EQ(report.train.largest, (ImageSize{20, 20}));
    ASSERT_EQ(report.duplicates.size(), 1U);
    EXPECT_EQ(report.duplicates[0][0], (folder.path() / "train/a/2.png").string());
    EXPECT_EQ(report.duplicates[0][1], (folder.path() / "val/a/5.png").string());
  }
}

}  // namespace
}  // namespace resnet

#include "data/each_batch.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "data/support.h"
#include "resnet/error.h"

namespace resnet {
namespace {

Preprocessing small() { return {.height = 8, .width = 8, .resize = 0}; }

LoaderOptions in_fours(double max_bad_fraction = 0) {
  LoaderOptions o = evaluation_options(4);
  o.max_bad_fraction = max_bad_fraction;
  return o;
}

using Reports = std::vector<std::pair<std::int64_t, std::int64_t>>;

TEST(EachBatch, PassesOverEveryImageOnce) {
  Loader loader(test_dataset(10), small(), Augmentation{}, in_fours());
  std::vector<std::int64_t> seen;
  Reports reports;
  const Job job{.progress = [&](std::int64_t done, std::int64_t total) {
    reports.emplace_back(done, total);
  }};
  for (int pass = 0; pass < 2; ++pass) {
    seen.clear(), reports.clear();
    const Pass p = for_each_batch(loader, job, [&](const Batch& b) {
      for (int i = 0; i < b.count; ++i) seen.push_back(b.indices[static_cast<std::size_t>(i)]);
    });
    EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    EXPECT_EQ(reports, (Reports{{4, 10}, {8, 10}, {10, 10}}));
    EXPECT_EQ(p.done, 10);
    EXPECT_FALSE(p.stopped);
    EXPECT_NO_THROW(p.throw_if_stopped());
  }
}

TEST(EachBatch, EndsBehindTheBatchInWhichItIsStopped) {
  Loader loader(test_dataset(10), small(), Augmentation{}, in_fours());
  std::atomic<bool> stop = false;
  int batches = 0;
  const Pass p =
      for_each_batch(loader, {.stop = &stop}, [&](const Batch&) { stop = ++batches == 2; });
  EXPECT_EQ(batches, 2);
  EXPECT_TRUE(p.stopped);
  try {
    p.throw_if_stopped();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInterrupted);
    EXPECT_STREQ(e.what(), "interrupted after 8 of 10 images");
  }
}

TEST(EachBatch, UnreadableImagesCountAsPassed) {
  const auto data = std::make_shared<Failing>(test_dataset(6), [](std::int64_t i) {
    if (i < 5) throw Error(ErrorCode::kBadData, "damaged");
  });
  Loader loader(data, small(), Augmentation{}, in_fours(1));
  std::int64_t readable = 0, last = 0;
  const Job job{.progress = [&](std::int64_t done, std::int64_t) { last = done; }};
  for_each_batch(loader, job, [&](const Batch& b) {
    for (const int label : b.labels) readable += label >= 0 ? 1 : 0;
  });
  EXPECT_EQ(readable, 1);
  EXPECT_EQ(last, 6);
  try {
    none_readable(6, loader.bad_images());
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kBadData);
    EXPECT_TRUE(
        std::string(e.what()).starts_with("not one of the 6 images could be read; the first: "))
        << e.what();
  }
}

}  // namespace
}  // namespace resnet

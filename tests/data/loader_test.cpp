#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>
#include <set>
#include <thread>

#include "data/support.h"
#include "formats/jpegs.h"
#include "resnet/data.h"

namespace resnet {
namespace {

Preprocessing plain(int side = 8, int channels = 3) {
  Preprocessing s;
  s.width = s.height = side;
  s.resize = 0;
  s.channels = channels;
  return s;
}

Augmentation everything() {
  Augmentation a = augmentation_preset("galaxy");
  a.random_resized_crop = true;
  a.rotation = 15;
  a.brightness = a.contrast = a.saturation = 0.4;
  a.hue = 0.1;
  a.randaugment = 2;
  a.random_erasing = 0.5;
  a.mixup = 0.4;
  a.cutmix = 1.0;
  return a;
}

struct Copy {
  std::vector<float> images, targets;
  std::vector<std::int32_t> labels;
  std::vector<std::int64_t> indices;
  int count = 0;
  bool operator==(const Copy&) const = default;
};

std::vector<Copy> drain(Loader& loader) {
  std::vector<Copy> all;
  Batch batch;
  while (loader.next(batch)) {
    const auto images = batch.images.as<float>();
    const auto targets = batch.targets.as<float>();
    all.push_back({{images.begin(), images.end()},
                   {targets.begin(), targets.end()},
                   batch.labels,
                   batch.indices,
                   batch.count});
  }
  return all;
}

DatasetPtr with_bad(int count, std::set<std::int64_t> bad) {
  return std::make_shared<Failing>(test_dataset(count), [bad = std::move(bad)](std::int64_t i) {
    if (bad.contains(i)) fail(ErrorCode::kBadData, "image {} is broken", i);
  });
}

TEST(Loader, BatchesDoNotDependOnThreads) {
  const DatasetPtr data = with_bad(100, {3, 40, 41});
  std::vector<std::vector<Copy>> runs;
  for (const int threads : {0, 1, 2, 5}) {
    Loader loader(data, plain(), everything(),
                  {.batch_size = 12, .threads = threads, .prefetch = threads + 1, .seed = 9});
    std::vector<Copy> run;
    for (int epoch = 0; epoch < 3; ++epoch) {
      loader.start_epoch(epoch);
      const auto part = drain(loader);
      ASSERT_EQ(part.size(), 8U);
      run.insert(run.end(), part.begin(), part.end());
    }
    EXPECT_EQ(loader.bad_images().size(), 3U);
    runs.push_back(std::move(run));
  }
  for (std::size_t i = 1; i < runs.size(); ++i) EXPECT_TRUE(runs[i] == runs[0]) << i;
  EXPECT_FALSE(runs[0][0] == runs[0][8]) << "epochs differ";
}

TEST(Loader, ContinuesInTheMiddleOfAnEpoch) {
  const DatasetPtr data = test_dataset(50);
  const LoaderOptions options{.batch_size = 8, .threads = 2, .seed = 4};
  Loader whole(data, plain(), everything(), options);
  whole.start_epoch(2);
  const auto all = drain(whole);
  Loader rest(data, plain(), everything(), options);
  rest.start_epoch(2, 4);
  const auto tail = drain(rest);
  ASSERT_EQ(all.size(), 6U);
  EXPECT_TRUE(tail == std::vector<Copy>(all.begin() + 4, all.end()));
  rest.start_epoch(2, 6);
  EXPECT_TRUE(drain(rest).empty());
  expect_error(ErrorCode::kInvalidArgument, {"batch 7"}, [&] { rest.start_epoch(2, 7); });
}

TEST(Loader, EveryImageOnceInAnotherOrderEachEpoch) {
  Loader loader(test_dataset(37), plain(), {},
                {.batch_size = 5, .drop_last = false, .threads = 2, .seed = 1});
  EXPECT_EQ(loader.batches_per_epoch(), 8);
  std::vector<std::vector<std::int64_t>> orders;
  for (int epoch = 0; epoch < 2; ++epoch) {
    loader.start_epoch(epoch);
    std::vector<std::int64_t> order;
    for (const Copy& b : drain(loader)) {
      order.insert(order.end(), b.indices.begin(), b.indices.begin() + b.count);
    }
    EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 37U);
    EXPECT_EQ(order.size(), 37U);
    orders.push_back(order);
  }
  EXPECT_NE(orders[0], orders[1]);
}

TEST(Loader, AlternatingFlipsMirrorEachImageInEverySecondEpoch) {
  const DatasetPtr data = test_dataset(64);
  Loader plain_loader(data, plain(), {}, {.batch_size = 64, .seed = 1});
  Loader loader(data, plain(), {.alternate_flip = true}, {.batch_size = 64, .seed = 1});
  constexpr std::size_t kRow = 8, kPixels = 3 * 8 * 8;
  std::map<std::int64_t, bool> first;
  for (int epoch = 0; epoch < 4; ++epoch) {
    plain_loader.start_epoch(epoch);
    loader.start_epoch(epoch);
    const auto straight = drain(plain_loader), flipped = drain(loader);
    ASSERT_EQ(straight[0].indices, flipped[0].indices);
    std::int64_t mirrored = 0;
    for (std::size_t n = 0; n < 64; ++n) {
      const auto from = straight[0].images.begin() + static_cast<std::ptrdiff_t>(n * kPixels);
      std::vector<float> image(from, from + kPixels), mirror = image;
      for (std::size_t row = 0; row < kPixels; row += kRow) {
        std::reverse(mirror.begin() + static_cast<std::ptrdiff_t>(row),
                     mirror.begin() + static_cast<std::ptrdiff_t>(row + kRow));
      }
      const auto found = flipped[0].images.begin() + static_cast<std::ptrdiff_t>(n * kPixels);
      const bool is_mirror = std::equal(mirror.begin(), mirror.end(), found);
      EXPECT_TRUE(is_mirror || std::equal(image.begin(), image.end(), found));
      const std::int64_t index = straight[0].indices[n];
      if (epoch == 0) first[index] = is_mirror;
      EXPECT_EQ(is_mirror, first.at(index) != (epoch % 2 == 1));
      mirrored += is_mirror ? 1 : 0;
    }
    EXPECT_GT(mirrored, 16);
    EXPECT_LT(mirrored, 48);
  }
}

TEST(Loader, EvaluationIsThePlainPathInOrder) {
  const DatasetPtr data = test_dataset(5);
  for (const DataLayout layout : {DataLayout::kNCHW, DataLayout::kNHWC}) {
    LoaderOptions options = evaluation_options(3, 2);
    options.layout = layout;
    Loader loader(data, plain(), {}, options);
    loader.start_epoch(0);
    const auto batches = drain(loader);
    ASSERT_EQ(batches.size(), 2U);
    EXPECT_EQ(batches[1].count, 2);
    constexpr std::size_t kPixels = 3 * 8 * 8;
    for (std::size_t i = 0; i < 5; ++i) {
      const Copy& b = batches[i / 3];
      std::vector<float> expected(kPixels);
      preprocess(data->image(static_cast<std::int64_t>(i)), plain(), expected.data(), layout);
      const auto begin = b.images.begin() + static_cast<std::ptrdiff_t>(i % 3 * kPixels);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), begin)) << i;
      EXPECT_EQ(b.indices[i % 3], static_cast<std::int64_t>(i));
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_EQ(b.targets[i % 3 * 3 + c], c == i % 3 ? 1.0F : 0.0F);  // label i mod 3
      }
    }
    EXPECT_EQ(batches[1].labels[2], -1);
    EXPECT_EQ(batches[1].indices[2], -1);
    for (std::size_t i = 2 * kPixels; i < 3 * kPixels; ++i) ASSERT_EQ(batches[1].images[i], 0.0F);
  }
}

TEST(Loader, RanksShareAGlobalBatch) {
  const DatasetPtr data = test_dataset(46);
  const auto indices = [&](int batch, int rank, int world, bool drop) {
    Loader loader(
        data, plain(), augmentation_preset("cifar"),
        {.batch_size = batch, .drop_last = drop, .seed = 3, .rank = rank, .world_size = world});
    loader.start_epoch(1);
    return drain(loader);
  };
  for (const bool drop : {true, false}) {
    const auto whole = indices(12, 0, 1, drop);
    const auto first = indices(6, 0, 2, drop);
    const auto second = indices(6, 1, 2, drop);
    ASSERT_EQ(first.size(), whole.size());
    ASSERT_EQ(second.size(), whole.size());
    for (std::size_t b = 0; b < whole.size(); ++b) {
      auto joined = first[b].indices;
      joined.insert(joined.end(), second[b].indices.begin(), second[b].indices.end());
      EXPECT_EQ(joined, whole[b].indices);
      auto images = first[b].images;
      images.insert(images.end(), second[b].images.begin(), second[b].images.end());
      EXPECT_EQ(images, whole[b].images);
    }
  }
}

TEST(Loader, BuffersAreReused) {
  Loader loader(test_dataset(200), plain(), {}, {.batch_size = 4, .threads = 2, .prefetch = 2});
  Batch batch;
  std::set<const void*> buffers;
  for (int epoch = 0; epoch < 3; ++epoch) {
    loader.start_epoch(epoch);
    while (loader.next(batch)) buffers.insert(batch.images.raw());
  }
  EXPECT_LE(buffers.size(), 3U) << "two ahead and one with the consumer";
}

TEST(Loader, BadImagesAreReplacedInTraining) {
  Loader loader(with_bad(40, {5, 6, 39}), plain(), {},
                {.batch_size = 40, .shuffle = false, .threads = 3});
  loader.start_epoch(0);
  const auto batches = drain(loader);
  ASSERT_EQ(batches.size(), 1U);
  EXPECT_EQ(batches[0].indices[5], 7);
  EXPECT_EQ(batches[0].indices[6], 7);
  EXPECT_EQ(batches[0].indices[39], 0);
  EXPECT_EQ(batches[0].labels[5], 7 % 3);
  EXPECT_EQ(batches[0].count, 40);
  const auto bad = loader.bad_images();
  ASSERT_EQ(bad.size(), 3U);
  EXPECT_EQ(bad[1].index, 6);
  EXPECT_EQ(bad[1].name, "image 6");
  EXPECT_EQ(bad[1].reason, "image 6 is broken");
}

TEST(Loader, BadImagesAreLeftOutInEvaluation) {
  Loader loader(with_bad(20, {4}), plain(), {}, evaluation_options(10, 2));
  loader.start_epoch(0);
  const auto batches = drain(loader);
  ASSERT_EQ(batches.size(), 2U);
  const Copy& b = batches[0];
  EXPECT_EQ(b.labels[4], -1);
  EXPECT_EQ(b.indices[4], 4);
  EXPECT_EQ(std::accumulate(b.targets.begin() + 12, b.targets.begin() + 15, 0.0F), 0.0F);
  for (std::size_t i = 4 * 192; i < 5 * 192; ++i) ASSERT_EQ(b.images[i], 0.0F);
  EXPECT_EQ(b.labels[5], 2);
}

TEST(Loader, TooManyBadImagesFail) {
  for (const int threads : {0, 3}) {
    Loader loader(with_bad(40, {1, 2, 3, 4, 5}), plain(), {}, evaluation_options(8, threads));
    loader.start_epoch(0);
    expect_error(ErrorCode::kBadData, {"5 of 40 images", "10 %", "image"}, [&] { drain(loader); });
  }
  LoaderOptions options = evaluation_options(8, 2);
  options.max_bad_fraction = 0.125;
  Loader loader(with_bad(40, {1, 2, 3, 4, 5}), plain(), {}, options);
  loader.start_epoch(0);
  EXPECT_EQ(drain(loader).size(), 5U);
}

TEST(Loader, AnImageTooThinToResizeIsABadOne) {
  std::vector<Image> images(20, test_image(8, 8, 3));
  images[3] = Image(70000, 1, 3);
  const DatasetPtr data = make_dataset(images, std::vector<int>(20, 0), {"a", "b"});
  Preprocessing s = plain();
  s.resize = 300;
  Loader loader(data, s, {}, evaluation_options(20));
  loader.start_epoch(0);
  EXPECT_EQ(drain(loader).size(), 1U);
  ASSERT_EQ(loader.bad_images().size(), 1U);
  EXPECT_EQ(loader.bad_images()[0].index, 3);
}

TEST(Loader, LackOfMemoryReachesTheConsumer) {
  const auto expect_no_memory = [](Loader& loader, Batch& batch) {
    try {
      loader.next(batch);
      ADD_FAILURE() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kOutOfMemory) << e.what();
    }
  };
  for (const int threads : {0, 2}) {
    const auto data = std::make_shared<Failing>(test_dataset(30), [](std::int64_t i) {
      if (i == 17) throw std::bad_alloc();
    });
    Loader loader(data, plain(), {}, evaluation_options(10, threads));
    loader.start_epoch(0);
    Batch batch;
    EXPECT_TRUE(loader.next(batch));
    expect_no_memory(loader, batch);
    expect_no_memory(loader, batch);  // until another epoch is begun
    loader.start_epoch(1, 2);
    EXPECT_TRUE(loader.next(batch));
    EXPECT_FALSE(loader.next(batch));
  }
}

TEST(Loader, ReadsReducedImagesOnlyWhenTrainingAsksForIt) {
  std::vector<std::int64_t> calls;  // −shorter of each reduced read
  const auto data =
      std::make_shared<Failing>(test_dataset(4), [&](std::int64_t i) { calls.push_back(i); });
  Batch batch;
  for (const bool fast : {false, true}) {
    Preprocessing prep = plain();
    prep.resize = 9;
    Loader loader(data, prep, {.fast_decode = fast},
                  {.batch_size = 4, .shuffle = false, .threads = 0});
    loader.start_epoch(0);
    ASSERT_TRUE(loader.next(batch));
    EXPECT_EQ(calls,
              fast ? std::vector<std::int64_t>(4, -9) : std::vector<std::int64_t>({0, 1, 2, 3}));
    calls.clear();
  }
}

/// Decodes images as a whole, whatever part is wanted.
class Whole final : public Dataset {
 public:
  explicit Whole(DatasetPtr base) : base_(std::move(base)) {}
  std::int64_t size() const override { return base_->size(); }
  const std::vector<std::string>& class_names() const override { return base_->class_names(); }
  int label(std::int64_t i) const override { return base_->label(i); }
  std::string name(std::int64_t i) const override { return base_->name(i); }
  void read(std::int64_t i, Image& out) const override { base_->read(i, out); }

 private:
  DatasetPtr base_;
};

TEST(Loader, DecodesNoMoreThanRandomCropsNeed) {
  const TemporaryFolder folder;
  for (char i = 0; i < 16; ++i) {
    const ByteVector jpeg = make_jpeg(150 + i, 90 + 2 * i, {.progressive = i == 5});
    folder.write(std::string(i % 2 == 0 ? "a/" : "b/") + static_cast<char>('a' + i) + ".jpg",
                 with_orientation(jpeg, static_cast<char>(i / 2 + 1)));
  }
  const DatasetPtr data = open_data({.source = folder.path().string(), .val_fraction = 0.1}).train;
  ASSERT_EQ(data->size(), 14);
  for (const bool upright : {true, false}) {
    Preprocessing prep = plain(32);
    prep.upright = upright;
    const LoaderOptions options{.batch_size = 7, .threads = 2};
    for (const Augmentation& a : {augmentation_preset("imagenet"), everything()}) {
      Loader partly(data, prep, a, options);
      Loader wholly(std::make_shared<Whole>(data), prep, a, options);
      for (int epoch = 0; epoch < 6; ++epoch) {
        partly.start_epoch(epoch);
        wholly.start_epoch(epoch);
        EXPECT_TRUE(drain(partly) == drain(wholly)) << epoch;
      }
      EXPECT_TRUE(partly.bad_images().empty());
    }
  }
}

TEST(Loader, StopsInTheMiddle) {
  constexpr int kImages = 640, kEpochs = 5;
  std::atomic<int> reads = 0;
  const auto slow = std::make_shared<Failing>(test_dataset(kImages), [&reads](std::int64_t) {
    ++reads;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  {
    Loader loader(slow, plain(), {}, {.batch_size = 16, .threads = 3});
    Batch batch;
    EXPECT_FALSE(loader.next(batch)) << "no epoch yet";
    for (int epoch = 0; epoch < kEpochs; ++epoch) {
      loader.start_epoch(epoch);
      ASSERT_TRUE(loader.next(batch));
    }
    EXPECT_GT(loader.wait_seconds(), 0.0);
  }
  { Loader unused(slow, plain(), {}, {.batch_size = 16, .threads = 3}); }
  EXPECT_LT(reads, kEpochs * kImages / 2) << "what nobody takes is read";
}

TEST(Loader, MixedTargetsSumToOne) {
  const DatasetPtr data = test_dataset(64);
  for (const bool cut : {false, true}) {
    Augmentation a;
    (cut ? a.cutmix : a.mixup) = 0.8;
    for (const DataLayout layout : {DataLayout::kNCHW, DataLayout::kNHWC}) {
      Loader loader(data, plain(), a,
                    {.batch_size = 16, .threads = 2, .seed = 2, .layout = layout});
      Loader unmixed(data, plain(), {}, {.batch_size = 16, .seed = 2, .layout = layout});
      loader.start_epoch(0);
      unmixed.start_epoch(0);
      const auto mixed = drain(loader);
      const auto own = drain(unmixed);
      bool any = false;
      for (std::size_t b = 0; b < mixed.size(); ++b) {
        ASSERT_EQ(mixed[b].indices, own[b].indices);
        for (std::size_t r = 0; r < 16; ++r) {
          const std::size_t partner = (r + 15) % 16;
          const float* target = &mixed[b].targets[r * 3];
          EXPECT_NEAR(target[0] + target[1] + target[2], 1.0F, 1e-6F);
          // The share of the own label must be the share of the own image.
          const auto label = static_cast<std::size_t>(mixed[b].labels[r]);
          if (mixed[b].labels[partner] == mixed[b].labels[r]) continue;
          const float share = target[label];
          any = any || (share > 0.05F && share < 0.95F);
          std::size_t kept = 0;
          for (std::size_t i = 0; i < 192; ++i) {
            const float x = own[b].images[r * 192 + i];
            const float y = own[b].images[partner * 192 + i];
            const float z = mixed[b].images[r * 192 + i];
            if (cut) {
              ASSERT_TRUE(z == x || z == y);
              kept += x == y || z == x ? 1U : 0U;
            } else {
              ASSERT_NEAR(z, share * x + (1 - share) * y, 1e-5F);
            }
          }
          if (cut) {
            EXPECT_GE(static_cast<float>(kept) / 192, share - 1e-6F);
          }
        }
      }
      EXPECT_TRUE(any) << "something was mixed";
    }
  }
}

TEST(Loader, RefusesSenselessOptions) {
  const DatasetPtr data = test_dataset(10);
  const auto refuses = [&](std::initializer_list<std::string_view> parts, LoaderOptions options,
                           Augmentation a = {}) {
    expect_error(ErrorCode::kInvalidArgument, parts, [&] { Loader(data, plain(), a, options); });
  };
  refuses({"batches of 11", "10 images"}, {.batch_size = 11});
  refuses({"batches of 0"}, {.batch_size = 0});
  refuses({"rank 2 of 2"}, {.batch_size = 2, .rank = 2, .world_size = 2});
  refuses({"mixup"}, evaluation_options(2), {.mixup = 0.2});
  refuses({"hue"}, {.batch_size = 2}, {.hue = 0.7});
  Preprocessing oblong = plain();
  oblong.width = 16;
  expect_error(ErrorCode::kInvalidArgument, {"quarter turns", "square"},
               [&] { Loader(data, oblong, {.quarter_turns = true}, {.batch_size = 2}); });
}

}  // namespace
}  // namespace resnet

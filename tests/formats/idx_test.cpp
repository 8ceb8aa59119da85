#include "formats/idx.h"

#include <gtest/gtest.h>

#include "formats/pack.h"
#include "formats/support.h"

namespace resnet {
namespace {

ByteVector idx(std::uint32_t magic, const std::vector<std::uint32_t>& sizes, std::size_t data) {
  ByteVector out;
  const auto put = [&](std::uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(v >> shift));
  };
  put(magic);
  for (const std::uint32_t s : sizes) put(s);
  for (std::size_t i = 0; i < data; ++i) out.push_back(static_cast<std::byte>(i));
  return out;
}

ByteVector images() { return idx(0x803, {2, 3, 4}, 24); }
ByteVector labels() { return idx(0x801, {2}, 2); }

TEST(Idx, ReadsImagesAndLabels) {
  const TemporaryFolder folder;
  for (const auto& [plain, packed] :
       {std::pair{images(), gzip(images())}, std::pair{gzip(images()), images()}}) {
    const Tensor t = read_idx_images(folder.write("i", plain));
    EXPECT_EQ(t.shape(), (Shape{2, 3, 4}));
    EXPECT_EQ(t.as<std::uint8_t>()[23], 23);
    EXPECT_EQ(read_idx_images(folder.write("j", packed)).shape(), t.shape());
  }
  EXPECT_EQ(read_idx_labels(folder.write("l", labels())), (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(read_idx_labels(folder.write("l.gz", gzip(labels()))),
            (std::vector<std::int32_t>{0, 1}));
}

TEST(Idx, RefusesOtherFiles) {
  expect_error(ErrorCode::kBadData, {"x", "IDX file of images", "0x00000801"},
               [] { parse_idx_images(labels(), "x"); });
  expect_error(ErrorCode::kBadData, {"x", "IDX file of labels", "0x00000803"},
               [] { parse_idx_labels(images(), "x"); });
  expect_error(ErrorCode::kBadData, {"only 0 bytes"}, [] { parse_idx_labels({}, "x"); });
  // 0x0D: floats
  expect_error(ErrorCode::kBadData, {"0x00000d03"}, [] {
    parse_idx_images(idx(0xd03, {1, 1, 1}, 4), "x");
  });
}

TEST(Idx, EveryTruncationAndAnyTailIsRefused) {
  ByteVector file = images();
  for (std::size_t length = 0; length < file.size(); ++length) {
    const ByteVector part(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
    expect_error(ErrorCode::kBadData, {"x: "}, [&] { parse_idx_images(part, "x"); });
  }
  file.push_back(std::byte{0});
  expect_error(ErrorCode::kBadData, {"[2, 3, 4]", "25"}, [&] { parse_idx_images(file, "x"); });
}

TEST(Idx, RefusesLyingSizes) {
  constexpr std::uint32_t kMax = 0xffffffff;
  for (const std::vector<std::uint32_t>& sizes : {std::vector<std::uint32_t>{kMax, kMax, kMax},
                                                  {0x80000000U, 2, 0x80000000U},
                                                  {65536, 65536, 4294901760U},
                                                  {0, 28, 28},
                                                  {1, 0, 0},
                                                  {1U << 30, 1U << 30, 16}}) {
    expect_error(ErrorCode::kBadData, {"x: the IDX file declares"},
                 [&] { parse_idx_images(idx(0x803, sizes, 24), "x"); });
  }
}

TEST(Idx, ReadsAFolder) {
  const TemporaryFolder folder;
  EXPECT_FALSE(is_idx_folder(folder.path()));
  folder.write("train-images-idx3-ubyte.gz", gzip(images()));
  EXPECT_TRUE(is_idx_folder(folder.path()));
  folder.write("train-labels.idx1-ubyte", labels());
  folder.write("t10k-images-idx3-ubyte", idx(0x803, {1, 3, 4}, 12));
  expect_error(ErrorCode::kNotFound, {"t10k-labels-idx1-ubyte"},
               [&] { read_idx_folder(folder.path()); });
  folder.write("t10k-labels-idx1-ubyte", idx(0x801, {1}, 1));
  const Idx data = read_idx_folder(folder.path());
  EXPECT_EQ(data.train.images.dim(0), 2);
  EXPECT_EQ(data.train.labels.size(), 2U);
  EXPECT_EQ(data.test.images.dim(0), 1);
  folder.write("t10k-labels-idx1-ubyte", labels());
  expect_error(ErrorCode::kBadData, {"1 images and 2 labels"},
               [&] { read_idx_folder(folder.path()); });
}

}  // namespace
}  // namespace resnet

#include "formats/cifar.h"

#include <gtest/gtest.h>

#include <functional>

#include "formats/pack.h"
#include "formats/support.h"

namespace resnet {
namespace {

constexpr std::size_t kPixels = 3072;

/// Records whose pixels all are `first + i`, with labels from `label_of(i)`.
ByteVector batch(std::size_t count, int first,
                 const std::function<std::vector<int>(std::size_t)>& labels_of) {
  ByteVector out;
  for (std::size_t i = 0; i < count; ++i) {
    for (const int label : labels_of(i)) out.push_back(static_cast<std::byte>(label));
    for (std::size_t k = 0; k < kPixels; ++k) {
      out.push_back(
          static_cast<std::byte>(first + static_cast<int>(i) + static_cast<int>(k >> 10)));
    }
  }
  return out;
}

std::vector<PackedFile> cifar10(const std::string& folder = "") {
  const auto label = [](std::size_t i) { return std::vector<int>{static_cast<int>(i % 10)}; };
  std::vector<PackedFile> files;
  for (int b = 5; b >= 1; --b) {  // the order in an archive means nothing
    files.push_back({folder + "data_batch_" + std::to_string(b) + ".bin", batch(3, b * 10, label)});
  }
  files.push_back({folder + "test_batch.bin", batch(2, 100, label)});
  files.push_back(
      {folder + "batches.meta.txt",
       bytes_of("airplane\nautomobile\r\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")});
  files.push_back({folder + "readme.html", bytes_of("<html>")});
  return files;
}

std::vector<PackedFile> cifar100(const std::string& folder = "") {
  const auto labels = [](std::size_t i) {
    return std::vector<int>{static_cast<int>(19 - i), static_cast<int>(99 - i)};
  };
  return {{folder + "train.bin", batch(4, 0, labels)}, {folder + "test.bin", batch(1, 50, labels)}};
}

void write_all(const TemporaryFolder& folder, const std::vector<PackedFile>& files) {
  for (const PackedFile& f : files) folder.write(f.name, f.bytes);
}

void expect_cifar10(const Cifar& c) {
  EXPECT_EQ(c.kind, CifarKind::kCifar10);
  EXPECT_EQ(c.train.images.shape(), (Shape{15, 3, 32, 32}));
  EXPECT_EQ(c.test.images.shape(), (Shape{2, 3, 32, 32}));
  EXPECT_EQ(c.train.labels,
            (std::vector<std::int32_t>{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(c.test.labels, (std::vector<std::int32_t>{0, 1}));
  EXPECT_TRUE(c.train.coarse_labels.empty());
  const auto pixels = c.train.images.as<std::uint8_t>();
  for (std::size_t n = 0; n < 15; ++n) {
    for (std::size_t plane = 0; plane < 3; ++plane) {
      EXPECT_EQ(pixels[n * kPixels + plane * 1024], (n / 3 + 1) * 10 + n % 3 + plane);
      EXPECT_EQ(pixels[n * kPixels + plane * 1024 + 1023], (n / 3 + 1) * 10 + n % 3 + plane);
    }
  }
  ASSERT_EQ(c.class_names.size(), 10U);
  EXPECT_EQ(c.class_names[1], "automobile");
  EXPECT_EQ(c.class_names[9], "truck");
}

TEST(Cifar, ReadsCifar10FromFoldersAndArchives) {
  const TemporaryFolder flat;
  write_all(flat, cifar10());
  EXPECT_TRUE(is_cifar(flat.path()));
  expect_cifar10(read_cifar(flat.path()));

  const TemporaryFolder nested;
  write_all(nested, cifar10("cifar-10-batches-bin/"));
  EXPECT_TRUE(is_cifar(nested.path()));
  expect_cifar10(read_cifar(nested.path()));

  const TemporaryFolder archives;
  for (const auto& [name, packing] :
       {std::pair{"c.tar.gz", Packing::kTarGz}, std::pair{"c.tar", Packing::kTar},
        std::pair{"c.zip", Packing::kZip}}) {
    const auto path = archives.write(name, pack(packing, cifar10("cifar-10-batches-bin/")));
    EXPECT_TRUE(is_cifar(path));
    expect_cifar10(read_cifar(path));
  }
}

TEST(Cifar, ReadsCifar100) {
  const TemporaryFolder folder;
  auto files = cifar100("cifar-100-binary/");
  write_all(folder, files);
  const Cifar c = read_cifar(folder.path());
  EXPECT_EQ(c.kind, CifarKind::kCifar100);
  EXPECT_EQ(c.train.images.shape(), (Shape{4, 3, 32, 32}));
  EXPECT_EQ(c.train.labels, (std::vector<std::int32_t>{99, 98, 97, 96}));
  EXPECT_EQ(c.train.coarse_labels, (std::vector<std::int32_t>{19, 18, 17, 16}));
  EXPECT_EQ(c.test.labels, (std::vector<std::int32_t>{99}));
  EXPECT_EQ(c.test.images.as<std::uint8_t>()[2048], 52);
  ASSERT_EQ(c.class_names.size(), 100U);  // without the file of names
  EXPECT_EQ(c.class_names[42], "42");
  ASSERT_EQ(c.coarse_class_names.size(), 20U);

  std::string names;
  for (int i = 0; i < 20; ++i) names += "super" + std::to_string(i) + "\n";
  folder.write("cifar-100-binary/coarse_label_names.txt", bytes_of(names));
  EXPECT_EQ(read_cifar(folder.path()).coarse_class_names[19], "super19");
}

TEST(Cifar, MissingBatchesAreNamed) {
  const TemporaryFolder folder;
  write_all(folder, cifar10());
  std::filesystem::remove(folder.path() / "data_batch_3.bin");
  expect_error(ErrorCode::kNotFound, {folder.path().string(), "data_batch_3.bin", "missing"},
               [&] { read_cifar(folder.path()); });
  const TemporaryFolder empty;
  EXPECT_FALSE(is_cifar(empty.path()));
  expect_error(ErrorCode::kNotFound, {"found none of it"}, [&] { read_cifar(empty.path()); });
  expect_error(ErrorCode::kNotFound, {"no such file"}, [&] { read_cifar(empty.path() / "x"); });
}

TEST(Cifar, WrongLengthsAreRefused) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kPixels, 3 * 3073 - std::size_t{1},
                                 3 * 3073 + std::size_t{1}}) {
    const TemporaryFolder folder;
    write_all(folder, cifar10());
    folder.write("data_batch_2.bin", ByteVector(size));
    expect_error(ErrorCode::kBadData,
                 {"data_batch_2.bin", "records of 3073 bytes", std::to_string(size) + " bytes"},
                 [&] { read_cifar(folder.path()); });
  }
}

TEST(Cifar, LabelsOutOfRangeAreRefused) {
  const TemporaryFolder folder;
  write_all(folder, cifar10());
  ByteVector bad = batch(3, 0, [](std::size_t i) { return std::vector{i == 2 ? 10 : 9}; });
  folder.write("test_batch.bin", bad);
  expect_error(ErrorCode::kBadData, {"test_batch.bin", "record 2 has the label 10"},
               [&] { read_cifar(folder.path()); });
  const TemporaryFolder fine;
  write_all(fine, cifar100());
  fine.write("train.bin", batch(1, 0, [](std::size_t) { return std::vector{20, 5}; }));
  expect_error(ErrorCode::kBadData, {"train.bin", "label 20, expected 0 to 19"},
               [&] { read_cifar(fine.path()); });
  fine.write("train.bin", batch(1, 0, [](std::size_t) { return std::vector{5, 100}; }));
  expect_error(ErrorCode::kBadData, {"label 100, expected 0 to 99"},
               [&] { read_cifar(fine.path()); });
}

TEST(Cifar, OddFoldersAndArchivesAreRefused) {
  const TemporaryFolder mixed;
  write_all(mixed, cifar10());
  write_all(mixed, cifar100());
  expect_error(ErrorCode::kBadData, {"lie together"}, [&] { read_cifar(mixed.path()); });

  const TemporaryFolder names;
  write_all(names, cifar10());
  names.write("batches.meta.txt", bytes_of("cat\ndog\n"));
  expect_error(ErrorCode::kBadData, {"10 class names in batches.meta.txt, found 2"},
               [&] { read_cifar(names.path()); });

  auto twice = cifar10("a/");
  twice.push_back({"b/test_batch.bin", {}});
  expect_error(ErrorCode::kBadData, {"holds test_batch.bin twice"},
               [&] { read_cifar(names.write("twice.tar", pack(Packing::kTar, twice))); });

  ByteVector cut = pack(Packing::kTarGz, cifar10());
  cut.resize(cut.size() / 2);
  expect_error(ErrorCode::kBadData, {"cut.tar.gz", "damaged or cut short"},
               [&] { read_cifar(names.write("cut.tar.gz", cut)); });

  EXPECT_FALSE(is_cifar(names.write("other.zip", pack(Packing::kZip, {{"a.txt", {}}}))));
  EXPECT_FALSE(is_cifar(names.write("image.jpg", bytes_of("x"))));
}

}  // namespace
}  // namespace resnet

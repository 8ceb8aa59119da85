#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "data/datasets.h"
#include "data/galaxies.h"
#include "data/support.h"
#include "resnet/data.h"

namespace resnet {
namespace {

std::set<std::string> names_of(const Dataset& dataset) {
  std::set<std::string> names;
  for (std::int64_t i = 0; i < dataset.size(); ++i) names.insert(dataset.name(i));
  return names;
}

DataSplits open(const std::filesystem::path& path, std::uint64_t seed = 0) {
  return open_data({.source = path.string(), .seed = seed});
}

void write_class(const TemporaryFolder& folder, const std::string& name, int count,
                 std::uint32_t seed = 1) {
  for (int i = 0; i < count; ++i) {
    write_png(folder, name + "/" + std::to_string(i) + ".png",
              seed + static_cast<std::uint32_t>(i));
  }
}

// ----------------------------------------------------------------------------------------- folders

TEST(OpenFolder, TrainAndVal) {
  TemporaryFolder folder;
  write_class(folder, "train/dog", 3);
  write_class(folder, "train/cat", 2, 50);
  write_class(folder, "val/dog", 1, 90);
  folder.write("train/cat/readme.txt", bytes_of("not an image"));
  folder.write("train/.cache/x.png", bytes_of("hidden"));
  write_png(folder, "train/cat/deep/er/z.PNG", 70);

  const DataSplits data = open(folder.path());
  EXPECT_EQ(data.train->class_names(), (std::vector<std::string>{"cat", "dog"}));
  ASSERT_EQ(data.train->size(), 6);
  ASSERT_EQ(data.val->size(), 1);
  EXPECT_EQ(data.val->label(0), 1) << "dog is class 1 although val has no cats";
  EXPECT_EQ(data.val->class_names(), data.train->class_names());
  EXPECT_FALSE(data.split_here);
  EXPECT_EQ(data.train->name(2), (folder.path() / "train/cat/deep/er/z.PNG").string());
  EXPECT_EQ(data.train->image(2).pixels, test_image(8, 8, 3, 70).pixels);
  EXPECT_NE(data.description.find("6 training and 1 validation images of 2 classes"),
            std::string::npos)
      << data.description;
}

TEST(OpenFolder, AFewImagesOfEachClass) {
  TemporaryFolder folder;
  write_class(folder, "a", 30);
  write_class(folder, "b", 20, 50);
  write_class(folder, "c", 3, 90);
  const DataSplits all = open(folder.path(), 4);
  const auto few = [&](int per_class, std::uint64_t seed) {
    return open_data({.source = folder.path().string(), .seed = seed, .per_class = per_class});
  };
  const DataSplits five = few(5, 4), seven = few(7, 4);
  EXPECT_EQ(names_of(*five.val), names_of(*all.val));
  std::map<int, int> count;
  for (std::int64_t i = 0; i < five.train->size(); ++i) ++count[five.train->label(i)];
  EXPECT_EQ(count, (std::map<int, int>{{0, 5}, {1, 5}, {2, 2}}));  // one c is held out
  const auto small = names_of(*five.train), large = names_of(*seven.train);
  EXPECT_TRUE(std::ranges::includes(large, small));
  EXPECT_TRUE(std::ranges::includes(names_of(*all.train), large));
  EXPECT_EQ(names_of(*few(5, 4).train), small);
  EXPECT_NE(names_of(*few(5, 5).train), small);
  EXPECT_NE(five.description.find("5 a class"), std::string::npos) << five.description;
  EXPECT_THROW(few(-1, 0), Error);
}

TEST(OpenFolder, SplitIsStratifiedSeededAndDisjoint) {
  TemporaryFolder folder;
  write_class(folder, "a", 10);
  write_class(folder, "b", 40, 100);
  write_class(folder, "c", 2, 200);
  write_class(folder, "d", 1, 300);

  const DataSplits one = open(folder.path(), 7);
  EXPECT_TRUE(one.split_here);
  std::map<int, int> held;
  for (std::int64_t i = 0; i < one.val->size(); ++i) ++held[one.val->label(i)];
  EXPECT_EQ(held, (std::map<int, int>{{0, 2}, {1, 8}, {2, 1}}));

  const auto train = names_of(*one.train);
  const auto val = names_of(*one.val);
  EXPECT_EQ(train.size() + val.size(), 53U);
  for (const std::string& name : val) EXPECT_FALSE(train.contains(name)) << name;

  EXPECT_EQ(names_of(*open(folder.path(), 7).val), val);
  EXPECT_NE(names_of(*open(folder.path(), 8).val), val);
}

TEST(OpenFolder, KeepsImagesThatCannotBeRead) {
  TemporaryFolder folder;
  write_class(folder, "train/a", 2);
  write_class(folder, "train/b", 2, 9);
  write_class(folder, "val/a", 1, 20);
  folder.write("train/b/stray.gif", bytes_of("GIF89a..."));
  const DataSplits data = open(folder.path());
  ASSERT_EQ(data.train->size(), 5);
  expect_error(ErrorCode::kUnsupported, {"stray.gif"}, [&] { (void)data.train->image(4); });
}

TEST(OpenFolder, SaysWhatIsWrong) {
  TemporaryFolder folder;
  const std::string root = folder.path().string();
  const auto make = [&](const std::string& name) {
    std::filesystem::create_directories(folder.path() / name);
  };
  const auto refuses = [&](ErrorCode code, const std::string& below,
                           std::initializer_list<std::string_view> parts) {
    SCOPED_TRACE(below);
    expect_error(code, parts, [&] { open(folder.path() / below); });
  };

  refuses(ErrorCode::kNotFound, "absent", {"absent", "no such file or folder", "galaxies"});
  expect_error(ErrorCode::kNotFound, {"no such"}, [] { open_data({.source = ""}); });
  make("empty");
  refuses(ErrorCode::kBadData, "empty", {"empty", "no class folders and no images"});
  write_png(folder, "loose/1.png");
  refuses(ErrorCode::kBadData, "loose", {"1 images but no class folders"});
  write_class(folder, "single/cat", 3);
  refuses(ErrorCode::kBadData, "single", {"only one class (\"cat\")", "at least two"});
  write_class(folder, "wrapped/inner/a", 1);
  write_class(folder, "wrapped/inner/b", 1);
  refuses(ErrorCode::kBadData, "wrapped", {"only one class", "did you mean", "wrapped/inner"});
  write_class(folder, "hollow/a", 1);
  make("hollow/b");
  refuses(ErrorCode::kBadData, "hollow", {"hollow/b", "no images"});
  write_class(folder, "extra/train/a", 1);
  write_class(folder, "extra/train/b", 1);
  write_class(folder, "extra/val/a", 1);
  write_class(folder, "extra/val/zebra", 1);
  refuses(ErrorCode::kBadData, "extra", {"\"zebra\"", "no training images"});
  write_class(folder, "noval/train/a", 1);
  write_class(folder, "noval/train/b", 1);
  make("noval/val");
  refuses(ErrorCode::kBadData, "noval", {"noval/val", "no class folders"});
  write_class(folder, "testonly/test/a", 1);
  write_class(folder, "testonly/test/b", 1);
  refuses(ErrorCode::kBadData, "testonly", {"no train folder"});
  write_class(folder, "ones/a", 1);
  write_class(folder, "ones/b", 1);
  refuses(ErrorCode::kBadData, "ones", {"none can be held out"});
  folder.write("file.txt", bytes_of("hello"));
  refuses(ErrorCode::kBadData, "file.txt", {"file.txt"});
  write_png(folder, "one.png");
  refuses(ErrorCode::kBadData, "one.png", {"one.png", "not a data set"});
  expect_error(ErrorCode::kInvalidArgument, {"1.5", "between 0 and 1"},
               [&] { open_data({.source = root, .val_fraction = 1.5}); });
}

TEST(OpenTestData, MatchesClassesByName) {
  TemporaryFolder folder;
  write_class(folder, "a", 2);
  write_class(folder, "c", 1, 30);
  const DataSpec spec{.source = folder.path().string()};
  const DatasetPtr data = open_test_data(spec, {"c", "b", "a"});
  ASSERT_EQ(data->size(), 3) << "a folder without parts is evaluated whole";
  EXPECT_EQ(data->label(0), 2);
  EXPECT_EQ(data->label(2), 0);
  EXPECT_EQ(data->class_names(), (std::vector<std::string>{"c", "b", "a"}));
  EXPECT_EQ(data->image(2).pixels, test_image(8, 8, 3, 30).pixels);
  expect_error(ErrorCode::kBadData, {"\"c\"", "not one of the model's classes ("}, [&] {
    open_test_data(spec, {"a", "b"});
  });
}

TEST(OpenTestData, TakesTheTestPart) {
  TemporaryFolder folder;
  write_class(folder, "train/a", 2);
  write_class(folder, "train/b", 2);
  write_class(folder, "test/b", 1, 30);
  const DatasetPtr data = open_test_data({.source = folder.path().string()}, {"a", "b"});
  ASSERT_EQ(data->size(), 1);
  EXPECT_EQ(data->label(0), 1);
}

TEST(ListImages, SortedRecursiveOrOneFile) {
  TemporaryFolder folder;
  write_png(folder, "b.png");
  write_png(folder, "a/z.png");
  folder.write("a/y.txt", bytes_of("no"));
  folder.write("c.gif", bytes_of("GIF89a"));
  using Paths = std::vector<std::filesystem::path>;
  const auto& root = folder.path();
  EXPECT_EQ(list_images(root), (Paths{root / "a/z.png", root / "b.png", root / "c.gif"}));
  EXPECT_EQ(list_images(root / "b.png"), (Paths{root / "b.png"}));
  expect_error(ErrorCode::kNotFound, {"nowhere"}, [&] { list_images(root / "nowhere"); });
}

// -------------------------------------------------------------------------------------- CIFAR, IDX

ByteVector cifar_record(int label, int red, int green, int blue) {
  ByteVector record{static_cast<std::byte>(label)};
  for (const int value : {red, green, blue}) record.insert(record.end(), 1024, std::byte(value));
  return record;
}

void write_cifar(const TemporaryFolder& folder) {
  for (int i = 1; i <= 5; ++i) {
    folder.write("cifar/data_batch_" + std::to_string(i) + ".bin", cifar_record(i, 10 * i, 2, 3));
  }
  folder.write("cifar/test_batch.bin", cifar_record(9, 7, 8, 9));
}

TEST(OpenCifar, PixelsAndLabels) {
  TemporaryFolder folder;
  write_cifar(folder);
  const DataSplits data = open(folder.path() / "cifar");
  ASSERT_EQ(data.train->size(), 5);
  ASSERT_EQ(data.val->size(), 1);
  EXPECT_EQ(data.train->label(2), 3);
  EXPECT_EQ(data.val->label(0), 9);
  EXPECT_EQ(data.train->class_names().size(), 10U);
  EXPECT_EQ(data.train->image_size(), (ImageSize{32, 32}));
  const Image p = data.train->image(2);
  ASSERT_EQ(p.pixels.size(), 3072U);
  for (std::size_t i = 0; i < p.pixels.size(); i += 3) {
    ASSERT_EQ(p.pixels[i], 30);
    ASSERT_EQ(p.pixels[i + 1], 2);
    ASSERT_EQ(p.pixels[i + 2], 3);
  }
}

TEST(OpenCifar, WrongLengthIsRefusedByName) {
  TemporaryFolder folder;
  write_cifar(folder);
  ByteVector cut = cifar_record(1, 1, 2, 3);
  cut.pop_back();
  folder.write("cifar/data_batch_3.bin", cut);
  expect_error(ErrorCode::kBadData, {"data_batch_3.bin"}, [&] { open(folder.path() / "cifar"); });
}

ByteVector idx(int kind, std::initializer_list<int> sizes, const std::vector<int>& values) {
  ByteVector bytes{std::byte{0}, std::byte{0}, std::byte{8}, std::byte(kind)};
  for (const int size : sizes) {
    for (const int shift : {24, 16, 8, 0}) bytes.push_back(std::byte((size >> shift) & 255));
  }
  for (const int v : values) bytes.push_back(std::byte(v));
  return bytes;
}

TEST(OpenIdx, GreyImages) {
  TemporaryFolder folder;
  folder.write("train-images-idx3-ubyte",
               idx(3, {2, 2, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}));
  folder.write("train-labels-idx1-ubyte", idx(1, {2}, {4, 0}));
  folder.write("t10k-images-idx3-ubyte", idx(3, {1, 2, 3}, {9, 9, 9, 9, 9, 9}));
  folder.write("t10k-labels-idx1-ubyte", idx(1, {1}, {2}));
  const DataSplits data = open(folder.path());
  ASSERT_EQ(data.train->size(), 2);
  EXPECT_TRUE(data.train->grey());
  EXPECT_EQ(data.train->image_size(), (ImageSize{3, 2}));
  EXPECT_EQ(data.train->class_names().size(), 5U);
  EXPECT_EQ(data.train->label(0), 4);
  EXPECT_EQ(data.train->image(1).pixels, (std::vector<std::uint8_t>{7, 8, 9, 10, 11, 12}));
  EXPECT_EQ(default_preprocessing(*data.train).channels, 1);

  folder.write("train-labels-idx1-ubyte", idx(1, {2}, {4, 4}));
  expect_error(ErrorCode::kBadData, {"one class", "\"4\""}, [&] { open(folder.path()); });
}

// ---------------------------------------------------------------------------------------- galaxies

TEST(OpenGalaxies, SettingsAndDisjointParts) {
  const DataSplits data = open_data({.source = "galaxies:train=24,val=12,size=16,seed=5"});
  ASSERT_EQ(data.train->size(), 24);
  ASSERT_EQ(data.val->size(), 12);
  EXPECT_EQ(data.train->image_size(), (ImageSize{16, 16}));
  std::set<std::string> seen;
  for (const DatasetPtr& part : {data.train, data.val}) {
    for (std::int64_t i = 0; i < part->size(); ++i) {
      const Image p = part->image(i);
      EXPECT_TRUE(seen.emplace(p.pixels.begin(), p.pixels.end()).second) << part->name(i);
    }
  }
  const DataSplits again = open_data({.source = "galaxies:seed=5,size=16,val=12,train=48"});
  EXPECT_EQ(again.train->image(20).pixels, data.train->image(20).pixels);
  EXPECT_EQ(again.val->image(3).pixels, data.val->image(3).pixels);
  const DataSplits other = open_data({.source = "galaxies:train=24,val=12,size=16", .seed = 6});
  EXPECT_NE(other.train->image(0).pixels, data.train->image(0).pixels);
  EXPECT_EQ(open_data({.source = "galaxies", .image_size = 24}).train->image_size(),
            (ImageSize{24, 24}));
}

TEST(OpenGalaxies, KeptImagesAreThoseDrawn) {
  const DatasetPtr galaxies = make_galaxies("train", 12, 16, 3, 0);
  std::vector<Image> drawn;
  for (std::int64_t i = 0; i < 12; ++i) {
    drawn.push_back(draw_galaxy(galaxies->label(i), 16, 3, static_cast<std::uint64_t>(i)));
  }
  const auto compare = [&] {
    for (int round = 0; round < 3; ++round) {
      for (std::int64_t i = 0; i < 12; ++i) {
        EXPECT_EQ(galaxies->image(i).pixels, drawn[static_cast<std::size_t>(i)].pixels);
      }
    }
  };
  std::jthread one(compare);
  std::jthread two(compare);
}

TEST(OpenGalaxies, SaysWhatIsWrong) {
  for (const char* source : {"galaxies:trian=5", "galaxies:", "galaxies:train", "galaxies:train=2x",
                             "galaxies:size=-1", "galaxies:size=100000", "galaxies:val=0"}) {
    SCOPED_TRACE(source);
    expect_error(ErrorCode::kInvalidArgument, {"galaxies", "expected"},
                 [&] { open_data({.source = source}); });
  }
}

// --------------------------------------------------------------------------------------- in memory

TEST(MakeDataset, ChecksWhatItIsGiven) {
  expect_error(ErrorCode::kInvalidArgument, {"1 images with 2 labels"}, [] {
    make_dataset({test_image(2, 2, 3)}, {0, 1}, {"a", "b"});
  });
  expect_error(ErrorCode::kInvalidArgument, {"label 2", "2 classes"}, [] {
    make_dataset({test_image(2, 2, 3)}, {2}, {"a", "b"});
  });
  Image lying(4, 4, 3);
  lying.pixels.pop_back();
  expect_error(ErrorCode::kInvalidArgument, {"47 bytes"},
               [&] { make_dataset({lying}, {0}, {"a"}); });
  const DatasetPtr base = test_dataset(4);
  expect_error(ErrorCode::kInvalidArgument, {"no image 4"}, [&] { make_subset(base, {0, 4}); });
  const DatasetPtr part = make_subset(base, {3, 1, 1});
  ASSERT_EQ(part->size(), 3);
  EXPECT_EQ(part->image(0).pixels, base->image(3).pixels);
  EXPECT_EQ(part->label(2), base->label(1));
}

}  // namespace
}  // namespace resnet

// Tables, WebDataset shards, MedMNIST and HDF5 as sources of data.
#include "data/sources.h"

#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>

#include <algorithm>
#include <set>
#include <thread>

#include "data/support.h"
#include "formats/npy.h"
#include "formats/pack.h"
#include "resnet/data.h"

namespace resnet {
namespace {

using Names = std::vector<std::string>;

DataSplits open(const std::filesystem::path& path) { return open_data({.source = path.string()}); }

ByteVector png(std::uint32_t seed) { return encode_png(test_image(8, 8, 3, seed)); }

std::vector<std::uint8_t> pixels(std::uint32_t seed) { return test_image(8, 8, 3, seed).pixels; }

// ------------------------------------------------------------------------------------------ shared

TEST(Sources, PartsByWord) {
  for (const char* name : {"train", "imagenet-train-000.tar", "a_Training.tar"}) {
    EXPECT_EQ(part_of(name), Part::kTrain) << name;
  }
  for (const char* name : {"val", "x-valid-1", "validation/7"}) {
    EXPECT_EQ(part_of(name), Part::kVal) << name;
  }
  EXPECT_EQ(part_of("TEST.tar"), Part::kTest);
  EXPECT_EQ(part_of("x-eval-00.tar"), Part::kVal);
  EXPECT_EQ(part_of("Dev_set-3.tar"), Part::kVal);
  for (const char* name : {"", "trainer", "latest", "interval", "0001.tar"}) {
    EXPECT_EQ(part_of(name), Part::kNone) << name;
  }
}

TEST(Sources, ClassesByNumberOrName) {
  const TemporaryFolder folder;
  EXPECT_EQ(numbered_classes(folder.path(), 2), (Names{"0", "1", "2"}));
  folder.write("labels.txt", bytes_of("round disc\r\nspiral\n\n"));
  EXPECT_EQ(numbered_classes(folder.path(), 1), (Names{"round disc", "spiral"}));
  expect_error(ErrorCode::kBadData, {"labels.txt", "2 class names", "label 2"},
               [&] { numbered_classes(folder.path(), 2); });
  folder.write("classes.txt", bytes_of("a\na\n"));
  expect_error(ErrorCode::kBadData, {"classes.txt", "twice"},
               [&] { numbered_classes(folder.path(), 1); });
}

// ------------------------------------------------------------------------------------------ tables

TEST(OpenTable, HeaderQuotesAndParts) {
  const TemporaryFolder folder;
  folder.write("img/a,1.png", png(1));
  folder.write("img/b.png", png(2));
  folder.write("img/c.png", png(3));
  folder.write("img/d.png", png(4));
  const auto table = folder.write("labels.csv", bytes_of("id,Label,Split,Filename\r\n"
                                                         "1,spiral,train,\"img/a,1.png\"\r\n"
                                                         "2,round,,img/b.png\r\n"
                                                         "3,round,val,img/c.png\r\n"
                                                         "4,spiral,test,img/d.png\r\n"));
  const DataSplits data = open(table);
  EXPECT_EQ(data.train->class_names(), (Names{"round", "spiral"}));
  ASSERT_EQ(data.train->size(), 2);
  EXPECT_EQ(data.train->label(0), 1);
  EXPECT_EQ(data.train->image(0).pixels, pixels(1));
  ASSERT_EQ(data.val->size(), 1);
  EXPECT_EQ(data.val->image(0).pixels, pixels(3));
  const DatasetPtr test = open_test_data({.source = table.string()}, {"round", "spiral"});
  ASSERT_EQ(test->size(), 1);
  EXPECT_EQ(test->image(0).pixels, pixels(4));
}

TEST(OpenTable, TwoColumnsAreSplitHere) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 20; ++i) {
    folder.write(std::to_string(i) + ".png", png(static_cast<std::uint32_t>(i)));
    text += std::to_string(i) + ".png\t" + std::to_string(i % 2 == 0 ? 2 : 10) + "\n";
  }
  const DataSplits data = open(folder.write("x.tsv", bytes_of(text)));
  EXPECT_EQ(data.train->class_names(), (Names{"10", "2"}));
  EXPECT_TRUE(data.split_here);
  EXPECT_EQ(data.train->size(), 16);
}

TEST(OpenTable, ErrorsNameTheLine) {
  const TemporaryFolder folder;
  folder.write("a.png", png(1));
  const auto wrong = [&](const std::string& text, ErrorCode code,
                         std::initializer_list<std::string_view> parts) {
    const auto table = folder.write("x.csv", bytes_of(text));
    SCOPED_TRACE(text);
    expect_error(code, parts, [&] { open(table); });
  };
  wrong("", ErrorCode::kBadData, {"x.csv", "empty"});
  wrong("a.png,cat\nb.png\n", ErrorCode::kBadData, {"x.csv: line 2: 1 columns"});
  wrong("a.png,cat,train,7\n", ErrorCode::kBadData, {"x.csv: line 1: 4 columns"});
  wrong("path,label\na.png,\n", ErrorCode::kBadData, {"line 2", "label is empty"});
  wrong("a.png,cat\n,dog\n", ErrorCode::kBadData, {"line 2", "path is empty"});
  wrong("a.png,cat,trian\n", ErrorCode::kBadData, {"line 1", "\"trian\"", "train, val or test"});
  wrong("path,label\nno.png,cat\nnone.png,dog\n", ErrorCode::kNotFound,
        {"x.csv: line 2", "no.png", "relative to"});
  wrong("a.png,cat\nb.png,cat\n", ErrorCode::kBadData, {"one class"});
  wrong("path,label\n", ErrorCode::kBadData, {"x.csv", "a header and no rows"});
  for (const char* header : {"foo,bar", "path,foo", "foo,label,split", "foo,bar,baz,path"}) {
    wrong(std::string(header) + "\na.png,cat\nb.png,dog\n", ErrorCode::kBadData,
          {"x.csv: line 1", header, "names the columns", "filename", "category", "subset"});
  }
}

// -------------------------------------------------------------------------------------- WebDataset

ByteVector shard(int first, int count, const std::function<std::string(int)>& label_of) {
  std::vector<PackedFile> files;
  for (int i = first; i < first + count; ++i) {
    const std::string stem = "d.x/" + std::to_string(i);
    files.push_back({stem + ".PNG", png(static_cast<std::uint32_t>(i))});
    files.push_back({stem + ".cls", bytes_of(label_of(i))});
    files.push_back({stem + ".json", bytes_of("{\"label\": \"other\"}")});
  }
  return pack(Packing::kTar, files);
}

std::string mod3(int i) { return std::to_string(i % 3) + "\n"; }

TEST(OpenWebDataset, MoreShardsThanFilesMayBeOpen) {
  const TemporaryFolder folder;
  for (int i = 0; i < 300; ++i) {
    folder.write(fmt::format("{}-{:04}.tar", i % 2 == 0 ? "train" : "val", i), shard(i, 1, mod3));
  }
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{200, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  const DataSplits data = open(folder.path());
  for (int round = 0; round < 2; ++round) {
    for (std::int64_t i = 0; i < 150; ++i) {
      EXPECT_EQ(data.train->image(i).pixels, pixels(static_cast<std::uint32_t>(2 * i)));
      EXPECT_EQ(data.val->image(i).pixels, pixels(static_cast<std::uint32_t>(2 * i + 1)));
    }
  }
  setrlimit(RLIMIT_NOFILE, &before);
}

TEST(OpenWebDataset, PartsByNamesOfShards) {
  const TemporaryFolder folder;
  folder.write("x-train-0001.tar", shard(10, 10, mod3));
  folder.write("x-train-0000.tar", shard(0, 10, mod3));
  folder.write("x-val-0000.tar", shard(20, 5, mod3));
  folder.write("x-test-0000.tar", shard(30, 4, mod3));
  folder.write("classes.txt", bytes_of("a\nb\nc\nd\n"));
  const DataSplits data = open(folder.path());
  EXPECT_EQ(data.train->class_names(), (Names{"a", "b", "c", "d"}));
  ASSERT_EQ(data.train->size(), 20);
  ASSERT_EQ(data.val->size(), 5);
  EXPECT_EQ(data.train->shard_starts(), (std::vector<std::int64_t>{0, 10}));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(data.train->label(i), i % 3);
    EXPECT_EQ(data.train->image(i).pixels, pixels(static_cast<std::uint32_t>(i)));
  }
  EXPECT_EQ(data.train->name(11), (folder.path() / "x-train-0001.tar/d.x/11.PNG").string());
  const DatasetPtr test =
      open_test_data({.source = folder.path().string()}, data.train->class_names());
  ASSERT_EQ(test->size(), 4);
  EXPECT_EQ(test->image(3).pixels, pixels(33));

  const DataSplits braces = open(folder.path() / "x-{train,val}-{0000..0000}.tar");
  EXPECT_EQ(braces.train->size(), 10);
  EXPECT_EQ(braces.val->size(), 5);
  const DataSplits one = open(folder.path() / "x-train-0000.tar");
  EXPECT_TRUE(one.split_here);
  EXPECT_EQ(one.train->size() + one.val->size(), 10);
}

TEST(OpenWebDataset, FoldersOfPartsAndOtherLabels) {
  const TemporaryFolder folder;
  folder.write("train/0.tar", pack(Packing::kTarGnu, {{"1.jpg", png(1)},
                                                      {"1.json", bytes_of(R"({"label":"b c"})")},
                                                      {"README.txt", bytes_of("about it")},
                                                      {"2.txt", bytes_of("a")},
                                                      {"2.seg.png", png(2)}}));
  folder.write("val/0.tar", pack(Packing::kTar, {{"3.png", png(3)}, {"3.cls", bytes_of("a")}}));
  const DataSplits data = open(folder.path());
  EXPECT_EQ(data.train->class_names(), (Names{"a", "b c"}));
  ASSERT_EQ(data.train->size(), 2);
  EXPECT_EQ(data.train->label(0), 1);
  EXPECT_EQ(data.train->label(1), 0);
  EXPECT_EQ(data.train->image(1).pixels, pixels(2));
  EXPECT_EQ(data.val->size(), 1);
}

TEST(OpenWebDataset, NumbersOfClassesAreTakenToTheDigit) {
  const TemporaryFolder folder;
  std::vector<PackedFile> files;
  int i = 0;
  for (const char* label : {"18446744073709551615", "-1", "9223372036854775807"}) {
    const std::string stem = std::to_string(i++);
    files.push_back({stem + ".png", png(i)});
    files.push_back({stem + ".json", bytes_of(R"({"label": )" + std::string(label) + "}")});
  }
  for (const char* tar : {"train/0.tar", "val/0.tar"})
    folder.write(tar, pack(Packing::kTar, files));
  const DataSplits data = open(folder.path());
  EXPECT_EQ(data.train->class_names(),
            (Names{"-1", "18446744073709551615", "9223372036854775807"}));
}

TEST(OpenWebDataset, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const auto wrong = [&](const std::vector<PackedFile>& files, ErrorCode code,
                         std::initializer_list<std::string_view> parts) {
    const auto tar = folder.write("x.tar", pack(Packing::kTar, files));
    expect_error(code, parts, [&] { open(tar); });
  };
  wrong({{"1.png", png(1)}}, ErrorCode::kBadData, {"x.tar/1.png", "no label", "1.cls"});
  wrong({{"1.png", png(1)}, {"1.cls", {}}}, ErrorCode::kBadData, {"x.tar/1.png", "is empty"});
  wrong({{"1.png", png(1)}, {"1.txt", bytes_of("two\nlines")}}, ErrorCode::kBadData,
        {"x.tar/1.png", "longer"});
  for (const char* json : {"{", "[]", "{\"label\": 1.5}", "{\"labels\": 1}"}) {
    wrong({{"1.png", png(1)}, {"1.json", bytes_of(json)}}, ErrorCode::kBadData,
          {"x.tar/1.png", "JSON object with a \"label\""});
  }
  wrong({{"1.png", png(1)}, {"1.cls", bytes_of("99999999")}}, ErrorCode::kBadData,
        {"x.tar", "label 99999999"});
  wrong({{"1.txt", bytes_of("1")}}, ErrorCode::kBadData, {"x.tar", "no images in its 1 shards"});
  for (const char* braces : {"{0..}", "{3..1}", "{0..999999}", "{a..b}", "{0..1"}) {
    expect_error(ErrorCode::kInvalidArgument, {"{0000..0147}"},
                 [&] { open((folder.path() / "x-").string() + braces + ".tar"); });
  }
  expect_error(ErrorCode::kNotFound, {"x-1.tar"}, [&] { open(folder.path() / "x-{1..2}.tar"); });
  folder.write("gz/x.tar", pack(Packing::kTarGz, {{"1.png", png(1)}, {"1.cls", bytes_of("1")}}));
  expect_error(ErrorCode::kUnsupported, {"x.tar", "gzip", "unpack it"},
               [&] { open(folder.path() / "gz"); });
}

// ------------------------------------------------------------------------------ order of training

std::vector<std::int64_t> order_of(const DatasetPtr& data, std::int64_t buffer, std::int64_t epoch,
                                   int threads = 1, std::int64_t first_batch = 0) {
  Preprocessing prep;
  prep.width = prep.height = 8;
  prep.resize = 0;
  Loader loader(data, prep, {},
                {.batch_size = 4, .threads = threads, .seed = 7, .shuffle_buffer = buffer});
  loader.start_epoch(epoch, first_batch);
  std::vector<std::int64_t> order;
  Batch batch;
  while (loader.next(batch)) {
    order.insert(order.end(), batch.indices.begin(), batch.indices.end());
  }
  return order;
}

TEST(ShardOrder, ShardsThenBuffer) {
  const TemporaryFolder folder;
  for (int s = 0; s < 10; ++s) {
    folder.write("train-" + std::to_string(s) + ".tar", shard(20 * s, 20, mod3));
  }
  folder.write("val-0.tar", shard(0, 4, mod3));
  const DatasetPtr data = open(folder.path()).train;
  const auto order = order_of(data, 10, 0);
  // Every image once.
  std::vector<std::int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t i = 0; i < 200; ++i) ASSERT_EQ(sorted[static_cast<std::size_t>(i)], i);
  // At any time few shards are being read: what came has been drawn from at most 10 + what was
  // handed out, so it lies in the first ⌈(k + 10) / 20⌉ shards of their order.
  std::set<std::int64_t> seen;
  for (std::size_t k = 0; k < order.size(); ++k) {
    seen.insert(order[k] / 20);
    EXPECT_LE(seen.size(), (k + 10) / 20 + 1) << k;
  }
  // Of (seed, epoch) alone.
  EXPECT_EQ(order, order_of(data, 10, 0, 3));
  EXPECT_NE(order, order_of(data, 10, 1));
  const auto rest = order_of(data, 10, 0, 2, 30);
  EXPECT_EQ(rest, std::vector<std::int64_t>(order.begin() + 120, order.end()));
  // A buffer that holds all is the order of other data sets.
  EXPECT_EQ(order_of(data, 200, 0), order_of(data, 0, 0));
  EXPECT_NE(order_of(data, 199, 0), order_of(data, 0, 0));
  // A held-out share keeps the shards.
  std::vector<std::int64_t> odd;
  for (std::int64_t i = 1; i < 200; i += 2) odd.push_back(i);
  EXPECT_EQ(make_subset(data, odd)->shard_starts(),
            (std::vector<std::int64_t>{0, 10, 20, 30, 40, 50, 60, 70, 80, 90}));
  EXPECT_TRUE(make_subset(data, {5, 3})->shard_starts().empty());
  expect_error(ErrorCode::kInvalidArgument, {"-1"}, [&] { order_of(data, -1, 0); });
}

// ---------------------------------------------------------------------------------------- MedMNIST

std::filesystem::path write_npz(const TemporaryFolder& folder,
                                const std::vector<std::pair<std::string, Tensor>>& arrays) {
  std::vector<PackedFile> files;
  for (const auto& [name, tensor] : arrays) {
    write_npy(folder.path() / "a.npy", tensor);
    files.push_back({name + ".npy", read_file(folder.path() / "a.npy")});
  }
  return folder.write("med.npz", pack(Packing::kZip, files));
}

Tensor bytes(Shape shape, int first = 0) {
  Tensor t(DType::kU8, std::move(shape));
  for (std::uint8_t& x : t.as<std::uint8_t>()) x = static_cast<std::uint8_t>(first++);
  return t;
}

Tensor labels(std::vector<std::uint8_t> values, bool column = true) {
  const auto n = static_cast<std::int64_t>(values.size());
  return Tensor::from<std::uint8_t>(column ? Shape{n, 1} : Shape{n}, values);
}

TEST(OpenNpz, PartsOfMedMnist) {
  const TemporaryFolder folder;
  const auto path = write_npz(folder, {{"train_images", bytes({4, 3, 2, 3})},
                                       {"train_labels", labels({0, 1, 2, 0})},
                                       {"val_images", bytes({1, 3, 2, 3}, 100)},
                                       {"val_labels", labels({1}, false)},
                                       {"test_images", bytes({2, 3, 2, 3}, 200)},
                                       {"test_labels", labels({2, 1})}});
  const DataSplits data = open(path);
  EXPECT_EQ(data.train->class_names(), (Names{"0", "1", "2"}));
  ASSERT_EQ(data.train->size(), 4);
  EXPECT_EQ(data.train->image_size(), (ImageSize{2, 3}));
  EXPECT_FALSE(data.train->grey());
  EXPECT_EQ(data.train->label(2), 2);
  EXPECT_EQ(data.train->image(1).pixels[5], 18 + 5);
  ASSERT_EQ(data.val->size(), 1);
  EXPECT_EQ(data.val->image(0).pixels[0], 100);
  const DatasetPtr test = open_test_data({.source = path.string()}, {"0", "1", "2"});
  ASSERT_EQ(test->size(), 2);
  EXPECT_EQ(test->image(0).pixels[0], 200);
  EXPECT_EQ(test->label(0), 2);
}

TEST(OpenNpz, GreyWithoutValidation) {
  const TemporaryFolder folder;
  const auto path = write_npz(folder, {{"train_images", bytes({2, 3, 2})},
                                       {"train_labels", labels({0, 1})},
                                       {"test_images", bytes({1, 3, 2})},
                                       {"test_labels", labels({1})}});
  const DataSplits data = open(path);
  EXPECT_TRUE(data.train->grey());
  EXPECT_EQ(data.val->size(), 1);
  EXPECT_FALSE(data.split_here);
}

TEST(OpenNpz, SaysWhatIsWrong) {
  const TemporaryFolder folder;
  const auto wrong = [&](const std::vector<std::pair<std::string, Tensor>>& arrays, ErrorCode code,
                         std::initializer_list<std::string_view> parts) {
    const auto path = write_npz(folder, arrays);
    expect_error(code, parts, [&] { open(path); });
  };
  const Tensor good = bytes({2, 3, 2});
  wrong({{"train_images", good}, {"train_labels", bytes({2, 14})}}, ErrorCode::kUnsupported,
        {"med.npz/train_labels", "14 labels", "multi-label"});
  wrong({{"train_images", good}, {"train_labels", labels({1})}}, ErrorCode::kBadData,
        {"med.npz/train_labels", "expected 2"});
  wrong({{"train_images", good}}, ErrorCode::kBadData, {"train_labels is missing"});
  wrong({{"train_images", bytes({2, 5, 5, 5})}, {"train_labels", labels({0, 1})}},
        ErrorCode::kUnsupported, {"[2, 5, 5, 5]", "expected images"});
  wrong({{"train_images", Tensor::full({2, 3, 2}, 1)}, {"train_labels", labels({0, 1})}},
        ErrorCode::kUnsupported, {"f32"});
  wrong({{"train_images", good},
         {"train_labels", Tensor::from<std::int64_t>({2}, std::vector<std::int64_t>{0, -1})}},
        ErrorCode::kBadData, {"label -1"});
  wrong({{"x", good}}, ErrorCode::kBadData, {"med.npz", "train_images"});
}

// -------------------------------------------------------------------------------------------- HDF5

std::filesystem::path write_hdf5(const TemporaryFolder& folder, const std::string& images,
                                 const std::string& label_name, std::vector<hsize_t> size,
                                 std::int64_t count_of_labels, hsize_t rows_together = 0) {
  const auto path = folder.path() / "g.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  if (rows_together > 0) {
    std::vector<hsize_t> chunk(size.size(), 1);
    chunk[0] = rows_together;
    H5Pset_chunk(plist, static_cast<int>(chunk.size()), chunk.data());
    H5Pset_deflate(plist, 3);
  }
  std::size_t count = 1;
  for (const hsize_t n : size) count *= n;
  std::vector<std::uint8_t> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<std::uint8_t>(i * 7 % 251);
  const hid_t space = H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr);
  const hid_t x =
      H5Dcreate2(file, images.c_str(), H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
  H5Dwrite(x, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  std::vector<std::uint8_t> numbers;
  for (std::int64_t i = 0; i < count_of_labels; ++i) {
    numbers.push_back(static_cast<std::uint8_t>(i % 10));
  }
  const hsize_t n = numbers.size();
  const hid_t line = H5Screate_simple(1, &n, nullptr);
  const hid_t y = H5Dcreate2(file, label_name.c_str(), H5T_STD_U8LE, line, H5P_DEFAULT, H5P_DEFAULT,
                             H5P_DEFAULT);
  H5Dwrite(y, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.data());
  H5Dclose(x);
  H5Dclose(y);
  H5Sclose(space);
  H5Sclose(line);
  H5Pclose(plist);
  H5Fclose(file);
  return path;
}

TEST(OpenHdf5, ImagesOneByOneOrInBlocks) {
  for (const hsize_t together : {0, 1, 7}) {
    const TemporaryFolder folder;
    const auto path = write_hdf5(folder, "images", "labels", {40, 5, 4, 3}, 40, together);
    const Opened opened = open_hdf5(path);
    const Dataset& data = *opened.train;
    ASSERT_EQ(data.size(), 40);
    EXPECT_EQ(data.class_names().size(), 10U);
    EXPECT_EQ(data.class_names()[3], "3");
    EXPECT_EQ(data.image_size(), (ImageSize{4, 5}));
    EXPECT_EQ(data.shard_starts().size(), together == 7 ? 6U : 0U);
    const auto read_all = [&](std::int64_t step) {
      for (std::int64_t k = 0; k < 40; ++k) {
        const std::int64_t i = k * step % 40;
        const Image image = data.image(i);
        for (std::size_t p = 0; p < 60; ++p) {
          ASSERT_EQ(image.pixels[p], (static_cast<std::size_t>(i) * 60 + p) * 7 % 251);
        }
        EXPECT_EQ(data.label(i), i % 10);
      }
    };
    std::jthread one(read_all, 3);
    std::jthread two(read_all, 7);
  }
}

TEST(OpenHdf5, Galaxy10KnowsItsClasses) {
  const TemporaryFolder folder;
  const auto path = write_hdf5(folder, "images", "ans", {20, 256, 256, 3}, 20, 20);
  const DataSplits data = open(path);
  EXPECT_EQ(data.train->class_names()[5], "Barred Spiral Galaxies");
  EXPECT_NE(data.description.find("Galaxy10 DECaLS"), std::string::npos);
  EXPECT_TRUE(data.split_here);
}

TEST(OpenHdf5, GreyAndErrors) {
  const TemporaryFolder folder;
  EXPECT_TRUE(open(write_hdf5(folder, "x", "y", {40, 5, 4}, 40)).train->grey());
  expect_error(ErrorCode::kBadData, {"g.h5/y", "[39]", "40 images"}, [&] {
    open(write_hdf5(folder, "x", "y", {40, 5, 4}, 39));
  });
  expect_error(ErrorCode::kUnsupported, {"g.h5/x", "[40, 5, 4, 2]"}, [&] {
    open(write_hdf5(folder, "x", "y", {40, 5, 4, 2}, 40));
  });
  expect_error(ErrorCode::kBadData, {"g.h5", "no data set of labels", "ans"}, [&] {
    open(write_hdf5(folder, "x", "z", {40, 5, 4}, 40));
  });
}

// ------------------------------------------------------------------------------------------- parts

TEST(OpenFolder, TrainingIsEvaluatedOnValAndModelsOnTest) {
  const TemporaryFolder folder;
  for (const char* name : {"train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png",
                           "val/b/2.png", "test/a/1.png"}) {
    folder.write(name, png(1));
  }
  EXPECT_EQ(open(folder.path()).val->size(), 3);
  EXPECT_EQ(open_test_data({.source = folder.path().string()}, {"a", "b"})->size(), 1);
}

}  // namespace
}  // namespace resnet

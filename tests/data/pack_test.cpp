#include "resnet/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "data/sources.h"
#include "data/support.h"
#include "formats/jpegs.h"
#include "formats/safetensors.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

DataSplits open(const fs::path& path) { return open_data({.source = path.string()}); }

/// Photographs of two classes and of many sizes, upright and not; divided into train, val and test.
void write_photos(const TemporaryFolder& folder) {
  for (int i = 0; i < 30; ++i) {
    const ByteVector jpeg = make_jpeg(40 + 7 * i, 150 - 4 * i, {});
    const char* part = i < 16 ? "train" : i < 24 ? "val" : "test";
    folder.write(fmt::format("photos/{}/{}/{}.jpg", part, i % 2 == 0 ? "cat" : "dog", i),
                 with_orientation(jpeg, static_cast<char>(1 + i % 8)));
  }
}

std::vector<std::vector<float>> seen(const Dataset& data, const Preprocessing& prep) {
  std::vector<std::vector<float>> all;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    all.emplace_back(static_cast<std::size_t>(prep.channels * prep.height * prep.width));
    preprocess(data.image(i), prep, all.back().data());
  }
  return all;
}

TEST(Pack, KeepsPartsLabelsAndNames) {
  const TemporaryFolder folder;
  write_photos(folder);
  const fs::path photos = folder.path() / "photos";
  const fs::path file = folder.path() / "photos.pack";
  std::int64_t progress = 0;
  const PackReport report =
      pack_data({.source = photos.string()}, file,
                {.shorter_side = 32, .threads = 3, .progress = [&](auto done, auto total) {
                   EXPECT_EQ(total, 30);
                   EXPECT_GT(done, progress);
                   progress = done;
                 }});
  EXPECT_EQ(progress, 30);
  EXPECT_EQ(report.images, 30);
  EXPECT_EQ(report.bytes, fs::file_size(file));
  EXPECT_TRUE(report.skipped.empty());
  EXPECT_EQ(report.description, "photos: 16 train, 8 val, 6 test images of 2 classes");

  const DataSplits own = open(photos);
  const DataSplits packed = open(file);
  for (const auto& [a, b] : {std::pair{own.train, packed.train}, {own.val, packed.val}}) {
    ASSERT_EQ(a->size(), b->size());
    EXPECT_EQ(a->class_names(), b->class_names());
    EXPECT_FALSE(b->grey());
    EXPECT_EQ(b->image_size(), ImageSize{});
    for (std::int64_t i = 0; i < a->size(); ++i) {
      EXPECT_EQ(a->label(i), b->label(i));
      EXPECT_EQ(a->name(i), b->name(i));
    }
  }
  EXPECT_FALSE(packed.split_here);
  const DatasetPtr test = open_test_data({.source = file.string()}, {"dog", "cat"});
  ASSERT_EQ(test->size(), 6);
  EXPECT_EQ(test->label(0), 1);
  EXPECT_NE(test->name(0).find("photos/test/cat/24.jpg"), std::string::npos) << test->name(0);
  const DataSplits few = open_data({.source = file.string(), .per_class = 3});
  EXPECT_EQ(few.train->size(), 6);
}

TEST(Pack, RawPixelsEvaluateToTheSameBits) {
  const TemporaryFolder folder;
  write_photos(folder);
  const std::string photos = (folder.path() / "photos").string();
  const fs::path file = folder.path() / "p.pack";
  for (const Interpolation interpolation : {Interpolation::kBilinear, Interpolation::kBicubic}) {
    for (const bool upright : {true, false}) {
      Preprocessing prep;
      prep.width = 28;
      prep.height = 24;
      prep.resize = 64;
      prep.interpolation = interpolation;
      prep.upright = upright;
      PackOptions options{.shorter_side = 64, .interpolation = interpolation, .upright = upright};
      pack_data({.source = photos}, file, options);
      EXPECT_TRUE(seen(*open(photos).val, prep) == seen(*open(file).val, prep));
      prep.resize = 40;  // of an image that was resized already
      EXPECT_FALSE(seen(*open(photos).val, prep) == seen(*open(file).val, prep));

      prep.width = prep.height = prep.resize = 32;
      options.size = 32;
      pack_data({.source = photos}, file, options);
      const DataSplits squares = open(file);
      EXPECT_EQ(squares.train->image_size(), (ImageSize{32, 32}));
      EXPECT_TRUE(seen(*open(photos).val, prep) == seen(*squares.val, prep));
      // Training that does not cut random parts out of the original.
      Augmentation a = augmentation_preset("galaxy");
      a.brightness = a.hue = 0.3;
      Batch one, two;
      Loader own(open(photos).train, prep, a, {.batch_size = 16});
      Loader packed(squares.train, prep, a, {.batch_size = 16});
      own.start_epoch(3);
      packed.start_epoch(3);
      ASSERT_TRUE(own.next(one) && packed.next(two));
      EXPECT_TRUE(std::ranges::equal(one.images.as<float>(), two.images.as<float>()));
      EXPECT_EQ(one.labels, two.labels);
    }
  }
}

TEST(Pack, PartsOfRawImages) {
  const TemporaryFolder folder;
  write_photos(folder);
  const fs::path file = folder.path() / "p.pack";
  pack_data({.source = (folder.path() / "photos").string()}, file, {.shorter_side = 0});
  const DatasetPtr data = open(file).train;
  for (std::int64_t i = 0; i < data->size(); ++i) {
    const Image whole = data->image(i);
    for (const Rect& part : {Rect{3, 2, 11, 7}, Rect{0, 5, whole.width, 9},
                             Rect{whole.width - 1, whole.height - 1, 1, 1}}) {
      Image image;
      data->read_part(i, {.pick = [&](int, int, int) { return part; }}, image);
      EXPECT_EQ(image.width, part.width);
      EXPECT_EQ(image.pixels, part_of_image(whole, part).pixels);
    }
    Image image;
    for (const Rect& outside :
         {Rect{0, 0, whole.width + 1, 1}, Rect{-1, 0, 2, 2}, Rect{0, whole.height - 1, 3, 2}}) {
      EXPECT_THROW(data->read_part(i, {.pick = [&](int, int, int) { return outside; }}, image),
                   Error);
    }
  }
}

TEST(Pack, AsJpeg) {
  const TemporaryFolder folder;
  write_photos(folder);
  const std::string photos = (folder.path() / "photos").string();
  const fs::path file = folder.path() / "p.pack";
  const auto raw = pack_data({.source = photos}, file, {.shorter_side = 48});
  const DatasetPtr exact = open(file).train;
  std::vector<Image> images;
  for (std::int64_t i = 0; i < exact->size(); ++i) images.push_back(exact->image(i));
  const auto jpeg =
      pack_data({.source = photos}, file, {.shorter_side = 48, .format = PackFormat::kJpeg});
  EXPECT_LT(jpeg.bytes, raw.bytes * 2 / 3);
  const DatasetPtr data = open(file).train;
  for (std::int64_t i = 0; i < data->size(); ++i) {
    const Image image = data->image(i);
    const Image& own = images[static_cast<std::size_t>(i)];
    EXPECT_EQ(image.width, own.width);
    EXPECT_EQ(image.height, own.height);
    double difference = 0;
    for (std::size_t k = 0; k < own.pixels.size(); ++k) {
      difference += std::abs(int{image.pixels[k]} - int{own.pixels[k]});
    }
    EXPECT_LT(difference / static_cast<double>(own.pixels.size()), 12);
    EXPECT_GT(difference, 0);
    Image part;
    data->read_part(i, {.pick = [](int, int, int) { return Rect{9, 4, 20, 30}; }}, part);
    EXPECT_EQ(part.pixels, part_of_image(image, {9, 4, 20, 30}).pixels);
  }
}

TEST(Pack, GreyAndUndivided) {
  const TemporaryFolder folder;
  ByteVector images = from_hex(
      "00000803"
      "00000014"
      "00000004"
      "00000003");
  ByteVector labels = from_hex(
      "00000801"
      "00000014");
  for (int i = 0; i < 20 * 12; ++i) images.push_back(static_cast<std::byte>(i));
  for (int i = 0; i < 20; ++i) labels.push_back(static_cast<std::byte>(i % 3));
  for (const char* part : {"train", "t10k"}) {
    folder.write(fmt::format("idx/{}-images-idx3-ubyte", part), images);
    folder.write(fmt::format("idx/{}-labels-idx1-ubyte", part), labels);
  }
  const fs::path file = folder.path() / "digits";
  pack_data({.source = (folder.path() / "idx").string()}, file);
  const DataSplits digits = open(file);
  EXPECT_TRUE(digits.train->grey());
  EXPECT_EQ(digits.train->image_size(), (ImageSize{3, 4}));
  EXPECT_EQ(digits.train->image(7).channels, 1);
  EXPECT_EQ(digits.train->image(7).pixels, open(folder.path() / "idx").train->image(7).pixels);
  EXPECT_EQ(default_preprocessing(*digits.train).channels, 1);

  // A folder that is divided when it is opened: the same images are held out.
  for (int i = 0; i < 20; ++i) {
    write_png(folder, fmt::format("flat/{}/{}.png", i % 2 == 0 ? "x" : "y", i),
              static_cast<std::uint32_t>(i));
  }
  pack_data({.source = (folder.path() / "flat").string()}, file);
  const DataSplits flat = open(folder.path() / "flat");
  const DataSplits packed = open(file);
  EXPECT_TRUE(packed.split_here);
  ASSERT_EQ(packed.val->size(), flat.val->size());
  for (std::int64_t i = 0; i < flat.val->size(); ++i) {
    EXPECT_EQ(packed.val->name(i), flat.val->name(i));
    EXPECT_EQ(packed.val->image(i).pixels, flat.val->image(i).pixels);
  }
}

TEST(Pack, SkipsWhatCannotBeRead) {
  const TemporaryFolder folder;
  for (int i = 0; i < 9; ++i) {
    write_png(folder, fmt::format("d/{}/{}.png", i % 2 == 0 ? "x" : "y", i));
  }
  folder.write("d/x/2.png", bytes_of("no image"));
  folder.write("d/y/5.png", {});
  const std::string source = (folder.path() / "d").string();
  const fs::path file = folder.path() / "p.pack";
  const PackReport report = pack_data({.source = source}, file, {.threads = 2});
  EXPECT_EQ(report.images, 7);
  ASSERT_EQ(report.skipped.size(), 2U);
  EXPECT_NE(report.skipped[0].name.find("d/x/2.png"), std::string::npos);
  EXPECT_NE(report.skipped[0].reason.find("expected a JPEG"), std::string::npos);
  EXPECT_NE(report.skipped[1].reason.find("empty"), std::string::npos);
  const DataSplits packed = open(file);
  EXPECT_EQ(packed.train->size() + packed.val->size(), 7);

  for (int i = 0; i < 9; ++i) {
    folder.write(fmt::format("d/{}/{}.png", i % 2 == 0 ? "x" : "y", i), bytes_of("no"));
  }
  const ByteVector before = read_file(file);
  expect_error(ErrorCode::kBadData, {"none of the 9 train images can be read", "0.png"},
               [&] { pack_data({.source = source}, file); });
  EXPECT_EQ(read_file(file), before) << "the old file stays until there is a new one";
}

TEST(Pack, LeavesNothingBehindWhenItIsStopped) {
  const TemporaryFolder folder;
  const std::atomic<bool> stop{true};
  expect_error(ErrorCode::kInterrupted, {"interrupted after 8 of", "run it again"}, [&] {
    pack_data({.source = "galaxies:train=20,val=5,size=8"}, folder.path() / "p.pack",
              {.stop = &stop});
  });
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Pack, RefusesNonsense) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "p.pack";
  const DataSpec galaxies{.source = "galaxies:train=8,val=4,size=8"};
  expect_error(ErrorCode::kInvalidArgument, {"size of -1"},
               [&] { pack_data(galaxies, file, {.size = -1}); });
  expect_error(ErrorCode::kInvalidArgument, {"quality 0"},
               [&] { pack_data(galaxies, file, {.quality = 0}); });
  expect_error(ErrorCode::kInvalidArgument, {"\"png\"", "raw or jpeg"},
               [] { parse_pack_format("png"); });
  expect_error(ErrorCode::kIo, {"nowhere/p.pack"},
               [&] { pack_data(galaxies, folder.path() / "nowhere/p.pack"); });
}

// ------------------------------------------------------------------------------------ hostile
// files

/// A pack of two images with something changed.
struct Parts {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata = {{"format", "resnet pack"},
                                                 {"version", "2"},
                                                 {"images", "raw"},
                                                 {"classes", R"(["a","b"])"},
                                                 {"title", "t"}};
  Parts() {
    tensors.emplace("train.images", Tensor::zeros(DType::kU8, {12}));
    set("offsets", DType::kI64, {3}, {0, 6, 12});
    set("sizes", DType::kI32, {2, 3}, {1, 2, 3, 2, 1, 3});
    set("labels", DType::kI32, {2}, {0, 1});
    tensors.emplace("train.names", Tensor::zeros(DType::kU8, {2}));
    set("name_offsets", DType::kI64, {3}, {0, 1, 2});
  }
  void set(const std::string& name, DType dtype, const Shape& shape,
           const std::vector<std::int64_t>& values) {
    Tensor tensor(dtype, shape);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::kI64) tensor.as<std::int64_t>()[i] = values[i];
      if (dtype == DType::kI32) tensor.as<std::int32_t>()[i] = static_cast<std::int32_t>(values[i]);
    }
    tensors.insert_or_assign("train." + name, std::move(tensor));
  }
};

TEST(Pack, DamagedFilesAreRefused) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "x.pack";
  const auto expect = [&](std::initializer_list<std::string_view> parts, auto change,
                          ErrorCode code = ErrorCode::kBadData) {
    Parts p;
    change(p);
    write_safetensors(file, p.tensors, p.metadata);
    expect_error(code, parts, [&] { open(file); });
  };
  {
    Parts sound;
    write_safetensors(file, sound.tensors, sound.metadata);
    const Opened opened = open_pack(std::make_shared<const ByteSource>(file));
    EXPECT_EQ(opened.train->size(), 2);
    EXPECT_EQ(opened.train->image(1).height, 2);

    Parts old = sound;  // as version 1 has it
    old.metadata["version"] = "1";
    old.metadata["pictures"] = old.metadata.at("images");
    old.metadata.erase("images");
    old.tensors["train.pictures"] = old.tensors.at("train.images");
    old.tensors.erase("train.images");
    write_safetensors(file, old.tensors, old.metadata);
    const Opened as_before = open_pack(std::make_shared<const ByteSource>(file));
    for (std::int64_t i = 0; i < 2; ++i) {
      EXPECT_EQ(as_before.train->image(i).pixels, opened.train->image(i).pixels);
    }
  }
  expect(
      {"version 3", "reads version 2"}, [](Parts& p) { p.metadata["version"] = "3"; },
      ErrorCode::kUnsupported);
  expect({"\"png\"", "raw or jpeg"}, [](Parts& p) { p.metadata["images"] = "png"; });
  for (const char* classes : {"", "[]", "[1]", "{\"a\":1}", R"(["a","a"])"}) {
    expect({"class"}, [&](Parts& p) { p.metadata["classes"] = classes; });
  }
  expect({"lacks \"classes\""}, [](Parts& p) { p.metadata.erase("classes"); });
  expect({"lacks train.sizes"}, [](Parts& p) { p.tensors.erase("train.sizes"); });
  expect({"it has no images"}, [](Parts& p) { p.tensors.erase("train.labels"); });
  expect({"train.offsets is i64 [2]; expected i64 [3]"}, [](Parts& p) {
    p.set("offsets", DType::kI64, {2}, {0, 12});
  });
  expect({"train.sizes is i64"}, [](Parts& p) { p.set("sizes", DType::kI64, {2, 3}, {}); });
  expect({"other bounds"}, [](Parts& p) { p.set("offsets", DType::kI64, {3}, {0, 6, 13}); });
  expect({"image 0"}, [](Parts& p) { p.set("offsets", DType::kI64, {3}, {0, 13, 12}); });
  expect({"image 0"}, [](Parts& p) { p.set("offsets", DType::kI64, {3}, {0, -6, 12}); });
  expect({"image 1 of 1 x 3 pixels"}, [](Parts& p) {
    p.set("sizes", DType::kI32, {2, 3}, {1, 2, 3, 3, 1, 3});
  });
  expect({"image 0 of -2 x -1"}, [](Parts& p) {
    p.set("sizes", DType::kI32, {2, 3}, {-1, -2, 3, 2, 1, 3});
  });
  expect({"image 1 has the label 2"}, [](Parts& p) { p.set("labels", DType::kI32, {2}, {0, 2}); });

  // Cut short: found when it is opened.
  Parts sound;
  write_safetensors(file, sound.tensors, sound.metadata);
  const ByteVector whole = read_file(file);
  write_file_atomic(file, std::span(whole).first(whole.size() - 1));
  expect_error(ErrorCode::kBadData, {"x.pack", "the file holds"}, [&] { open(file); });
  // Another safetensors file is no data set.
  write_safetensors(file, sound.tensors, {});
  expect_error(ErrorCode::kBadData, {"not a data set"}, [&] { open(file); });
}

TEST(Pack, NamesThatLieAreReplaced) {
  Parts p;
  p.set("name_offsets", DType::kI64, {3}, {0, 99, -1});
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "x.pack";
  write_safetensors(file, p.tensors, p.metadata);
  const Opened opened = open_pack(std::make_shared<const ByteSource>(file));
  EXPECT_NE(opened.train->name(0).find("x.pack image 0"), std::string::npos);
  EXPECT_NE(opened.train->name(1).find("x.pack image 1"), std::string::npos);
}

}  // namespace
}  // namespace resnet

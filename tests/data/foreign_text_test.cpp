// Tables, shards and names of classes as other programs and other systems write them.
#include <gtest/gtest.h>

#include "core/text.h"
#include "data/datasets.h"
#include "data/sources.h"
#include "data/support.h"
#include "formats/pack.h"
#include "resnet/data.h"
#include "resnet/pack.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

ByteVector png(std::uint32_t seed) { return encode_png(test_image(8, 8, 3, seed)); }

std::vector<std::uint8_t> pixels(std::uint32_t seed) { return test_image(8, 8, 3, seed).pixels; }

DataSplits open(const fs::path& path) { return open_data({.source = path.string()}); }

// ------------------------------------------------------------------------------------------ tables

class ForeignTable : public testing::Test {
 protected:
  ForeignTable() {
    for (std::uint32_t i = 0; i < 4; ++i) folder_.write(fmt::format("{},{}.png", i, i), png(i));
  }
  fs::path table(const std::string& text, const std::string& name = "x.csv") {
    return folder_.write(name, bytes_of(text));
  }
  const TemporaryFolder folder_;
};

TEST_F(ForeignTable, SemicolonsTabsAndBarsAreRead) {
  for (const char* separator : {";", "\t", "|"}) {
    for (const char* end : {"\n", "\r\n", "\r"}) {
      for (const char* mark : {"", "\xef\xbb\xbf"}) {
        const std::string s = separator, e = end;
        const auto path =
            table(mark + ("path" + s + "label" + e) + "0,0.png" + s + "a" + e + "1,1.png" + s +
                  "b" + e + "2,2.png" + s + "a" + e + "3,3.png" + s + "b" + e);
        const Opened opened = open_source({.source = path.string()}, Purpose::kTrain);
        EXPECT_EQ(opened.train->class_names(), (Names{"a", "b"}));
        ASSERT_EQ(opened.train->size(), 4);
        EXPECT_EQ(opened.train->image(3).pixels, pixels(3));
      }
    }
  }
}

TEST_F(ForeignTable, CommasInATsvAndNoHeader) {
  const auto path = table("\"0,0.png\",a\n\"1,1.png\",b\n\"2,2.png\",a\n\"3,3.png\",b\n", "x.tsv");
  EXPECT_EQ(open(path).train->class_names(), (Names{"a", "b"}));
}

TEST_F(ForeignTable, AHeaderAloneIsSaid) {
  for (const char* text : {"path,label\n", "path;label", "filename\tclass\tsplit\r\n"}) {
    expect_error(ErrorCode::kBadData, {"x.csv", "a header and no rows"},
                 [&] { open(table(text)); });
  }
}

TEST_F(ForeignTable, MissingFilesAreNamed) {
  expect_error(ErrorCode::kNotFound, {"x.csv: line 2", (folder_.path() / "no.png").string()},
               [&] { open(table("path;label\nno.png;cat\nnone.png;dog\n")); });
  folder_.write("img/a.png", png(9));
  expect_error(ErrorCode::kNotFound, {"x.csv: line 1", "write / between folders"},
               [&] { open(table("img\\a.png,cat\nimg\\b.png,dog\n")); });
}

TEST_F(ForeignTable, OtherEncodingsAreNamed) {
  expect_error(ErrorCode::kBadData, {"x.csv", "UTF-16", "save it as UTF-8"}, [&] {
    open(
        table(std::string("\xff\xfe"
                          "a\0,\0b\0",
                          8)));
  });
  expect_error(ErrorCode::kBadData, {"x.csv: line 3", "caf\\xe9", "save the table as UTF-8"},
               [&] { open(table("path;label\n0,0.png;a\n1,1.png;caf\xe9\n")); });
  expect_error(ErrorCode::kBadData, {"x.csv: line 2", "a\\x0ab", "line breaks"},
               [&] { open(table("path;label\n0,0.png;\"a\nb\"\n1,1.png;b\n")); });
}

// ---------------------------------------------------------------------------------- names of
// classes

TEST(ForeignNames, AListOfClassesFromAnotherSystem) {
  const TemporaryFolder folder;
  folder.write("classes.txt", bytes_of("\xef\xbb\xbf"
                                       "round\r\nspiral\r\n\r\n"));
  EXPECT_EQ(numbered_classes(folder.path(), 1), (Names{"round", "spiral"}));
  folder.write("classes.txt", bytes_of("round\rspiral\r"));
  EXPECT_EQ(numbered_classes(folder.path(), 1), (Names{"round", "spiral"}));
  folder.write("classes.txt", bytes_of("round\ncaf\xe9\n"));
  expect_error(ErrorCode::kBadData, {"classes.txt: line 2", "caf\\xe9", "as UTF-8"},
               [&] { numbered_classes(folder.path(), 1); });
  folder.write("classes.txt", bytes_of(std::string("\xff\xfe"
                                                   "a\0\n\0",
                                                   6)));
  expect_error(ErrorCode::kBadData, {"classes.txt", "UTF-16"},
               [&] { numbered_classes(folder.path(), 0); });
}

TEST(ForeignNames, AClassThatNoModelFileCanNameIsFoundByItsFolder) {
  const TemporaryFolder folder;
  for (const char* name : {"caf\xe9", "a\nb"}) {
    const TemporaryFolder own;
    write_png(own, std::string(name) + "/1.png", 1);
    write_png(own, std::string(name) + "/2.png", 2);
    write_png(own, "dog/1.png", 3);
    write_png(own, "dog/2.png", 4);
    const DataSplits data = open(own.path());  // to look at it, the name does no harm
    const auto shown = printable(name);
    expect_error(ErrorCode::kBadData, {shown, shown + "/", ".png", "rename"},
                 [&] { check_class_names(*data.train); });
    expect_error(ErrorCode::kBadData, {shown, "rename"},
                 [&] { pack_data({.source = own.path().string()}, folder.path() / "x.pack", {}); });
    EXPECT_FALSE(fs::exists(folder.path() / "x.pack"));
  }
  check_class_names(*test_dataset(6));
}

// ----------------------------------------------------------------------------------------
// WebDataset

using Files = std::vector<PackedFile>;

class ForeignShard : public testing::Test {
 protected:
  Opened opened(const Files& files) {
    const auto tar = folder_.write("x.tar", pack(Packing::kTar, files));
    return open_source({.source = tar.string()}, Purpose::kTrain);
  }
  void refuses(const Files& files, std::initializer_list<std::string_view> parts) {
    expect_error(ErrorCode::kBadData, parts, [&] { opened(files); });
  }
  const TemporaryFolder folder_;
};

PackedFile text(const std::string& name, const std::string& words) {
  return {name, bytes_of(words)};
}

TEST_F(ForeignShard, DotsInStemsAreSaidWhereTheyMakeSamplesOne) {
  refuses({{"img.v1.jpg", png(1)},
           text("img.v1.cls", "0"),
           {"img.v2.jpg", png(2)},
           text("img.v2.cls", "1")},
          {"x.tar: img.v1.jpg and img.v2.jpg", "one sample, img", "2 images", "first dot"});
  refuses({{"a.jpg", png(1)}, text("a.cls", "0"), {"a.b.jpg", png(2)}, text("a.b.cls", "1")},
          {"a.jpg and a.b.jpg", "first dot"});
  refuses({{"a.1.jpg", png(1)}, {"a.2.jpg", png(2)}, text("a.cls", "0")}, {"a.1.jpg and a.2.jpg"});
}

TEST_F(ForeignShard, DotsInStemsThatStandAloneAreRead) {
  const Opened o = opened({{"1.orig.jpg", png(1)},
                           text("1.orig.cls", "0"),
                           {"2.orig.jpg", png(2)},
                           text("2.orig.cls", "1"),
                           {"3.seg.png", png(3)},
                           text("3.cls", "1")});
  ASSERT_EQ(o.train->size(), 3);
  EXPECT_EQ(o.train->label(1), 1);
  EXPECT_EQ(o.train->image(1).pixels, pixels(2));
  EXPECT_TRUE(o.notes.empty());
}

TEST_F(ForeignShard, FurtherImagesOfASampleAreCountedAndNamed) {
  const Opened o = opened({{"1.seg.png", png(9)},
                           {"1.jpg", png(1)},
                           text("1.cls", "0"),
                           {"2.jpg", png(2)},
                           {"2.png", png(8)},
                           text("2.cls", "1")});
  ASSERT_EQ(o.train->size(), 2);
  EXPECT_EQ(o.train->image(0).pixels, pixels(1));  // not its mask, which comes first
  EXPECT_EQ(o.train->image(1).pixels, pixels(2));
  ASSERT_EQ(o.notes.size(), 1U);
  EXPECT_TRUE(o.notes[0].starts_with("2 further images")) << o.notes[0];
  EXPECT_NE(o.notes[0].find("x.tar/1.seg.png"), std::string::npos) << o.notes[0];
}

TEST_F(ForeignShard, OneNameTwiceInASampleIsRefused) {
  refuses({{"1.jpg", png(1)}, text("1.cls", "0"), {"1.jpg", png(2)}, text("1.cls", "1")},
          {"x.tar: 1.jpg stands there twice"});
  refuses({{"1.jpg", png(1)}, text("1.cls", "0"), text("1.cls", "1")},
          {"1.cls stands there twice"});
  // Apart they are two samples, as webdataset reads them.
  EXPECT_EQ(opened({{"1.jpg", png(1)},
                    text("1.cls", "0"),
                    {"2.jpg", png(1)},
                    text("2.cls", "1"),
                    {"1.jpg", png(2)},
                    text("1.cls", "1")})
                .train->size(),
            3);
}

TEST_F(ForeignShard, LabelsWithoutAnImageAreCounted) {
  const Opened o = opened({text("README.txt", "about it"),
                           {"1.jpg", png(1)},
                           text("1.cls", "0"),
                           text("2.cls", "1"),
                           {"2.npy", bytes_of("x")},
                           {"3.jpg", png(3)},
                           text("3.cls", "1"),
                           text("4.json", "{\"label\":1}")});
  EXPECT_EQ(o.train->size(), 2);
  ASSERT_EQ(o.notes.size(), 1U);
  EXPECT_TRUE(o.notes[0].starts_with("2 samples have a label")) << o.notes[0];
  EXPECT_NE(o.notes[0].find("x.tar/2.cls"), std::string::npos) << o.notes[0];
}

TEST_F(ForeignShard, CaptionsAreNotClasses) {
  refuses({{"1.jpg", png(1)},
           text("1.txt", "a photo of a cat"),
           {"2.jpg", png(2)},
           text("2.txt", "two dogs on the beach"),
           {"3.jpg", png(3)},
           text("3.txt", "a photo of a cat")},
          {"x.tar", "captions", "a photo of a cat", "2 different ones of 3 images", ".cls"});
  refuses({{"1.jpg", png(1)}, text("1.txt", "first line\nsecond line")},
          {"captions are no classes"});
}

TEST_F(ForeignShard, NamesOfSeveralWordsAreClasses) {
  Files files;
  for (std::uint32_t i = 0; i < 6; ++i) {
    files.push_back({fmt::format("{}.jpg", i), png(i)});
    files.push_back(text(fmt::format("{}.txt", i), i % 2 == 0 ? "Edge-on Galaxies without Bulge"
                                                              : "Unbarred Tight Spiral Galaxies"));
  }
  EXPECT_EQ(opened(files).train->class_names().size(), 2U);
  // One word each may be few images of many classes.
  EXPECT_EQ(
      opened({{"1.jpg", png(1)}, text("1.txt", "cat"), {"2.jpg", png(2)}, text("2.txt", "dog")})
          .train->class_names(),
      (Names{"cat", "dog"}));
}

TEST_F(ForeignShard, MarksAndCarriageReturnsAreNoPartOfALabel) {
  const Opened o = opened({{"1.jpg", png(1)},
                           text("1.cls",
                                "\xef\xbb\xbf"
                                "cat\r\n"),
                           {"2.jpg", png(2)},
                           text("2.json", "\xef\xbb\xbf{\"label\": \"dog\\r\"}"),
                           {"3.jpg", png(3)},
                           text("3.txt", "cat\r")});
  EXPECT_EQ(o.train->class_names(), (Names{"cat", "dog"}));
  refuses({{"1.jpg", png(1)},
           text("1.cls", std::string("\xff\xfe"
                                     "1\0",
                                     4))},
          {"x.tar/1.jpg", "UTF-16"});
  refuses({{"1.jpg", png(1)}, text("1.cls", "caf\xe9")}, {"x.tar/1.jpg", "caf\\xe9", "UTF-8"});
}

}  // namespace
}  // namespace resnet

// What a folder of labelled images may look like.
#include "data/folder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "data/class_names.h"
#include "data/datasets.h"
#include "data/support.h"
#include "formats/npy.h"
#include "formats/pack.h"
#include "resnet/data.h"
#include "resnet/pack.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

const std::string kComposed = "caf\xc3\xa9";     // é as one character
const std::string kDecomposed = "cafe\xcc\x81";  // e and an accent

class Folders : public testing::Test {
 protected:
  void images(const std::string& name, int count = 2) {
    for (int i = 0; i < count; ++i) {
      write_png(folder, name + "/" + std::to_string(i) + ".png", ++seed_);
    }
  }
  void link(const fs::path& target, const std::string& name) {
    fs::create_directories((folder.path() / name).parent_path());
    fs::create_symlink(target, folder.path() / name);
  }
  DataSpec spec(const std::string& below = "") {
    notes.clear();
    return {.source = (below.empty() ? folder.path() : folder.path() / below).string(),
            .note = [this](const std::string& text) { notes.push_back(text); }};
  }
  DataSplits open(const std::string& below = "") { return open_data(spec(below)); }
  DatasetPtr open_test(const Names& classes, const std::string& below = "") {
    return open_test_data(spec(below), classes);
  }
  /// Some note has all these parts.
  bool said(std::initializer_list<std::string_view> parts) const {
    return std::ranges::any_of(notes, [&](const std::string& note) {
      return std::ranges::all_of(
          parts, [&](std::string_view part) { return note.find(part) != note.npos; });
    });
  }
  /// Images of each class.
  static std::map<std::string, int> counts(const Dataset& data) {
    std::map<std::string, int> counts;
    for (std::int64_t i = 0; i < data.size(); ++i) {
      ++counts[data.class_names()[static_cast<std::size_t>(data.label(i))]];
    }
    return counts;
  }
  using Counts = std::map<std::string, int>;

  TemporaryFolder folder;
  Names notes;

 private:
  std::uint32_t seed_ = 0;
};

// ------------------------------------------------------------------------------------------- parts

TEST_F(Folders, PartsAreKnownInAnyCaseAndUsualSpelling) {
  const std::vector<std::array<std::string, 2>> spellings = {
      {"train", "val"},    {"Train", "Val"},        {"TRAIN", "VALID"},
      {"training", "dev"}, {"Training", "Testing"}, {"train", "eval"},
      {"train", "Eval"},   {"trainset", "testset"}, {"training_set", "test_set"},
      {"train", "test1"},  {"train2017", "val2017"}};
  for (const auto& [train, val] : spellings) {
    SCOPED_TRACE(train + " " + val);
    for (const char* name : {"/a", "/b"}) {
      images(train + "-" + val + "/" + train + name, 3);
      images(train + "-" + val + "/" + val + name, 1);
    }
    const DataSplits data = open(train + "-" + val);
    EXPECT_EQ(data.train->class_names(), (Names{"a", "b"}));
    EXPECT_EQ(data.train->size(), 6);
    EXPECT_EQ(data.val->size(), 2);
    EXPECT_FALSE(data.split_here);
    EXPECT_TRUE(notes.empty());
    EXPECT_EQ(open_test({"a", "b"}, train + "-" + val)->size(), 2);
  }
}

TEST_F(Folders, TheMoreUsualSpellingIsTakenAndTheOtherIsSaid) {
  for (const char* part : {"train", "val", "eval"}) {
    images(std::string(part) + "/a", 2);
    images(std::string(part) + "/b", part == std::string("val") ? 1 : 3);
  }
  EXPECT_EQ(open().val->size(), 3);
  EXPECT_TRUE(said({"eval", "left out", "val"}));
}

TEST_F(Folders, OneSpellingInTwoCasesIsRefusedByBothNames) {
  for (const char* part : {"train", "val", "Val"}) {
    images(std::string(part) + "/a");
    images(std::string(part) + "/b");
  }
  expect_error(ErrorCode::kBadData, {"/Val", "/val", "validation"}, [&] { open(); });
}

TEST_F(Folders, WhatIsNeitherPartNorClassIsSaid) {
  for (const char* name : {"train/a", "train/b", "val/a", "val/b", "extra/a"}) images(name);
  EXPECT_EQ(open().train->size(), 4);
  EXPECT_TRUE(said({"extra", "left out"}));

  for (const char* part : {"cats_train", "cats_val"}) {
    images("alike/" + std::string(part) + "/a");
    images("alike/" + std::string(part) + "/b");
  }
  EXPECT_EQ(open("alike").train->class_names(), (Names{"cats_train", "cats_val"}));
  EXPECT_TRUE(said({"cats_train", "taken as a class", "train, val or test"}));
}

TEST_F(Folders, AClassMayBeCalledLikeAPart) {
  for (const char* name : {"bus", "train", "car"}) images(std::string("flat/") + name, 5);
  EXPECT_EQ(open("flat").train->class_names(), (Names{"bus", "car", "train"}));
  EXPECT_TRUE(said({"flat/train", "taken as a class"}));
  EXPECT_EQ(open_test({"bus", "car", "train"}, "flat")->size(), 15);

  for (const char* part : {"train", "val"}) {
    for (const char* name : {"bus", "train", "test"}) {
      images("parts/" + std::string(part) + "/" + name, 1);
    }
  }
  const DataSplits data = open("parts");
  EXPECT_EQ(data.train->class_names(), (Names{"bus", "test", "train"}));
  EXPECT_EQ(data.val->size(), 3);
  EXPECT_EQ(open_test({"bus", "test", "train"}, "parts/val")->size(), 3) << "the part by itself";
}

TEST_F(Folders, AFlatTestPartIsLeftOutAndSaid) {
  images("train/a", 5);
  images("train/b", 5);
  images("test", 3);
  const DataSplits data = open();
  EXPECT_TRUE(data.split_here);
  EXPECT_EQ(data.train->size() + data.val->size(), 10);
  EXPECT_TRUE(said({"/test", "left out", "resnet predict"}));
  EXPECT_EQ(open_test({"a", "b"})->size(), 10);
  EXPECT_TRUE(said({"/train", "evaluated"}));

  images("val/a", 1);
  images("val/b", 1);
  EXPECT_EQ(open().val->size(), 2);
  EXPECT_EQ(open_test({"a", "b"})->size(), 2) << "val is evaluated where test has no labels";
  EXPECT_TRUE(said({"/test", "left out", "resnet predict"}));
}

TEST_F(Folders, ATestPartOfOneUnknownFolderHasNoLabels) {
  images("train/a", 5);
  images("train/b", 5);
  images("Test/unknown", 3);
  EXPECT_EQ(open_test({"a", "b"})->size(), 10);
  EXPECT_TRUE(said({"/Test", "unknown", "resnet predict"}));
  EXPECT_TRUE(open().split_here);
  // A pack of it, too.
  const fs::path pack = folder.path() / "x.pack";
  EXPECT_EQ(pack_data(spec(), pack).images, 10);
  EXPECT_TRUE(said({"/Test", "resnet predict"}));
  // One that is a class has labels, and so have several.
  images("Test/a", 1);
  expect_error(ErrorCode::kBadData, {"\"unknown\"", "not one of"}, [&] { open_test({"a", "b"}); });
  fs::remove_all(folder.path() / "Test/unknown");
  EXPECT_EQ(open_test({"a", "b"})->size(), 1);
}

TEST_F(Folders, AFlatValidationPartIsStillAnError) {
  images("train/a");
  images("train/b");
  images("val", 3);
  expect_error(ErrorCode::kBadData, {"/val", "3 images but no class folders"}, [&] { open(); });
}

TEST_F(Folders, ClassFoldersWinOverArchivesBesideThem) {
  const auto tar = pack(Packing::kTar, {{"train/a/1.png", encode_png(test_image(8, 8, 3))}});
  for (const char* name : {"train/a", "train/b", "val/a", "val/b"}) images(name);
  folder.write("train.tar", tar);
  folder.write("val.tar", tar);
  EXPECT_EQ(open().train->size(), 4);
  EXPECT_TRUE(said({"train.tar", "left out"}));
  // Classes that were unpacked from tars of their own.
  for (const char* name : {"a", "b"}) {
    images("flat/" + std::string(name), 5);
    folder.write("flat/" + std::string(name) + ".tar", tar);
  }
  EXPECT_EQ(open("flat").train->class_names(), (Names{"a", "b"}));
  // IDX files beside the images that were made of them.
  folder.write("mnist/train-images-idx3-ubyte", bytes_of("?"));
  images("mnist/0", 5);
  images("mnist/1", 5);
  EXPECT_EQ(open("mnist").train->class_names(), (Names{"0", "1"}));
  EXPECT_TRUE(said({"IDX", "left out"}));
}

TEST_F(Folders, AClassThatIsCalledLikeAPartIsOneBesideOthers) {
  for (const std::string name : {"val", "test", "train"}) {
    for (const std::string& of : {name, std::string("cat"), std::string("dog")}) {
      images("as-" + name + "/" + of, 5);
    }
    Names expected = {"cat", "dog", name};
    EXPECT_EQ(open("as-" + name).train->class_names(), expected);
    EXPECT_EQ(open_test(expected, "as-" + name)->size(), 15) << name;
  }
}

TEST_F(Folders, ShardsBesideAFolderOfPreviewsStayShards) {
  const auto shard = [](const char* label) {
    return pack(Packing::kTar, {{"1.png", encode_png(test_image(8, 8, 3))},
                                {"1.cls", bytes_of(label)},
                                {"2.png", encode_png(test_image(8, 8, 3, 5))},
                                {"2.cls", bytes_of("b")}});
  };
  folder.write("Training/0.tar", shard("a"));
  folder.write("Eval/0.tar", shard("a"));
  images("Training/previews");
  EXPECT_EQ(open().train->class_names(), (Names{"a", "b"}));
  EXPECT_EQ(open().val->size(), 2);
}

TEST_F(Folders, ArraysOfAnNpzKnowTheSameWordsForParts) {
  std::vector<PackedFile> files;
  for (const auto& [name, count] :
       std::map<std::string, std::int64_t>{{"Training", 4}, {"valid", 2}}) {
    std::vector<std::uint8_t> labels;
    for (std::int64_t i = 0; i < count; ++i) labels.push_back(static_cast<std::uint8_t>(i % 2));
    write_npy(folder.path() / "a.npy", Tensor::zeros(DType::kU8, {count, 3, 2}));
    files.push_back({name + "_images.npy", read_file(folder.path() / "a.npy")});
    write_npy(folder.path() / "a.npy", Tensor::from<std::uint8_t>({count}, labels));
    files.push_back({name + "_labels.npy", read_file(folder.path() / "a.npy")});
  }
  folder.write("x.npz", pack(Packing::kZip, files));
  const DataSplits data = open("x.npz");
  EXPECT_EQ(data.train->size(), 4);
  EXPECT_EQ(data.val->size(), 2);
  EXPECT_FALSE(data.split_here);
}

TEST_F(Folders, TheSplitOfATableKnowsTheSameWords) {
  images("p", 4);
  folder.write("t.csv", bytes_of("path,label,split\np/0.png,a,Training\np/1.png,b,TRAIN\n"
                                 "p/2.png,a,Eval\np/3.png,b,dev\n"));
  EXPECT_EQ(open("t.csv").val->size(), 2);
}

// ------------------------------------------------------------------------- links and foreign files

TEST_F(Folders, LinksAreFollowedOnce) {
  images("store/more", 3);
  images("data/a", 2);
  images("data/b", 2);
  link(folder.path() / "store/more", "data/a/more");
  link("../../store/more", "data/a/again");  // the same folder
  link("..", "data/a/up");                   // circles
  link(".", "data/a/self");
  link("other", "data/a/one");
  link("one", "data/a/other");  // a link to itself by another
  link("../data", "data/here");
  const DatasetPtr data = open_test({"a", "b"}, "data");
  EXPECT_EQ(counts(*data), (Counts{{"a", 7}, {"b", 2}}))
      << "two of its own, three linked, two lost";
  // A whole class, and a whole part.
  link(folder.path() / "store/more", "linked/train/c");
  images("linked/train/b");
  link("train", "linked/val");
  EXPECT_EQ(counts(*open("linked").val), (Counts{{"b", 2}, {"c", 3}}));
  // Where no labels are asked for.
  EXPECT_EQ(list_images(folder.path() / "data/a").size(), 7U);
}

TEST_F(Folders, RealFoldersGiveTheirNamesBeforeLinksToThem) {
  images("a/z", 1);
  link("z", "a/b");
  EXPECT_EQ(images_below(folder.path() / "a"), (Names{"z/0.png"}));
}

TEST_F(Folders, LinksThatLeadNowhereAreUnreadableImages) {
  for (const char* name : {"train/a", "train/b", "val/a", "val/b"}) images(name);
  link("/nowhere/1.jpg", "train/a/lost.jpg");
  link("/nowhere/2", "train/a/lost");
  link("/nowhere/notes.txt", "train/a/notes.txt");  // was no image
  const DataSplits data = open();
  ASSERT_EQ(data.train->size(), 6);
  const DataReport report = check_data(data);
  ASSERT_EQ(report.train.bad.size(), 2U);
  EXPECT_NE(report.train.bad[0].name.find("train/a/lost"), std::string::npos);
  EXPECT_NE(report.train.bad[0].reason.find("a link to /nowhere/2"), std::string::npos)
      << report.train.bad[0].reason;
  EXPECT_EQ(pack_data(spec(), folder.path() / "x.pack").skipped.size(), 2U);
  EXPECT_EQ(list_images(folder.path() / "train/a").size(), 4U);

  link("/nowhere", "train/c");
  expect_error(ErrorCode::kBadData, {"train/c", "leads nowhere"}, [&] { open(); });
  link("/nowhere", "val/c");
  EXPECT_EQ(open_test({"a", "b"})->size(), 4);
  EXPECT_TRUE(said({"val/c", "leads nowhere"}));
}

TEST_F(Folders, WhatSystemsKeepForThemselvesIsLeftOut) {
  for (const char* name :
       {"a", "b", "a/@eaDir/1.jpg", "@eaDir/a", "#recycle/c", "@Recycle/d", "__MACOSX/a",
        "$RECYCLE.BIN/e", "System Volume Information/f", "lost+found/g", ".ipynb_checkpoints/h",
        "b/.thumbnails", "b/$Recycle.Bin", "#snapshot/2026/a"}) {
    images(name);
  }
  write_png(folder, "a/._0.png");
  write_png(folder, "a/@eaDir/0.png/SYNOPHOTO_THUMB_M.png");
  EXPECT_EQ(counts(*open_test({"a", "b"})), (Counts{{"a", 2}, {"b", 2}}));
  EXPECT_EQ(open().train->class_names(), (Names{"a", "b"}));
  EXPECT_EQ(list_images(folder.path()).size(), 4U);
  EXPECT_TRUE(notes.empty());
}

TEST_F(Folders, ShardsHoldForeignFilesToo) {
  const auto image = encode_png(test_image(8, 8, 3));
  const auto tar = pack(Packing::kTar, {{"./1.png", image},
                                        {"./1.cls", bytes_of("a")},
                                        {"./._1.png", bytes_of("?")},
                                        {"__MACOSX/1.png", image},
                                        {"@eaDir/1.png/SYNOPHOTO_THUMB_M.png", image},
                                        {"2.png", image},
                                        {"2.cls", bytes_of("b")}});
  folder.write("shards/train-0.tar", tar);
  folder.write("shards/val-0.tar", tar);
  folder.write("shards/._train-0.tar", bytes_of("?"));
  const DataSplits data = open("shards");
  EXPECT_EQ(data.train->size(), 2);
  EXPECT_EQ(data.val->size(), 2);
}

// ----------------------------------------------------------------------------------------- classes

Names numbers(int count) {
  Names names;
  for (int i = 0; i < count; ++i) names.push_back(std::to_string(i));
  return names;
}

TEST_F(Folders, OneOrderOfClassesEverywhere) {
  std::string csv = "path,label\n";
  std::vector<PackedFile> files;
  for (const std::string& name : numbers(12)) {
    images("data/" + name, 2);
    csv += "data/" + name + "/0.png," + name + "\ndata/" + name + "/1.png," + name + "\n";
    for (const char* i : {"0", "1"}) {
      files.push_back({name + i + ".png", encode_png(test_image(8, 8, 3))});
      files.push_back({name + i + ".json", bytes_of(R"({"label":"img )" + name + "\"}")});
    }
  }
  folder.write("t.csv", bytes_of(csv));
  folder.write("t.tar", pack(Packing::kTar, files));
  const Names sorted = {"0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"};
  Names named;
  for (const std::string& name : sorted) named.push_back("img " + name);
  EXPECT_EQ(open("data").train->class_names(), sorted);
  EXPECT_EQ(open("t.csv").train->class_names(), sorted);
  EXPECT_EQ(open("t.tar").train->class_names(), named);
  pack_data(spec("data"), folder.path() / "x.pack");
  EXPECT_EQ(open("x.pack").train->class_names(), sorted);

  for (const char* source : {"data", "t.csv"}) {
    DataSpec natural = spec(source);
    natural.class_order = ClassOrder::kNatural;
    const DataSplits data = open_data(natural);
    EXPECT_EQ(data.train->class_names(), numbers(12)) << source;
    for (std::int64_t i = 0; i < data.val->size(); ++i) {
      EXPECT_NE(data.val->name(i).find("/" + std::to_string(data.val->label(i)) + "/"),
                std::string::npos);
    }
  }
}

TEST(ClassNames, NaturalOrder) {
  Names names = {"img10", "img2", "b", "10", "9", "a1b", "a01a", "1", "01", ""};
  std::ranges::sort(names, natural_less);
  EXPECT_EQ(names, (Names{"", "01", "1", "9", "10", "a01a", "a1b", "b", "img2", "img10"}));
}

TEST_F(Folders, SpellingsThatLookTheSameAreOneClass) {
  ASSERT_NE(kComposed, kDecomposed);
  images("train/" + kComposed);
  images("train/b");
  images("val/" + kDecomposed);
  const DataSplits data = open();
  EXPECT_EQ(data.val->class_names(), (Names{"b", kComposed}));
  EXPECT_EQ(counts(*data.val), (Counts{{kComposed, 2}}));
  EXPECT_EQ(counts(*open_test({kDecomposed, "b"})), (Counts{{kDecomposed, 2}}));

  images("both/" + kComposed, 3);
  images("both/" + kDecomposed, 2);
  images("both/b", 5);
  EXPECT_EQ(open("both").train->class_names(), (Names{"b", kComposed}));
  EXPECT_TRUE(said({kComposed, kDecomposed, "one class"}));
  EXPECT_EQ(counts(*open_test({"b", kComposed}, "both")), (Counts{{"b", 5}, {kComposed, 5}}));

  folder.write("t.csv",
               bytes_of("train/b/0.png,b\ntrain/b/1.png,b\ntrain/" + kComposed + "/0.png," +
                        kDecomposed + "\ntrain/" + kComposed + "/1.png," + kComposed + "\n"));
  EXPECT_EQ(open("t.csv").train->class_names(), (Names{"b", kComposed}));
  EXPECT_TRUE(said({kComposed, kDecomposed, "one class"}));
}

TEST_F(Folders, AModelWithoutNamesIsMatchedByIndexAsImageFolderDoes) {
  for (const std::string& name : numbers(12)) images(name, 1);
  const DatasetPtr data = open_test(unnamed_classes(12));
  EXPECT_EQ(data->class_names(), unnamed_classes(12));
  const Names sorted = {"0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"};
  for (std::int64_t i = 0; i < data->size(); ++i) {
    const std::string name = fs::path(data->name(i)).parent_path().filename().string();
    EXPECT_EQ(sorted[static_cast<std::size_t>(data->label(i))], name);
  }
  EXPECT_TRUE(said({"no names", "index"}));
  expect_error(ErrorCode::kBadData, {"12 classes", "10 without names", "--classes"},
               [&] { open_test(unnamed_classes(10)); });
  // Folders that are called so are matched by name.
  images("named/class 1", 1);
  images("named/class 7", 2);
  EXPECT_EQ(counts(*open_test(unnamed_classes(9), "named")),
            (Counts{{"class 1", 1}, {"class 7", 2}}));
  EXPECT_TRUE(notes.empty());
}

TEST_F(Folders, NumbersOfATableAreTheIndexForAModelWithoutNames) {
  images("p", 4);
  folder.write("t.csv", bytes_of("p/0.png,10\np/1.png,2\np/2.png,0\np/3.png,11\n"));
  const DatasetPtr data = open_test(unnamed_classes(12), "t.csv");
  for (const auto& [i, label] : std::map<int, int>{{0, 10}, {1, 2}, {2, 0}, {3, 11}}) {
    EXPECT_EQ(data->label(i), label);
  }
  expect_error(ErrorCode::kBadData, {"without names"},
               [&] { open_test(unnamed_classes(11), "t.csv"); });
}

}  // namespace
}  // namespace resnet

// The table of public data sets. Sizes and checksums are those under which TensorFlow Datasets
// fetches them (url_checksums/*.txt); Galaxy10's checksum is astroNN's, hymenoptera's that of
// PyTorch's tutorials.
#include "data/known_data.h"

#include <algorithm>
#include <system_error>

#include "core/check.h"
#include "core/guard.h"
#include "core/nearest.h"
#include "data/unpack.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

constexpr std::uint64_t kUnpacked = 4;  // times as large as the archive, at most

KnownData::File file(const std::string& folder, const std::string& name, std::uint64_t size,
                     const std::string& sha256) {
  return {.name = name, .download = {.url = folder + name, .sha256 = sha256, .size = size}};
}

KnownData imagenette(const std::string& suffix, const std::string& pixels, std::uint64_t size,
                     const std::string& sha256) {
  return {.name = "imagenette" + suffix,
          .title = "Imagenette: 13 394 photographs in 10 easy classes of ImageNet, " + pixels,
          .files = {file("https://s3.amazonaws.com/fast-ai-imageclas/",
                         "imagenette2" + suffix + ".tgz", size, sha256)},
          .folder = "imagenette2" + suffix,
          .class_names = {},
          .licence = "Apache-2.0; the images under the terms of ImageNet",
          .citation = "Howard, Imagenette, 2019"};
}

std::vector<KnownData> make_table() {
  const std::string toronto = "https://www.cs.toronto.edu/~kriz/";
  const std::string krizhevsky =
      "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009";
  const std::string mnist = "https://storage.googleapis.com/cvdf-datasets/mnist/";
  const std::string fashion = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/";
  const std::string train_images = "train-images-idx3-ubyte.gz";
  const std::string train_labels = "train-labels-idx1-ubyte.gz";
  const std::string test_images = "t10k-images-idx3-ubyte.gz";
  const std::string test_labels = "t10k-labels-idx1-ubyte.gz";
  return {
      {.name = "cifar10",
       .title = "CIFAR-10: 60 000 images of 32 x 32 pixels in 10 classes",
       .files = {file(toronto, "cifar-10-binary.tar.gz", 170052171,
                      "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")},
       .folder = "",
       .class_names = {},
       .licence = "none stated",
       .citation = krizhevsky},
      {.name = "cifar100",
       .title = "CIFAR-100: 60 000 images of 32 x 32 pixels in 100 classes",
       .files = {file(toronto, "cifar-100-binary.tar.gz", 168513733,
                      "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec")},
       .folder = "",
       .class_names = {},
       .licence = "none stated",
       .citation = krizhevsky},
      {.name = "mnist",
       .title = "MNIST: 70 000 handwritten digits of 28 x 28 pixels",
       .files = {file(mnist, train_images, 9912422,
                      "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
                 file(mnist, train_labels, 28881,
                      "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
                 file(mnist, test_images, 1648877,
                      "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
                 file(mnist, test_labels, 4542,
                      "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6")},
       .folder = "",
       .class_names = {},
       .licence = "CC-BY-SA-3.0",
       .citation = "LeCun, Cortes, Burges, The MNIST database of handwritten digits, 1998"},
      {.name = "fashion-mnist",
       .title = "Fashion-MNIST: 70 000 articles of clothing of 28 x 28 pixels in 10 classes",
       .files = {file(fashion, train_images, 26421880,
                      "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
                 file(fashion, train_labels, 29515,
                      "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
                 file(fashion, test_images, 4422102,
                      "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
                 file(fashion, test_labels, 5148,
                      "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5")},
       .folder = "",
       .class_names = {"T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt",
                       "sneaker", "bag", "ankle boot"},
       .licence = "MIT",
       .citation = "Xiao, Rasul, Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017"},
      imagenette("-160", "the shorter side of 160 pixels", 98948031,
                 "88daccb09b6fce93f45e6c09ddeb269cce705549e6bff322092a2a5a11489863"),
      imagenette("-320", "the shorter side of 320 pixels", 341553947,
                 "5020a9130cea0348272823cb12d2db7e981c6f2afa3dce71ccd5b8013005c55e"),
      imagenette("", "full size", 1556914727,
                 "de32de18a7d8df0114d5e2c3c14cafb9558e8f00441a73aa7953681ad02be49c"),
      {.name = "galaxy10",
       .title = "Galaxy10 DECaLS: 17 736 galaxies of 256 x 256 pixels in 10 classes",
       .files = {file("https://zenodo.org/records/10845026/files/", "Galaxy10_DECals.h5", 0,
                      "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571")},
       .folder = "",
       .class_names = {},
       .licence = "see zenodo.org/records/10845026",
       .citation =
           "Leung, Bovy, Galaxy10 DECaLS; Walmsley et al., Galaxy Zoo DECaLS, MNRAS 509, 2022"},
      {.name = "hymenoptera",
       .title = "Hymenoptera: 397 photographs of ants and bees, of PyTorch's tutorial",
       .files = {file("https://download.pytorch.org/tutorial/", "hymenoptera_data.zip", 47286322,
                      "fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209")},
       .folder = "hymenoptera_data",
       .class_names = {},
       .licence = "none stated; a small part of ImageNet",
       .citation = "Chilamkurthy, Transfer Learning for Computer Vision Tutorial"},
  };
}

fs::path home_of(const KnownData& data, const DownloadOptions& options) {
  return cache_folder(options) / "data" / data.name;
}

/// What `open_data` takes, once it is there.
fs::path place_of(const KnownData& data, const fs::path& home) {
  if (!data.folder.empty()) return home / data.folder;
  return data.files.size() == 1 ? home / data.files.front().name : home;
}

bool is_there(const KnownData& data, const fs::path& home) {
  std::error_code ignored;
  if (!data.folder.empty()) return fs::is_directory(home / data.folder, ignored);
  return std::ranges::all_of(data.files,
                             [&](const auto& f) { return fs::exists(home / f.name, ignored); });
}

std::vector<std::string> names() {
  std::vector<std::string> all;
  for (const KnownData& data : known_data()) all.push_back(data.name);
  return all;
}

}  // namespace

const std::vector<KnownData>& known_data() {
  static const std::vector<KnownData> table = make_table();
  return table;
}

const KnownData* find_known_data(std::string_view name) {
  const auto found = std::ranges::find(known_data(), name, &KnownData::name);
  return found == known_data().end() ? nullptr : &*found;
}

fs::path get_data(const KnownData& data, const DownloadOptions& options) try {
  const fs::path home = home_of(data, options);
  // Unpacked is as good as fetched: the archive may have been removed.
  if (data.folder.empty() || !is_there(data, home)) {
    for (const KnownData::File& f : data.files) fetch(f.download, home / f.name, options);
  }
  if (!data.folder.empty() && !is_there(data, home)) {
    const fs::path archive = home / data.files.front().name;
    unpack(archive, data.folder, home / data.folder, kUnpacked * fs::file_size(archive),
           options.stop);
  }
  return place_of(data, home);
} catch (...) {
  throw_as_error();
}

fs::path get_data(std::string_view name, const DownloadOptions& options) try {
  const KnownData* data = find_known_data(name);
  if (data != nullptr) return get_data(*data, options);
  fail(ErrorCode::kNotFound, "no data set \"{}\" is known; did you mean {}? Known are {}",
       name.substr(0, 64), nearest_name(name, names()), fmt::join(names(), ", "));
} catch (...) {
  throw_as_error();
}

fs::path locate_data(const DataSpec& spec, std::string_view expected) {
  std::error_code error;
  if (!spec.source.empty() && fs::exists(spec.source, error)) return spec.source;
  const DownloadOptions options{.cache = spec.cache};
  if (const KnownData* data = find_known_data(spec.source)) {
    const fs::path home = home_of(*data, options);
    if (is_there(*data, home)) return place_of(*data, home);
    if (spec.download) return get_data(*data, options);
    fail(
        ErrorCode::kNotFound,
        "{0} is not in {1}; add --download, or run resnet data get {0}, or fetch {2}{3} and put it "
        "there",
        data->name, home.string(), data->files.front().download.url,
        data->files.size() > 1 ? fmt::format(" and {} more", data->files.size() - 1) : "");
  }
  const std::string meant = nearest_name(spec.source, names());
  fail(ErrorCode::kNotFound, "{}: no such file or folder; {}{}",
       spec.source.empty() ? "\"\"" : spec.source, expected,
       edit_distance(spec.source, meant) <= 2 ? fmt::format("; did you mean {}?", meant)
                                              : " (resnet data list)");
}

}  // namespace resnet

// Finding out what a data source is, and dividing it. The order is that of the table in
// `open_source`; what is left is a folder of images.
#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/guard.h"
#include "core/text.h"
#include "data/class_names.h"
#include "data/datasets.h"
#include "data/folder.h"
#include "data/galaxies.h"
#include "data/known_data.h"
#include "data/sources.h"
#include "formats/cifar.h"
#include "formats/idx.h"
#include "formats/image.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

// ---------------------------------------------------------------------------------------- galaxies

constexpr std::string_view kGalaxies = "galaxies";
constexpr std::uint64_t kFirstValGalaxy = std::uint64_t{1} << 40;  // no train set reaches this far

std::uint64_t parse_count(std::string_view key, std::string_view text, std::uint64_t low,
                          std::uint64_t high) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    fail(ErrorCode::kInvalidArgument, "galaxies: {}=\"{}\"; expected a whole number of {} to {}",
         key, text, low, high);
  }
  return value;
}

Opened open_galaxies(const DataSpec& spec) {
  const std::uint64_t classes = galaxy_class_names().size();
  std::uint64_t train = 6000;
  std::uint64_t val = 1200;
  std::uint64_t seed = spec.seed;
  std::uint64_t size = spec.image_size > 0 ? static_cast<std::uint64_t>(spec.image_size) : 64;
  std::string_view rest = std::string_view(spec.source).substr(kGalaxies.size());
  while (!rest.empty()) {
    rest.remove_prefix(1);  // ':' at first, then ','
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(item.size());
    const std::size_t equals = item.find('=');
    const std::string_view key = item.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? std::string_view{} : item.substr(equals + 1);
    if (key == "train") {
      train = parse_count(key, value, classes, 1'000'000'000);
    } else if (key == "val") {
      val = parse_count(key, value, 1, 1'000'000'000);
    } else if (key == "size") {
      size = parse_count(key, value, 8, 4096);
    } else if (key == "seed") {
      seed = parse_count(key, value, 0, UINT64_MAX);
    } else {
      fail(ErrorCode::kInvalidArgument,
           "galaxies: unknown setting \"{}\"; expected galaxies:train=N,val=N,size=PIXELS,seed=N "
           "(any of them)",
           item);
    }
  }
  const int side = static_cast<int>(size);
  Opened opened;
  opened.train = make_galaxies("train", static_cast<std::int64_t>(train), side, seed, 0);
  opened.val = make_galaxies("val", static_cast<std::int64_t>(val), side, seed, kFirstValGalaxy);
  opened.title = fmt::format("galaxies of {0} x {0} pixels", side);
  return opened;
}

// ------------------------------------------------------------------------------------ packed files

Opened open_cifar(const fs::path& path) {
  Cifar cifar = read_cifar(path);
  const std::string title = cifar.kind == CifarKind::kCifar10 ? "CIFAR-10" : "CIFAR-100";
  Opened opened;
  opened.train =
      make_packed_dataset(title + " train", interleave_planes(std::move(cifar.train.images)),
                          std::move(cifar.train.labels), cifar.class_names);
  opened.test =
      make_packed_dataset(title + " test", interleave_planes(std::move(cifar.test.images)),
                          std::move(cifar.test.labels), cifar.class_names);
  opened.title = title;
  return opened;
}

Opened open_idx(const fs::path& folder, std::vector<std::string> names) {
  Idx idx = read_idx_folder(folder);
  std::int32_t highest = 0;
  for (const auto* labels : {&idx.train.labels, &idx.test.labels}) {
    for (const std::int32_t label : *labels) highest = std::max(highest, label);
  }
  const bool numbered = names.empty();
  for (auto n = static_cast<std::int32_t>(names.size()); n <= highest; ++n) {
    names.push_back(std::to_string(n));
  }
  const auto dataset = [&](const char* part, IdxSplit& split) {
    const Shape s = split.images.shape();  // [n, h, w]
    return make_packed_dataset(fmt::format("{} {}", folder.string(), part),
                               split.images.reshaped({s[0], s[1], s[2], 1}),
                               std::move(split.labels), names);
  };
  Opened opened;
  opened.train = dataset("train", idx.train);
  opened.test = dataset("test", idx.test);
  opened.title = "IDX files";
  opened.numbered = numbered;
  return opened;
}

// --------------------------------------------------------------------------------------------- all

constexpr std::string_view kSources =
    "expected a folder of images, CIFAR or IDX files, a .csv of paths and labels, WebDataset "
    ".tar shards, MedMNIST's .npz, HDF5, a pack of `resnet data pack`, the word \"galaxies\", or a "
    "data set known by name";

/// What a folder of class folders holds besides, which would be data of its own elsewhere.
void note_archives(const fs::path& root, std::vector<std::string>& notes) {
  const std::vector<fs::path> tars = tars_in(root);
  if (!tars.empty()) {
    notes.push_back(fmt::format(
        "{}{} left out: the folders beside {} hold the classes", printable(tars.front().string()),
        tars.size() == 1 ? " is" : fmt::format(" and {} more .tar are", tars.size() - 1),
        tars.size() == 1 ? "it" : "them"));
  }
  if (is_cifar(root) || is_idx_folder(root)) {
    notes.push_back(
        fmt::format("the {} files in {} are left out: the folders beside them hold the "
                    "classes",
                    is_idx_folder(root) ? "IDX" : "CIFAR", printable(root.string())));
  }
}

}  // namespace

Opened open_source(const DataSpec& spec, Purpose purpose) {
  const std::string& source = spec.source;
  if (is_galaxies(source)) return open_galaxies(spec);
  if (source.find('{') != std::string::npos && is_webdataset(source)) {
    return open_webdataset(source, purpose, spec.class_order);
  }
  const fs::path path = locate_data(spec, kSources);
  // By name before by contents: looking into an archive may take a while.
  if (is_table(path)) return open_table(path, spec.class_order);
  if (is_npz(path)) return open_npz(path, purpose);
  if (is_hdf5(path)) return open_hdf5(path);
  if (is_pack(path)) return open_pack(std::make_shared<const ByteSource>(path));
  std::error_code ignored;
  if (fs::is_directory(path, ignored) && has_class_folders(path)) {
    Opened opened = open_folder(path, purpose, spec.class_order);
    note_archives(path, opened.notes);
    return opened;
  }
  if (!is_image_path(path) && is_cifar(path)) return open_cifar(path);
  if (is_webdataset(path.string())) {
    return open_webdataset(path.string(), purpose, spec.class_order);
  }
  if (!fs::is_directory(path, ignored)) {
    fail(ErrorCode::kBadData, "{}: not a data set; {}", source, kSources);
  }
  if (is_idx_folder(path)) {
    const KnownData* known = path == source ? nullptr : find_known_data(source);
    return open_idx(path, known != nullptr ? known->class_names : std::vector<std::string>());
  }
  return open_folder(path, purpose, spec.class_order);
}

void tell_notes(const DataSpec& spec, const std::vector<std::string>& notes) {
  if (!spec.note) return;
  for (const std::string& note : notes) spec.note(note);
}

DataSplits open_data(const DataSpec& spec) try {
  if (!(spec.val_fraction > 0 && spec.val_fraction < 1)) {
    fail(ErrorCode::kInvalidArgument,
         "a validation share of {}; expected a number between 0 and 1, e.g. 0.2",
         spec.val_fraction);
  }
  if (spec.per_class < 0) {
    fail(ErrorCode::kInvalidArgument,
         "{} training images of each class; expected at least 1, or 0 for all", spec.per_class);
  }
  if (spec.image_size < 0) {
    fail(ErrorCode::kInvalidArgument, "an image size of {}; expected 0 (default) or more pixels",
         spec.image_size);
  }
  const Opened opened = open_source(spec, Purpose::kTrain);
  tell_notes(spec, opened.notes);
  const DatasetPtr& held_out = opened.val ? opened.val : opened.test;
  const std::string_view held_out_word = opened.val || !opened.test ? "validation" : "test";
  if (!opened.train) {
    fail(ErrorCode::kBadData, "{}: has images to test on but no train folder; add {}", spec.source,
         (fs::path(spec.source) / "train").string());
  }
  if (opened.train->size() == 0 || (held_out && held_out->size() == 0)) {
    fail(ErrorCode::kBadData, "{}: no {} images in it", spec.source,
         opened.train->size() == 0 ? "training" : held_out_word);
  }
  const auto& classes = opened.train->class_names();
  std::set<int> used;
  for (std::int64_t i = 0; i < opened.train->size() && used.size() < 2; ++i) {
    used.insert(opened.train->label(i));
  }
  if (used.size() < 2) {
    fail(ErrorCode::kBadData, "{}: all images are of one class (\"{}\"); expected at least two",
         spec.source, classes[static_cast<std::size_t>(*used.begin())]);
  }

  DataSplits splits;
  splits.split_here = !held_out;
  splits.numbered = opened.numbered;
  if (held_out) {
    splits.train = opened.train;
    const std::vector<int> positions = positions_of(held_out->class_names(), classes);
    if (const auto lost = std::ranges::find(positions, -1); lost != positions.end()) {
      fail(ErrorCode::kBadData,
           "{}: class \"{}\" has {} images but no training images; add it to train or remove "
           "it there",
           spec.source, held_out->class_names()[static_cast<std::size_t>(lost - positions.begin())],
           held_out_word);
    }
    splits.val = match_classes(held_out, classes, spec.source);
  } else {
    const SplitIndices indices = split_stratified(*opened.train, spec.val_fraction, spec.seed);
    if (indices.val.empty()) {
      fail(ErrorCode::kBadData,
           "{}: one image in each class, so none can be held out for validation; add more",
           spec.source);
    }
    splits.train = make_subset(opened.train, indices.train);
    splits.val = make_subset(opened.train, indices.val);
  }
  if (spec.per_class > 0) {
    splits.train =
        make_subset(splits.train, sample_per_class(*splits.train, spec.per_class, spec.seed));
  }
  splits.description = fmt::format(
      "{}: {} training and {} {} images of {} classes{}{}", opened.title, splits.train->size(),
      splits.val->size(), held_out_word, classes.size(), splits.split_here ? ", split here" : "",
      spec.per_class > 0 ? fmt::format(", {} a class", spec.per_class) : "");
  return splits;
} catch (...) {
  throw_as_error();
}

DatasetPtr open_test_data(const DataSpec& spec, const std::vector<std::string>& class_names) try {
  const Opened opened = open_source(spec, Purpose::kTest);
  tell_notes(spec, opened.notes);
  const DatasetPtr& dataset = opened.test ? opened.test : opened.val ? opened.val : opened.train;
  if (dataset->size() == 0) {
    fail(ErrorCode::kBadData, "{}: no images in it", spec.source);
  }
  const std::vector<int> by_name = positions_of(dataset->class_names(), class_names);
  if (!are_unnamed(class_names) || std::ranges::find(by_name, -1) == by_name.end()) {
    return match_classes(dataset, class_names, spec.source);
  }
  return match_by_index(dataset, class_names, spec.source, opened.numbered, spec.note);
} catch (...) {
  throw_as_error();
}

std::vector<fs::path> list_images(const fs::path& path, const Unlisted& unlisted) try {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) {
    fail(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
  }
  if (!fs::status_known(status)) {
    fail(ErrorCode::kIo, "cannot open {}: {}", path.string(), error.message());
  }
  if (!fs::is_directory(status)) return {path};
  std::vector<fs::path> files;
  for (const std::string& file : images_below(path, SIZE_MAX, unlisted))
    files.push_back(path / file);
  return files;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

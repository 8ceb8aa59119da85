// MedMNIST (Yang et al., "MedMNIST v2", Scientific Data 2023): one .npz with
// {train,val,test}_images, u8 [n, h, w] or [n, h, w, 3], and …_labels, [n, 1] or [n].
#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/text.h"
#include "data/class_names.h"
#include "data/datasets.h"
#include "data/sources.h"
#include "formats/npz.h"

namespace resnet {
namespace {

using Arrays = std::map<std::string, Tensor>;

const Tensor* find(const Arrays& arrays, const std::string& name) {
  const auto it = arrays.find(name);
  return it == arrays.end() ? nullptr : &it->second;
}

/// "val_images" for "Valid_images" and the like; empty for other arrays.
std::string medmnist_name(std::string_view name) {
  for (const std::string_view what : {"_images", "_labels"}) {
    if (!name.ends_with(what)) continue;
    switch (part_named(name.substr(0, name.size() - what.size())).part) {
      case Part::kTrain: return fmt::format("train{}", what);
      case Part::kVal: return fmt::format("val{}", what);
      case Part::kTest: return fmt::format("test{}", what);
      case Part::kNone: break;
    }
  }
  return {};
}

/// u8 [n, h, w, c]
Tensor images_of(const Tensor& t, const std::string& where) {
  const Shape& s = t.shape();
  const bool grey = s.size() == 3;
  const bool good = t.dtype() == DType::kU8 &&
                    (grey || (s.size() == 4 && (s[3] == 3 || s[3] == 1))) &&
                    std::all_of(s.begin() + 1, s.end(), [](auto d) { return d > 0 && d <= 65535; });
  if (!good) {
    fail(ErrorCode::kUnsupported,
         "{}: {} {}; expected images as u8 [n, height, width] or [n, height, width, 3]", where,
         name_of(t.dtype()), to_string(s));
  }
  return grey ? t.reshaped({s[0], s[1], s[2], 1}) : t;
}

std::vector<std::int32_t> labels_of(const Tensor& t, std::int64_t images,
                                    const std::string& where) {
  const Shape& s = t.shape();
  if (s.size() == 2 && s[1] > 1) {
    fail(ErrorCode::kUnsupported,
         "{}: {} labels for each image; expected one class for each, since several at once "
         "(multi-label) cannot be learned here",
         where, s[1]);
  }
  const bool integer = t.dtype() == DType::kU8 || t.dtype() == DType::kI8 ||
                       t.dtype() == DType::kI32 || t.dtype() == DType::kI64;
  if (!integer || s.empty() || s.size() > 2 || t.size() != images) {
    fail(ErrorCode::kBadData, "{}: {} {}; expected {} whole numbers, one for each image", where,
         name_of(t.dtype()), to_string(s), images);
  }
  const Tensor wide = t.cast(DType::kI64);
  std::vector<std::int32_t> labels;
  labels.reserve(static_cast<std::size_t>(images));
  for (const std::int64_t label : wide.as<std::int64_t>()) {
    constexpr std::int64_t kMaxClasses = 100'000;
    if (label < 0 || label >= kMaxClasses) {
      fail(ErrorCode::kBadData, "{}: image {} has the label {}; expected 0 to {}", where,
           labels.size(), label, kMaxClasses - 1);
    }
    labels.push_back(static_cast<std::int32_t>(label));
  }
  return labels;
}

}  // namespace

bool is_npz(const std::filesystem::path& path) {
  return lower(path.extension().string()) == ".npz";
}

Opened open_npz(const std::filesystem::path& path, Purpose purpose) {
  // As with other sources: training is evaluated on val, a trained model on test.
  std::array<std::string, 3> parts = {"train", "val", "test"};
  const std::string unwanted = purpose == Purpose::kTrain ? "test_" : "val_";
  const std::string fallback = purpose == Purpose::kTrain ? "val_" : "test_";
  bool has_fallback = false;
  std::map<std::string, std::string> written;  // by MedMNIST's name: "valid_images"
  Arrays arrays = read_npz(path, [&](const std::string& name) {
    const std::string known = medmnist_name(name);
    if (known.empty()) return false;
    const auto [it, added] = written.emplace(known, name);
    if (!added && it->second != name) {
      fail(ErrorCode::kBadData, "{}: {} and {} are the same part; expected one of them",
           path.string(), it->second, name);
    }
    has_fallback = has_fallback || known.starts_with(fallback);
    return true;
  });
  for (const auto& [known, name] : written) {
    if (known == name) continue;
    auto node = arrays.extract(name);
    node.key() = known;
    arrays.insert(std::move(node));
  }
  if (has_fallback) {
    std::erase_if(arrays, [&](const auto& entry) { return entry.first.starts_with(unwanted); });
  }
  struct Read {
    Tensor images;
    std::vector<std::int32_t> labels;
  };
  std::map<std::string, Read> read;
  std::int32_t highest = 0;
  for (const std::string& part : parts) {
    const std::string where = fmt::format("{}/{}", path.string(), part);
    const Tensor* images = find(arrays, part + "_images");
    const Tensor* labels = find(arrays, part + "_labels");
    if (images == nullptr && labels == nullptr) continue;
    if (images == nullptr || labels == nullptr) {
      fail(ErrorCode::kBadData, "{}_{} is missing beside {}_{}; fetch the file again", where,
           images == nullptr ? "images" : "labels", part, images == nullptr ? "labels" : "images");
    }
    Read& r = read[part];
    r.images = images_of(*images, where + "_images");
    r.labels = labels_of(*labels, r.images.dim(0), where + "_labels");
    for (const std::int32_t label : r.labels) highest = std::max(highest, label);
  }
  if (read.empty()) {
    fail(ErrorCode::kBadData,
         "{}: expected arrays as MedMNIST names them (train_images, train_labels, val_images, …), "
         "found none",
         path.string());
  }
  const auto names = numbered_classes(path.parent_path(), highest);
  const auto dataset = [&](const std::string& part) -> DatasetPtr {
    const auto it = read.find(part);
    if (it == read.end()) return nullptr;
    return make_packed_dataset(fmt::format("{} {}", path.filename().string(), part),
                               std::move(it->second.images), std::move(it->second.labels), names);
  };
  Opened opened;
  opened.train = dataset("train");
  opened.val = dataset("val");
  opened.test = dataset("test");
  opened.title = path.stem().string();
  opened.numbered = are_numbers(names);
  return opened;
}

}  // namespace resnet

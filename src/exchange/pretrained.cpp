// The table of published weights. Addresses, preprocessing and results are what torchvision
// (torchvision/models/resnet.py, 0.29) and timm (timm/models/resnet.py and
// results/results-imagenet.csv, 1.0) say; timm's results are those at the input size given here.
// Checksums: PyTorch's and timm's file names end in the first 8 digits of the SHA-256, which is
// what torch.hub verifies; all 64 stand here where they are published elsewhere. Sizes likewise: 0
// where nobody gives the bytes.
#include "resnet/pretrained.h"

#include <algorithm>
#include <system_error>

#include "core/check.h"
#include "core/guard.h"
#include "core/nearest.h"
#include "data/imagenet.h"
#include "resnet/models.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

constexpr std::string_view kPyTorch = "https://download.pytorch.org/models/";
constexpr std::string_view kFirstRelease =
    "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/";
constexpr std::string_view kRsbRelease =
    "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-rsb-weights/";
constexpr std::string_view kGluon =
    "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1/";
constexpr std::uint64_t kLargestFile = std::uint64_t{1} << 30;  // the largest has some 260 MB
constexpr Interpolation kBilinear = Interpolation::kBilinear, kBicubic = Interpolation::kBicubic;

struct Row {
  std::string_view name, alias, folder, file, sha256;
  std::uint64_t size;
  int crop, resize;
  Interpolation interpolation;
  double top1, top5;
};

// clang-format off
constexpr Row kRows[] = {
    {"resnet18.a1_in1k", "", kRsbRelease, "resnet18_a1_0-d63eafa0.pth",
     "d63eafa07a6e32a39d328e364f8c9f89d671444ecc7f02aa0f7eb8882af3dd29", 0, 224, 235, kBicubic, 0.71504, 0.90086},
    {"resnet18.a2_in1k", "", kRsbRelease, "resnet18_a2_0-b61bd467.pth",
     "b61bd467647a03d3f7db590a1158552d2e66bf5ba62c2158ca9594c03de49923", 0, 224, 235, kBicubic, 0.70634, 0.89486},
    {"resnet18.a3_in1k", "", kRsbRelease, "resnet18_a3_0-40c531c8.pth",
     "40c531c8324d963735b0c7ab9a9b2d7715c573a04d0b95776d29cc816a2ef93e", 0, 160, 168, kBicubic, 0.65670, 0.86268},
    {"resnet18.gluon_in1k", "", kGluon, "gluon_resnet18_v1b-0757602b.pth",
     "0757602b", 0, 224, 256, kBicubic, 0.70844, 0.89750},
    {"resnet18.tv_in1k", "ResNet18_Weights.IMAGENET1K_V1", kPyTorch, "resnet18-f37072fd.pth",
     "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec", 46830571, 224, 256, kBilinear, 0.69758, 0.89078},
    {"resnet18d.ra2_in1k", "", kFirstRelease, "resnet18d_ra2-48a79e06.pth",
     "48a79e06", 0, 224, 256, kBicubic, 0.72296, 0.90682},
    {"resnet34.a1_in1k", "", kRsbRelease, "resnet34_a1_0-46f8f793.pth",
     "46f8f7930534e471b9a139b278896db5d11d17b8ea3fcc90ad43deed9e5e27d7", 0, 224, 235, kBicubic, 0.76420, 0.92896},
    {"resnet34.a2_in1k", "", kRsbRelease, "resnet34_a2_0-82d47d71.pth",
     "82d47d71dafac5343b070e5883c41321b45e4759bfe6aa25d375300c38b386a0", 0, 224, 235, kBicubic, 0.75520, 0.92454},
    {"resnet34.a3_in1k", "", kRsbRelease, "resnet34_a3_0-a20cabb6.pth",
     "a20cabb63e1baf7963ede853c5a38046aede79a7e675d3576714b59cb4ab7519", 0, 160, 168, kBicubic, 0.70580, 0.89540},
    {"resnet34.bt_in1k", "", kFirstRelease, "resnet34-43635321.pth",
     "436353219a11d07c7c74cf1a686ed3b02f6c954d4c7863e2046822e047c6f246", 0, 224, 256, kBicubic, 0.75176, 0.92166},
    {"resnet34.gluon_in1k", "", kGluon, "gluon_resnet34_v1b-c6d82d59.pth",
     "c6d82d59", 0, 224, 256, kBicubic, 0.74574, 0.91988},
    {"resnet34.tv_in1k", "ResNet34_Weights.IMAGENET1K_V1", kPyTorch, "resnet34-b627a593.pth",
     "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f", 87319819, 224, 256, kBilinear, 0.73314, 0.91420},
    {"resnet34d.ra2_in1k", "", kFirstRelease, "resnet34d_ra2-f8dcfcaf.pth",
     "f8dcfcaf", 0, 224, 256, kBicubic, 0.77108, 0.93372},
    {"resnet50.a1_in1k", "", kRsbRelease, "resnet50_a1_0-14fe96d1.pth",
     "14fe96d1", 0, 224, 235, kBicubic, 0.80382, 0.94598},
    {"resnet50.a1h_in1k", "", kRsbRelease, "resnet50_a1h2_176-001a1197.pth",
     "001a1197", 0, 176, 195, kBicubic, 0.79264, 0.94498},
    {"resnet50.a2_in1k", "", kRsbRelease, "resnet50_a2_0-a2746f79.pth",
     "a2746f79", 0, 224, 235, kBicubic, 0.79828, 0.94560},
    {"resnet50.a3_in1k", "", kRsbRelease, "resnet50_a3_0-59cae1ef.pth",
     "59cae1ef", 0, 160, 168, kBicubic, 0.75994, 0.92494},
    {"resnet50.am_in1k", "", kFirstRelease, "resnet50_am-6c502b37.pth",
     "6c502b37", 0, 224, 256, kBicubic, 0.79004, 0.94392},
    {"resnet50.b1k_in1k", "", kRsbRelease, "resnet50_b1k-532a802a.pth",
     "532a802a", 0, 224, 235, kBicubic, 0.79564, 0.94622},
    {"resnet50.b2k_in1k", "", kRsbRelease, "resnet50_b2k-1ba180c1.pth",
     "1ba180c1", 0, 224, 235, kBicubic, 0.79388, 0.94580},
    {"resnet50.bt_in1k", "", kFirstRelease, "rw_resnet50-86acaeed.pth",
     "86acaeed", 0, 224, 256, kBicubic, 0.78444, 0.94274},
    {"resnet50.c1_in1k", "", kRsbRelease, "resnet50_c1-5ba5e060.pth",
     "5ba5e060", 0, 224, 235, kBicubic, 0.79766, 0.94954},
    {"resnet50.c2_in1k", "", kRsbRelease, "resnet50_c2-d01e05b2.pth",
     "d01e05b2", 0, 224, 235, kBicubic, 0.79868, 0.94862},
    {"resnet50.d_in1k", "", kRsbRelease, "resnet50_d-f39db8af.pth",
     "f39db8af", 0, 224, 235, kBicubic, 0.79904, 0.94666},
    {"resnet50.gluon_in1k", "", kGluon, "gluon_resnet50_v1b-0ebe02e2.pth",
     "0ebe02e2", 0, 224, 256, kBicubic, 0.77580, 0.93704},
    {"resnet50.ra_in1k", "", kFirstRelease, "resnet50_ra-85ebb6e5.pth",
     "85ebb6e5", 0, 224, 256, kBicubic, 0.78820, 0.94314},
    {"resnet50.ram_in1k", "", kFirstRelease, "resnet50_ram-a26f946b.pth",
     "a26f946b", 0, 224, 256, kBicubic, 0.79034, 0.94386},
    {"resnet50.tv2_in1k", "ResNet50_Weights.IMAGENET1K_V2", kPyTorch, "resnet50-11ad3fa6.pth",
     "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca", 102540417, 224, 232, kBilinear, 0.80858, 0.95434},
    {"resnet50.tv_in1k", "ResNet50_Weights.IMAGENET1K_V1", kPyTorch, "resnet50-0676ba61.pth",
     "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a", 102530333, 224, 256, kBilinear, 0.76130, 0.92862},
    {"resnet50d.a1_in1k", "", kRsbRelease, "resnet50d_a1_0-e20cff14.pth",
     "e20cff14", 0, 224, 235, kBicubic, 0.80730, 0.94678},
    {"resnet50d.a2_in1k", "", kRsbRelease, "resnet50d_a2_0-a3adc64d.pth",
     "a3adc64d", 0, 224, 235, kBicubic, 0.80268, 0.94642},
    {"resnet50d.a3_in1k", "", kRsbRelease, "resnet50d_a3_0-403fdfad.pth",
     "403fdfad", 0, 160, 168, kBicubic, 0.77222, 0.93256},
    {"resnet50d.gluon_in1k", "", kGluon, "gluon_resnet50_v1d-818a1b1b.pth",
     "818a1b1b", 0, 224, 256, kBicubic, 0.79080, 0.94458},
    {"resnet50d.ra2_in1k", "", kFirstRelease, "resnet50d_ra2-464e36ba.pth",
     "464e36ba", 0, 224, 256, kBicubic, 0.80546, 0.95160},
    {"resnet101.a1_in1k", "", kRsbRelease, "resnet101_a1_0-cdcb52a9.pth",
     "cdcb52a9df09a641606696e5520e4fbbe8256ee4983d8b4dd1a1ef87a9b8846f", 0, 224, 235, kBicubic, 0.81494, 0.95164},
    {"resnet101.a1h_in1k", "", kRsbRelease, "resnet101_a1h-36d3f2aa.pth",
     "36d3f2aa", 0, 224, 235, kBicubic, 0.81950, 0.95760},
    {"resnet101.a2_in1k", "", kRsbRelease, "resnet101_a2_0-6edb36c7.pth",
     "6edb36c7", 0, 224, 235, kBicubic, 0.81344, 0.95198},
    {"resnet101.a3_in1k", "", kRsbRelease, "resnet101_a3_0-1db14157.pth",
     "1db14157", 0, 160, 168, kBicubic, 0.77928, 0.93686},
    {"resnet101.gluon_in1k", "", kGluon, "gluon_resnet101_v1b-3b017079.pth",
     "3b017079", 0, 224, 256, kBicubic, 0.79306, 0.94538},
    {"resnet101.tv2_in1k", "ResNet101_Weights.IMAGENET1K_V2", kPyTorch, "resnet101-cd907fc2.pth",
     "cd907fc2", 0, 224, 232, kBilinear, 0.81886, 0.95780},
    {"resnet101.tv_in1k", "ResNet101_Weights.IMAGENET1K_V1", kPyTorch, "resnet101-63fe2227.pth",
     "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a", 0, 224, 256, kBilinear, 0.77374, 0.93546},
    {"resnet101d.gluon_in1k", "", kGluon, "gluon_resnet101_v1d-0f9c8644.pth",
     "0f9c8644", 0, 224, 256, kBicubic, 0.80466, 0.95034},
    {"resnet101d.ra2_in1k", "", kFirstRelease, "resnet101d_ra2-2803ffab.pth",
     "2803ffab", 0, 256, 269, kBicubic, 0.82254, 0.96070},
    {"resnet152.a1_in1k", "", kRsbRelease, "resnet152_a1_0-2eee8a7a.pth",
     "2eee8a7a", 0, 224, 235, kBicubic, 0.81998, 0.95294},
    {"resnet152.a1h_in1k", "", kRsbRelease, "resnet152_a1h-dc400468.pth",
     "dc400468", 0, 224, 235, kBicubic, 0.82818, 0.96124},
    {"resnet152.a2_in1k", "", kRsbRelease, "resnet152_a2_0-b4c6978f.pth",
     "b4c6978f", 0, 224, 235, kBicubic, 0.81764, 0.95270},
    {"resnet152.a3_in1k", "", kRsbRelease, "resnet152_a3_0-134d4688.pth",
     "134d4688", 0, 160, 168, kBicubic, 0.78896, 0.94140},
    {"resnet152.gluon_in1k", "", kGluon, "gluon_resnet152_v1b-c1edb0dd.pth",
     "c1edb0dd", 0, 224, 256, kBicubic, 0.79712, 0.94720},
    {"resnet152.tv2_in1k", "ResNet152_Weights.IMAGENET1K_V2", kPyTorch, "resnet152-f82ba261.pth",
     "f82ba261", 0, 224, 232, kBilinear, 0.82284, 0.96002},
    {"resnet152.tv_in1k", "ResNet152_Weights.IMAGENET1K_V1", kPyTorch, "resnet152-394f9c45.pth",
     "394f9c45966e3651a89bbb78a48410a6755854ce4a5ab64927cf1c7247f85e58", 0, 224, 256, kBilinear, 0.78312, 0.94046},
    {"resnet152d.gluon_in1k", "", kGluon, "gluon_resnet152_v1d-bd354e12.pth",
     "bd354e12", 0, 224, 256, kBicubic, 0.80476, 0.95194},
    {"resnet152d.ra2_in1k", "", kFirstRelease, "resnet152d_ra2-5cac0439.pth",
     "5cac0439", 0, 256, 269, kBicubic, 0.83160, 0.96370},
    {"resnet200d.ra2_in1k", "", kFirstRelease, "resnet200d_ra2-bdba9bf9.pth",
     "bdba9bf9", 0, 256, 269, kBicubic, 0.83250, 0.96552},
};
// clang-format on

Pretrained describe(const Row& row) {
  Pretrained p;
  p.name = row.name;
  p.alias = row.alias;
  p.architecture = row.name.substr(0, row.name.find('.'));
  p.file = {.url = std::string(row.folder) + std::string(row.file),
            .sha256 = std::string(row.sha256),
            .size = row.size,
            .max_size = kLargestFile};
  const bool torchvision = row.folder == kPyTorch;
  p.publisher = torchvision ? "torchvision" : "timm";
  p.licence = torchvision ? "BSD-3-Clause" : "Apache-2.0";
  p.preprocessing.height = p.preprocessing.width = row.crop;
  p.preprocessing.resize = row.resize;
  p.preprocessing.interpolation = row.interpolation;
  p.preprocessing.upright = false;  // neither turns photographs
  p.top1 = row.top1;
  p.top5 = row.top5;
  return p;
}

const Pretrained* search(std::string_view name) {
  const auto& all = pretrained();
  for (const Pretrained& p : all) {
    if (p.name == name || (!p.alias.empty() && p.alias == name)) return &p;
  }
  // An architecture alone: torchvision's newest weights, else the best of timm's.
  const Pretrained* best = nullptr;
  for (const Pretrained& p : all) {
    if (p.architecture != name) continue;
    const auto rank = [](const Pretrained& x) {
      return std::pair(x.publisher == "torchvision", x.top1);
    };
    if (best == nullptr || rank(p) > rank(*best)) best = &p;
  }
  return best;
}

std::string nearest(std::string_view name) {
  std::vector<std::string> known;
  for (const Pretrained& p : pretrained()) known.push_back(p.name);
  return nearest_name(name, known);
}

}  // namespace

const std::vector<Pretrained>& pretrained() {
  static const std::vector<Pretrained> known = [] {
    const std::vector<std::string> built = architectures();
    std::vector<Pretrained> all;
    for (const Row& row : kRows) {
      Pretrained p = describe(row);
      if (std::ranges::find(built, p.architecture) != built.end()) all.push_back(std::move(p));
    }
    return all;
  }();
  return known;
}

const Pretrained& find_pretrained(std::string_view name) {
  if (const Pretrained* found = search(name)) return *found;
  fail(ErrorCode::kNotFound,
       "no published weights \"{}\"; did you mean {}? resnet weights list shows all {}",
       name.substr(0, 64), nearest(name), pretrained().size());
}

fs::path get_pretrained(std::string_view name, const DownloadOptions& options) try {
  const Pretrained& p = find_pretrained(name);
  const fs::path file = cache_folder(options) / "weights" / p.file_name();
  fetch(p.file, file, options);
  return file;
} catch (...) {
  throw_as_error();
}

ImportOptions import_options(const Pretrained& weights) {
  const Preprocessing& p = weights.preprocessing;
  ImportOptions options;
  options.architecture = weights.architecture;
  options.image_size = p.width;
  options.resize = p.resize;
  options.interpolation = p.interpolation;
  options.mean = p.mean;
  options.std = p.std;
  options.class_names = imagenet_class_names();
  return options;
}

ModelFile load_pretrained(std::string_view name, const DownloadOptions& options) try {
  const Pretrained& p = find_pretrained(name);
  ModelFile model = import_model(get_pretrained(name, options), import_options(p)).model;
  model.provenance["weights"] = p.name;
  model.provenance["url"] = p.file.url;
  model.provenance["licence"] = p.licence;
  return model;
} catch (...) {
  throw_as_error();
}

bool is_pretrained_name(const std::string& name_or_path) {
  std::error_code ignored;
  return !fs::exists(name_or_path, ignored) && search(name_or_path) != nullptr;
}

fs::path resolve_model(const std::string& name_or_path, const DownloadOptions& options) try {
  std::error_code ignored;
  if (fs::exists(name_or_path, ignored)) return name_or_path;
  if (search(name_or_path) != nullptr) return get_pretrained(name_or_path, options);
  fail(ErrorCode::kNotFound,
       "{}: no such file or folder, and no published weights of that name; did you mean {}?",
       name_or_path, nearest(name_or_path));
} catch (...) {
  throw_as_error();
}

const std::vector<std::string>& imagenet_classes() { return imagenet_class_names(); }

}  // namespace resnet

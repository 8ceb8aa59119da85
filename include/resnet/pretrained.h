// Published weights of residual networks by name: what there is, and fetching them.
//
//     for (const Pretrained& p : pretrained()) use(p.name, p.top1);
//     ModelFile model = load_pretrained("resnet50.tv2_in1k", {.progress = show});
//
// Names are timm's: an architecture, a point, the recipe of the training (`tv` and `tv2` are
// torchvision's first and second weights, `a1` … are those of Wightman et al., "ResNet strikes
// back", 2021) and the data (`in1k`: ImageNet's challenge, 1000 classes).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/data.h"
#include "resnet/download.h"
#include "resnet/model_file.h"
#include "resnet/weights.h"

namespace resnet {

struct Pretrained {
  std::string name;          ///< "resnet50.tv2_in1k"
  std::string alias;         ///< torchvision's "ResNet50_Weights.IMAGENET1K_V2"; "" for timm's.
  std::string architecture;  ///< One of `architectures()`.
  Download file;
  std::string publisher;  ///< "torchvision" or "timm"
  std::string licence;    ///< SPDX; the terms of ImageNet's images may bind besides.
  Preprocessing preprocessing;
  double top1 = 0;  ///< As published, on ImageNet's 50 000 validation images; fractions.
  double top5 = 0;

  /// "resnet50-11ad3fa6.pth"
  std::string file_name() const { return file.url.substr(file.url.rfind('/') + 1); }
};

/// All that fit the architectures of this version, in the order of the names.
const std::vector<Pretrained>& pretrained();

/// By name, by torchvision's name, or by architecture alone ("resnet50"), which means torchvision's
/// newest. Throws `kNotFound` with the nearest name.
const Pretrained& find_pretrained(std::string_view name);

/// The weights' file in the cache, fetched if it is not there: as published, in PyTorch's format.
/// Throws what `find_pretrained` and `fetch` do.
std::filesystem::path get_pretrained(std::string_view name, const DownloadOptions& options = {});

/// What `import_model` has to be told about that file: the network, its preprocessing, and the
/// names of the classes.
ImportOptions import_options(const Pretrained& weights);

/// The weights as a model, fetched if need be. Throws what `get_pretrained` and `import_model` do.
ModelFile load_pretrained(std::string_view name, const DownloadOptions& options = {});

/// True for the name of published weights under which no file or folder lies.
bool is_pretrained_name(const std::string& name_or_path);

/// A path as it is if something is there, else the weights of that name, as `get_pretrained`.
/// Throws `kNotFound` when it is neither.
std::filesystem::path resolve_model(const std::string& name_or_path,
                                    const DownloadOptions& options = {});

/// The names of ImageNet's 1000 classes in the order of the logits, for `ModelFile::class_names`.
const std::vector<std::string>& imagenet_classes();

}  // namespace resnet

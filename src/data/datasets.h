// The kinds of data set, each a small class over `Dataset`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "formats/image.h"
#include "resnet/data.h"
#include "resnet/decode.h"

namespace resnet {

constexpr std::uint64_t kMaxImageFile = std::uint64_t{1} << 30;  ///< bytes

/// Throws kBadData for a file in memory of more bytes than allowed.
void check_size(std::uint64_t bytes, const DecodeLimits& limits, const std::string& name);

/// What a decoder is told of how a data set is read.
ImageOptions decoding_of(const ReadOptions& options);

/// Images of one size, packed.
DatasetPtr make_packed_dataset(std::string name, Tensor images /* u8 [n, h, w, c] */,
                               std::vector<std::int32_t> labels,
                               std::vector<std::string> class_names);

/// u8 planes [n, 3, h, w] to interleaved [n, h, w, 3], in place.
Tensor interleave_planes(Tensor planes);

/// Galaxies drawn when they are asked for, in the asking thread; kept in memory where all fit into
/// 1 GiB. Image i of a part is number first + i of the seed's stream of its class.
DatasetPtr make_galaxies(std::string part, std::int64_t count, int size, std::uint64_t seed,
                         std::uint64_t first);

struct LabelledFile {
  std::string path;  ///< below the root
  int label = 0;
};
DatasetPtr make_folder_dataset(std::filesystem::path root, std::vector<LabelledFile> files,
                               std::vector<std::string> class_names);

/// The same images under the classes of a model, matched by name (names that look the same are
/// the same); a class that the model does not know is `kBadData`. `where` is for the message.
DatasetPtr match_classes(DatasetPtr dataset, const std::vector<std::string>& class_names,
                         const std::string& where);
/// The same for a model whose classes have no names: by index, or by the number that labels are
/// where they are `numbered`. Anything else than as many classes is `kBadData`. Says so to `note`.
DatasetPtr match_by_index(DatasetPtr dataset, const std::vector<std::string>& class_names,
                          const std::string& where, bool numbered,
                          const std::function<void(const std::string&)>& note);

/// Throws `kBadData` for a class whose name a model file or a line of text cannot hold (not UTF-8,
/// line breaks, control characters), naming an image of it.
void check_class_names(const Dataset& dataset);

/// The indices of each class divided by `fraction`, at random but for `seed`, each part in order.
/// A class of one image stays in training.
struct SplitIndices {
  std::vector<std::int64_t> train;
  std::vector<std::int64_t> val;
};
SplitIndices split_stratified(const Dataset& dataset, double fraction, std::uint64_t seed);

/// `count` images of each class (all where there are fewer), at random but for `seed`, in order.
/// With a larger count come those of a smaller one and more.
std::vector<std::int64_t> sample_per_class(const Dataset& dataset, std::int64_t count,
                                           std::uint64_t seed);

}  // namespace resnet

// The embedded default data set: images of galaxies drawn from the astronomy's own formulas.
// Which formula makes what, with the references and the parameter ranges: docs/GALAXIES.md.
#pragma once

#include <string_view>

#include <cstdint>
#include <string>
#include <vector>

#include "resnet/image.h"

namespace resnet {

/// Whether a source of data is the word for galaxies that are drawn, with or without settings
/// ("galaxies:train=64"); a folder may have a name that begins so.
inline bool is_galaxies(std::string_view source) {
  return source == "galaxies" || source.starts_with("galaxies:");
}

/// The classes in label order, fit for folder names ("elliptical", "edge_on_disc", …).
const std::vector<std::string>& galaxy_class_names();

/// One survey cut-out, RGB u8 of `size` x `size` pixels, of a galaxy of class `cls` (an index into
/// `galaxy_class_names()`). A pure function of its arguments: any thread may draw any image in
/// any order. The same (cls, seed, index) at another size is the same galaxy, sampled more finely,
/// under other noise. Throws Error(kInvalidArgument) unless `cls` is a class and 8 <= size <= 4096.
Image draw_galaxy(int cls, int size, std::uint64_t seed, std::uint64_t index);

}  // namespace resnet

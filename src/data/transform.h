// From a decoded image to floats: the parts of preprocessing that training and evaluation share.
#pragma once

#include <array>
#include <cstddef>

#include "data/resample.h"
#include "resnet/data.h"

namespace resnet {

/// Throws `kInvalidArgument` unless every field makes sense.
void check_preprocessing(const Preprocessing& settings);

/// `out` becomes `image` with 1, 3 or 4 channels.
void convert_channels(const Image& image, int channels, Image& out);

struct FitScratch {
  ResampleScratch resample;
  Image part;
  Image padded;
  Image shifted;
};

/// The image turned upright if the settings ask for it, with their number of channels; `scratch`
/// holds it where it differs from `image`.
const Image& prepared(const Image& image, const Preprocessing& settings, Image& scratch);

/// The image moved to the right by `dx` pixels and down by `dy`, in `out`; what this uncovers is
/// mirrored, without repeating the border pixel.
ImageView shifted(const ImageView& image, int dx, int dy, Image& out);

/// Resize of the shorter side and crop. The result looks into `source` where nothing had to be
/// computed, else into `scratch`.
ImageView fit(const ImageView& source, const Preprocessing& settings, const View& view,
              FitScratch& scratch);

/// `ImageTraits::sharpness` of a network's input; 0 where it has one value, or is below 3 pixels.
float sharpness_of(const float* input, const Preprocessing& settings, DataLayout layout);

/// Bytes to normalised floats, ((v / 255) − mean) / std in float as torchvision computes it: a
/// table, since there are only 256 values.
class Normalizer {
 public:
  explicit Normalizer(const Preprocessing& settings);
  /// The view must have the input's size and channels.
  void write(const ImageView& image, float* out, DataLayout layout) const;

 private:
  std::array<std::array<float, 256>, 3> table_;
};

}  // namespace resnet

// Random changes of one training image, and mixing within a batch.
#pragma once

#include "core/random.h"
#include "data/transform.h"
#include "resnet/data.h"

namespace resnet {

/// Throws `kInvalidArgument` unless every field makes sense and fits the preprocessing.
void check_augmentation(const Augmentation& augmentation, const Preprocessing& preprocessing);

/// Preprocessing with augmentation. Immutable: any number of threads, each with its own `Scratch`.
class Augmenter {
 public:
  struct Scratch {
    Image converted;
    FitScratch fit;
    Image padded;
    Image changed;
    Image spare;
  };

  Augmenter(const Preprocessing& preprocessing, const Augmentation& augmentation);
  /// Writes one network input, of the image or of its mirror image.
  void operator()(const Image& image, Random random, bool mirrored, float* out, DataLayout layout,
                  Scratch& scratch) const;
  /// The same in two steps, for images of which no more need be decoded than is seen: the part as
  /// it is stored, of an image with this size and orientation, and what becomes of that part.
  Rect pick(int width, int height, int orientation, Random& random) const;
  void finish(const Image& part, Random random, bool mirrored, float* out, DataLayout layout,
              Scratch& scratch) const;
  /// Without augmentation: one view after another.
  void look(const Image& image, const std::vector<View>& views, float* out, DataLayout layout,
            Scratch& scratch) const;

 private:
  ImageView fit_part(const ImageView& part, Scratch& scratch) const;
  ImageView shift(const ImageView& view, Random& random, Scratch& scratch) const;
  void change_pixels(Random& random, Scratch& scratch) const;
  void erase(Random& random, float* out, DataLayout layout) const;

  Preprocessing preprocessing_;
  Augmentation augmentation_;
  Normalizer normalizer_;
};

/// Mixup or CutMix over the first `batch.count` rows: row i is mixed with row i − 1 (row 0 with the
/// last), all with one ratio, as in torchvision's reference training. `spare` holds one row.
void mix_batch(const Augmentation& augmentation, Random random, DataLayout layout, Batch& batch,
               std::vector<float>& spare);

}  // namespace resnet

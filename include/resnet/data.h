// Labelled images: opening them, turning them into network input, augmenting them, and loading
// them in batches.
//
//     DataSplits data = open_data({.source = "flowers/"});
//     Preprocessing prep = default_preprocessing(*data.train, /*image_size=*/224);
//     Loader loader(data.train, prep, augmentation_preset("imagenet"), {.batch_size = 32});
//     Batch batch;
//     loader.start_epoch(0);
//     while (loader.next(batch)) step(batch.images, batch.targets);
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/download.h"
#include "resnet/image.h"
#include "resnet/tensor.h"

namespace resnet {

// ---------------------------------------------------------------------------------------- datasets

struct ImageSize {
  int width = 0;
  int height = 0;
  bool operator==(const ImageSize&) const = default;
};

/// How an image is to be decoded.
struct ReadOptions {
  /// Above 0, a reduced size that is cheaper is allowed, whose shorter side is at least this.
  int shorter = 0;
  /// Asked, once the size is known (the reduced one), for the part that is wanted; empty: all of
  /// it.
  PartPicker pick = {};
  Scale16Bit scale_16bit = Scale16Bit::kClip;
};

/// Images with labels, addressed by index. Every member may be called from any thread at any
/// time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  /// In the order of the labels.
  virtual const std::vector<std::string>& class_names() const = 0;
  /// 0 … class_names().size() − 1.
  virtual int label(std::int64_t i) const = 0;
  /// Where the image came from, for messages: a path, or "cifar-10 train 17".
  virtual std::string name(std::int64_t i) const = 0;
  /// Decodes image `i` into `out`, whose memory is reused. Throws `kBadData` (or `kIo`,
  /// `kNotFound`) naming the file when it cannot be read.
  virtual void read(std::int64_t i, Image& out) const = 0;
  /// The part of image `i` that `options` choose, which may take less time than all of it: the
  /// same pixels as in all of it. A data set whose images are no files of 16 bits need not heed
  /// more than `pick`, and need not override this.
  virtual void read_part(std::int64_t i, const ReadOptions& options, Image& out) const;
  /// The size that all images share; {0, 0} when they differ or nobody knows.
  virtual ImageSize image_size() const { return {}; }
  /// All images have one channel.
  virtual bool grey() const { return false; }
  /// The first image of each shard, rising from 0, where images lie in shards and those of one
  /// are best read together: a loader then shuffles the shards, and images within a buffer. Empty
  /// where any order is as good.
  virtual std::vector<std::int64_t> shard_starts() const { return {}; }

  Image image(std::int64_t i) const {
    Image image;
    read(i, image);
    return image;
  }
};

using DatasetPtr = std::shared_ptr<const Dataset>;

/// The images of `base` at `indices`, in that order. Throws `kInvalidArgument` on a bad index.
DatasetPtr make_subset(DatasetPtr base, std::vector<std::int64_t> indices);
/// Images that are already in memory. Throws `kInvalidArgument` unless every image has a label
/// below class_names.size().
DatasetPtr make_dataset(std::vector<Image> images, std::vector<int> labels,
                        std::vector<std::string> class_names);

/// Of classes that are known by name: by bytes, as Python's `sorted` and torchvision's ImageFolder
/// (0, 1, 10, 2), or with numbers by their value (0, 1, 2, 10).
enum class ClassOrder : std::uint8_t { kSorted, kNatural };

/// Where the data is, and how to divide it.
struct DataSpec {
  /// One of
  ///  - a folder with one folder of images a class, or with `train/` and `val/` (or `test/`) that
  ///    each have those, also as `Training/`, `valid/`, `eval/`, …; class folders may be nested
  ///    deeper, all that lies below counts, and symbolic links are followed;
  ///  - CIFAR-10 or CIFAR-100 in binary form: the folder, the .tar or the .tar.gz;
  ///  - a folder of IDX files (MNIST's layout), plain or .gz;
  ///  - a .csv or .tsv of the columns path, label and, if wanted, split (train, val, test), in that
  ///    order or named by the first line; paths are relative to the file's folder;
  ///  - WebDataset shards: a plain .tar, a folder of them (or with `train/` and `val/` of them), or
  ///    `train-{0000..0147}.tar`; the words train, val and test in their names tell the parts;
  ///  - MedMNIST's .npz: `train_images`, `train_labels`, `val_…`, `test_…`;
  ///  - HDF5 with one array of images (`images`, `data` or `x`) and one of labels (`ans`,
  ///    `labels`, `label`, `targets` or `y`), such as Galaxy10 DECaLS;
  ///  - a file that `pack_data` wrote (`resnet data pack`);
  ///  - `galaxies[:key=value,...]`: images drawn by the program; keys `train`, `val` (numbers of
  ///    images, 6000 and 1200), `size` (pixels, 64), `seed`;
  ///  - the name of one of `known_data()`, e.g. `cifar10`, if there is no such file.
  std::string source;
  std::uint64_t seed = 0;     ///< Of the split, and of the galaxies unless their own is given.
  double val_fraction = 0.2;  ///< Share of each class held out when the source has no val part.
  int image_size = 0;         ///< Galaxies are drawn at this size unless `size=` is given; 0: 64.
  std::int64_t shuffle_buffer = 10'000;  ///< For `LoaderOptions::shuffle_buffer` in training.
  bool download = false;                 ///< Fetch data known by name that is not in the cache.
  std::filesystem::path cache = {};      ///< Where that is kept; empty: `cache_folder()`.
  /// Training images of each class to use, chosen by `seed`; 0: all. The val part is not touched.
  int per_class = 0;
  /// Of folders, tables and shards whose labels are names. Labels that are numbers by the format
  /// (shards of numbers, .npz, HDF5, IDX) stay the index of their class.
  ClassOrder class_order = ClassOrder::kSorted;
  /// Told in one line each what a user may not expect: a folder that was left out, and why.
  std::function<void(const std::string&)> note = {};
};

/// A public data set that is known by name.
struct KnownData {
  struct File {
    std::string name;  ///< In the cache, below data/NAME/.
    Download download;
  };
  std::string name;   ///< "cifar10"
  std::string title;  ///< "CIFAR-10: 60 000 images of 32 x 32 pixels in 10 classes"
  std::vector<File> files;
  /// The folder that the one file, an archive, unpacks to; empty: it is read as it is.
  std::string folder;
  /// Of files that hold numbers only; empty: the files say.
  std::vector<std::string> class_names;
  std::string licence;
  std::string citation;
};

const std::vector<KnownData>& known_data();

/// Fetches what is not in the cache yet, unpacks it if need be, and returns what `open_data` takes.
/// Throws `kNotFound` with the nearest name, and what `fetch` throws.
std::filesystem::path get_data(std::string_view name, const DownloadOptions& options = {});

struct DataSplits {
  DatasetPtr train;
  DatasetPtr val;
  std::string description;  ///< "CIFAR-10: 50000 training and 10000 test images of 10 classes"
  bool split_here = false;  ///< `val` was held out of one folder by `val_fraction` and `seed`.
  bool numbered = false;    ///< Labels are numbers, and classes are called by them.
};

/// Finds out what the source is and opens both parts: `val` is its validation part, or its test
/// part if it has no other. Throws `kNotFound` (no such path, or known by name and not fetched),
/// `kBadData` (empty, one class only, a class in val that train lacks, a wrong length),
/// `kInvalidArgument` (a bad key or fraction), and what `fetch` throws. Images themselves are
/// decoded later.
DataSplits open_data(const DataSpec& spec);

/// The images on which to evaluate a model with these classes: the test part of the source, else
/// its val part, else all of it. Labels are matched to `class_names` by name; a class that the
/// model does not know is `kBadData`, one without images here is fine. Where a model has no names
/// ("class 0", "class 1", …) and the data has as many classes, they are matched by index, in the
/// order of ImageFolder; another number of classes is `kBadData`.
DatasetPtr open_test_data(const DataSpec& spec, const std::vector<std::string>& class_names);

/// Told of a folder below that cannot be listed, and why.
using Unlisted = std::function<void(const std::filesystem::path& folder, const std::string& why)>;

/// The images below a folder by their file names, sorted; or the path itself when it is a file.
/// Without `unlisted`, a folder that cannot be listed is `kIo`.
/// Symbolic links are followed, each folder once; those that lead nowhere are listed, too.
/// Throws `kNotFound` when there is no such path. Formats that are images but cannot be decoded
/// here (GIF, BMP, TIFF) are listed, so that they are reported and not silently missing.
std::vector<std::filesystem::path> list_images(const std::filesystem::path& path,
                                               const Unlisted& unlisted = {});

// ----------------------------------------------------------------------------------- preprocessing

enum class Interpolation : std::uint8_t { kNearest, kBilinear, kBicubic };

/// "nearest", "bilinear", "bicubic".
std::string_view name_of(Interpolation interpolation);
/// Throws `kInvalidArgument` for another name.
Interpolation parse_interpolation(std::string_view name);

/// What lies between a decoded image and the network in evaluation; it is stored in the model
/// file. Means what torchvision's Resize, CenterCrop, ToTensor, Normalize mean: resize so that the
/// shorter side is `resize` (antialiased, bit for bit as Pillow does it), crop the centre, divide
/// by 255, subtract `mean`, divide by `std`.
struct Preprocessing {
  int height = 224;  ///< Of the network's input.
  int width = 224;
  int resize = 256;  ///< Length of the shorter side before the crop; 0: images are not resized.
  Interpolation interpolation = Interpolation::kBilinear;
  int channels = 3;  ///< 3: RGB, 1: grey (ITU-R 601 luma). Images are converted.
  std::array<float, 3> mean = {0.485F, 0.456F,
                               0.406F};  ///< Of values in 0 … 1; [0] alone for grey.
  std::array<float, 3> std = {0.229F, 0.224F, 0.225F};
  /// Turn photographs upright by their EXIF orientation first. torchvision and timm do not.
  bool upright = true;
  Scale16Bit scale_16bit = Scale16Bit::kClip;  ///< Of 16-bit grey files.
  bool operator==(const Preprocessing&) const = default;
};

/// Where evaluation looks at an image: torchvision's FiveCrop and TenCrop are made of these. The
/// image is mirrored before it is cropped. A part that is larger than the image is padded as
/// the centre crop is. At last what the network would see is moved by `shift` pixels to the right
/// and down (left and up if negative), and mirrored at the edges that this uncovers.
enum class Corner : std::uint8_t { kTopLeft, kTopRight, kBottomLeft, kBottomRight, kCenter };
struct View {
  Corner corner = Corner::kCenter;
  bool mirrored = false;
  int shift = 0;
  bool operator==(const View&) const = default;
};
/// 1 crop is the centre; 5 are the corners and the centre, in FiveCrop's order; 10 are TenCrop's:
/// these five and the same of the mirrored image, which is what `flip` adds to 1 or 5. A `shift`
/// other than 0 adds each of these moved by that many pixels and back by as many. Throws
/// `kInvalidArgument` for another number of crops, or a negative shift.
std::vector<View> evaluation_views(int crops, bool flip = false, int shift = 0);

/// For a data set: its own size where images share one and `image_size` is 0 or the same, to
/// which others than its own are resized; else `image_size` (0: 224) after a resize to 256/224 of
/// it. Grey where the data is grey. Mean and std are ImageNet's (grey: their average); see
/// `measure_statistics`.
Preprocessing default_preprocessing(const Dataset& dataset, int image_size = 0);

/// Writes one network input: [channels, height, width] or [height, width, channels] floats.
/// Thread-safe. Throws `kInvalidArgument` when the settings or the image make no sense.
void preprocess(const Image& image, const Preprocessing& settings, float* out,
                DataLayout layout = DataLayout::kNCHW, const View& view = {});
/// The same up to the crop: the 8-bit image that the network sees.
Image preprocess_pixels(const Image& image, const Preprocessing& settings, const View& view = {});

/// Pillow's Image.resize: separable, antialiased when shrinking, bit-exact for 8-bit images
/// (RGBA channels are resampled independently). Throws `kInvalidArgument` on sizes below 1.
Image resize(const Image& image, int width, int height, Interpolation interpolation);
/// To 1 (luma), 3 or 4 channels, as Pillow's convert("L" / "RGB" / "RGBA"); alpha is dropped.
Image convert_channels(const Image& image, int channels);

// ------------------------------------------------------------------------------------ augmentation

/// Random changes of training images, in the order in which they are applied. Everything off is
/// the evaluation path. Meanings and defaults are torchvision's.
struct Augmentation {
  /// Inception-style crop (Szegedy et al., 2015): a random part of the area in a random aspect
  /// ratio, resized to the input. Replaces the resize and centre crop of the evaluation path.
  bool random_resized_crop = false;
  double min_scale = 0.08;
  double max_scale = 1.0;
  double min_ratio = 3.0 / 4.0;
  double max_ratio = 4.0 / 3.0;

  int pad = 0;           ///< Pixels added on each side before a random crop back to the input size.
  bool reflect = false;  ///< Mirror the border into the padding; else it is black.

  double horizontal_flip = 0;  ///< Probability.
  /// Instead of by chance: each image is mirrored in every second epoch, half of them in the
  /// first (Jordan 2024). `horizontal_flip` must be 0.
  bool alternate_flip = false;
  double vertical_flip = 0;    ///< Probability.
  bool quarter_turns = false;  ///< 0, 90, 180 or 270 degrees with equal chance (square input only).
  double rotation = 0;         ///< Uniform in ± this many degrees; bilinear, black outside.

  double brightness = 0;  ///< Factor uniform in [max(0, 1 − x), 1 + x]; jitters in random order.
  double contrast = 0;
  double saturation = 0;
  double hue = 0;  ///< Shift uniform in ± this share of the colour circle, at most 0.5.

  int randaugment = 0;            ///< RandAugment (Cubuk et al., 2020): operations an image.
  int randaugment_magnitude = 9;  ///< Of 0 … 30.

  double random_erasing = 0;  ///< Probability (Zhong et al., 2020); 2–33 % of the area becomes 0.

  /// Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, the smallest whose shorter side is at
  /// least what evaluation resizes to. Cheaper; small random crops come out softer.
  bool fast_decode = false;

  double mixup = 0;   ///< Beta parameter of mixup (Zhang et al., 2018); 0: off.
  double cutmix = 0;  ///< Beta parameter of CutMix (Yun et al., 2019). With both, each batch is
                      ///< mixed in one of the two ways with equal chance.
  bool operator==(const Augmentation&) const = default;
};

/// "none", "cifar" (pad 4, crop, flip), "imagenet" (random resized crop, flip), "galaxy" (flips,
/// quarter turns, small shifts). Throws `kInvalidArgument` for another name, listing these.
Augmentation augmentation_preset(std::string_view name);

// ------------------------------------------------------------------------------------------ loader

/// Tensors always have `batch_size` rows, as a compiled program wants them; rows from `count` on
/// are zero. With several views of an image, `images` has a row for each, one after another.
struct Batch {
  Tensor images;   ///< f32 [batch_size · views, c, h, w] or [batch_size · views, h, w, c]
  Tensor targets;  ///< f32 [batch_size, classes]: one-hot or mixed, sums to 1; zero for label −1
  std::vector<std::int32_t> labels;   ///< [batch_size]; −1 where there is no image to evaluate
  std::vector<std::int64_t> indices;  ///< [batch_size] into the data set; −1 in unused rows
  int count = 0;
};

struct LoaderOptions {
  int batch_size = 128;
  bool shuffle = true;
  bool drop_last = true;  ///< Leave out the last batch of an epoch when it is incomplete.
  /// An unreadable image's place is taken by the next readable one. If false (evaluation) its row
  /// is zero, with label −1 and an all-zero target.
  bool replace_bad = true;
  double max_bad_fraction = 0.1;  ///< More unreadable images than this share: `kBadData`.
  int threads = 1;                ///< 0: `next` does the work itself.
  int prefetch = 3;               ///< Batches made ahead.
  std::uint64_t seed = 0;
  /// Of a data set in shards: images among which the next one is drawn, as they come from the
  /// shuffled shards. At least as many as there are, or 0: all orders are equally likely, as for
  /// other data sets.
  std::int64_t shuffle_buffer = 10'000;
  DataLayout layout = DataLayout::kNCHW;
  /// What is seen of each image in evaluation; others than the centre need an empty Augmentation.
  std::vector<View> views = {View{}};
  /// Several processes share an epoch: batch b of rank r is part r of a global batch of
  /// world_size · batch_size images.
  int rank = 0;
  int world_size = 1;
};

/// Options for evaluating a model: in order, every image once, bad ones left out of the count.
LoaderOptions evaluation_options(int batch_size, int threads = 1);

struct BadImage {
  std::int64_t index = 0;
  std::string name;
  std::string reason;
};

/// Images whose 16-bit values above 255 became white (`Image::clipped`).
struct ClippedImages {
  std::int64_t count = 0;
  std::vector<std::string> first;  ///< Names of the first few.
  void add(const std::string& name);
};
/// One line that names them and what to do; "" when there are none.
std::string to_note(const ClippedImages& clipped);

/// What tells, without a look at its contents, whether an image resembles others.
struct ImageTraits {
  int shorter_side = 0;  ///< In pixels, before preprocessing.
  /// mean |Laplacian| / mean |gradient| of what the network sees, in its green or only channel:
  /// whatever brightness and contrast are, near 3 for noise and 0 for what was enlarged.
  float sharpness = 0;
};
/// How they are distributed: their percentiles 1, 50 and 99.
struct ImageProfile {
  int images = 0;
  std::array<float, 3> shorter_side{};
  std::array<float, 3> sharpness{};
};
ImageProfile profile_of(const std::vector<ImageTraits>& traits);
/// Of at most 256 images across the data set that can be read, as evaluation sees them.
/// `clipped`, if given, gains those of them.
ImageProfile measure_profile(const DatasetPtr& dataset, const Preprocessing& preprocessing,
                             int threads = 1, ClippedImages* clipped = nullptr);
/// One line if the median of `images` lies far outside of what the training images span in size
/// or sharpness; "" otherwise and where either is of no images.
std::string difference_note(const ImageProfile& training, const ImageProfile& images);

/// Makes batches in background threads. What is in a batch depends on (seed, epoch, index) alone:
/// never on the number of threads or on timing. One consumer thread at a time.
class Loader {
 public:
  /// Throws `kInvalidArgument` on settings that make no sense together, e.g. a batch larger than
  /// the data with `drop_last`.
  Loader(DatasetPtr dataset, const Preprocessing& preprocessing, const Augmentation& augmentation,
         const LoaderOptions& options);
  ~Loader();  ///< May come in the middle of an epoch.
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  std::int64_t batches_per_epoch() const;
  const Dataset& dataset() const;
  const LoaderOptions& options() const;

  /// Begins an epoch (dropping what was left of another); `first_batch` > 0 continues one.
  void start_epoch(std::int64_t epoch, std::int64_t first_batch = 0);
  /// The next batch, or false at the end of the epoch. The buffers that `batch` brings along are
  /// reused: pass the same object again, and copy what must outlive the next call. Throws what a
  /// worker threw, and `kBadData` when too many images are unreadable.
  bool next(Batch& batch);

  /// Seconds that `next` has waited since construction.
  double wait_seconds() const;
  /// Unreadable images met so far, by index.
  std::vector<BadImage> bad_images() const;
  /// Why an image met so far cannot be read; "" if it can.
  std::string bad_reason(std::int64_t index) const;
  /// Of the images met so far.
  ClippedImages clipped() const;
  /// Of the first 256 readable images of an evaluation, in no order; none with augmentation.
  std::vector<ImageTraits> traits() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// -------------------------------------------------------------------------------------- inspection

/// Of all pixels of all readable images, in 0 … 1; exact up to the last rounding. Grey data has
/// one value, repeated.
struct Statistics {
  std::array<double, 3> mean{};
  std::array<double, 3> std{};  ///< Of the population.
  std::int64_t images = 0;
  std::int64_t unreadable = 0;
  ClippedImages clipped = {};
};
/// Throws `kBadData` when no image can be read.
Statistics measure_statistics(const Dataset& dataset, int threads = 1,
                              Scale16Bit scale_16bit = Scale16Bit::kClip);

struct PartReport {
  std::vector<std::int64_t> class_counts;
  std::vector<BadImage> bad;
  ClippedImages clipped = {};
  ImageSize smallest;  ///< Each side for itself, over the readable images.
  ImageSize largest;
};
struct DataReport {
  PartReport train;
  PartReport val;
  /// Images of val whose pixels also are in train: {train name, val name}.
  std::vector<std::array<std::string, 2>> duplicates;
};
/// Decodes everything once and says what is wrong with it.
DataReport check_data(const DataSplits& splits, int threads = 1,
                      Scale16Bit scale_16bit = Scale16Bit::kClip);

}  // namespace resnet

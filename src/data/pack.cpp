// A data set in one safetensors file. Each part (train, val, test) has these tensors, named with
// the part in front ("train.labels"):
//     images      u8 [bytes]   one image after another: rows of pixels, or a JPEG
//     offsets       i64 [n + 1]  where each begins in them, and their end
//     sizes         i32 [n, 3]   height, width, channels
//     labels        i32 [n]
//     names         u8 [bytes]   where each image came from
//     name_offsets  i64 [n + 1]
// Images and names stay in the file and are read by position, which, unlike a mapping into
// memory, turns a file that is cut short under a running training into an error message.
#include "resnet/pack.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/guard.h"
#include "core/json.h"
#include "core/text.h"
#include "data/datasets.h"
#include "data/parallel_for.h"
#include "data/readable.h"
#include "data/resample.h"
#include "data/sources.h"
#include "formats/image.h"
#include "formats/safetensors.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

constexpr std::string_view kFormat = "resnet pack";
constexpr std::string_view kVersion = "2";  // 1 said pictures for images
constexpr std::array<std::string_view, 3> kParts = {"train", "val", "test"};
constexpr std::int64_t kMaxSide = 1 << 24;
constexpr std::size_t kMaxName = 4096;

// ----------------------------------------------------------------------------------------- reading

[[noreturn]] void damaged(const ByteSource& file, const std::string& what) {
  fail(ErrorCode::kBadData, "{}: not a sound pack: {}; make it again with `resnet data pack`",
       file.name(), what);
}

/// The tensors of one part, found and checked against each other.
class PartReader {
 public:
  PartReader(const ByteSource& file, const SafetensorsHeader& header, std::string_view part)
      : file_(file), header_(header), part_(part) {}

  const SafetensorsEntry* find(const char* what) const {
    const std::string name = fmt::format("{}.{}", part_, what);
    const auto it = std::find_if(header_.entries.begin(), header_.entries.end(),
                                 [&](const SafetensorsEntry& e) { return e.name == name; });
    return it == header_.entries.end() ? nullptr : &*it;
  }
  /// Where the tensor begins in the file; its length was checked against the file's.
  const SafetensorsEntry& place(const char* what, DType dtype, const Shape& shape) const {
    const SafetensorsEntry* e = find(what);
    if (e == nullptr) damaged(file_, fmt::format("it lacks {}.{}", part_, what));
    const bool any_length = shape == Shape{-1} && e->shape.size() == 1;
    if (e->dtype != dtype || (e->shape != shape && !any_length)) {
      damaged(file_, fmt::format("{} is {} {}; expected {} {}", e->name, name_of(e->dtype),
                                 to_string(e->shape), name_of(dtype), to_string(shape)));
    }
    return *e;
  }
  template <class T>
  std::vector<T> load(const char* what, DType dtype, const Shape& shape) const {
    const SafetensorsEntry& e = place(what, dtype, shape);
    std::vector<T> values(static_cast<std::size_t>((e.end - e.begin) / sizeof(T)));
    file_.read(header_.data_begin + e.begin, std::as_writable_bytes(std::span(values)));
    return values;
  }

 private:
  const ByteSource& file_;
  const SafetensorsHeader& header_;
  std::string_view part_;
};

class PackedPart final : public Dataset {
 public:
  PackedPart(std::shared_ptr<const ByteSource> file, const SafetensorsHeader& header,
             std::string_view part, PackFormat format, std::vector<std::string> class_names)
      : file_(std::move(file)), format_(format), class_names_(std::move(class_names)) {
    const PartReader reader(*file_, header, part);
    const char* name = reader.find("images") == nullptr ? "pictures" : "images";
    const SafetensorsEntry& images = reader.place(name, DType::kU8, {-1});
    images_ = header.data_begin + images.begin;
    labels_ = reader.load<std::int32_t>("labels", DType::kI32, {-1});
    const auto n = static_cast<std::int64_t>(labels_.size());
    offsets_ = reader.load<std::int64_t>("offsets", DType::kI64, {n + 1});
    sizes_ = reader.load<Size>("sizes", DType::kI32, {n, 3});
    const SafetensorsEntry& names = reader.place("names", DType::kU8, {-1});
    names_ = header.data_begin + names.begin;
    names_bytes_ = static_cast<std::int64_t>(names.end - names.begin);
    name_offsets_ = header.data_begin + reader.place("name_offsets", DType::kI64, {n + 1}).begin;
    check(static_cast<std::int64_t>(images.end - images.begin));
  }

  std::int64_t size() const override { return static_cast<std::int64_t>(labels_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t i) const override { return labels_.at(static_cast<std::size_t>(i)); }

  std::string name(std::int64_t i) const override {
    RESNET_CHECK(i >= 0 && i < size());
    std::array<std::int64_t, 2> range{};
    file_->read(name_offsets_ + static_cast<std::uint64_t>(i) * sizeof(std::int64_t),
                std::as_writable_bytes(std::span(range)));
    const auto [begin, end] = range;
    if (begin < 0 || end < begin || end > names_bytes_ ||
        end - begin > static_cast<std::int64_t>(kMaxName)) {
      return fmt::format("{} image {}", file_->name(), i);
    }
    std::string text(static_cast<std::size_t>(end - begin), '\0');
    file_->read(names_ + static_cast<std::uint64_t>(begin),
                std::as_writable_bytes(std::span(text)));
    return text;
  }

  void read(std::int64_t i, Image& out) const override { read_part(i, {}, out); }
  void read_part(std::int64_t i, const ReadOptions& options, Image& out) const override {
    RESNET_CHECK(i >= 0 && i < size());
    const auto index = static_cast<std::size_t>(i);
    const Size& size = sizes_[index];
    const std::uint64_t begin = images_ + static_cast<std::uint64_t>(offsets_[index]);
    if (format_ == PackFormat::kJpeg) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(offsets_[index + 1] - offsets_[index]));
      file_->read(begin, bytes);
      out = decode_image(bytes, fmt::format("{}: {}", file_->name(), name(i)),
                         size.channels == 1 ? ColorMode::kGrey : ColorMode::kRgb,
                         decoding_of(options));
      return;
    }
    Rect part{0, 0, size.width, size.height};
    if (options.pick) part = options.pick(size.width, size.height, 1);
    const std::size_t stride =
        static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.channels);
    if (part.left < 0 || part.top < 0 || part.width < 1 || part.height < 1 ||
        part.width > size.width - part.left || part.height > size.height - part.top) {
      fail(ErrorCode::kInvalidArgument,
           "{} x {} pixels from ({}, {}) on of an image of {} x {}; expected a part inside it",
           part.width, part.height, part.left, part.top, size.width, size.height);
    }
    if (part.width == size.width) {
      reshape(out, part.width, part.height, size.channels);
      file_->read(begin + static_cast<std::size_t>(part.top) * stride,
                  std::as_writable_bytes(std::span(out.pixels)));
      return;
    }
    Image rows(size.width, part.height, size.channels);
    file_->read(begin + static_cast<std::size_t>(part.top) * stride,
                std::as_writable_bytes(std::span(rows.pixels)));
    out = part_of_image(rows, {part.left, 0, part.width, part.height});
  }
  ImageSize image_size() const override { return common_size_; }
  bool grey() const override { return grey_; }

 private:
  struct Size {
    std::int32_t height;
    std::int32_t width;
    std::int32_t channels;
  };
  static_assert(sizeof(Size) == 12);

  void check(std::int64_t bytes) {
    const auto n = static_cast<std::size_t>(size());
    const auto classes = static_cast<std::int32_t>(class_names_.size());
    if (offsets_[0] != 0 || offsets_[n] != bytes) damaged(*file_, "its images have other bounds");
    grey_ = n > 0;
    if (n > 0) common_size_ = {sizes_[0].width, sizes_[0].height};
    for (std::size_t i = 0; i < n; ++i) {
      const auto [h, w, c] = sizes_[i];
      const std::int64_t length = offsets_[i + 1] - offsets_[i];
      const bool sound = h > 0 && w > 0 && h <= kMaxSide && w <= kMaxSide && (c == 1 || c == 3) &&
                         offsets_[i] >= 0 && offsets_[i + 1] >= offsets_[i] &&
                         (format_ == PackFormat::kJpeg || length == std::int64_t{h} * w * c);
      if (!sound) {
        damaged(*file_, fmt::format("image {} of {} x {} pixels and {} channels in {} bytes", i, w,
                                    h, c, length));
      }
      if (labels_[i] < 0 || labels_[i] >= classes) {
        damaged(*file_, fmt::format("image {} has the label {}, and there are {} classes", i,
                                    labels_[i], classes));
      }
      grey_ = grey_ && c == 1;
      if (common_size_ != ImageSize{w, h}) common_size_ = {};
    }
  }

  std::shared_ptr<const ByteSource> file_;
  PackFormat format_;
  std::vector<std::string> class_names_;
  std::vector<std::int32_t> labels_;
  std::vector<std::int64_t> offsets_;
  std::vector<Size> sizes_;
  std::uint64_t images_ = 0;  // bytes from the start of the file
  std::uint64_t names_ = 0;
  std::uint64_t name_offsets_ = 0;
  std::int64_t names_bytes_ = 0;
  ImageSize common_size_;
  bool grey_ = false;
};

const std::string& metadata_of(const ByteSource& file, const SafetensorsHeader& header,
                               const char* key) {
  const auto it = header.metadata.find(key);
  if (it == header.metadata.end()) damaged(file, fmt::format("its header lacks \"{}\"", key));
  return it->second;
}

std::vector<std::string> classes_of(const ByteSource& file, const SafetensorsHeader& header) {
  const auto classes = Json::parse(metadata_of(file, header, "classes"), 1);
  if (!classes || !classes->is_array()) damaged(file, "its classes are no list of different names");
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const Json& name : classes->items()) {
    if (!name.is_string() || !seen.insert(name.text()).second) {
      damaged(file, "its classes are no list of different names");
    }
    names.push_back(name.text());
  }
  if (names.empty()) damaged(file, "it has no classes");
  return names;
}

// ----------------------------------------------------------------------------------------- writing

/// What becomes of one image.
struct Item {
  std::vector<std::byte> bytes;
  std::array<std::int32_t, 3> size{};  // height, width, channels
  std::string reason;                  // why it was skipped
  bool skipped = false;
  bool clipped = false;
};

Image fitted(const Image& image, const PackOptions& o) {
  if (o.size > 0) {
    Preprocessing square;
    square.width = square.height = square.resize = o.size;
    square.interpolation = o.interpolation;
    square.channels = image.channels;
    square.upright = o.upright;
    return preprocess_pixels(image, square);
  }
  Image whole = o.upright ? upright(image) : image;
  if (o.shorter_side == 0 || std::min(whole.width, whole.height) <= o.shorter_side) return whole;
  const ImageSize size = resized_size(whole.width, whole.height, o.shorter_side);
  return resize(whole, size.width, size.height, o.interpolation);
}

Item make_item(const Dataset& dataset, std::int64_t i, const PackOptions& o) {
  Item item;
  item.skipped = !try_image(item.reason, [&] {
    Image read;
    dataset.read_part(i, {.scale_16bit = o.scale_16bit}, read);
    item.clipped = read.clipped;
    const Image image = fitted(read, o);
    item.size = {image.height, image.width, image.channels};
    if (o.format == PackFormat::kRaw) {
      const auto bytes = std::as_bytes(std::span(image.pixels));
      item.bytes.assign(bytes.begin(), bytes.end());
      return;
    }
    constexpr int kMaxJpeg = 65500;
    if (std::max(image.width, image.height) > kMaxJpeg) {
      fail(ErrorCode::kBadData, "{}: {} x {} pixels do not fit into a JPEG; pack it raw",
           dataset.name(i), image.width, image.height);
    }
    item.bytes = encode_jpeg(image, o.quality);
  });
  return item;
}

class PackWriter {
 public:
  PackWriter(const fs::path& out, std::map<std::string, std::string> metadata,
             const PackOptions& options, std::int64_t total)
      : writer_(out, std::move(metadata)), options_(options), total_(total), out_(out) {}

  void write_part(std::string_view part, const Dataset& dataset) {
    constexpr std::int64_t kBlock = 8;  // images that wait for a slower one, of each thread
    const std::int64_t block = kBlock * std::max(1, options_.threads);
    std::vector<std::int64_t> offsets = {0};
    std::vector<std::int64_t> name_offsets = {0};
    std::vector<std::int32_t> sizes;
    std::vector<std::int32_t> labels;
    std::string names;
    std::vector<Item> items;
    for (std::int64_t first = 0; first < dataset.size(); first += block) {
      items.assign(static_cast<std::size_t>(std::min(block, dataset.size() - first)), {});
      parallel_for(static_cast<std::int64_t>(items.size()), options_.threads,
                   [&](std::int64_t i, std::size_t) {
                     items[static_cast<std::size_t>(i)] = make_item(dataset, first + i, options_);
                   });
      for (std::size_t k = 0; k < items.size(); ++k) {
        const std::int64_t i = first + static_cast<std::int64_t>(k);
        Item& item = items[k];
        const std::string name = dataset.name(i);
        if (item.skipped) {
          report_.skipped.push_back({i, name, without_name(item.reason, name)});
          continue;
        }
        if (item.clipped) report_.clipped.add(name);
        writer_.append(item.bytes);
        offsets.push_back(offsets.back() + static_cast<std::int64_t>(item.bytes.size()));
        sizes.insert(sizes.end(), item.size.begin(), item.size.end());
        labels.push_back(dataset.label(i));
        names += printable(name, kMaxName - 8);
        name_offsets.push_back(static_cast<std::int64_t>(names.size()));
      }
      done_ += static_cast<std::int64_t>(items.size());
      if (options_.progress) options_.progress(done_, total_);
      if (options_.stop != nullptr && *options_.stop) {
        fail(ErrorCode::kInterrupted,
             "interrupted after {} of {} images; {} was not written, run it again from the start",
             done_, total_, out_.string());
      }
    }
    const auto n = static_cast<std::int64_t>(labels.size());
    if (n == 0) {
      fail(ErrorCode::kBadData, "none of the {} {} images can be read, e.g. {}: {}", dataset.size(),
           part, report_.skipped.front().name, report_.skipped.front().reason);
    }
    end(part, "images", DType::kU8, {offsets.back()});
    add(part, "offsets", DType::kI64, {n + 1}, std::span(offsets));
    add(part, "sizes", DType::kI32, {n, 3}, std::span(sizes));
    add(part, "labels", DType::kI32, {n}, std::span(labels));
    add(part, "name_offsets", DType::kI64, {n + 1}, std::span(name_offsets));
    add(part, "names", DType::kU8, {name_offsets.back()}, std::span(names));
    report_.images += n;
  }

  PackReport finish() {
    report_.bytes = writer_.bytes();
    writer_.commit();
    return std::move(report_);
  }

 private:
  void end(std::string_view part, const char* what, DType dtype, const Shape& shape) {
    writer_.end_tensor(fmt::format("{}.{}", part, what), dtype, shape);
  }
  template <class T>
  void add(std::string_view part, const char* what, DType dtype, const Shape& shape,
           std::span<T> values) {
    writer_.append(std::as_bytes(values));
    end(part, what, dtype, shape);
  }

  SafetensorsWriter writer_;
  const PackOptions& options_;
  std::int64_t total_;
  std::int64_t done_ = 0;
  fs::path out_;
  PackReport report_;
};

void check_options(const PackOptions& o) {
  constexpr int kMax = 1 << 15;
  if (o.size < 0 || o.size > kMax || o.shorter_side < 0 || o.shorter_side > kMax) {
    fail(ErrorCode::kInvalidArgument,
         "packing at a size of {} or a shorter side of {}; expected 0 (as they are) to {} pixels",
         o.size, o.shorter_side, kMax);
  }
  if (o.quality < 1 || o.quality > 100) {
    fail(ErrorCode::kInvalidArgument, "a JPEG of quality {}; expected 1 to 100", o.quality);
  }
}

}  // namespace

std::string_view name_of(PackFormat format) { return format == PackFormat::kRaw ? "raw" : "jpeg"; }

PackFormat parse_pack_format(std::string_view name) {
  if (name == "raw") return PackFormat::kRaw;
  if (name == "jpeg") return PackFormat::kJpeg;
  fail(ErrorCode::kInvalidArgument, "unknown format of packed images \"{}\"; expected raw or jpeg",
       name);
}

bool is_pack(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  const ByteSource file(path);
  std::array<std::byte, 9> start{};
  if (file.size() < start.size()) return false;
  file.read(0, start);
  std::uint64_t length = 0;
  std::memcpy(&length, start.data(), sizeof length);
  if (start[8] != std::byte{'{'} || length > file.size() - sizeof length) return false;
  // Not parsed yet, so that one that was cut short is known as a pack and reported as such.
  constexpr std::uint64_t kMaxHeader = std::uint64_t{1} << 27;
  std::string header(static_cast<std::size_t>(std::min(length, kMaxHeader)), '\0');
  file.read(sizeof length, std::as_writable_bytes(std::span(header)));
  return header.find(fmt::format("\"format\":\"{}\"", kFormat)) != header.npos;
}

Opened open_pack(std::shared_ptr<const ByteSource> file) {
  const SafetensorsHeader header = read_safetensors_header(*file);
  refuse_foreign(header, file->name());
  if (metadata_of(*file, header, "format") != kFormat) damaged(*file, "it is another kind of file");
  const std::string& version = metadata_of(*file, header, "version");
  if (version != kVersion && version != "1") {
    fail(ErrorCode::kUnsupported,
         "{}: a pack of version {}; this program reads version {}, use the one that wrote it",
         file->name(), version, kVersion);
  }
  const std::string& images = metadata_of(*file, header, version == "1" ? "pictures" : "images");
  if (images != "raw" && images != "jpeg") {
    damaged(*file, fmt::format("its images are \"{}\"; expected raw or jpeg", images));
  }
  const std::vector<std::string> classes = classes_of(*file, header);
  const auto part = [&](std::string_view name) -> DatasetPtr {
    if (PartReader(*file, header, name).find("labels") == nullptr) return nullptr;
    return std::make_shared<PackedPart>(file, header, name, parse_pack_format(images), classes);
  };
  Opened opened;
  opened.train = part("train");
  opened.val = part("val");
  opened.test = part("test");
  if (!opened.train && !opened.val && !opened.test) damaged(*file, "it has no images");
  opened.title = fs::path(file->name()).filename().string();
  return opened;
}

PackReport pack_data(const DataSpec& spec, const fs::path& out, const PackOptions& options) try {
  check_options(options);
  Opened opened = open_source(spec, Purpose::kTrain);
  if (!opened.test) opened.test = open_source(spec, Purpose::kTest).test;
  tell_notes(spec, opened.notes);
  const std::array<DatasetPtr*, 3> parts = {&opened.train, &opened.val, &opened.test};
  std::vector<std::string> classes;
  std::int64_t total = 0;
  for (DatasetPtr* part : parts) {
    if (!*part) continue;
    if (classes.empty()) classes = (*part)->class_names();
    *part = match_classes(*part, classes, spec.source);
    total += (*part)->size();
  }
  for (const DatasetPtr* part : parts) {
    if (*part) check_class_names(**part);
  }
  if (total == 0) fail(ErrorCode::kBadData, "{}: no images in it", spec.source);
  std::string how = "as they are";
  if (options.size > 0) {
    how = fmt::format("{0} x {0}", options.size);
  } else if (options.shorter_side > 0) {
    how = fmt::format("shorter side at most {}", options.shorter_side);
  }
  PackWriter writer(out,
                    {{"format", std::string(kFormat)},
                     {"version", std::string(kVersion)},
                     {"images", std::string(name_of(options.format))},
                     {"classes", Json(classes).dump()},
                     {"title", printable(opened.title)},
                     {"resize", fmt::format("{}, {}, {}", how, name_of(options.interpolation),
                                            options.upright ? "upright" : "as stored")}},
                    options, total);
  std::vector<std::string> counts;
  for (std::size_t p = 0; p < kParts.size(); ++p) {
    if (!*parts[p]) continue;
    writer.write_part(kParts[p], **parts[p]);
    counts.push_back(fmt::format("{} {}", (*parts[p])->size(), kParts[p]));
  }
  PackReport report = writer.finish();
  report.description = fmt::format("{}: {} images of {} classes", opened.title,
                                   fmt::join(counts, ", "), classes.size());
  return report;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet

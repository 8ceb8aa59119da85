#include "train/files.h"

#include <optional>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "data/datasets.h"
#include "formats/image.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

struct Entry {
  std::string name;
  std::optional<std::vector<std::byte>> bytes = {};  // else the file of that name
  ErrorCode code = ErrorCode::kBadData;
  std::string error = {};  // it cannot be read
};

class ImageFiles final : public Dataset {
 public:
  ImageFiles(std::vector<Entry> entries, const DecodeLimits& limits)
      : entries_(std::move(entries)), limits_(limits) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(entries_.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t /*i*/) const override { return 0; }
  std::string name(std::int64_t i) const override { return at(i).name; }
  void read(std::int64_t i, Image& out) const override { read_part(i, {}, out); }
  void read_part(std::int64_t i, const ReadOptions& options, Image& out) const override {
    const Entry& e = at(i);
    if (!e.error.empty()) throw Error(e.code, e.error);
    const auto decode = [&](std::span<const std::byte> bytes) {
      ImageOptions how = decoding_of(options);
      how.max_pixels = limits_.max_pixels;
      out = decode_image(bytes, e.name, ColorMode::kRgb, how);
    };
    if (e.bytes) {
      check_size(e.bytes->size(), limits_, e.name);
      decode(*e.bytes);
    } else {
      decode(read_file(e.name, limits_.max_bytes));
    }
  }

 private:
  const Entry& at(std::int64_t i) const { return entries_.at(static_cast<std::size_t>(i)); }
  std::vector<Entry> entries_;
  DecodeLimits limits_;
  std::vector<std::string> class_names_ = {"image"};
};

bool is_pipe(const fs::path& path) {
  std::error_code ignored;
  return fs::is_fifo(path, ignored) || fs::is_socket(path, ignored);
}

void add_path(const fs::path& path, std::vector<Entry>& entries) {
  std::vector<Entry> unlisted;
  const auto found = list_images(path, [&](const fs::path& folder, const std::string& why) {
    unlisted.push_back(
        {.name = folder.string(),
         .code = ErrorCode::kIo,
         .error = fmt::format("cannot list the folder {}: {}", folder.string(), why)});
  });
  if (found.empty() && unlisted.empty()) {
    fail(ErrorCode::kNotFound, "{}: there are no images in this folder", path.string());
  }
  for (const fs::path& file : found) {
    Entry entry{.name = file.string()};
    if (is_pipe(file)) entry.bytes = read_file(file, kMaxImageFile);
    entries.push_back(std::move(entry));
  }
  for (Entry& entry : unlisted) entries.push_back(std::move(entry));
}

}  // namespace

DatasetPtr image_files(const std::vector<fs::path>& paths, std::vector<EncodedImage> given,
                       const DecodeLimits& limits) {
  const bool alone = paths.size() + given.size() == 1;
  std::vector<Entry> entries;
  for (const fs::path& path : paths) {
    try {
      add_path(path, entries);
    } catch (const Error& error) {
      if (alone || error.code() == ErrorCode::kOutOfMemory) throw;
      entries.push_back({.name = path.string(), .code = error.code(), .error = error.what()});
    }
  }
  for (EncodedImage& image : given) {
    entries.push_back({.name = std::move(image.name), .bytes = std::move(image.bytes)});
  }
  if (entries.size() == 1 && alone && !entries.front().error.empty()) {
    throw Error(entries.front().code, entries.front().error);
  }
  return std::make_shared<ImageFiles>(std::move(entries), limits);
}

}  // namespace resnet

#include "formats/idx.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "core/check.h"
#include "formats/archive.h"

namespace resnet {
namespace {

struct Idx8 {
  Shape shape;
  std::span<const std::byte> data;
};

std::uint32_t big_endian(std::span<const std::byte> bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + i]);
  return value;
}

/// Magic 0x000008DD (unsigned bytes, DD dimensions), DD sizes, the bytes.
Idx8 parse(std::span<const std::byte> bytes, const std::string& name, std::size_t dimensions,
           std::string_view what) {
  const auto magic = static_cast<std::uint32_t>(0x800 + dimensions);
  const std::size_t header = 4 + dimensions * 4;
  if (bytes.size() < 4 || big_endian(bytes, 0) != magic) {
    fail(ErrorCode::kBadData,
         "{}: expected an IDX file of {} (first bytes 0x{:08x}), found {}; check which file it is",
         name, what, magic,
         bytes.size() < 4 ? fmt::format("only {} bytes", bytes.size())
                          : fmt::format("0x{:08x}", big_endian(bytes, 0)));
  }
  if (bytes.size() < header) {
    fail(ErrorCode::kBadData, "{}: the IDX file ends inside its header; fetch it again", name);
  }
  Idx8 out;
  std::uint64_t left = bytes.size() - header;
  std::uint64_t count = 1;
  bool fits = true;
  for (std::size_t i = 0; i < dimensions; ++i) {
    const std::uint64_t d = big_endian(bytes, 4 + i * 4);
    out.shape.push_back(static_cast<std::int64_t>(d));
    fits = fits && d > 0 && count <= left / d;  // so the product cannot overflow
    if (fits) count *= d;
  }
  if (!fits || count != left) {
    fail(ErrorCode::kBadData,
         "{}: the IDX file declares {} bytes of {} and holds {}; fetch it again", name,
         to_string(out.shape), what, left);
  }
  out.data = bytes.subspan(header);
  return out;
}

constexpr std::string_view kImages = "images-idx3-ubyte";
constexpr std::string_view kLabels = "labels-idx1-ubyte";

std::optional<std::filesystem::path> find(const std::filesystem::path& folder,
                                          std::string_view split, std::string_view what) {
  // Some mirrors write a dot before "idx".
  std::string dotted(what);
  dotted[dotted.find("-idx")] = '.';
  for (const std::string_view stem : {what, std::string_view(dotted)}) {
    for (const std::string_view ending : {"", ".gz"}) {
      const auto path = folder / fmt::format("{}-{}{}", split, stem, ending);
      if (std::filesystem::is_regular_file(path)) return path;
    }
  }
  return {};
}

IdxSplit read_split(const std::filesystem::path& folder, std::string_view split) {
  const auto need = [&](std::string_view what) {
    const auto path = find(folder, split, what);
    if (!path) {
      fail(ErrorCode::kNotFound, "{}: expected the file {}-{} or {}-{}.gz, found neither",
           folder.string(), split, what, split, what);
    }
    return *path;
  };
  IdxSplit out;
  out.images = read_idx_images(need(kImages));
  out.labels = read_idx_labels(need(kLabels));
  if (static_cast<std::size_t>(out.images.dim(0)) != out.labels.size()) {
    fail(ErrorCode::kBadData, "{}: the {} files hold {} images and {} labels; fetch them again",
         folder.string(), split, out.images.dim(0), out.labels.size());
  }
  return out;
}

}  // namespace

Tensor parse_idx_images(std::span<const std::byte> bytes, const std::string& name) {
  Idx8 idx = parse(bytes, name, 3, "images");
  Tensor out(DType::kU8, std::move(idx.shape));  // [n, height, width]
  std::copy(idx.data.begin(), idx.data.end(), out.raw());
  return out;
}

std::vector<std::int32_t> parse_idx_labels(std::span<const std::byte> bytes,
                                           const std::string& name) {
  const Idx8 idx = parse(bytes, name, 1, "labels");
  std::vector<std::int32_t> out(idx.data.size());
  std::transform(idx.data.begin(), idx.data.end(), out.begin(),
                 [](std::byte b) { return std::to_integer<std::int32_t>(b); });
  return out;
}

Tensor read_idx_images(const std::filesystem::path& path) {
  return parse_idx_images(read_maybe_gzip(path), path.string());
}

std::vector<std::int32_t> read_idx_labels(const std::filesystem::path& path) {
  return parse_idx_labels(read_maybe_gzip(path), path.string());
}

Idx read_idx_folder(const std::filesystem::path& folder) {
  return {read_split(folder, "train"), read_split(folder, "t10k")};
}

bool is_idx_folder(const std::filesystem::path& folder) {
  return find(folder, "train", kImages).has_value();
}

}  // namespace resnet

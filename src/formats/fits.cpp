// FITS, the format of astronomical images (Pence et al., "Definition of the FITS, version 3.0", A&A
// 2010), by cfitsio. Files are opened under a name of ours: cfitsio reads names as
// commands (filters, pipes, addresses), and none from outside may reach it.
//
// Sky images are linear and span many powers of ten. They become 8-bit images by an asinh stretch
// (Lupton, Gunn & Szalay, AJ 1999), as astropy's AsinhStretch(0.1) after PercentileInterval(99.5):
//
//     y = clip((x − low) / (high − low), 0, 1)     low, high: percentiles 0.25 and 99.75 of x
//     v = asinh(y / 0.1) / asinh(1 / 0.1)
//
// Three planes keep their colour (Lupton et al., PASP 2004): x is their mean, each plane is
// multiplied by v / y, and what then exceeds 1 is divided by the largest of the three. What is no
// number, or infinite (cfitsio reads both as blank), is black. Rows are flipped, since FITS counts
// them from the bottom.
#include <fitsio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "formats/archive.h"
#include "formats/image_internal.h"
#include "formats/stretch.h"

namespace resnet::image {
namespace {

[[noreturn]] void damaged(const std::string& name, int status) {
  std::array<char, FLEN_STATUS> text{};
  fits_get_errstatus(status, text.data());
  fits_clear_errmsg();
  fail(ErrorCode::kBadData, "{}: the FITS file is damaged or cut short ({}); fetch it again", name,
       text.data());
}

/// cfitsio may be built without locks of its own.
std::unique_lock<std::mutex> enter_library() {
  static std::mutex mutex;
  std::unique_lock lock(mutex, std::defer_lock);
  if (fits_is_reentrant() == 0) lock.lock();
  return lock;
}

/// The bytes as a file in memory that the kernel bounds: cfitsio's own driver for memory reads past
/// the end of a file that was cut short.
class FitsFile {
 public:
  FitsFile(Bytes bytes, const std::string& name)
      : descriptor_(::memfd_create("fits", MFD_CLOEXEC)) {
    while (descriptor_ >= 0 && !bytes.empty()) {
      const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) break;
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    if (!bytes.empty()) {
      const int error = errno;
      ::close(descriptor_);
      fail(ErrorCode::kIo, "{}: no memory for a copy of it: {}", name, std::strerror(error));
    }
    int status = 0;
    const std::string path = fmt::format("/proc/self/fd/{}", descriptor_);
    if (fits_open_diskfile(&file_, path.c_str(), READONLY, &status) != 0) {
      ::close(descriptor_);
      damaged(name, status);
    }
  }
  ~FitsFile() {
    int status = 0;
    fits_close_file(file_, &status);
    fits_clear_errmsg();
    ::close(descriptor_);  // last: cfitsio takes two files of one name for the same
  }
  FitsFile(const FitsFile&) = delete;
  FitsFile& operator=(const FitsFile&) = delete;
  fitsfile* get() const { return file_; }

 private:
  int descriptor_;
  fitsfile* file_ = nullptr;
};

struct Layout {
  int width = 0;
  int height = 0;
  int planes = 1;
  std::size_t pixels() const {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  }
};

/// Tables never reach cfitsio, compressed tiles among them: its code for both trusts the file. Goes
/// over the headers (80-byte cards up to END, in blocks of 2880) to the first that has axes; those
/// before it, without axes, have no data either.
void check_units(Bytes bytes, const std::string& name) {
  constexpr std::size_t kCard = 80;
  constexpr std::size_t kBlock = 2880;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (std::size_t at = 0; at < text.size();) {
    if (at > 0 && !text.substr(at).starts_with("XTENSION= 'IMAGE   '")) {
      fail(ErrorCode::kUnsupported,
           "{}: FITS with a table where the image should be; expected an image (compressed tiles, "
           ".fz, are tables: unpack them with funpack)",
           name);
    }
    bool axes = true;
    std::size_t card = at;
    for (;; card += kCard) {
      if (card + kCard > text.size()) {
        fail(ErrorCode::kBadData, "{}: the FITS file ends inside its header; fetch it again", name);
      }
      const std::string_view line = text.substr(card, kCard);
      if (line.starts_with("END     ")) break;
      if (line.starts_with("NAXIS   =")) {
        const std::string_view value = line.substr(9, line.find('/') - 9);
        axes = axes && value.find_first_not_of(" 0") != value.npos;
      }
    }
    if (axes) return;
    at = (card / kBlock + 1) * kBlock;
  }
  fail(ErrorCode::kBadData, "{}: the FITS file holds no image; expected one", name);
}

/// Moves to the first image and says what it is, having compared it with the file's size.
Layout find_image(fitsfile* file, std::uint64_t file_bytes, const std::string& name,
                  const ImageOptions& options) {
  constexpr int kMaxUnits = 100;
  for (int unit = 1; unit <= kMaxUnits; ++unit) {
    int status = 0;
    int kind = 0;
    fits_movabs_hdu(file, unit, &kind, &status);
    if (status == END_OF_FILE) break;
    int bits = 0;
    int axes = 0;
    std::array<LONGLONG, 9> all{};
    if (status == 0 && kind == IMAGE_HDU) {
      fits_get_img_paramll(file, static_cast<int>(all.size()), &bits, &axes, all.data(), &status);
    }
    if (status != 0) damaged(name, status);
    if (kind != IMAGE_HDU || axes == 0) continue;

    axes = std::min<int>(axes, static_cast<int>(all.size()));
    std::vector<LONGLONG> size(all.begin(), all.begin() + axes);
    while (size.size() > 2 && size.back() == 1) size.pop_back();
    if (size.size() < 2 || size.size() > 3 || (size.size() == 3 && size[2] != 3)) {
      std::string text;
      for (const LONGLONG n : size) text += fmt::format("{}{}", text.empty() ? "" : " x ", n);
      fail(ErrorCode::kUnsupported,
           "{}: a FITS image of {}; expected width x height, or width x height x 3 for an image in "
           "colour",
           name, text);
    }
    constexpr LONGLONG kMaxSide = std::numeric_limits<std::int32_t>::max();
    if (size[0] < 1 || size[1] < 1 || size[0] > kMaxSide || size[1] > kMaxSide) {
      fail(ErrorCode::kBadData, "{}: a FITS image of {} x {}; fetch it again", name, size[0],
           size[1]);
    }
    check_size(static_cast<std::uint64_t>(size[0]), static_cast<std::uint64_t>(size[1]), file_bytes,
               /*max_pixels_per_byte=*/1, name, options);
    const Layout layout{static_cast<int>(size[0]), static_cast<int>(size[1]),
                        size.size() == 3 ? 3 : 1};
    LONGLONG data = 0;
    fits_get_hduaddrll(file, nullptr, &data, nullptr, &status);
    if (status != 0) damaged(name, status);
    const std::uint64_t bytes = layout.pixels() * static_cast<std::uint64_t>(layout.planes) *
                                static_cast<std::uint64_t>(std::abs(bits) / 8);
    const std::uint64_t begin = static_cast<std::uint64_t>(std::max<LONGLONG>(data, 0));
    if (begin > file_bytes || bytes > file_bytes - begin) {
      fail(ErrorCode::kBadData,
           "{}: the FITS image of {} x {} x {} takes {} bytes, the file has {}; fetch it again",
           name, layout.width, layout.height, layout.planes, bytes, file_bytes);
    }
    return layout;
  }
  fail(ErrorCode::kBadData, "{}: the FITS file holds no image; expected one", name);
}

/// Planes, rows from the bottom, to an image.
Image stretch(const std::vector<double>& planes, const Layout& layout) {
  const std::size_t n = layout.pixels();
  const auto intensity = [&](std::size_t i) {
    return layout.planes == 1 ? planes[i] : (planes[i] + planes[n + i] + planes[2 * n + i]) / 3;
  };
  std::vector<double> finite;
  finite.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isfinite(intensity(i))) finite.push_back(intensity(i));
  }
  Image image(layout.width, layout.height, layout.planes);
  if (finite.empty()) return image;
  const auto [low, high] = percentile_levels(finite);
  const double range = high - low;
  if (!(range > 0) || !std::isfinite(range)) return image;  // of one value: black

  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t y = i / static_cast<std::size_t>(layout.width);
    const std::size_t x = i % static_cast<std::size_t>(layout.width);
    std::uint8_t* out = image.row(layout.height - 1 - static_cast<int>(y)) +
                        x * static_cast<std::size_t>(layout.planes);
    const double level = (intensity(i) - low) / range;
    const double clipped = level > 0 ? std::min(level, 1.0) : 0.0;
    const double value = asinh_stretch(clipped);
    if (layout.planes == 1) {
      *out = to_byte(value);
      continue;
    }
    if (!(level > 0) || !std::isfinite(level)) continue;  // black
    std::array<double, 3> rgb{};
    for (std::size_t c = 0; c < 3; ++c) rgb[c] = (planes[c * n + i] - low) / range * value / level;
    const double most = std::max({rgb[0], rgb[1], rgb[2], 1.0});
    for (std::size_t c = 0; c < 3; ++c) out[c] = to_byte(rgb[c] / most);
  }
  return image;
}

}  // namespace

Image decode_fits(Bytes bytes, const std::string& name, const ImageOptions& options) {
  check_units(bytes, name);
  const auto lock = enter_library();
  const FitsFile file(bytes, name);
  const Layout layout = find_image(file.get(), bytes.size(), name, options);
  std::vector<double> planes(layout.pixels() * static_cast<std::size_t>(layout.planes));
  double blank = std::numeric_limits<double>::quiet_NaN();
  int any_blank = 0;
  int status = 0;
  fits_read_img(file.get(), TDOUBLE, 1, static_cast<LONGLONG>(planes.size()), &blank, planes.data(),
                &any_blank, &status);
  if (status != 0) damaged(name, status);
  return stretch(planes, layout);
}

Image decode_fits_gzip(Bytes bytes, const std::string& name, const ImageOptions& options) {
  constexpr std::uint64_t kMaxUnpacked = std::uint64_t{1} << 31;
  const std::vector<std::byte> unpacked = gunzip(bytes, name, kMaxUnpacked);
  if (!is_fits(unpacked)) {
    fail(ErrorCode::kBadData, "{}: a gzip file that holds no FITS image; unpack it", name);
  }
  return decode_fits(unpacked, name, options);
}

}  // namespace resnet::image

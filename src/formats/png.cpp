// PNG by libpng. The trap is libjpeg's: errors come by longjmp, so functions with setjmp hold only
// trivial locals (see jpeg.cpp).
#include <png.h>

#include <algorithm>
#include <bit>
#include <csetjmp>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "formats/image_internal.h"
#include "formats/stretch.h"

namespace resnet {
namespace image {
namespace {

// Deflate's best ratio is 1032 : 1, and a byte holds up to eight pixels.
constexpr std::uint64_t kMaxInflation = 1032;

constexpr const char* kNoMemory = "out of memory";

struct ErrorText {
  char text[160] = "";
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* error = static_cast<ErrorText*>(png_get_error_ptr(png));
  std::strncpy(error->text, message, sizeof error->text - 1);
  png_longjmp(png, 1);
}
void on_warning(png_structp, png_const_charp) {}

class Decoder {
 public:
  explicit Decoder(Bytes bytes) : rest_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &error_, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~Decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_read_fn(png_, this, read_bytes);
    // Text and colour profiles are compressed: they cost time and change no pixel.
    static const png_byte kIgnored[] =
        "iCCP\0iTXt\0zTXt\0tEXt\0sPLT\0pCAL\0sCAL\0hIST\0gAMA\0cHRM\0bKGD";
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, kIgnored, sizeof kIgnored / 5);
    png_read_info(png_, info_);
    return true;
  }

  /// Asks for 8-bit grey or RGB, or 16-bit grey where the file has that.
  bool start() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    if (color_type() == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png_);
    if (color_type() == PNG_COLOR_TYPE_GRAY && bit_depth() < 8) {
      png_set_expand_gray_1_2_4_to_8(png_);
    }
    if (bit_depth() == 16 && !grey16()) png_set_strip_16(png_);  // the high byte, as Pillow does
    if (grey16() && std::endian::native == std::endian::little) png_set_swap(png_);
    png_set_strip_alpha(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_pixels(png_bytep* rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, info_);  // EXIF may follow the pixels, and a cut tail is noticed
    return true;
  }

  std::uint32_t width() const { return png_get_image_width(png_, info_); }
  std::uint32_t height() const { return png_get_image_height(png_, info_); }
  int color_type() const { return png_get_color_type(png_, info_); }
  int bit_depth() const { return png_get_bit_depth(png_, info_); }
  bool grey16() const { return bit_depth() == 16 && color_type() == PNG_COLOR_TYPE_GRAY; }
  int channels() const { return png_get_channels(png_, info_); }
  std::size_t row_bytes() const { return png_get_rowbytes(png_, info_); }
  int orientation() const {
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(png_, info_, &size, &exif) == 0) return 1;
    return exif_orientation({reinterpret_cast<const std::byte*>(exif), size});
  }
  const char* message() const { return error_.text; }

 private:
  static void read_bytes(png_structp png, png_bytep out, std::size_t count) {
    auto* self = static_cast<Decoder*>(png_get_io_ptr(png));
    if (count > self->rest_.size()) png_error(png, "the file ends too early");
    std::memcpy(out, self->rest_.data(), count);
    self->rest_ = self->rest_.subspan(count);
  }

  Bytes rest_;
  ErrorText error_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

/// libpng allocates as much as an EXIF chunk declares before it reads it: look at the lengths
/// first. The chunks are length, kind, data, checksum; what follows IEND is no part of the image.
void check_chunks(Bytes bytes, const std::string& name) {
  constexpr std::size_t kSignature = 8;
  constexpr std::size_t kAround = 12;
  const auto at = [&](std::size_t i) { return std::to_integer<std::uint64_t>(bytes[i]); };
  for (std::size_t i = kSignature;;) {
    if (bytes.size() - i < kAround) {
      fail(ErrorCode::kBadData,
           "{}: the PNG is cut short: it ends without its last chunk; replace "
           "or remove it",
           name);
    }
    const std::uint64_t length = at(i) << 24 | at(i + 1) << 16 | at(i + 2) << 8 | at(i + 3);
    if (length > bytes.size() - i - kAround) {
      fail(
          ErrorCode::kBadData,
          "{}: the PNG is damaged or cut short: a chunk declares {} bytes, {} are left; replace or "
          "remove it",
          name, length, bytes.size() - i - kAround);
    }
    if (std::memcmp(&bytes[i + 4], "IEND", 4) == 0) return;
    i += kAround + static_cast<std::size_t>(length);
  }
}

}  // namespace

Image decode_png(Bytes bytes, const std::string& name, const ImageOptions& options) {
  check_chunks(bytes, name);
  Decoder decoder(bytes);
  const auto damaged = [&] {
    fail(ErrorCode::kBadData, "{}: the PNG is damaged or cut short ({}); replace or remove it",
         name, decoder.message());
  };
  if (!decoder.read_header()) damaged();
  const std::uint64_t stored_bits = decoder.row_bytes() * std::uint64_t{8};
  const std::uint64_t bits_per_pixel = std::max<std::uint64_t>(1, stored_bits / decoder.width());
  check_size(decoder.width(), decoder.height(), bytes.size(), kMaxInflation * 8 / bits_per_pixel,
             name, options);
  if (!decoder.start()) damaged();

  Image image(static_cast<int>(decoder.width()), static_cast<int>(decoder.height()),
              decoder.channels());
  std::vector<std::uint16_t> wide;  // [height, width]
  if (decoder.grey16()) wide.resize(image.pixels.size());
  std::uint8_t* target =
      wide.empty() ? image.pixels.data() : reinterpret_cast<std::uint8_t*>(wide.data());
  const std::size_t row_bytes = decoder.row_bytes();
  RESNET_CHECK(row_bytes ==
               decoder.width() * std::size_t(decoder.channels()) * (wide.empty() ? 1 : 2));
  std::vector<png_bytep> rows(decoder.height());
  for (std::size_t y = 0; y < rows.size(); ++y) rows[y] = target + y * row_bytes;
  if (!decoder.read_pixels(rows.data())) damaged();
  if (!wide.empty()) image.clipped = narrow(wide, options.scale_16bit, image.pixels);
  image.orientation = decoder.orientation();
  return image;
}

}  // namespace image

namespace {

using image::ErrorText;
using image::kNoMemory;

bool write_png(const Image& image, std::vector<std::byte>& out, ErrorText& error) {
  png_structp png =
      png_create_write_struct(PNG_LIBPNG_VER_STRING, &error, image::on_error, image::on_warning);
  png_infop info = png == nullptr ? nullptr : png_create_info_struct(png);
  if (info == nullptr) {
    png_destroy_write_struct(&png, nullptr);
    return false;
  }
  if (setjmp(png_jmpbuf(png)) != 0) {
    png_destroy_write_struct(&png, &info);
    return false;
  }
  // The signature is libpng's. NOLINTNEXTLINE(readability-non-const-parameter)
  const auto append = [](png_structp p, png_bytep data, std::size_t count) {
    auto* sink = static_cast<std::vector<std::byte>*>(png_get_io_ptr(p));
    bool full = false;
    try {
      const auto* begin = reinterpret_cast<const std::byte*>(data);
      sink->insert(sink->end(), begin, begin + count);
    } catch (...) {
      full = true;  // an exception may not cross C code
    }
    if (full) png_error(p, kNoMemory);
  };
  png_set_write_fn(png, &out, append, nullptr);
  const int color = image.channels == 1   ? PNG_COLOR_TYPE_GRAY
                    : image.channels == 3 ? PNG_COLOR_TYPE_RGB
                                          : PNG_COLOR_TYPE_RGB_ALPHA;
  png_set_IHDR(png, info, static_cast<png_uint_32>(image.width),
               static_cast<png_uint_32>(image.height), 8, color, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  for (int y = 0; y < image.height; ++y) png_write_row(png, image.row(y));
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return true;
}

}  // namespace

std::vector<std::byte> encode_png(const Image& image) {
  const bool channels_ok = image.channels == 1 || image.channels == 3 || image.channels == 4;
  const bool size_ok = image.width > 0 && image.height > 0 && channels_ok &&
                       image.pixels.size() == static_cast<std::size_t>(image.width) *
                                                  static_cast<std::size_t>(image.height) *
                                                  static_cast<std::size_t>(image.channels);
  if (!size_ok) {
    fail(ErrorCode::kInvalidArgument,
         "encode_png: expected 1, 3 or 4 channels and width * height * channels pixels, found "
         "{} x {} x {} and {} bytes",
         image.width, image.height, image.channels, image.pixels.size());
  }
  std::vector<std::byte> out;
  ErrorText error;
  if (!write_png(image, out, error)) {
    if (std::string_view(error.text) == kNoMemory) throw std::bad_alloc();
    fail(ErrorCode::kInvalidArgument, "encode_png: {} x {} pixels cannot be written ({})",
         image.width, image.height, error.text);
  }
  return out;
}

}  // namespace resnet

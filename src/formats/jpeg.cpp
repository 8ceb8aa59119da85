// JPEG by libjpeg-turbo.
//
// The trap: libjpeg reports errors by longjmp, which skips destructors. So every function here that
// calls libjpeg after setjmp holds only trivial locals; buffers belong to its callers, and the
// failure comes back as `false`, to become an exception where it is safe.
#include <climits>
#include <csetjmp>
#include <cstdio>
#include <cstring>
// jpeglib.h needs stdio's FILE and size_t declared before it.
#include <jerror.h>
#include <jpeglib.h>

#include <vector>

#include "core/check.h"
#include "formats/picture_internal.h"

namespace resnet::picture {
namespace {

// A Huffman-coded block of 64 pixels takes at least one bit (its DC in a progressive file). The
// best case is three components sampled 4x1, 1x4 and 1x1: nine blocks, nine bits, for 1024 pixels.
constexpr std::uint64_t kMaxPixelsPerByte = 1024;
// Each scan of a progressive file may cost a pass over the whole picture for a few bytes.
constexpr int kMaxScans = 256;

struct ErrorManager : jpeg_error_mgr {
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

class Decoder {
 public:
  Decoder() {
    std::memset(&info_, 0, sizeof info_);
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr info) { leave(info); };
    errors_.emit_message = [](j_common_ptr info, int level) {
      const int code = info->err->msg_code;
      // libjpeg would fill the rest with grey and go on.
      if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) leave(info);
    };
    errors_.output_message = [](j_common_ptr) {};
    progress_.progress_monitor = [](j_common_ptr info) {
      if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) {
        auto* errors = static_cast<ErrorManager*>(info->err);
        std::strcpy(errors->message, "too many scans");
        std::longjmp(errors->jump, 1);
      }
    };
  }
  ~Decoder() { jpeg_destroy_decompress(&info_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  bool read_header(Bytes bytes) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  /// Chooses a reduced size, if there is one, whose shorter side is at least `shorter`.
  bool scale(unsigned shorter) {
    if (setjmp(errors_.jump) != 0) return false;
    for (info_.scale_denom = 8; info_.scale_denom > 1; info_.scale_denom /= 2) {
      info_.scale_num = 1;
      jpeg_calc_output_dimensions(&info_);
      if (info_.output_width >= shorter && info_.output_height >= shorter) return true;
    }
    jpeg_calc_output_dimensions(&info_);
    return true;
  }

  /// `out`: [height, width, channels]; `cmyk_row`: [width, 4], used for four components only.
  bool read_pixels(std::uint8_t* out, std::uint8_t* cmyk_row) {
    if (setjmp(errors_.jump) != 0) return false;
    info_.out_color_space = info_.num_components == 1   ? JCS_GRAYSCALE
                            : info_.num_components == 3 ? JCS_RGB
                                                        : JCS_CMYK;
    info_.dct_method = JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&info_);
    const bool cmyk = info_.num_components == 4;
    const std::size_t stride =
        std::size_t{info_.output_width} * (info_.num_components == 1 ? 1 : 3);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = cmyk ? cmyk_row : out + info_.output_scanline * stride;
      std::uint8_t* target = out + info_.output_scanline * stride;
      jpeg_read_scanlines(&info_, &row, 1);
      if (cmyk) convert_cmyk(cmyk_row, target, info_.output_width);
    }
    jpeg_finish_decompress(&info_);  // reads on to the end marker, so that a missing one is noticed
    return true;
  }

  const jpeg_decompress_struct& info() const { return info_; }
  const char* message() const { return errors_.message; }

 private:
  [[noreturn]] static void leave(j_common_ptr info) {
    auto* errors = static_cast<ErrorManager*>(info->err);
    errors->format_message(info, errors->message);
    std::longjmp(errors->jump, 1);
  }

  /// Four components are stored inverted, as Adobe does and Pillow assumes of every such file; the
  /// formula is Pillow's.
  static void convert_cmyk(const std::uint8_t* in, std::uint8_t* out, std::size_t width) {
    for (std::size_t x = 0; x < width; ++x, in += 4, out += 3) {
      const int k = in[3];
      for (int c = 0; c < 3; ++c) {
        const int t = (255 - in[c]) * k + 128;
        const int value = k - ((t + (t >> 8)) >> 8);
        out[c] = static_cast<std::uint8_t>(value < 0 ? 0 : value);
      }
    }
  }

  jpeg_decompress_struct info_;
  ErrorManager errors_{};
  jpeg_progress_mgr progress_{};
};

int orientation_of(const jpeg_decompress_struct& info) {
  for (auto* marker = info.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->data_length < 6 || std::memcmp(marker->data, "Exif\0\0", 6) != 0) continue;
    return exif_orientation(
        {reinterpret_cast<const std::byte*>(marker->data) + 6, marker->data_length - 6});
  }
  return 1;
}

}  // namespace

Image decode_jpeg(Bytes bytes, const std::string& name, const PictureOptions& options) {
  Decoder decoder;
  const auto damaged = [&] {
    fail(ErrorCode::kBadData, "{}: the JPEG is damaged or cut short ({}); replace or remove it",
         name, decoder.message());
  };
  if (!decoder.read_header(bytes)) damaged();
  const jpeg_decompress_struct& info = decoder.info();
  if (info.num_components != 1 && info.num_components != 3 && info.num_components != 4) {
    fail(ErrorCode::kUnsupported, "{}: JPEG with {} components is not supported; convert it to PNG",
         name, info.num_components);
  }
  check_size(info.image_width, info.image_height, bytes.size(),
             info.arith_code
                 ? max_pixels_per_byte(std::uint64_t{info.image_width} * info.image_height)
                 : kMaxPixelsPerByte,
             name, options);

  const int shorter = options.shorter_side;
  if (!decoder.scale(shorter > 0 ? static_cast<unsigned>(shorter) : UINT_MAX)) damaged();
  Image image(static_cast<int>(info.output_width), static_cast<int>(info.output_height),
              info.num_components == 1 ? 1 : 3);
  image.orientation = orientation_of(info);
  std::vector<std::uint8_t> cmyk_row(info.num_components == 4 ? info.output_width * 4 : 0);
  if (!decoder.read_pixels(image.pixels.data(), cmyk_row.data())) damaged();
  return image;
}

}  // namespace resnet::picture

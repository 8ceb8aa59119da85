// JPEG by libjpeg-turbo.
//
// The trap: libjpeg reports errors by longjmp, which skips destructors. So every function here that
// calls libjpeg after setjmp holds only trivial locals; buffers belong to its callers, and the
// failure comes back as `false`, to become an exception where it is safe.
#include <algorithm>
#include <climits>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
// jpeglib.h needs stdio's FILE and size_t declared before it.
#include <jerror.h>
#include <jpeglib.h>

#include <vector>

#include "core/check.h"
#include "formats/image_internal.h"

namespace resnet::image {
namespace {

// A Huffman-coded block of 64 pixels takes at least one bit (its DC in a progressive file). The
// best case is three components sampled 4x1, 1x4 and 1x1: nine blocks, nine bits, for 1024 pixels.
constexpr std::uint64_t kMaxPixelsPerByte = 1024;
// Each scan of a progressive file may cost a pass over the whole image for a few bytes.
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

  /// `out`: [part.height, part.width, channels]; `row`: [output_width, 4], for one line.
  bool read_pixels(const Rect& part, std::uint8_t* out, std::uint8_t* row) {
    if (setjmp(errors_.jump) != 0) return false;
    info_.out_color_space = info_.num_components == 1   ? JCS_GRAYSCALE
                            : info_.num_components == 3 ? JCS_RGB
                                                        : JCS_CMYK;
    info_.dct_method = JDCT_ISLOW;
    info_.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&info_);
    const auto left = static_cast<JDIMENSION>(part.left);
    const auto top = static_cast<JDIMENSION>(part.top);
    const auto width = static_cast<JDIMENSION>(part.width);
    const JDIMENSION end = top + static_cast<JDIMENSION>(part.height);
    // A progressive file's coefficients are all there by now; what could still be left out is less
    // than the risk: libjpeg smooths over blocks when some are missing.
    const bool partly = !jpeg_has_multiple_scans(&info_);
    JDIMENSION first = 0;  // column that libjpeg begins with
    if (partly) {
      // Upsampling looks at neighbours, so a block (of the largest component) on each side is
      // decoded, too. libjpeg moves `first` to the left until it is the first column of a block.
      const auto block =
          static_cast<JDIMENSION>(info_.max_h_samp_factor * info_.min_DCT_scaled_size);
      first = left > block ? left - block : 0;
      const JDIMENSION last = std::min(info_.output_width, left + width + block);
      if (last - first < info_.output_width && columns_can_be_left_out()) {
        JDIMENSION columns = last - first;
        jpeg_crop_scanline(&info_, &first, &columns);
      } else {
        first = 0;
      }
      const auto rows =
          static_cast<JDIMENSION>(info_.max_v_samp_factor * info_.min_DCT_scaled_size);
      if (top > rows) jpeg_skip_scanlines(&info_, (top - rows) / rows * rows);
    }
    const bool cmyk = info_.num_components == 4;
    const std::size_t channels = info_.num_components == 1 ? 1 : 3;
    const std::size_t stride = width * channels;
    const bool direct = !cmyk && first == left && width == info_.output_width;
    while (info_.output_scanline < info_.output_height) {
      const JDIMENSION y = info_.output_scanline;
      const bool wanted = y >= top && y < end;
      std::uint8_t* target = out + (y - top) * stride;
      JSAMPROW line = wanted && direct ? target : row;
      // Rows below the part are gone over for damage, the last one by reading it.
      if (partly && y >= end && info_.output_height - y > 1) {
        jpeg_skip_scanlines(&info_, info_.output_height - y - 1);
        continue;
      }
      jpeg_read_scanlines(&info_, &line, 1);
      if (!wanted || direct) continue;
      if (cmyk) {
        convert_cmyk(row + (left - first) * 4, target, width);
      } else {
        std::memcpy(target, row + (left - first) * channels, stride);
      }
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

  /// jpeg_crop_scanline (of libjpeg-turbo 2.1) takes components to be reduced alike: wrong where
  /// one is reduced by less than the others and widened for the rest.
  bool columns_can_be_left_out() const {
    return std::all_of(info_.comp_info, info_.comp_info + info_.num_components, [&](const auto& c) {
      return c.DCT_scaled_size == info_.min_DCT_scaled_size ||
             c.h_samp_factor * c.DCT_scaled_size ==
                 info_.max_h_samp_factor * info_.min_DCT_scaled_size;
    });
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

class Encoder {
 public:
  Encoder() {
    std::memset(&info_, 0, sizeof info_);
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr info) {
      auto* errors = static_cast<ErrorManager*>(info->err);
      errors->format_message(info, errors->message);
      std::longjmp(errors->jump, 1);
    };
    errors_.output_message = [](j_common_ptr) {};
  }
  ~Encoder() {
    jpeg_destroy_compress(&info_);
    std::free(buffer_);
  }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  bool write(const Image& image, int quality) {
    if (setjmp(errors_.jump) != 0) return false;
    jpeg_create_compress(&info_);
    jpeg_mem_dest(&info_, &buffer_, &size_);
    info_.image_width = static_cast<JDIMENSION>(image.width);
    info_.image_height = static_cast<JDIMENSION>(image.height);
    info_.input_components = image.channels;
    info_.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&info_);
    info_.optimize_coding = TRUE;  // the same image in fewer bytes
    jpeg_set_quality(&info_, quality, TRUE);
    jpeg_start_compress(&info_, TRUE);
    while (info_.next_scanline < info_.image_height) {
      auto* row = const_cast<JSAMPROW>(image.row(static_cast<int>(info_.next_scanline)));
      jpeg_write_scanlines(&info_, &row, 1);
    }
    jpeg_finish_compress(&info_);
    return true;
  }

  Bytes bytes() const { return {reinterpret_cast<const std::byte*>(buffer_), size_}; }
  const char* message() const { return errors_.message; }

 private:
  jpeg_compress_struct info_;
  ErrorManager errors_{};
  unsigned char* buffer_ = nullptr;
  unsigned long size_ = 0;
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

Image decode_jpeg(Bytes bytes, const std::string& name, const ImageOptions& options) {
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
  const int orientation = orientation_of(info);
  const Rect part = wanted_part(options, static_cast<int>(info.output_width),
                                static_cast<int>(info.output_height), orientation);
  Image image(part.width, part.height, info.num_components == 1 ? 1 : 3);
  image.orientation = orientation;
  std::vector<std::uint8_t> row(std::size_t{info.output_width} * 4);
  if (!decoder.read_pixels(part, image.pixels.data(), row.data())) damaged();
  return image;
}

}  // namespace resnet::image

namespace resnet {

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  constexpr int kMaxSide = 65500;  // JPEG_MAX_DIMENSION
  const auto pixels = static_cast<std::size_t>(image.width) *
                      static_cast<std::size_t>(image.height) *
                      static_cast<std::size_t>(image.channels);
  if (image.width < 1 || image.height < 1 || image.width > kMaxSide || image.height > kMaxSide ||
      (image.channels != 1 && image.channels != 3) || image.pixels.size() != pixels) {
    fail(ErrorCode::kInvalidArgument,
         "cannot write {} x {} pixels of {} channels in {} bytes as JPEG; expected 1 or 3 channels "
         "and sides of 1 to {}",
         image.width, image.height, image.channels, image.pixels.size(), kMaxSide);
  }
  if (quality < 1 || quality > 100) {
    fail(ErrorCode::kInvalidArgument, "a JPEG of quality {}; expected 1 to 100", quality);
  }
  image::Encoder encoder;
  if (!encoder.write(image, quality)) {
    fail(ErrorCode::kInternal, "cannot write a JPEG: {}", encoder.message());
  }
  return {encoder.bytes().begin(), encoder.bytes().end()};
}

}  // namespace resnet

// JPEGs of every layout, written by libjpeg for the tests.
#pragma once

#include <cstdio>
#include <cstdlib>
// jpeglib.h needs stdio's FILE and size_t declared before it.
#include <jpeglib.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "formats/bytes.h"
#include "resnet/image.h"

namespace resnet {

struct JpegLayout {
  int components = 3;
  /// Blocks across and down in a unit, of each component.
  std::array<std::pair<int, int>, 4> sampling = {{{2, 2}, {1, 1}, {1, 1}, {1, 1}}};
  bool progressive = false;
  bool arithmetic = false;
  unsigned restart = 0;  ///< units between restart markers
};

/// Noise over slopes, so that every block and its neighbours differ.
inline ByteVector make_jpeg(int width, int height, const JpegLayout& layout) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &buffer, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = layout.components;
  info.in_color_space = layout.components == 1   ? JCS_GRAYSCALE
                        : layout.components == 3 ? JCS_RGB
                                                 : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 90, TRUE);
  for (int c = 0; c < layout.components; ++c) {
    info.comp_info[c].h_samp_factor = layout.sampling[static_cast<std::size_t>(c)].first;
    info.comp_info[c].v_samp_factor = layout.sampling[static_cast<std::size_t>(c)].second;
  }
  if (layout.progressive) jpeg_simple_progression(&info);
  info.arith_code = layout.arithmetic ? TRUE : FALSE;
  info.restart_interval = layout.restart;
  jpeg_start_compress(&info, TRUE);
  std::vector<JSAMPLE> row(static_cast<std::size_t>(width * layout.components));
  std::uint32_t state = 99;
  for (int y = 0; y < height; ++y) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      state = state * 1103515245U + 12345U;
      row[i] =
          static_cast<JSAMPLE>((i * 3 + static_cast<std::size_t>(y) * 5 + (state >> 26)) & 255U);
    }
    JSAMPROW line = row.data();
    jpeg_write_scanlines(&info, &line, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  ByteVector bytes(size);
  std::memcpy(bytes.data(), buffer, size);
  std::free(buffer);
  return bytes;
}

/// The file with this EXIF orientation.
inline ByteVector with_orientation(const ByteVector& jpeg, char orientation) {
  std::string exif(
      "\xff\xe1\0\x22"
      "Exif\0\0"
      "MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0?\0\0\0\0\0\0",
      36);
  exif[29] = orientation;
  ByteVector bytes(jpeg.begin(), jpeg.begin() + 2);
  for (const char c : exif) bytes.push_back(static_cast<std::byte>(c));
  bytes.insert(bytes.end(), jpeg.begin() + 2, jpeg.end());
  return bytes;
}

}  // namespace resnet

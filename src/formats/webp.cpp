// WebP by libwebp, lossy and lossless; the first frame of an animation, as Pillow does.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "core/check.h"
#include "formats/image_internal.h"

namespace resnet::image {

Image decode_webp(Bytes bytes, const std::string& name, const ImageOptions& options) {
  const auto damaged = [&](const char* what) {
    fail(ErrorCode::kBadData, "{}: the WebP is damaged or cut short ({}); replace or remove it",
         name, what);
  };
  const WebPData data = {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)> demuxer(WebPDemux(&data),
                                                                         WebPDemuxDelete);
  if (demuxer == nullptr) damaged("incomplete container");
  const std::uint64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const std::uint64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  // A lossless image of one colour takes no bits per pixel at all.
  check_size(width, height, bytes.size(), max_pixels_per_byte(width * height), name, options);

  WebPIterator frame;
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) damaged("no frame");
  const std::unique_ptr<WebPIterator, decltype(&WebPDemuxReleaseIterator)> release(
      &frame, WebPDemuxReleaseIterator);
  const auto inside = [](int offset, int length, std::uint64_t limit) {
    return offset >= 0 && length > 0 &&
           static_cast<std::uint64_t>(offset) + static_cast<std::uint64_t>(length) <= limit;
  };
  if (!inside(frame.x_offset, frame.width, width) ||
      !inside(frame.y_offset, frame.height, height)) {
    damaged("a frame outside the canvas");
  }

  Image image(static_cast<int>(width), static_cast<int>(height), 3);
  // The rest of the canvas stays black: transparent before alpha is dropped.
  std::uint8_t* target = image.row(frame.y_offset) + frame.x_offset * 3;
  const std::size_t size =
      image.pixels.size() - static_cast<std::size_t>(target - image.pixels.data());
  if (WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, target, size, image.width * 3) ==
      nullptr) {
    damaged("undecodable pixels");
  }

  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) != 0) {
    Bytes exif(reinterpret_cast<const std::byte*>(chunk.chunk.bytes), chunk.chunk.size);
    // Some writers keep JPEG's prefix.
    if (exif.size() > 6 && exif[0] == std::byte{'E'}) exif = exif.subspan(6);
    image.orientation = exif_orientation(exif);
    WebPDemuxReleaseChunkIterator(&chunk);
  }
  return image;
}

}  // namespace resnet::image

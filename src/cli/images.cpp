#include "cli/images.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/check.h"
#include "data/datasets.h"
#include "formats/image.h"

namespace resnet::cli {

void ScaleFlag::apply(Preprocessing& preprocessing) const {
  if (!name.empty()) preprocessing.scale_16bit = parse_scale_16bit(name);
}

void add_scale_16bit(CLI::App& command, ScaleFlag& flag) {
  command.add_option("--scale-16bit", flag.name,
                     "How 16-bit grey images become 8-bit: clip, high-byte, 10bit, 12bit, 14bit, "
                     "range, percentile or asinh; default: as the model was trained, else clip");
}

std::function<void(const std::string&)> notes_to(ProgressLine& line) {
  return [&line](const std::string& text) { line.note("note: " + text); };
}

std::optional<EncodedImage> image_from(std::istream& in) {
  std::streambuf& buffer = *in.rdbuf();
  if (in.peek() == std::istream::traits_type::eof()) {
    in.clear();
    return {};
  }
  // What has arrived lies in the buffer: bytes of it can be given back.
  std::array<char, 12> head{};
  const std::streamsize n =
      buffer.sgetn(head.data(), std::clamp<std::streamsize>(buffer.in_avail(), 0, head.size()));
  for (std::streamsize i = 0; i < n; ++i) buffer.sungetc();
  if (!begins_image(std::as_bytes(std::span(head).first(static_cast<std::size_t>(n))))) return {};

  EncodedImage image{.name = "-", .bytes = {}};
  std::vector<char> piece(std::size_t{1} << 16);
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())), in.gcount() > 0) {
    const auto bytes = std::as_bytes(std::span(piece).first(static_cast<std::size_t>(in.gcount())));
    image.bytes.insert(image.bytes.end(), bytes.begin(), bytes.end());
    if (image.bytes.size() > kMaxImageFile) {
      fail(ErrorCode::kBadData, "standard input: more than the limit of {} bytes for an image",
           kMaxImageFile);
    }
  }
  return image;
}

}  // namespace resnet::cli

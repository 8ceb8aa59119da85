// What needs zlib alone.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"
#include "formats/archive.h"

namespace resnet {
namespace {

bool ends_with_any(const std::filesystem::path& path, std::span<const std::string_view> endings) {
  const std::string name = lower(path.filename().string());
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) {
    return name.size() > e.size() && name.ends_with(e);
  });
}

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

}  // namespace

bool is_archive_path(const std::filesystem::path& path) {
  static constexpr std::array<std::string_view, 10> kEndings = {
      ".tar",    ".tar.gz", ".tgz",     ".tar.bz2", ".tbz2",
      ".tar.xz", ".txz",    ".tar.zst", ".tzst",    ".zip"};
  return ends_with_any(path, kEndings);
}

std::vector<std::byte> gunzip(std::span<const std::byte> bytes, const std::string& name,
                              std::uint64_t max_bytes) {
  const auto damaged_gzip = [&](const char* why) {
    fail(ErrorCode::kBadData, "{}: the gzip file is damaged or cut short ({}); fetch it again",
         name, why);
  };
  if (!is_gzip(bytes)) damaged_gzip("no gzip header");
  z_stream stream{};
  constexpr int kGzipOnly = 16 + MAX_WBITS;
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> release(&stream, inflateEnd);

  std::vector<std::byte> out;
  std::array<std::byte, 1 << 16> piece;
  // zlib counts in 32 bits: feed it in pieces too.
  const std::byte* next = bytes.data();
  std::size_t left = bytes.size();
  while (true) {
    if (stream.avail_in == 0 && left > 0) {
      const std::size_t n = std::min<std::size_t>(left, std::size_t{1} << 30);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(next));
      stream.avail_in = static_cast<uInt>(n);
      next += n;
      left -= n;
    }
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    const int status = inflate(&stream, Z_NO_FLUSH);
    const std::size_t got = piece.size() - stream.avail_out;
    if (got > max_bytes - out.size()) {
      fail(ErrorCode::kBadData, "{}: the gzip file unpacks to more than the limit of {} bytes",
           name, max_bytes);
    }
    out.insert(out.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got));
    if (status == Z_STREAM_END) {
      const std::span<const std::byte> rest(reinterpret_cast<const std::byte*>(stream.next_in),
                                            stream.avail_in + left);
      // Another member may follow; anything else after the last one is padding, as gzip(1) has it.
      if (!is_gzip(rest)) return out;
      if (inflateReset(&stream) != Z_OK) damaged_gzip("bad state");
      continue;
    }
    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    const bool starved = stream.avail_in == 0 && left == 0;
    if (status == Z_BUF_ERROR || (status == Z_OK && starved && got == 0)) {
      damaged_gzip("it ends too early");
    }
    if (status != Z_OK) damaged_gzip(stream.msg == nullptr ? "bad data" : stream.msg);
  }
}

std::vector<std::byte> read_maybe_gzip(const std::filesystem::path& path, std::uint64_t max_bytes) {
  std::vector<std::byte> bytes = read_file(path, max_bytes);
  if (!is_gzip(bytes)) return bytes;
  return gunzip(bytes, path.string(), max_bytes);
}

}  // namespace resnet

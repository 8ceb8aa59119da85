#include "formats/tar.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/check.h"

namespace resnet {
namespace {

using namespace std::string_view_literals;

constexpr std::uint64_t kBlock = 512;
constexpr std::uint64_t kMaxExtra = 1 << 20;  // of a long name or a PAX header

/// Small reads by way of a window: labels and headers of small files come together.
class Window {
 public:
  explicit Window(const ByteSource& source) : source_(source) {}

  /// `count` bytes, at most the window's size, which must lie inside the file.
  std::string_view read(std::uint64_t offset, std::size_t count) {
    if (offset < begin_ || offset + count > begin_ + held_) {
      begin_ = offset;
      held_ =
          static_cast<std::size_t>(std::min<std::uint64_t>(bytes_.size(), source_.size() - offset));
      source_.read(offset, std::as_writable_bytes(std::span(bytes_).first(held_)));
    }
    return {&bytes_[offset - begin_], count};
  }

 private:
  const ByteSource& source_;
  std::array<char, 4096> bytes_;
  std::uint64_t begin_ = 0;
  std::size_t held_ = 0;
};

std::string_view text_of(std::string_view field) { return field.substr(0, field.find('\0')); }

/// Octal digits, or GNU's base 256 with the first bit set; nothing for anything else.
std::optional<std::uint64_t> number_of(std::string_view field) {
  std::uint64_t value = 0;
  if ((static_cast<unsigned char>(field[0]) & 0x80U) != 0) {
    for (std::size_t i = 0; i < field.size(); ++i) {
      const auto byte = static_cast<unsigned char>(field[i]) & (i == 0 ? 0x7fU : 0xffU);
      if (value >> 55 != 0) return {};
      value = value << 8 | byte;
    }
    return value;
  }
  field = text_of(field);
  while (!field.empty() && field.front() == ' ') field.remove_prefix(1);
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  if (field.empty() || field.size() > 20) return {};
  for (const char c : field) {
    if (c < '0' || c > '7') return {};
    value = value << 3 | static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

bool checksum_fits(std::string_view header) {
  constexpr std::size_t kSum = 148;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    sum += i >= kSum && i < kSum + 8 ? ' ' : static_cast<unsigned char>(header[i]);
  }
  return number_of(header.substr(kSum, 8)) == sum;
}

struct Extras {
  std::optional<std::string> name;
  std::optional<std::uint64_t> size;
  bool sparse = false;
};

/// Records "LENGTH KEY=VALUE\n", where LENGTH counts all of it. False when they are damaged.
bool read_pax(std::string_view text, Extras& extras) {
  while (!text.empty() && text.front() != '\0') {
    std::size_t length = 0;
    std::size_t digits = 0;
    while (digits < text.size() && digits < 8 && text[digits] >= '0' && text[digits] <= '9') {
      length = length * 10 + static_cast<std::size_t>(text[digits++] - '0');
    }
    if (digits == 0 || length > text.size() || length < digits + 3 || text[digits] != ' ' ||
        text[length - 1] != '\n') {
      return false;
    }
    const std::string_view record = text.substr(digits + 1, length - digits - 2);
    text.remove_prefix(length);
    const std::size_t equals = record.find('=');
    if (equals == record.npos) return false;
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") extras.name = value;
    if (key.starts_with("GNU.sparse.")) extras.sparse = true;
    if (key == "size") {
      std::uint64_t size = 0;
      if (value.empty() || value.size() > 18) return false;
      for (const char c : value) {
        if (c < '0' || c > '9') return false;
        size = size * 10 + static_cast<std::uint64_t>(c - '0');
      }
      extras.size = size;
    }
  }
  return true;
}

void refuse_compressed(std::string_view start, const std::string& name) {
  for (const auto& [magic, kind] :
       {std::pair{"\x1f\x8b"sv, "gzip"sv}, std::pair{"BZh"sv, "bzip2"sv},
        std::pair{"\xfd\x37zXZ"sv, "xz"sv}, std::pair{"\x28\xb5\x2f\xfd"sv, "zstd"sv}}) {
    if (start.starts_with(magic)) {
      fail(ErrorCode::kUnsupported,
           "{}: a tar compressed with {}, in which no image can be found without unpacking all "
           "before it; unpack it to a plain .tar (images are compressed already)",
           name, kind);
    }
  }
}

}  // namespace

void index_tar(const ByteSource& tar, const std::function<void(const TarFile&)>& visit) {
  const auto damaged = [&](std::uint64_t at, std::string_view what) {
    fail(ErrorCode::kBadData, "{}: the tar is damaged or cut short: {} at byte {}; fetch it again",
         tar.name(), what, at);
  };
  Window window(tar);
  if (tar.size() >= 6) refuse_compressed(window.read(0, 6), tar.name());
  Extras extras;
  std::uint64_t at = 0;
  while (tar.size() - at >= kBlock) {
    const std::string header(window.read(at, kBlock));
    if (header.find_first_not_of('\0') == header.npos) return;  // the end; zeros may follow
    if (!checksum_fits(header)) {
      if (at == 0) {
        fail(ErrorCode::kBadData, "{}: expected a tar archive, found something else", tar.name());
      }
      damaged(at, "no file header");
    }
    const std::optional<std::uint64_t> declared =
        number_of(std::string_view(header).substr(124, 12));
    const char type = header[156];
    const bool special = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    if (!declared) damaged(at, "a size that is no number");
    const std::uint64_t size = special ? *declared : extras.size.value_or(*declared);
    const std::uint64_t data = at + kBlock;
    if (size > tar.size() - data) {
      damaged(at, fmt::format("a file of {} bytes where {} are left", size, tar.size() - data));
    }
    if (special) {
      if (size > kMaxExtra) damaged(at, "a name of more than a megabyte");
      std::string text(static_cast<std::size_t>(size), '\0');
      tar.read(data, std::as_writable_bytes(std::span(text)));
      if (type == 'L') extras.name = text_of(text);
      if (type == 'x' && !read_pax(text, extras)) damaged(at, "an extended header that is no list");
    } else {
      if (type == 'S' || extras.sparse) {
        fail(ErrorCode::kUnsupported, "{}: holds sparse files; pack it again without --sparse",
             tar.name());
      }
      if (type == '0' || type == '\0' || type == '7') {
        TarFile file{{}, data, size};
        if (extras.name) {
          file.name = std::move(*extras.name);
        } else {
          file.name = text_of(std::string_view(header).substr(0, 100));
          const bool ustar = std::string_view(header).substr(257, 6) == "ustar\0"sv;
          const std::string_view prefix = text_of(std::string_view(header).substr(345, 155));
          if (ustar && !prefix.empty()) file.name = std::string(prefix) + "/" + file.name;
        }
        // Old tars mark folders by the slash alone.
        if (!file.name.ends_with('/')) visit(file);
      }
      extras = {};
    }
    const std::uint64_t padded = (size + kBlock - 1) / kBlock * kBlock;
    if (padded > tar.size() - data) {
      if (special) damaged(at, "nothing after an extended header");
      return;  // the last file's padding may be missing
    }
    at = data + padded;
  }
  if (at == 0)
    fail(ErrorCode::kBadData, "{}: expected a tar archive, found {} bytes", tar.name(), tar.size());
  // Writers end with two empty blocks; what ends at a whole file is complete all the same.
  if (tar.size() != at) damaged(at, "half a file header");
}

}  // namespace resnet

#include "formats/hdf5_headers.h"

#include <array>
#include <cstring>
#include <fstream>
#include <vector>

#include "core/check.h"
#include "formats/hdf5.h"

namespace resnet {
namespace {

constexpr int kMostMessages = 1 << 16;  // of one header, so that a chain in a circle ends
constexpr std::uint64_t kSymbolTable = 0x11, kContinuation = 0x10;

}  // namespace

Hdf5Headers::Hdf5Headers(const std::filesystem::path& path, std::uint64_t bytes)
    : name_(path.string()), file_(path, std::ios::binary), bytes_(bytes) {}

// Little-endian; 0 where the file ends before.
std::uint64_t Hdf5Headers::number(std::uint64_t at, int bytes) {
  std::array<unsigned char, 8> raw{};
  if (at > bytes_ || static_cast<std::uint64_t>(bytes) > bytes_ - at) return 0;
  file_.clear();
  file_.seekg(static_cast<std::streamoff>(at));
  file_.read(reinterpret_cast<char*>(raw.data()), bytes);
  std::uint64_t value = 0;
  for (std::size_t i = 8; i-- > 0;) value = value << 8 | raw[i];
  return value;
}

bool Hdf5Headers::is(std::uint64_t at, const char* signature) {
  std::uint32_t wanted = 0;
  std::memcpy(&wanted, signature, sizeof(wanted));
  return number(at, 4) == wanted;
}

void Hdf5Headers::expect_inside(std::uint64_t at, std::uint64_t size, const char* what) const {
  if (at <= bytes_ && size <= bytes_ - at) return;
  fail(ErrorCode::kBadData,
       "{}: {} declares {} bytes at {} in a file of {}; fetch or write the HDF5 file again", name_,
       what, size, at, bytes_);
}

void Hdf5Headers::check_root() {
  const auto is_size = [](int n) { return n == 2 || n == 4 || n == 8; };
  const std::uint64_t version = number(8, 1);
  const bool old = version < 2;
  offset_bytes_ = static_cast<int>(number(old ? 13 : 9, 1));
  length_bytes_ = static_cast<int>(number(old ? 14 : 10, 1));
  if (version > 3 || !is_size(offset_bytes_) || !is_size(length_bytes_)) return;
  const auto o = static_cast<std::uint64_t>(offset_bytes_);
  if (old) {
    // Four addresses, the last of a driver's block, then the root's entry in a table of symbols:
    // name, header, …
    const std::uint64_t addresses = version == 0 ? 24 : 28;
    const std::uint64_t driver = address(addresses + 3 * o);
    if (driver < bytes_) expect_inside(driver, 16 + number(driver + 4, 4), "a driver's block");
    check_object(address(addresses + 5 * o));
  } else {
    check_object(address(12 + o));  // the extension, if there is one
    check_object(address(12 + 3 * o));
  }
}

void Hdf5Headers::check_object(std::uint64_t at) {
  if (at >= bytes_) return;  // undefined, or for the library to refuse
  if (is(at, "OHDR")) {
    const std::uint64_t flags = number(at + 5, 1);
    const std::uint64_t start = at + 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
    const int width = 1 << (flags & 3);
    const std::uint64_t size = number(start, width);
    const std::uint64_t first = start + static_cast<std::uint64_t>(width);
    expect_inside(first, size, "an object header");
    check_messages({first, size}, true, (flags & 4) != 0);
  } else if (number(at, 1) == 1) {
    const std::uint64_t size = number(at + 8, 4);
    expect_inside(at + 16, size, "an object header");
    check_messages({at + 16, size}, false, false);
  }
}

// All of a header. Its pieces, inside the file, wait in a list: a chain may be longer than the
// stack.
void Hdf5Headers::check_messages(Piece first, bool second_version, bool ordered) {
  const std::uint64_t prefix = second_version ? (ordered ? 6 : 4) : 8;
  std::vector<Piece> pieces{first};
  int messages = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    std::uint64_t at = pieces[i].at;
    const std::uint64_t end = at + pieces[i].size;
    while (at + prefix <= end && ++messages < kMostMessages) {
      const std::uint64_t type = number(at, second_version ? 1 : 2);
      const std::uint64_t length = number(at + (second_version ? 1 : 2), 2);
      const std::uint64_t data = at + prefix;
      if (type == kContinuation) {
        const std::uint64_t next = address(data);
        const std::uint64_t next_size =
            number(data + static_cast<std::uint64_t>(offset_bytes_), length_bytes_);
        expect_inside(next, next_size, "the continuation of an object header");
        const std::uint64_t head = second_version ? 4 : 0, tail = second_version ? 4 : 0;
        if (next_size >= head + tail) {
          pieces.push_back({next + head, next_size - head - tail});
        }
      } else if (type == kSymbolTable) {
        check_heap(address(data + static_cast<std::uint64_t>(offset_bytes_)));
      }
      at = data + length;
    }
  }
}

void Hdf5Headers::check_heap(std::uint64_t at) {
  if (at >= bytes_ || !is(at, "HEAP")) return;
  const auto l = static_cast<std::uint64_t>(length_bytes_);
  expect_inside(address(at + 8 + 2 * l), number(at + 8, length_bytes_), "a heap of names");
}

bool is_hdf5_file(const std::filesystem::path& path) {
  std::array<char, 8> start{};
  std::ifstream in(path, std::ios::binary);
  constexpr std::array<char, 8> kMagic = {'\x89', 'H', 'D', 'F', '\r', '\n', '\x1a', '\n'};
  return in.read(start.data(), start.size()) && start == kMagic;
}

}  // namespace resnet
